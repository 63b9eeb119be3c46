"""Files in folders that others may have prepared: no link is followed, no device is opened."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

# Nothing waits for the other end of a pipe, and no child inherits the descriptor.
FLAGS = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
KINDS: dict[str, Callable[[int], bool]] = {
    "a link": stat.S_ISLNK,
    "a folder": stat.S_ISDIR,
    "a pipe": stat.S_ISFIFO,
    "a socket": stat.S_ISSOCK,
    "a device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
}


def check_own(path: Path) -> os.stat_result | None:
    """What a name leads to: a regular file without another name, or nothing.

    Raises
    ------
    OSError
        If something else stands there, or the place cannot be looked at.
    """
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):  # opening it says which
        return None
    _check(path, status)
    return status


def open_own(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a regular file that has no other name; nothing else is opened, or even waited for.

    Returns
    -------
    descriptor : int

    Raises
    ------
    OSError
        As `check_own`; or if the file cannot be opened.
    """
    check_own(path)
    descriptor = os.open(path, flags | FLAGS | NOFOLLOW, 0o666)
    try:
        _check(path, os.fstat(descriptor))  # what was opened, whatever came between
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def open_given(path: Path, wanted: str) -> BinaryIO:
    """Open a file to read that the user named: links are followed, and nothing is waited for.

    Raises
    ------
    FileNotFoundError
        If there is no regular file; with what was wanted.
    OSError
        If it cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; want {wanted}")
    return os.fdopen(os.open(path, os.O_RDONLY | FLAGS), "rb")


def folder_inside(folder: Path, name: str) -> Path:
    """A folder inside one that others may have prepared: there, or still to be made, and no link.

    Raises
    ------
    NotADirectoryError
        If something else has that name.
    """
    path = folder / name
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise NotADirectoryError(
            f"{path} is {_kind(os.lstat(path).st_mode)}; want a folder: remove it, or choose "
            "another place"
        )
    return path


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(
            f"{path} is {_kind(status.st_mode)}; want a regular file: remove it, or choose another "
            "place"
        )
    if status.st_nlink > 1:
        raise OSError(
            f"{path} is one of {status.st_nlink} names of a file (hard links); want a file of its "
            "own: replace it by a copy, or choose another place"
        )


def _kind(mode: int) -> str:
    return next((name for name, is_one in KINDS.items() if is_one(mode)), "a file")
