"""What a busy machine does to numaml, and what the number of BLAS threads does about it.

    python examples/busy.py [--out FOLDER]

Times medium configurations in processes of their own, with NumPy's default number of threads and
with OPENBLAS_NUM_THREADS=1, while another process multiplies matrices on no core, on one, on all.
Writes busy.md and busy.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from helpers import measure
from helpers.report import shown, table
from speed import CONFIGURATIONS, say

from numaml.files.whole import write_whole

MEDIUM = ("omniglot-1shot", "omniglot-5shot", "regression-512", "wide-1000", "deep-64", "sinusoid")
ONE = {"OPENBLAS_NUM_THREADS": "1"}
THREADS: dict[str, dict[str, str]] = {"default": {}, "one thread": ONE}
LOADS: dict[str, dict[str, str] | None] = {"idle": None, "one core busy": ONE, "all busy": {}}
MULTIPLY = """
import numpy
a = numpy.ones((1500, 1500), "f4")
while True:
    a @ a
"""


@contextmanager
def load(environment: dict[str, str] | None) -> Iterator[None]:
    """Another process that multiplies matrices for as long as the context lasts; None: nothing.

    In a session of its own, as from another terminal: Linux shares the cores among sessions, and
    processes of one session disturb each other far less.
    """
    if environment is None:
        yield
        return
    command = [sys.executable, "-c", MULTIPLY]
    with subprocess.Popen(  # noqa: S603 (ours)
        command, env={**os.environ, **environment}, start_new_session=True
    ) as other:
        try:
            time.sleep(1)  # until it multiplies
            yield
        finally:
            other.kill()


def slowdowns() -> dict[str, dict[str, float]]:
    """Median seconds by configuration and by "load, threads"."""
    chosen = [c for c in CONFIGURATIONS if c.name in MEDIUM]
    medians: dict[str, dict[str, float]] = {c.name: {} for c in chosen}
    for loaded, environment in LOADS.items():
        with load(environment):
            for c in chosen:
                for threads, setting in THREADS.items():
                    times = measure.apart({"numaml": ""}, c, 1, 5, **setting)["numaml"]
                    medians[c.name][f"{loaded}, {threads}"] = median(times)
                    say(f"{c.name}, {loaded}, {threads}: {shown(median(times))}")
    return medians


def threaded_from(transposed: bool) -> int | None:
    """The smallest n at which an n × n × n float32 product keeps more than one core at work."""
    for n in range(32, 257):
        a = np.ones((n, n), np.float32)
        b, out = (a.T if transposed else a.copy()), a.copy()
        started, work = time.perf_counter(), time.process_time()
        while time.perf_counter() - started < 0.02:
            np.matmul(a, b, out=out)
        if time.process_time() - work > 1.2 * (time.perf_counter() - started):
            return n
    return None


def markdown(results: dict[str, Any]) -> str:
    medians = results["medians"]
    columns = list(next(iter(medians.values())))
    lines = [
        [name, *(f"{shown(s)}, ×{s / row[columns[0]]:.1f}" for s in row.values())]
        for name, row in medians.items()
    ]
    plain, transposed = results["threaded from"]
    used = results["others"] or 0
    warning = f" Others used {used:.1f} cores before it began." if used > measure.QUIET else ""
    return (
        "# numaml on a busy machine\n\n"
        f"Median time of the exact meta-gradient on {results['cores']} cores, and how many times "
        "the first column it is."
        f"{warning}\n\n"
        f"{table(['configuration', *columns], lines)}\n\n"
        f"This NumPy's BLAS uses more than one thread for float32 products n × n × n from n = "
        f"{plain} (`a @ b`) and n = {transposed} (`a @ b.T`).\n"
    )


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("speed"))
    out = parser.parse_args(arguments).out
    results: dict[str, Any] = {"cores": os.cpu_count(), "others": measure.warn()}
    results["threaded from"] = [threaded_from(False), threaded_from(True)]
    results["medians"] = slowdowns()
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "busy.json", json.dumps(results, indent=1).encode())
    write_whole(out / "busy.md", markdown(results).encode())
    say(f"written to {out}")


if __name__ == "__main__":
    main(sys.argv[1:])
