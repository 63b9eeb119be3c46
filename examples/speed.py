"""How fast the exact meta-gradient is: numaml beside JAX, autograd and its bare matrix products.

    python examples/speed.py [--seconds 1] [--torch] [--out FOLDER]
    python examples/speed.py (--only NAME ... | --random N [--seed S] | --quick) --out FOLDER

Then a whole training, beside the same loop compiled by JAX. Writes speed.md, speed.json and
speed.png; whoever measures a part of the table, or configurations drawn at random of the same
kinds, says where to, for the script's own folder holds the whole. Peers run where they are
installed (``pip install jax autograd``) and are left out with a word elsewhere; PyTorch, which is
slow at this, if asked for. Float32 throughout.
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
from helpers import measure, peers, report, training
from helpers.drawn import drawn
from helpers.peers import FIRST_ORDER, NUMAML, PLAIN, Configuration
from helpers.report import shown

import numaml
from numaml.files.whole import write_whole

OMNIGLOT = (784, 256, 128, 64, 64)
SQUARED = "squared_error"
# In front of a normalisation an inner step must be long, or first-order MAML is no other.
IMAGES: dict[str, Any] = {
    "norm": "batch", "alpha": 0.4, "wanted": 1.5,
    "image": (28, 28, 1), "convolutions": ((64, 3, 2),) * 4,
}  # fmt: skip
SMALL_IMAGES = IMAGES | {"image": (6, 5, 1), "convolutions": ((4, 3, 2),), "wanted": 1}
CONFIGURATIONS = [
    Configuration("omniglot-1shot", (*OMNIGLOT, 5), 32, 5, 5, 1, wanted=4.6),
    Configuration("omniglot-1shot-K5", (*OMNIGLOT, 5), 32, 5, 5, 5, wanted=5.6),
    Configuration("omniglot-5shot", (*OMNIGLOT, 5), 32, 25, 25, 1, wanted=2),
    Configuration("omniglot-20way", (*OMNIGLOT, 20), 16, 20, 20, 1, wanted=2.05),
    Configuration("omniglot-batchnorm", (*OMNIGLOT, 5), 32, 5, 5, 1, norm="batch", wanted=2.9),
    Configuration("omniglot-conv", (784, 12544, 3136, 1024, 256, 5), 32, 5, 25, 1, **IMAGES),
    Configuration("regression-512", (20, 512, 512, 1), 16, 10, 10, 1, SQUARED, wanted=3),
    Configuration("regression-512-K5", (20, 512, 512, 1), 16, 10, 10, 5, SQUARED, wanted=1.85),
    Configuration("wide-1000", (300, 1000, 10), 8, 10, 30, 2, wanted=2.7),
    Configuration("many", (64, 256, 256, 10), 16, 100, 20, 1, wanted=1.25),
    Configuration("many-K50", (64, 256, 256, 10), 16, 10, 10, 50, wanted=1),
    Configuration("deep-64", (10, *(64,) * 6, 3), 20, 8, 12, 3, wanted=1.65),
    Configuration("long", (8, 48, 48, 2), 12, 12, 12, 12, SQUARED, wanted=1.35),
    Configuration("slim", (5, 24, 24, 24, 1), 40, 6, 9, 2, SQUARED, wanted=1.5),
    Configuration("sinusoid", (1, 40, 40, 1), 25, 10, 10, 1, SQUARED, wanted=1.5),
    Configuration("sinusoid-K5", (1, 40, 40, 1), 25, 10, 10, 5, SQUARED, wanted=1.1),
    Configuration("tiny", (2, 16, 1), 8, 5, 5, 1, SQUARED, wanted=1.5),
    Configuration("large-2048", (784, 2048, 2048, 20), 16, 20, 20, 5),
]
QUICK = [
    Configuration("quick", (20, 32, 24, 5), 4, 3, 6, 2, wanted=1),
    Configuration("quick-conv", (30, 36, 3), 3, 4, 6, 2, **SMALL_IMAGES),
    Configuration("quick-regression", (3, 16, 2), 5, 4, 7, 3, SQUARED, wanted=1),
]
# One call makes 500 iterations, and at least five calls are timed after four that are not.
TRAINING = Configuration(
    "training", (1, 40, 40, 1), 25, 10, 10, 1, SQUARED, wanted=1.2, iterations=500
)
COMPARED = 20  # iterations after which two trainings on the same tasks are compared
MEMORY, COLD = "large-2048", "omniglot-1shot"  # measured there
MEMORY_WANTED = 12  # numaml is to need at most a twelfth of what JAX vmap needs
ROUNDS, TRIALS = 5, 3  # at least
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


def agreed(problem: peers.Problem, names: list[str], builders: Any = peers.builders) -> Any:
    """What was found of each peer, and its best way to be written if its gradient is numaml's."""
    c = problem.configuration
    exact, found = ours(problem, builders)
    for name in names:
        ways = {way: build(problem) for way, build in builders(name, c).items()}
        if not ways:
            continue
        error = max(distance(one.read(one.run()), exact) for one in ways.values())
        found["errors"][name] = error
        if error > ALLOWED:
            found["refused"].append(name)
            say(f"{c.name}: {name} is not timed: its gradient is {error:.0e} from numaml's, "
                f"allowed {ALLOWED:.0e}")  # fmt: skip
            continue
        runs = {way: one.run for way, one in ways.items()}
        found["ways"][name] = measure.quickest(runs) if len(runs) > 1 else next(iter(runs))
    return found


