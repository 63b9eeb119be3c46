"""One run at a time in a folder: a lock that the kernel drops when its process ends, however."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows: only the threads of one process are kept apart
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
_holders: dict[Path, int] = {}  # the file -> the thread of this process that has locked it


@contextmanager
def locked(folder: str | os.PathLike[str] | None) -> Iterator[None]:
    """Make the folder if need be, and keep every other run out of it.

    Nested calls in one thread are one lock. Where there are no locks on files (Windows, some
    network drives) the other threads of this process are kept out, other processes are not.

    Parameters
    ----------
    folder : path
        Or None: nothing to lock.

    Raises
    ------
    BlockingIOError
        If another run is there.
    OSError
        If nothing can be written there.
    """
    if folder is None:
        yield
        return
    path, me = Path(os.path.realpath(folder), NAME), threading.get_ident()
    if _holders.get(path) == me:
        yield
        return
    if _holders.setdefault(path, me) != me:
        raise _busy(folder, f"another thread of PID {os.getpid()}")
    try:
        with _opened(folder, path) as file:
            with suppress(OSError):  # on a full disk: the number is only for the others' message
                file.truncate(0)
                file.write(str(os.getpid()).encode())
            try:
                yield
            finally:
                with suppress(OSError):  # Windows removes no open file
                    path.unlink()
    finally:
        del _holders[path]


def _opened(folder: Any, path: Path) -> Any:
    """The file, open and locked."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+b", buffering=0)
        except OSError as error:
            raise type(error)(
                f"nothing can be written in {folder}: {error.strerror}; choose another folder"
            ) from error
        if not _taken(file):
            with file:
                file.seek(0)
                raise _busy(folder, f"PID {file.read(20).decode(errors='replace') or 'unknown'}")
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # its holder removed it between our opening and locking it: once more


def _taken(file: Any) -> bool:
    """Whether it is locked now, or is where there are no locks."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
    return True


def _busy(folder: Any, who: str) -> BlockingIOError:
    return BlockingIOError(
        f"another run ({who}) is training in {folder}; wait for it, or choose another folder"
    )
