"""Learners that are trained at once: each in a process of its own, as many as there are cores.

A learner's numbers depend on itself and on the number of BLAS threads, which is one in each of
these processes: trained at once or one after another, they are the same to the last bit.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from .experiment import Experiment
from .processes import deaf, leave, one_thread
from .runs import fit

PAUSE = 0.1  # seconds between two reports of a process


class Job(NamedTuple):
    """A learner to be trained in its folder."""

    experiment: Experiment
    folder: Path


def fit_all(jobs: Sequence[Job], progress: Sequence[Callable[..., None]]) -> None:
    """Train all; of each ``progress`` gets the iteration, the meta-value, and last validation.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C, when all have kept what they have done.
    Exception
        Of the first learner that failed; the others keep what they have done and stop.
    """
    waiting, running = list(enumerate(jobs)), dict[Connection, _Worker]()
    try:
        while waiting or running:
            while waiting and len(running) < cores():
                number, job = waiting.pop(0)
                worker = _Worker(job, progress[number])
                running[worker.pipe] = worker
            for pipe in wait(list(running)):
                if running[pipe].heard():  # type: ignore[index]  # all are connections
                    del running[pipe]  # type: ignore[arg-type]  # all are connections
    except BaseException:
        for worker in running.values():
            worker.stop()
        raise


def cores() -> int:
    """Processors that this process may use."""
    with suppress(AttributeError):  # Linux alone tells
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Worker:
    """A process that trains, and the end of the pipe that it reports to."""

    def __init__(self, job: Job, progress: Callable[..., None]) -> None:
        self.progress = progress
        self.pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=_work, args=(job, theirs, os.getpid()), daemon=True)
        with one_thread(), deaf():
            self.process.start()
        theirs.close()

    def heard(self) -> bool:
        """Take one report; whether it was the last."""
        try:
            kind, *told = self.pipe.recv()
        except EOFError:
            self.process.join()
            raise RuntimeError(
                f"a process that trained a learner ended with code {self.process.exitcode}, "
                "without a word; its last checkpoint is kept: resume the run"
            ) from None
        if kind == "progress":
            self.progress(*told)
            return False
        self.process.join()
        self.pipe.close()
        if kind == "failed":
            raise told[0]
        return True

    def stop(self) -> None:
        """Ask it to keep what it has done, and wait for that."""
        with suppress(ValueError, ProcessLookupError, TypeError):
            os.kill(self.process.pid, signal.SIGINT)  # type: ignore[arg-type]  # it was started
        self.pipe.close()
        self.process.join()


def _work(job: Job, pipe: Connection, parent: int) -> None:
    """Train, in a process of its own."""
    leave(parent)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    reporter = _Reporter(pipe, job.experiment.iterations)
    try:
        fit(*job, reporter)
        last: tuple[Any, ...] = ("done",)
    except KeyboardInterrupt:
        last = ("done",)  # the parent knows
    except Exception as error:
        last = ("failed", error)
    with suppress(OSError):  # nobody listens any more
        try:
            pipe.send(last)
        except (TypeError, AttributeError):  # an error that cannot be sent
            pipe.send(("failed", RuntimeError(f"{type(last[-1]).__name__}: {last[-1]}")))


class _Reporter:
    """Progress now and then; where nobody listens any more, training stops as by Ctrl-C."""

    def __init__(self, pipe: Connection, iterations: int) -> None:
        self.pipe, self.iterations, self.spoke = pipe, iterations, 0.0

    def __call__(self, iteration: int, value: float, *score: float) -> None:
        now = time.monotonic()
        if now - self.spoke < PAUSE and iteration < self.iterations:
            return
        self.spoke = now
        try:
            self.pipe.send(("progress", iteration, value, *score))
        except OSError:
            os.kill(os.getpid(), signal.SIGINT)
