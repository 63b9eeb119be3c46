"""How fast the exact meta-gradient is: numaml beside JAX, PyTorch and its own bare matrix products.

    python examples/speed.py [--only NAME ...] [--seconds 10] [--out FOLDER] [--quick]

Writes speed.md, speed.json and speed.png. Peers run where they are installed
(``pip install jax torch``) and are left out with a word elsewhere. Float32 throughout.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from helpers import measure, peers, report
from helpers.peers import Configuration
from helpers.report import shown

import numaml
from numaml.files.whole import write_whole

OMNIGLOT = (784, 256, 128, 64, 64)
SQUARED = "squared_error"
CONFIGURATIONS = [
    Configuration("omniglot-1shot", (*OMNIGLOT, 5), 32, 5, 5, 1, wanted=20),
    Configuration("omniglot-1shot-K5", (*OMNIGLOT, 5), 32, 5, 5, 5, wanted=12),
    Configuration("omniglot-5shot", (*OMNIGLOT, 5), 32, 25, 25, 1, wanted=7),
    Configuration("omniglot-20way", (*OMNIGLOT, 20), 16, 20, 20, 1, wanted=10),
    Configuration("omniglot-batchnorm", (*OMNIGLOT, 5), 32, 5, 5, 1, norm="batch", wanted=10),
    Configuration("regression-512", (20, 512, 512, 1), 16, 10, 10, 1, SQUARED, wanted=10),
    Configuration("regression-512-K5", (20, 512, 512, 1), 16, 10, 10, 5, SQUARED, wanted=6),
    Configuration("wide-1000", (300, 1000, 10), 8, 10, 30, 2, wanted=8),
    Configuration("deep-64", (10, *(64,) * 6, 3), 20, 8, 12, 3, wanted=4),
    Configuration("sinusoid", (1, 40, 40, 1), 25, 10, 10, 1, SQUARED, wanted=1.5),
    Configuration("sinusoid-K5", (1, 40, 40, 1), 25, 10, 10, 5, SQUARED, wanted=1.5),
    Configuration("tiny", (2, 16, 1), 8, 5, 5, 1, SQUARED, wanted=1),
    Configuration("large-2048", (784, 2048, 2048, 20), 16, 20, 20, 5),
]
QUICK = [
    Configuration("quick", (20, 32, 24, 5), 4, 3, 6, 2, wanted=1),
    Configuration("quick-regression", (3, 16, 2), 5, 4, 7, 3, SQUARED, wanted=1),
]
MEMORY, COLD = "large-2048", "omniglot-1shot"  # measured there
MEMORY_WANTED = 12  # numaml is to need at most a twelfth of what JAX vmap needs
ROUNDS, TRIALS = 5, 5  # at least
# Rounding alone leaves 1e-6 and less. But of the pre-activations about 1 in 1e6 lie within rounding
# of relu's kink and fall on the other side when sums are taken in another order; where there are
# so many, the gradient moves by about 1e-3. First-order MAML, the usual mistake, is 0.1 away or
# more; a configuration where it were not could not tell the two apart, and is refused.
ALLOWED = 5e-3


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Norm of the difference over the norm of b; inf if either is not finite."""
    with np.errstate(all="ignore"):
        found = np.linalg.norm((a - b).astype(float)) / np.linalg.norm(b.astype(float))
    return float(found) if np.isfinite(found) else float("inf")


def say(*words: object) -> None:
    print(*words, flush=True)


def agreed(problem: peers.Problem, names: list[str]) -> dict[str, Any]:
    """What was found of each peer, and its best way to be written if its gradient is numaml's."""
    c = problem.configuration
    ours = peers.numaml_builder(problem)
    exact = ours.read(ours.run())
    away = distance(numaml.first_order_meta_gradient(*peers.arguments(problem))[1], exact)
    found: dict[str, Any] = {"first_order": away, "errors": {}, "ways": {}, "refused": []}
    if not away > 10 * ALLOWED:  # also when it is not a number
        raise ValueError(f"{c.name}: first-order MAML is {away:.0e} away: nothing to tell apart")
    for name in names:
        ways = {way: build(problem) for way, build in peers.builders(name, c).items()}
        error = max(distance(one.read(one.run()), exact) for one in ways.values())
        found["errors"][name] = error
        if error > ALLOWED:
            found["refused"].append(name)
            say(f"{c.name}: {name} is not timed: its gradient is {error:.0e} from numaml's, "
                f"allowed {ALLOWED:.0e}")  # fmt: skip
            continue
        turns = {way: partial(measure.turn, one.run) for way, one in ways.items()}
        trial = measure.in_turns(turns, 0, 2)
        found["ways"][name] = min(trial, key=lambda way: min(trial[way]))
    return found


