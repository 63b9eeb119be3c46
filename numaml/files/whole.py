"""Files that are written whole or not at all."""

import csv
import io
import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from .own import check_own

# What a file is called while it is written.
UNFINISHED = re.compile(r"\..*\.[0-9a-f]{8}\.unfinished", re.DOTALL)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under another name and rename it: readers see the old one or the new.

    Who may read and write an old one, may do so with the new.

    Raises
    ------
    OSError
        If it cannot be written, or anything but a regular file of its own stands there: a link, a
        folder, a device, … What was there is then untouched.
    """
    old = check_own(path)
    unfinished = path.with_name(f".{path.name}.{os.urandom(4).hex()}.unfinished")
    try:
        with unfinished.open("xb") as file:
            if old is not None and hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode) & 0o777)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise type(error)(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed process left of files that it was writing there."""
    for entry in list(os.scandir(folder)):
        if UNFINISHED.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
            os.unlink(entry.path)


def settle(folder: Path) -> None:
    """Make the new names survive a power cut too, where a folder can be opened (Windows cannot)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_table(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a CSV file, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *rows])
    write_whole(path, text.getvalue().encode())
