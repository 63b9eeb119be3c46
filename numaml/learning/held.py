"""Tasks held out: draws of their rows, errors of predictions, and choices made by these errors.

A way to predict is called with tasks in standard units and gives its candidates one after another,
each with what is chosen in words: numbers (T, n, n_out), or probabilities (T, n, classes), for the
query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..data.grouped import Grouped, only
from ..data.tasks import Batch, Tasks
from ..engine.alpha import for_steps, varied
from ..network.network import Network
from .evaluation import adapted

Array = np.ndarray[Any, Any]
Candidate = tuple[str, Array]
Way = Callable[[Tasks], Iterator[Candidate]]
Measures = dict[str, Array]  # by name, (tasks,) each

DRAWS = 20  # of support and query rows from every task
MOST_CHOOSING = 100  # tasks at most that choices are made on
RATES = (0.01, 0.03, 0.1, 0.3, 1.0)  # of inner steps, beside the one of training
STEPS = 30  # inner steps at most
TINY = 1e-15  # what a probability of 0 counts as in the log loss


class Held(NamedTuple):
    """Tasks held out, in standard units: DRAWS draws of the first, then of the second, …"""

    names: Array  # (tasks,)
    drawn: Tasks

    def per_task(self, values: Array) -> Array:
        """Means over draws and what is behind them: (tasks,) from (tasks · DRAWS, …)."""
        return np.asarray(values.reshape(len(self.names), -1).mean(1))


def drawn(source: Grouped, seed: Sequence[int], most: int | None = None) -> Held:
    """The same number of draws from each of a source's first tasks, each by a seed of its own."""
    names, found = np.unique(source.groups)[:most], list[Tasks]()
    for number, name in enumerate(names):
        one = only(source, source.groups == name, tasks=DRAWS)
        found.append(one(np.random.default_rng([*seed, number])))

    def joined(part: str) -> Batch:
        batches = [getattr(one, part) for one in found]
        return Batch(*(np.concatenate([getattr(b, axis) for b in batches]) for axis in "xy"))

    return Held(names, Tasks(joined("support"), joined("query")))


def measured(held: Held, predicted: Array) -> Measures:
    """Errors of each task, the one that decides first; what is no number counts as infinite.

    Of numbers, the root mean square error, and the mean square error. Of probabilities, the share
    of wrong ones, and the log loss.
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
        square = held.per_task((predicted - y) ** 2)
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


def rate_and_steps(model: Network, theta: Array, alpha: Any, held: Held) -> tuple[Any, int]:
    """The inner learning rate, of ``alpha`` and others, and the number of steps that do best."""
    rates = rates_beside(alpha)
    number = chosen(adapting(model, theta, rates, STEPS), held)
    steps = number % (STEPS + 1)
    return for_steps(rates[number // (STEPS + 1)], steps), steps


def error_after(model: Network, theta: Array, alpha: Any, steps: int, held: Held) -> float:
    """The mean error over tasks, the one that decides, after so many inner steps."""
    ((_, predicted),) = adapting(model, theta, (alpha,), steps, steps)(held.drawn)
    return float(next(iter(measured(held, predicted).values())).mean())


def rates_beside(alpha: Any) -> tuple[Any, ...]:
    """The inner learning rates that one is chosen from; a structure of rates stays as it is."""
    return (alpha,) if varied(alpha) else tuple(sorted({alpha, *RATES}))


def adapting(
    model: Network, theta: Array, rates: tuple[Any, ...], steps: int, least: int = 0
) -> Way:
    """A network after ``least`` … ``steps`` inner steps at each of some rates."""

    def way(tasks: Tasks) -> Iterator[Candidate]:
        for rate in rates:
            name = "rates" if varied(rate) else f"α {rate:g}"
            along = adapted(model, theta, tasks, for_steps(rate, steps), steps)
            for k, (phi, query) in enumerate(along):
                if k >= least:
                    yield f"{name}, K {k}", outcome(model, model.predict(phi, query))

    return way


def as_it_is(model: Network, theta: Array) -> Way:
    """A network without any step."""
    return lambda tasks: iter([("", outcome(model, model.predict(theta, tasks.query.x)))])


def outcome(model: Network, u: Array) -> Array:
    """Numbers, or probabilities, from a network's outputs."""
    u = np.asarray(u)
    if model.loss != "cross_entropy":
        return u
    e = np.exp(u - u.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))