def timed(c: Configuration, names: list[str], duration: float) -> dict[str, Any]:
    """One row: medians in seconds, of those whose gradients agree."""
    found = agreed(peers.problem(c), names)
    ways = {"numaml": "", **found["ways"], measure.LIMIT: ""}
    before = measure.others() or 0
    times = measure.apart(ways, c, duration, ROUNDS)
    row = {**dataclasses.asdict(c), **found, "others": max(before, measure.others() or 0)}
    row["calls"] = {name: len(every) for name, every in times.items()}
    row["medians"] = {name: median(every) for name, every in times.items()}
    say(f"{c.name}:", ", ".join(f"{name} {shown(s)}" for name, s in row["medians"].items()))
    return row


def memory(c: Configuration, names: list[str]) -> dict[str, Any]:
    """Peak bytes above the inputs; of a peer's ways the most frugal."""
    table = {}
    for name in ("numaml", *names):
        ways = {way: measure.memory_of(name, way, c) for way in peers.builders(name, c)}
        way = min(ways, key=lambda way: ways[way]["later"])
        table[name] = {"way": way, **ways[way]}
        say(f"memory of {c.name}: {name} {table[name]['later'] / 1e6:.0f} MB")
    return {"configuration": c.name, "wanted": MEMORY_WANTED, "bytes": table}


def cold(c: Configuration, names: list[str], trials: int) -> dict[str, Any]:
    """Seconds from the start of a process to the first gradient; of a peer's ways the quickest."""
    ways = [(name, way) for name in ("numaml", *names) for way in peers.builders(name, c)]
    times: dict[tuple[str, str], list[float]] = {one: [] for one in ways}
    for _ in range(trials):
        for one in ways:
            times[one].append(measure.cold(*one, c))
    table: dict[str, float] = {}
    for (name, _), every in times.items():
        table[name] = min(median(every), table.get(name, float("inf")))
    for name, seconds in table.items():
        say(f"cold start of {c.name}: {name} {shown(seconds)}")
    return {"configuration": c.name, "trials": trials, "seconds": table}


def surroundings(absent: dict[str, str]) -> dict[str, Any]:
    """What the figures depend on besides the code."""
    packages = sorted(set(peers.NEEDS.values()) - set(absent.values()))
    versions = {name: version(name) for name in packages}
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "versions": {"numaml": numaml.__version__, "NumPy": np.__version__, **versions},
        "BLAS": f"{blas.get('name')} {blas.get('version')}",
        "Python": platform.python_version(),
        "cores": os.cpu_count(),
        "absent": absent,
    }


def write(results: dict[str, Any], out: Path) -> None:
    """speed.json, speed.md and, where matplotlib is, speed.png."""
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "speed.json", json.dumps(results, indent=1).encode())
    write_whole(out / "speed.md", report.markdown(results).encode())
    try:
        write_whole(out / "speed.png", report.drawing(results["rows"]))
    except ModuleNotFoundError as error:
        say(f"no figure: {error}")
    say(f"written to {out}")


def options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = [c.name for c in CONFIGURATIONS]
    parser.add_argument("--only", nargs="+", choices=known, default=known, metavar="NAME",
                        help="configurations to run, of " + ", ".join(known))  # fmt: skip
    parser.add_argument("--seconds", type=float, default=10, help="at least, per configuration")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(""))
    parser.add_argument("--quick", action="store_true", help="two small configurations, to try it")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Measure, print, write; 1 if a gradient was refused."""
    chosen = options(arguments)
    absent = peers.missing()
    for name, package in absent.items():
        say(f"{name} is left out: {package} is not installed")
    measure.warn()
    names = [name for name in peers.PEERS if name not in absent]
    results: dict[str, Any] = {"peers": names, "surroundings": surroundings(absent)}
    wanted = QUICK if chosen.quick else [c for c in CONFIGURATIONS if c.name in chosen.only]
    duration = 0 if chosen.quick else chosen.seconds
    results["rows"] = [timed(c, names, duration) for c in wanted]
    refused = {name for row in results["rows"] for name in row["refused"]}
    names = [name for name in names if name not in refused]
    named = {c.name: c for c in wanted}
    heavy, first = (named.get("quick" if chosen.quick else name) for name in (MEMORY, COLD))
    results["memory"] = memory(heavy, names) if heavy else None
    results["cold"] = cold(first, names, 1 if chosen.quick else TRIALS) if first else None
    write(results, chosen.out)
    return int(any(row["refused"] for row in results["rows"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
