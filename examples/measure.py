"""Time and memory of calls, so that neither the order nor the neighbours decide.

    python examples/measure.py time|memory|cold NAME WAY CONFIGURATION

is how the scripts here give one implementation a process of its own. It prints the seconds of some
calls, or the peak bytes above the inputs, or a word as soon as the first gradient is there.
"""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peers

PAUSE = 0.05  # seconds; BLAS threads of the one before spin for some 10 ms, then sleep
TURN = 0.05  # seconds of calls in one turn, one at least
KIBI = 1024
QUIET = 0.2  # cores that others may use before figures are doubted


def in_turns(runs: dict[str, Callable[[], Any]], duration: float, rounds: int) -> dict[str, list]:
    """Seconds of every call, in rounds over all runs: what slows the machine slows them all.

    Each turn begins with a call that is not counted, which brings back its caches and threads.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + duration
    while rounds > 0 or time.perf_counter() < end:
        for name, run in runs.items():
            time.sleep(PAUSE)
            run()
            turn_ends = time.perf_counter() + TURN
            while True:
                started = time.perf_counter()
                run()
                stopped = time.perf_counter()
                times[name].append(stopped - started)
                if stopped > turn_ends:
                    break
        rounds -= 1
    return times


def others(duration: float = 0.5) -> float | None:
    """Cores that other processes keep at work, seen while this one sleeps; None without /proc."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None

    def busy() -> float:
        user, nice, system, _idle, _wait, *rest = map(int, stat.read_text().split()[1:9])
        return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")

    time.sleep(PAUSE)  # our own threads go to sleep
    before = busy()
    time.sleep(duration)
    return (busy() - before) / duration


def warn() -> float | None:
    """What `others` says, and a word if it is too much."""
    used = others()
    if used and used > QUIET:
        print(f"others use {used:.1f} cores: what follows is not what an idle machine gives")
    return used


def command(what: str, name: str, way: str, c: peers.Configuration) -> list[str]:
    return [sys.executable, __file__, what, name, way, json.dumps(dataclasses.asdict(c))]


def in_own_process(
    what: str, name: str, way: str, c: peers.Configuration, **environment: str
) -> Any:
    """``time`` or ``memory`` of one implementation, as `main` prints it."""
    printed = subprocess.check_output(  # noqa: S603 (this very file)
        command(what, name, way, c), env={**os.environ, **environment}
    )
    return json.loads(printed)


def cold(name: str, way: str, c: peers.Configuration) -> float:
    """Seconds from the start of a process to its first meta-gradient."""
    start = command("cold", name, way, c)
    started = time.perf_counter()
    with subprocess.Popen(start, stdout=subprocess.PIPE, text=True) as one:  # noqa: S603 (ours)
        word = one.stdout.readline()
        stopped = time.perf_counter()
    if one.returncode or not word:
        raise RuntimeError(f"{name} ended with {one.returncode} and said {word!r}")
    return stopped - started


def peak(reset: bool = False) -> int:
    """The most bytes this process has held at a time, since the last reset where Linux has one.

    Linux starts a child's ``ru_maxrss`` at its parent's, so there /proc is asked instead.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        unit = 1 if sys.platform == "darwin" else KIBI
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * KIBI


def give_back() -> None:
    """Give the system what is free, as far as the C library can.

    Freed memory that the process keeps would serve a call without raising its peak: glibc keeps up
    to 64 MiB at the end of its heap.
    """
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc
        libc.malloc_trim(0)


def memory(run: Callable[[], Any]) -> dict[str, int]:
    """Bytes above what is there before, at the peak of the first call and of two more."""
    give_back()
    before = peak(reset=True)
    run()
    first = peak() - before
    peak(reset=True)
    run()
    run()
    return {"first": first, "later": peak() - before}


def main(what: str, name: str, way: str, configuration: str) -> None:
    c = peers.Configuration(**json.loads(configuration))
    run = peers.builders(name, c)[way](peers.problem(c)).run
    if what == "cold":
        run()
        print("done", flush=True)
    else:
        print(json.dumps(memory(run) if what == "memory" else in_turns({name: run}, 1, 5)[name]))


if __name__ == "__main__":
    main(*sys.argv[1:])