def ours(problem: peers.Problem, builders: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """numaml's gradient, replayed, whether it is the plain one, and how far from FOMAML's."""
    c, gradients = problem.configuration, {}
    for name in (PLAIN, FIRST_ORDER, NUMAML):
        one = builders(name, c)[""](problem)
        for _ in range(4 if name == NUMAML else 1):  # recorded at the second, used from the third
            gradients[name] = one.read(one.run())
    exact = gradients[NUMAML]
    away = distance(gradients[FIRST_ORDER], exact)
    if not away > 10 * ALLOWED:  # also when it is not a number
        raise ValueError(f"{c.name}: first-order MAML is {away:.0e} away: nothing to tell apart")
    refused = [] if np.array_equal(gradients[PLAIN], exact) else [PLAIN]
    if refused:
        say(f"{c.name}: {PLAIN} is not timed: its gradient has other bits than the replayed")
    return exact, {"first_order": away, "errors": {}, "ways": {}, "refused": refused}


def timed(c: Configuration, names: list[str], duration: float) -> dict[str, Any]:
    """One row: medians in seconds, of those whose gradients agree."""
    return row(c, agreed(peers.problem(c), names), {measure.LIMIT: ""}, duration)


def trained(c: Configuration, names: list[str], duration: float) -> dict[str, Any]:
    """The row of the whole training: medians of a call, which makes ``c.iterations`` of them."""
    problem = peers.problem(dataclasses.replace(c, iterations=COMPARED))
    found = agreed(problem, names, partial(training.builders, fixed=True))
    return row(c, found, {}, duration)


def row(
    c: Configuration, found: dict[str, Any], besides: dict[str, str], duration: float
) -> dict[str, Any]:
    """What was found, and the times of all that agree, taken in turns."""
    ways = {NUMAML: "", PLAIN: "", **found["ways"], **besides}
    ways = {name: way for name, way in ways.items() if name not in found["refused"]}
    before = measure.others() or 0
    times = measure.apart(ways, c, duration, ROUNDS)
    others = max(before, measure.others() or 0)
    medians = {name: median(every) for name, every in times.items()}
    say(f"{c.name}:", ", ".join(f"{name} {shown(s)}" for name, s in medians.items()))
    calls = {name: len(every) for name, every in times.items()}
    return {**dataclasses.asdict(c), **found, "others": others, "calls": calls, "medians": medians}


def memory(c: Configuration, names: list[str]) -> dict[str, Any]:
    """Peak bytes above the inputs; of a peer's ways the most frugal."""
    table = {}
    for name in (NUMAML, PLAIN, *names):
        ways = {way: measure.memory_of(name, way, c) for way in peers.builders(name, c)}
        way = min(ways, key=lambda way: ways[way]["later"])
        table[name] = {"way": way, **ways[way]}
        say(f"memory of {c.name}: {name} {table[name]['later'] / 1e6:.0f} MB")
    return {"configuration": c.name, "wanted": MEMORY_WANTED, "bytes": table}


def cold(c: Configuration, names: list[str], trials: int) -> dict[str, Any]:
    """Seconds from the start of a process to the first gradient; of a peer's ways the quickest."""
    ways = [(name, way) for name in (NUMAML, *names) for way in peers.builders(name, c)]
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
    packages = sorted({package for name, package in peers.NEEDS.items() if name not in absent})
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
        if results["rows"]:
            write_whole(out / "speed.png", report.drawing(results["rows"]))
    except ModuleNotFoundError as error:
        say(f"no figure: {error}")
    say(f"written to {out}")


def options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = [c.name for c in (*CONFIGURATIONS, TRAINING)]
    parser.add_argument("--only", nargs="+", choices=known, default=known, metavar="NAME",
                        help="configurations to run, of " + ", ".join(known))  # fmt: skip
    parser.add_argument("--seconds", type=float, default=1, help="at least, per configuration")
    parser.add_argument("--torch", action="store_true", help="with PyTorch: some minutes more")
    parser.add_argument("--out", type=Path, help="by default the folder of the whole tables")
    parser.add_argument("--quick", action="store_true", help="small configurations, to try it")
    parser.add_argument("--random", type=int, metavar="N", default=0,
                        help="so many configurations that are drawn, and nothing else")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    chosen = parser.parse_args(arguments)
    if chosen.out is None and (chosen.quick or chosen.random or chosen.only != known):
        parser.error("this is not the whole of the tables, and would stand in their place; name "
                     "another folder by --out")  # fmt: skip
    chosen.out = chosen.out or Path(__file__).with_suffix("")
    return chosen


def configurations(chosen: argparse.Namespace) -> list[Configuration]:
    """What is to be measured."""
    if chosen.random:
        return drawn(chosen.random, chosen.seed)
    return QUICK if chosen.quick else [c for c in CONFIGURATIONS if c.name in chosen.only]


def left_out(with_torch: bool) -> dict[str, str]:
    """Peers that do not run, each with the reason, which is said."""
    reasons = {name: f"{needs} is not installed" for name, needs in peers.missing().items()}
    if not with_torch:
        asked = {name for name, needs in peers.NEEDS.items() if needs == "torch"}
        reasons |= dict.fromkeys(asked - set(reasons), "it runs with --torch")
    for name, reason in reasons.items():
        say(f"{name} is left out: {reason}")
    return reasons


def measured(chosen: argparse.Namespace, absent: dict[str, str]) -> dict[str, Any]:
    """All rows, the training, memory and cold starts."""
    names = [name for name in peers.PEERS if name not in absent]
    results: dict[str, Any] = {"peers": names, "surroundings": surroundings(absent)}
    wanted = configurations(chosen)
    duration = 0 if chosen.quick else chosen.seconds
    results["rows"] = [timed(c, names, duration) for c in wanted]
    refused = {name for row in results["rows"] for name in row["refused"]}
    names = [name for name in names if name not in refused]
    results["training"] = None
    if TRAINING.name in chosen.only and not chosen.random:
        whole = dataclasses.replace(TRAINING, iterations=50) if chosen.quick else TRAINING
        results["training"] = trained(whole, training.peers_here(), duration)
    named = {c.name: c for c in wanted}
    heavy, first = (named.get("quick" if chosen.quick else name) for name in (MEMORY, COLD))
    results["memory"] = memory(heavy, names) if heavy else None
    results["cold"] = cold(first, names, 1 if chosen.quick else TRIALS) if first else None
    return results


def main(arguments: list[str]) -> int:
    """Measure, write, print a summary; 1 if a gradient was refused."""
    chosen = options(arguments)
    absent = left_out(chosen.torch)
    measure.warn()
    results = measured(chosen, absent)
    write(results, chosen.out)
    say(report.summary(results))
    if chosen.random:
        say(report.spread(results["rows"]))
    rows = [*results["rows"], *filter(None, [results["training"]])]
    return int(any(row["refused"] for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
