"""Shards of a large meta-batch on two cores: what it gains, and what it moves.

    python examples/cluster.py [--quick] [--out FOLDER]

The exact meta-gradient of 1024 Omniglot-sized tasks, whole and in shards, on threads, processes and
(where it is installed) a local Dask cluster, one BLAS thread each; medians of calls in turns.
Writes cluster.md and cluster.json.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import pickle
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from helpers import measure
from helpers.report import shown, table

import numaml
from numaml.files.whole import write_whole

CORES, SHARDS, ROUNDS = 2, (2, 8, 32), 5
DRAWINGS = 1200 * 20
BANDWIDTHS = {"1 Gbit/s": 125e6, "10 Gbit/s": 1250e6, "100 Gbit/s": 12500e6}
LATENCY = 1e-3  # seconds for a worker to get its shard and answer, beside the bytes


@functools.cache
def drawings() -> np.ndarray:
    """Random images in Omniglot's shape; every worker makes the same ones for itself, once."""
    return np.random.default_rng(0).random((DRAWINGS, 784), np.float32)


def by_row_number(model, theta, tasks, alpha, steps):
    """The meta-gradient of tasks whose x are row numbers of drawings the worker has already."""
    batches = (
        numaml.Batch(drawings()[batch.x[..., 0]], batch.y) for batch in (tasks.support, tasks.query)
    )
    return numaml.meta_gradient(model, theta, numaml.Tasks(*batches), alpha, steps)


