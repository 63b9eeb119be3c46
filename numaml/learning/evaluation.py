"""How good a learner is: every task's loss or accuracy after every step, means and intervals."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..engine.arguments import checked_tasks
from ..engine.inner import stepped
from ..engine.parts import in_parts
from ..engine.replayed import replayed
from ..maml import Lifting, Model, inner_loop, lifted, offers

Array = np.ndarray[Any, Any]


def evaluate(model: Model, theta: Array, tasks: Any, alpha: float, steps: int) -> Array:
    """Query loss of every task after 0, 1, …, K inner steps.

    Parameters
    ----------
    model, theta, tasks, alpha, steps
        As for `numaml.meta_value`; T tasks along a leading axis.

    Returns
    -------
    losses : (K + 1, T) array

    Raises
    ------
    TypeError, ValueError
        As `numaml.meta_value`.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> model = numaml.MLP((1, 16, 1))
    >>> tasks = numaml.Sinusoids(tasks=600, shots=5)(np.random.default_rng(0))
    >>> numaml.evaluate(model, model.init(0), tasks, alpha=0.001, steps=10).shape
    (11, 600)
    """
    return np.array(_along(losses_along, *checked_tasks(model, theta, tasks, alpha, steps)))


def accuracies(model: Any, theta: Array, tasks: Any, alpha: float, steps: int) -> Array:
    """Share of every task's query examples classified rightly after 0, 1, …, K inner steps.

    Parameters
    ----------
    model
        A classification model: one with ``predict(theta, x)`` -> scores (…, n, n_out), e.g.
        `numaml.MLP` with "cross_entropy". The class with the largest score is the prediction.
    theta, tasks, alpha, steps
        As for `numaml.meta_value`; ``tasks.query.y`` are integer classes (T, n).

    Returns
    -------
    accuracies : (K + 1, T) array
        Numbers from 0 to 1; NaN where a score is not finite, as after steps that ran away.

    Raises
    ------
    TypeError, ValueError
        As `numaml.meta_value`; and if the query targets are not integer classes.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(60, 8)), np.repeat(np.arange(12), 5)
    >>> tasks = numaml.FewShot(x, y, ways=3, shots=2, queries=3, tasks=50)(rng)
    >>> model = numaml.MLP((8, 16, 3), loss="cross_entropy")
    >>> numaml.accuracies(model, model.init(0), tasks, alpha=0.1, steps=4).shape
    (5, 50)
    """
    given = checked_tasks(model, theta, tasks, alpha, steps)
    y = _classes(tasks.query.y)
    return np.array([_share_right(y, scores) for scores in _along(scores_along, *given)])


def losses_along(
    model: Model, theta: Array, S: Any, Q: Any, alpha: Any, steps: int
) -> tuple[Any, ...]:
    """The query losses after 0, 1, …, K inner steps."""
    theta, S, Q = lifted(model, theta, S, Q)
    seen = [model.value(theta, Q)]
    for _ in range(steps):
        theta = inner_loop(model, theta, S, alpha, 1)
        seen.append(model.value(theta, Q))
    return tuple(seen)


def scores_along(
    model: Any, theta: Array, S: Any, Q: Any, alpha: Any, steps: int
) -> tuple[Any, ...]:
    """What the model predicts for the query after 0, 1, …, K inner steps."""
    theta, S, Q = lifted(model, theta, S, Q)
    x = Q if offers(model, Lifting) else Q.x  # a batch that was looked at is not looked at again
    seen = [model.predict(theta, x)]
    for _ in range(steps):
        theta = inner_loop(model, theta, S, alpha, 1)
        seen.append(model.predict(theta, x))
    return tuple(seen)


def _along(core: Any, model: Model, theta: Array, S: Any, Q: Any, *rest: Any) -> list[Array]:
    """What a core gives after every step, of all tasks; of parts of them one after another.

    No trace is kept, so a part needs the memory of one pass.
    """
    parts = [
        replayed(core, model, theta, *part, *rest) for _, part in in_parts(model, theta, S, Q, 0)
    ]
    return [one[0] if len(one) == 1 else np.concatenate(one) for one in zip(*parts, strict=True)]


def _classes(y: Any) -> Array:
    if isinstance(y, np.ma.MaskedArray):
        raise TypeError("the query's y is a masked array; want an array: fill what is masked")
    y = np.asarray(y)
    if y.dtype.kind not in "iu":
        raise TypeError(f"the query's y has dtype {y.dtype}; accuracy wants integer classes")
    return y


def _share_right(y: Array, scores: Array) -> Array:
    """Of the examples of each task; NaN where a score is no number, which no class is best of."""
    if not isinstance(scores, np.ndarray) or scores.shape[:-1] != y.shape:
        raise ValueError(
            f"predict gave {type(scores).__name__} of shape {np.shape(scores)}; want an array of "
            f"scores {(*y.shape, 'n_out')}, one for each class"
        )
    if scores.dtype.kind not in "fiu":
        raise TypeError(f"predict gave scores of dtype {scores.dtype}; want real numbers")
    right = (scores.argmax(-1) == y).mean(-1)
    return np.where(np.isfinite(scores).all((-2, -1)), right, np.nan)


def adapted(
    model: Model, theta: Array, tasks: Any, alpha: float, steps: int
) -> Iterator[tuple[Array, Any]]:
    """φ_k for k = 0, 1, …, K, each with the query set in the same form."""
    model, theta, S, Q, alpha, steps = checked_tasks(model, theta, tasks, alpha, steps)
    model, alpha = stepped(model, alpha)
    phi, support, query = lifted(model, theta, S, Q)
    yield phi, query
    for _ in range(steps):
        phi = inner_loop(model, phi, support, alpha, 1)
        yield phi, query


def mean_and_interval(losses: Array) -> tuple[Array, Array]:
    """Mean over T tasks (last axis) and the half-width of its 95 % interval: NaN for one task.

    1.96·sd/√T from 30 tasks on; below, Student's t with T − 1 degrees of freedom in place of 1.96,
    by Fisher's expansion in 1/(T − 1), whose last term is chosen for two tasks.
    """
    tasks = losses.shape[-1]
    if tasks == 1:
        return losses[..., 0], np.full(losses.shape[:-1], np.nan)
    few, n = tasks < 30, tasks - 1
    t = 1.96 + few * (2.3722 / n + 2.8225 / n**2 + 2.5558 / n**3 + 1.5895 / n**4 + 1.4062 / n**6)
    with np.errstate(under="ignore"):
        return losses.mean(-1), t * losses.std(-1, ddof=int(few)) / math.sqrt(tasks)
