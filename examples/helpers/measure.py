"""Time and memory of calls, so that neither the order nor the neighbours decide.

    cd examples && python -m helpers.measure turns|memory NAME WAY CONFIGURATION

is how the examples give one implementation a process of its own, with its own heap and threads:
who uses one has not compiled with another before, and that alone would cost NumPy up to a fifth. It
prints a line when the first gradient is there, then for every line it reads the seconds of some
calls; or the peak bytes above the inputs.
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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from . import peers, training
from .limit import limit

EXAMPLES = Path(__file__).parents[1]
PAUSE = 0.2  # seconds; idle threads of OpenBLAS spin for up to 0.1 s on a core the next one needs
TURN = 0.05  # seconds of calls in one turn, one at least
LONG = 0.3  # seconds of a call to which cold caches and sleeping threads make no difference
ENOUGH = 4  # such calls
# Turns of numaml before those that count, after a first call: four calls at least, for the second
# is recorded and the recording tried. Who compiles at the first call needs one turn.
WARM_UP = 3
NEAR = 1.5  # times the best, and a second look is worth its while
KIBI = 1024
QUIET = 0.2  # cores that others may use before figures are doubted
LIMIT = "GEMM limit"  # timed like an implementation

Turn = Callable[[], list[float]]


def turn(run: Callable[[], Any]) -> list[float]:
    """Seconds of calls; the first brings back caches and threads, and counts only if it is long."""
    started = time.perf_counter()
    run()
    first = time.perf_counter() - started
    if first > LONG:
        return [first]
    times: list[float] = []
    end = time.perf_counter() + TURN
    while not times or time.perf_counter() < end:
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return times


def in_turns(turns: dict[str, Turn], duration: float, rounds: int) -> dict[str, list[float]]:
    """Seconds of every call, in rounds over all: what slows the machine slows them all.

    Who has made enough long calls takes no more turns.
    """
    times: dict[str, list[float]] = {name: [] for name in turns}
    end = time.perf_counter() + duration
    while rounds > 0 or time.perf_counter() < end:
        for name, take in turns.items():
            if len(times[name]) < ENOUGH or min(times[name]) < LONG:
                time.sleep(PAUSE)
                times[name] += take()
        rounds -= 1
    return times


def quickest(runs: dict[str, Callable[[], Any]]) -> str:
    """Name of the quickest call: a turn of each, and one more of those that are near the best."""
    turns = {name: partial(turn, run) for name, run in runs.items()}
    best = {name: min(times) for name, times in in_turns(turns, 0, 1).items()}
    near = {name: turns[name] for name in turns if best[name] < NEAR * min(best.values())}
    if len(near) > 1:
        best = {name: min(best[name], *times) for name, times in in_turns(near, 0, 1).items()}
    return min(best, key=best.get)


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


def built(name: str, way: str, c: peers.Configuration) -> Callable[[], Any]:
    """One implementation's call, on the data of the configuration."""
    if name == LIMIT:
        return limit(c)
    ways = (training if c.iterations else peers).builders(name, c)
    return ways[way](peers.problem(c)).run


def command(what: str, name: str, way: str, c: peers.Configuration) -> list[str]:
    configuration = json.dumps(dataclasses.asdict(c))
    return [sys.executable, "-m", "helpers.measure", what, name, way, configuration]


@contextmanager
def elsewhere(name: str, way: str, c: peers.Configuration, **environment: str) -> Iterator[Turn]:
    """A process of its own that has computed a first gradient, and takes turns when called."""
    start = command("turns", name, way, c)
    with subprocess.Popen(  # noqa: S603 (this very module)
        start, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, **environment}, cwd=EXAMPLES,
    ) as process:  # fmt: skip

        def heard() -> list[float]:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{name} ended with {process.wait()} and without a word")
            return json.loads(line)

        def take() -> list[float]:
            process.stdin.write("\n")
            process.stdin.flush()
            return heard()

        heard()
        yield take


def apart(
    ways: dict[str, str], c: peers.Configuration, duration: float, rounds: int, **environment: str
) -> dict[str, list[float]]:
    """`in_turns` of implementations, each written its way, warm and in a process of its own."""
    with ExitStack() as stack:
        turns = {
            name: stack.enter_context(elsewhere(name, way, c, **environment))
            for name, way in ways.items()
        }
        for name, take in turns.items():
            for _ in range(WARM_UP if name.startswith(peers.NUMAML) else 1):
                take()
        return in_turns(turns, duration, rounds)


def cold(name: str, way: str, c: peers.Configuration) -> float:
    """Seconds from the start of a process to its first meta-gradient."""
    started = time.perf_counter()
    with elsewhere(name, way, c):
        return time.perf_counter() - started


def memory_of(name: str, way: str, c: peers.Configuration) -> dict[str, int]:
    """`memory` of one implementation in a process of its own."""
    start = command("memory", name, way, c)
    return json.loads(subprocess.check_output(start, cwd=EXAMPLES))  # noqa: S603 (this very module)


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
    run = built(name, way, c)
    if what == "memory":
        print(json.dumps(memory(run)))
        return
    run()
    print([], flush=True)
    for _ in sys.stdin:
        print(json.dumps(turn(run)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