def problem(count: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The arguments of a meta-gradient with images in the tasks, and with row numbers."""
    model = numaml.MLP((784, 256, 128, 64, 64, 5), loss="cross_entropy", norm="batch")
    rng = np.random.default_rng(1)
    rows, y = rng.integers(DRAWINGS, size=(2, count, 5, 1)), np.tile(np.arange(5), (count, 1))

    def arguments(x: Any) -> tuple[Any, ...]:
        tasks = numaml.Tasks(*(numaml.Batch(x(part), y) for part in rows))
        return model, model.init(0, "f4"), tasks, 0.4, 1

    return arguments(lambda part: drawings()[part[..., 0]]), arguments(lambda part: part)


def seconds_there(arguments: Any, threads: int, shards: int) -> float:
    """Seconds of one call in the process where this runs, after one that is not counted."""
    with ThreadPoolExecutor(threads) as executor:
        gradient = numaml.sharded(executor, shards) if shards > 1 else numaml.meta_gradient
        gradient(*arguments)
        started = time.perf_counter()
        gradient(*arguments)
        return time.perf_counter() - started


def seconds(gradient: Any, arguments: Any) -> float:
    """Seconds of one call from here, movement included, after one that is not counted."""
    gradient(*arguments)
    started = time.perf_counter()
    gradient(*arguments)
    return time.perf_counter() - started


def executors(stack: ExitStack) -> dict[str, Any]:
    """Two workers of one BLAS thread each, by kind."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # for the workers; here NumPy has read it already
    spawn = get_context("spawn")
    kinds = {"processes": stack.enter_context(ProcessPoolExecutor(CORES, spawn))}
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        print("Dask is left out: distributed is not installed")
        return kinds
    cluster = stack.enter_context(
        LocalCluster(n_workers=CORES, threads_per_worker=1, dashboard_address=None)
    )
    return {**kinds, "Dask": stack.enter_context(Client(cluster)).get_executor()}


def runs(stack: ExitStack, counts: tuple[int, ...], images: Any, numbers: Any) -> dict[str, Any]:
    """Callables that give seconds, by what the table calls them."""
    kinds = executors(stack)
    alone = stack.enter_context(ProcessPoolExecutor(1, get_context("spawn")))

    def there(threads: int, shards: int) -> Any:
        return lambda: alone.submit(seconds_there, images, threads, shards).result()

    found = {
        "one process, one BLAS thread": there(1, 1),
        f"one process, {counts[-1]} shards in turn": there(1, counts[-1]),
        "one process, NumPy's default threads": lambda: seconds(numaml.meta_gradient, images),
    }
    for shards in counts:
        found[f"{CORES} threads, {shards} shards"] = there(CORES, shards)
        for kind, executor in kinds.items():
            sent = numaml.sharded(executor, shards)
            looked_up = numaml.sharded(executor, shards, by_row_number)
            name = f"{CORES} {kind if kind != 'Dask' else 'Dask workers'}, {shards} shards"
            found[name] = functools.partial(seconds, sent, images)
            found[f"{name}, row numbers out"] = functools.partial(seconds, looked_up, numbers)
    return found


def moved(arguments: Any, shards: int) -> dict[str, int]:
    """Pickled bytes of a step in so many shards: θ out, tasks out, gradients back."""
    model, theta, tasks, *rest = arguments
    each = len(pickle.dumps((model, theta, *rest)))
    data = sum(part.x.nbytes + part.y.nbytes for part in (tasks.support, tasks.query))
    return {"theta": shards * each, "tasks": data, "back": shards * len(pickle.dumps(theta))}


def speedup(whole: float, workers: int, fixed: float, each: float, bandwidth: float) -> float:
    """How many times faster than one core, when all bytes pass one client's wire in turn."""
    return whole / (whole / workers + LATENCY + (fixed + workers * each) / bandwidth)


def scaling(whole: float, bytes_moved: dict[str, int], shards: int) -> list[list[str]]:
    """Rows: the bandwidth, the best number of workers, the speed-up there, and at 8 workers."""
    each = (bytes_moved["theta"] + bytes_moved["back"]) / shards
    rows = []
    for name, bandwidth in BANDWIDTHS.items():
        gain = functools.partial(
            speedup, whole, fixed=bytes_moved["tasks"], each=each, bandwidth=bandwidth
        )
        best = max(range(1, 1025), key=lambda workers: gain(workers=workers))
        rows.append([name, str(best), f"×{gain(workers=best):.1f}", f"×{gain(workers=8):.1f}"])
    return rows


def markdown(results: dict[str, Any]) -> str:
    medians, moves = results["medians"], results["bytes"]
    whole = next(iter(medians.values()))
    lines = [
        f"Exact meta-gradient of {results['tasks']} tasks, 784-256-128-64-64-5 with batch norm, "
        f"5/5, K = 1, float32, on {CORES} cores; medians of {results['rounds']} calls in turns, "
        f"NumPy {np.__version__}. One BLAS thread each where not said otherwise.",
        "",
        table(
            ["who", "time", "speed-up"],
            [[name, shown(time), f"×{whole / time:.2f}"] for name, time in medians.items()],
        ),
        "",
        "MB that a step moves:",
        "",
        table(
            ["shards", "θ out", "images out", "or row numbers out", "gradients back"],
            [
                [shards, *(f"{number / 1e6:.2f}" for number in row.values())]
                for shards, row in moves.items()
            ],
        ),
        "",
        "More machines, computed from the time of one core and the bytes, all through one client's "
        f"wire in turn, {LATENCY * 1e3:.0f} ms of latency a step, one core a worker:",
    ]
    for what in ("images", "numbers"):
        first = next(iter(moves.values())) | {"tasks": next(iter(moves.values()))[what]}
        head = ["wire", "workers at most", "speed-up there", "with 8 workers"]
        title = "row numbers" if what == "numbers" else what
        rows = scaling(whole, first, SHARDS[0])
        lines += ["", f"With {title} out:", "", table(head, rows)]
    return "\n".join([*lines, ""])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="a few tasks, one round")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "cluster")
    options = parser.parse_args(arguments)
    count, rounds, counts = (8, 1, SHARDS[:1]) if options.quick else (1024, ROUNDS, SHARDS)
    measure.warn()
    images, numbers = problem(count)
    times: dict[str, list[float]] = {}
    with ExitStack() as stack:
        chosen = runs(stack, counts, images, numbers)
        for _ in range(rounds):
            for name, run in chosen.items():
                times.setdefault(name, []).append(run())
    bytes_moved = {}
    for shards in counts:
        sent, looked_up = moved(images, shards), moved(numbers, shards)
        bytes_moved[str(shards)] = {
            "theta": sent["theta"], "images": sent["tasks"], "numbers": looked_up["tasks"],
            "back": sent["back"],
        }  # fmt: skip
    medians = {name: median(taken) for name, taken in times.items()}
    results = {"tasks": count, "rounds": rounds, "medians": medians, "bytes": bytes_moved}
    options.out.mkdir(parents=True, exist_ok=True)
    write_whole(options.out / "cluster.json", (json.dumps(results, indent=1) + "\n").encode())
    write_whole(options.out / "cluster.md", markdown(results).encode())
    print(markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
