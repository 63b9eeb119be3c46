"""Processes that work for this one, each with one BLAS thread: how they begin and end."""

from __future__ import annotations  # concurrent.futures is named, not loaded

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Executor

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def pool(count: int) -> Iterator[Executor]:
    """So many processes, all begun; Ctrl-C is not for them, and they end with this one."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    spawn = get_context("spawn")
    with ProcessPoolExecutor(count, spawn, initializer=leave, initargs=(os.getpid(),)) as executor:
        with one_thread(), deaf():
            for begun in [executor.submit(os.getpid) for _ in range(count)]:
                begun.result()
        yield executor


@contextmanager
def one_thread() -> Iterator[None]:
    """An environment in which BLAS takes one thread, for processes that begin in it."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def deaf() -> Iterator[None]:
    """Ctrl-C is for this process alone: one that begins here does not hear it before it listens."""
    before = signal.getsignal(signal.SIGINT)
    try:
        if before is None:  # a handler that Python did not set, and could not set again
            raise ValueError
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # or not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def leave(parent: int) -> None:
    """Hear signals from the parent alone, and end when it does, where a system can do that."""
    with suppress(AttributeError, OSError):
        os.setpgid(0, 0)
    with suppress(Exception):  # Linux: the kernel ends this process with its parent
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
