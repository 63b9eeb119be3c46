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

from ..data.tasks import Tasks
from ..learning.evaluation import mean_and_interval
from ..learning.held import DRAWS, Candidate, Held, Measures, Way, chosen, measured

Array = np.ndarray[Any, Any]


class Outcome(NamedTuple):
    """How one way did on the held-out tasks."""

    chosen: str
    measures: Measures
    predicted: Array  # (tasks · DRAWS, n, 1), or probabilities (…, classes)
    candidate: Callable[[Tasks], Candidate]  # the same for other tasks


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


def verdict(
    name: str, errors: Mapping[str, Array], baselines: Sequence[str], unit: str, advice: str
) -> str:
    """A sentence: whether a way is better than every baseline, worse than one, or neither.

    ``advice`` is what to do where nothing is settled.
    """
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
        f"{best}, {wins}; {advice}"
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
