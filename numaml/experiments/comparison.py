"""Ways to predict, compared on the same draws of the same held-out tasks, and what follows.

A way's open choices (steps, rates, penalties, …) are made on validation tasks. Errors are per task;
two ways are compared by their differences on each task, with a 95 % interval over tasks.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from ..data.grouped import Grouped, only
from ..data.tasks import Batch, Tasks
from ..training.evaluation import mean_and_interval
from .ways import Candidate, Way

Array = np.ndarray[Any, Any]
Measures = dict[str, Array]  # by name, (tasks,) each

DRAWS = 20  # of support and query rows from every task
TINY = 1e-15  # what a probability of 0 counts as in the log loss


class Held(NamedTuple):
    """Tasks held out, in standard units: DRAWS draws of the first, then of the second, …"""

    names: Array  # (tasks,)
    drawn: Tasks

    def per_task(self, values: Array) -> Array:
        """Means over draws and what is behind them: (tasks,) from (tasks · DRAWS, …)."""
        return np.asarray(values.reshape(len(self.names), -1).mean(1))


class Outcome(NamedTuple):
    """How one way did on the held-out tasks."""

    chosen: str
    measures: Measures
    predicted: Array  # (tasks · DRAWS, n), or with probabilities (…, classes)
    candidate: Callable[[Tasks], Candidate]  # the same for other tasks


def drawn(source: Grouped, seed: Sequence[int]) -> Held:
    """The same number of draws from each of a source's tasks, each by a seed of its own."""
    names, found = np.unique(source.groups), list[Tasks]()
    for number, name in enumerate(names):
        one = only(source, source.groups == name, tasks=DRAWS)
        found.append(one(np.random.default_rng([*seed, number])))

    def joined(part: str) -> Batch:
        batches = [getattr(one, part) for one in found]
        return Batch(*(np.concatenate([getattr(b, axis) for b in batches]) for axis in "xy"))

    return Held(names, Tasks(joined("support"), joined("query")))


def measured(held: Held, predicted: Array) -> Measures:
    """Errors of each task, the one that decides first; what is no number counts as infinite.

    Of numbers, the root mean square error, and the mean square error over that of the mean of all
    rows trained on, 1 − R². Of probabilities, the share of wrong ones, and the log loss.
    """
    y = held.drawn.query.y
    if predicted.ndim > y.ndim:  # classes and their probabilities
        true = np.take_along_axis(predicted, y[..., None], -1)[..., 0]
        found = {
            "wrong": held.per_task(predicted.argmax(-1) != y),
            "log loss": held.per_task(-np.log(np.maximum(true, TINY))),
        }
        lost = held.per_task(~np.isfinite(true)) > 0
    else:
        square = held.per_task((predicted - y[..., 0]) ** 2)
        found = {"error": np.sqrt(square), "square": square}
        lost = ~np.isfinite(square)
    return {name: np.where(lost, np.inf, one) for name, one in found.items()}


def chosen(way: Way, held: Held) -> int:
    """The number of the candidate whose mean errors over tasks are least."""
    with np.errstate(all="ignore"):  # what runs away is not chosen
        scores = [
            tuple(float(one.mean()) for one in measured(held, predicted).values())
            for _, predicted in way(held.drawn)
        ]
    return scores.index(min(scores))


def compared(ways: Mapping[str, Way], choosing: Held, test: Held) -> dict[str, Outcome]:
    """Every way with its choices made, on the tasks of the test."""
    found = {}
    for name, way in ways.items():
        candidate = partial(_candidate, way, chosen(way, choosing))
        with np.errstate(all="ignore"):  # who runs away is said to
            words, predicted = candidate(test.drawn)
            found[name] = Outcome(words, measured(test, predicted), predicted, candidate)
    return found


def _candidate(way: Way, number: int, tasks: Tasks) -> Candidate:
    return next(islice(way(tasks), number, None))


class Difference(NamedTuple):
    """By how much one way's errors are below another's, over tasks."""

    mean: float
    interval: float  # half of the 95 % one; NaN for one task
    wins: int

    @property
    def settled(self) -> bool:
        """Whether the interval excludes 0."""
        return abs(self.mean) > self.interval or math.isinf(self.mean)


def difference(ours: Array, theirs: Array) -> Difference:
    """Paired: task by task; > 0 where ours are the smaller errors."""
    wins = int((ours < theirs).sum())
    if not np.isfinite(ours - theirs).all():
        lost = [not np.isfinite(one).all() for one in (ours, theirs)]
        return Difference(math.inf * (lost[1] - lost[0]) if lost[0] != lost[1] else math.nan,
                          math.nan, wins)  # fmt: skip
    mean, interval = mean_and_interval(theirs - ours)
    return Difference(float(mean), float(interval), wins)


def verdict(name: str, errors: Mapping[str, Array], baselines: Sequence[str], unit: str) -> str:
    """A sentence: whether a way is better than every baseline, worse than one, or neither."""
    found = {other: difference(errors[name], errors[other]) for other in baselines}
    best = min(baselines, key=lambda other: float(errors[other].mean()))
    count, by = len(errors[name]), found[best]
    if worse := [one for one in baselines if found[one].settled and found[one].mean < 0]:
        first = min(worse, key=lambda other: found[other].mean)
        return f"{first} is better than {name}, by {_by(found[first], -1, unit)}: take it"
    wins = f"on {by.wins} of {count} tasks"
    open_ = [other for other in baselines if not found[other].settled]
    if not open_:
        return (
            f"{name} is better than every baseline: than the best, {best}, by {_by(by, 1, unit)}, "
            f"{wins}; the interval excludes 0"
        )
    return (
        f"not settled between {name} and {', '.join(open_)}: it is better than the best baseline, "
        f"{best}, {wins}; hold out more tasks (--held), or every task in turn (--folds)"
    )


def _by(one: Difference, sign: int, unit: str) -> str:
    if not math.isfinite(one.mean):
        return "any amount, since that one diverged"
    return f"{sign * one.mean:.3g} ± {one.interval:.2g}{unit}"


def rows_of(held: Held, outcomes: Mapping[str, Outcome]) -> Iterator[dict[str, Any]]:
    """A row for each way and task."""
    for way, one in outcomes.items():
        for number, name in enumerate(held.names):
            errors = {measure: one.measures[measure][number] for measure in one.measures}
            yield {"way": way, "chosen": one.chosen, "task": name, "draws": DRAWS, **errors}
