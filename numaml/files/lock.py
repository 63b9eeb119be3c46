"""One run at a time in a folder: a lock that the kernel drops when its process ends, however."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .own import open_own

try:
    import fcntl
except ImportError:  # Windows: only the threads of one process are kept apart
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"


@dataclass(eq=False)
class _Holder:
    """A thread of this process that has locked a file, or is about to."""

    thread: int
    descriptor: int | None = None


_holders: dict[Path, _Holder] = {}  # by the file
_forking = (
    threading.RLock()
)  # no process is forked while a file is open that is not noted, or no more


@contextmanager
def locked(folder: str | os.PathLike[str] | None) -> Iterator[None]:
    """Make the folder if need be, and keep every other run out of it.

    Nested calls in one thread are one lock. It ends with its process, whatever processes that one
    has forked: they do not hold it, and are kept out like all others. Where there are no locks on
    files (Windows, some network drives) the other threads of this process are kept out, other
    processes are not.

    Parameters
    ----------
    folder : path
        Or None: nothing to lock.

    Raises
    ------
    BlockingIOError
        If another run is there.
    OSError
        If nothing can be written there, or ``.lock`` is something else: a link, a pipe, another
        program's file, …
    """
    if folder is None:
        yield
        return
    path, me = Path(os.path.realpath(folder), NAME), _Holder(threading.get_ident())
    holder = _holders.setdefault(path, me)
    if holder is not me and holder.thread == me.thread:
        yield
        return
    if holder is not me:
        raise _busy(folder, f"another thread of PID {os.getpid()}", "it is running")
    try:
        with _forking:
            me.descriptor = _opened(folder, path)
        with suppress(OSError):  # on a full disk: the number is only for the others' message
            os.truncate(me.descriptor, 0)
            os.lseek(me.descriptor, 0, os.SEEK_SET)
            os.write(me.descriptor, str(os.getpid()).encode())
        yield
    finally:
        if _holders.get(path) is me:  # and not a process that was forked meanwhile
            _leave(path, me)


def _leave(path: Path, holder: _Holder) -> None:
    """Remove the file while it is still locked: who has opened it finds out that it is gone."""
    with _forking:
        if holder.descriptor is not None:
            with suppress(OSError):  # Windows removes no open file
                if os.path.samestat(os.fstat(holder.descriptor), os.lstat(path)):
                    path.unlink()
            os.close(holder.descriptor)
        del _holders[path]


def _opened(folder: Any, path: Path) -> int:
    """The file, open and locked."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise type(error)(
                f"nothing can be written in {folder}: {error.strerror or error}; choose another "
                "folder"
            ) from error
        taken, written = _taken(descriptor), os.read(descriptor, 20)
        if not taken or written.strip(b"0123456789"):
            os.close(descriptor)
            raise _busy(folder, *_process(written)) if not taken else _foreign(path)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                return descriptor
        os.close(descriptor)  # its holder removed it between our opening and locking: once more


def _taken(descriptor: int) -> bool:
    """Whether it is locked now, or is where there are no locks."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
    return True


def _process(written: bytes) -> tuple[str, str]:
    """The process whose number stands in the file, and whether it lives."""
    number = int(written) if written.isdigit() else 0
    if not 0 < number < 2**31:
        return "PID unknown", "whether it is running is unknown"
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return f"PID {number}", (
            "it is not running here any more: look for a process that it left behind, or on "
            "another machine if the folder is shared"
        )
    except PermissionError:  # it is another user's
        pass
    return f"PID {number}", "it is running"


def _busy(folder: Any, who: str, alive: str) -> BlockingIOError:
    return BlockingIOError(
        f"another run ({who}) is training in {folder}; wait for it ({alive}), or choose another "
        "folder"
    )


def _foreign(path: Path) -> OSError:
    return OSError(f"{path} is no lock of numaml's; rename it, or choose another folder")


def _forked() -> None:
    """Let a forked process hold nothing of what its parent has locked."""
    for holder in _holders.values():
        if holder.descriptor is not None:
            os.close(holder.descriptor)
    _holders.clear()
    _forking.release()


# A lock of flock belongs to the open file, which a forked process shares; a lock of lockf would
# not, but whoever in the process reads the file would drop it.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_forked
    )
