"""The arguments that all calls share, each checked in one place: got, wanted, fix."""

from typing import Any

import numpy as np

from ..maml import Array, Lifting, Model, offers
from ..network.settings import as_count
from ..weights.numbers import as_numbers
from .alpha import LARGEST, any_alpha


def checked_tasks(model: Model, theta: Any, tasks: Any, alpha: Any, steps: Any) -> tuple[Any, ...]:
    """The arguments of a meta-gradient, checked before any work: what the cores above take."""
    if not (hasattr(tasks, "support") and hasattr(tasks, "query")):
        raise TypeError(f"tasks is {type(tasks).__name__}; want numaml.Tasks(support, query)")
    return model, *checked(model, theta, tasks.support, tasks.query, alpha=alpha, steps=steps)


def checked(model: Any, theta: Any, *batches: Any, alpha: Any, steps: Any) -> tuple[Any, ...]:
    """(theta, *batches, alpha, steps), checked."""
    if offers(model, Lifting):  # which looks at the numbers itself
        theta, *batches = model.checked(theta, *batches)
    else:
        theta = as_numbers(theta, "theta")
    theta = _row(theta)
    if type(steps) is not int or steps < 0:
        steps = checked_steps(steps)
    if type(alpha) is not float or not 0 <= alpha <= LARGEST or theta.dtype.hasobject:
        alpha = any_alpha(alpha, theta, model, steps)
    return theta, *batches, alpha, steps


def checked_theta(theta: Any) -> Array:
    """Meta-parameters as one row of numbers, or an error."""
    return _row(as_numbers(theta, "theta"))


def _row(theta: Array) -> Array:
    if theta.ndim != 1 or not theta.size:
        raise ValueError(f"theta has shape {theta.shape}; want one row (P,), shared by all tasks")
    return theta


def checked_steps(steps: Any) -> int:
    """The number of inner steps, or an error."""
    return as_count("steps", steps, 0)


def number(value: Any) -> Any:
    """A Python number, or an element of the ring."""
    return np.asarray(value).item()
