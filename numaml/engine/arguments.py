"""The arguments that all calls share, each checked in one place: got, wanted, fix."""

import math
import operator
from typing import Any

import numpy as np

from ..maml import Lifting, Model, offers
from ..network.settings import as_count as as_count
from ..network.settings import as_real as as_real
from ..network.settings import is_integer
from ..weights.numbers import NO_RING, as_numbers
from .inner import checked_rates, varied

Array = np.ndarray[Any, Any]

LARGEST = float(np.finfo(np.float32).max)


def checked_tasks(model: Model, theta: Any, tasks: Any, alpha: Any, steps: Any) -> tuple[Any, ...]:
    """The arguments of a meta-gradient, checked before any work: what the cores above take."""
    if not (hasattr(tasks, "support") and hasattr(tasks, "query")):
        raise TypeError(f"tasks is {type(tasks).__name__}; want numaml.Tasks(support, query)")
    S, Q = tasks.support, tasks.query
    theta, S, Q, alpha, steps = checked(model, theta, S, Q, alpha=alpha, steps=steps)
    return model, theta, S, Q, alpha, steps


def checked(model: Any, theta: Any, *batches: Any, alpha: Any, steps: Any) -> tuple[Any, ...]:
    """(theta, *batches, alpha, steps), checked."""
    if offers(model, Lifting):  # which looks at the numbers itself
        theta, *batches = model.checked(theta, *batches)
    else:
        theta = as_numbers(theta, "theta")
    theta = _row(theta)
    steps = checked_steps(steps)
    if type(alpha) is float or not varied(alpha):
        return theta, *batches, checked_alpha(alpha, theta), steps
    return theta, *batches, checked_rates(alpha, theta, model, steps), steps


def checked_theta(theta: Any) -> Array:
    """Meta-parameters as one row of numbers, or an error."""
    return _row(as_numbers(theta, "theta"))


def _row(theta: Array) -> Array:
    if theta.ndim != 1 or not theta.size:
        raise ValueError(f"theta has shape {theta.shape}; want one row (P,), shared by all tasks")
    return theta


def checked_alpha(alpha: Any, theta: Array) -> Any:
    """The inner learning rate as a Python float, in exact arithmetic as it is, or an error."""
    if theta.dtype.hasobject:
        return _in_ring(alpha, theta)
    # A NumPy float64 scalar would promote float32 arrays.
    number = alpha if type(alpha) is float else as_real("alpha", alpha, " >= 0, or rates")
    if not 0 <= number <= LARGEST:
        if not 0 <= number < math.inf:
            raise ValueError(f"alpha is {alpha}; want a finite number >= 0")
        if theta.dtype.char == "f":
            raise ValueError(f"alpha is {alpha}, beyond theta's float32; want a smaller one")
    return number


def _in_ring(alpha: Any, theta: Array) -> Any:
    ring = type(theta[0])
    if isinstance(alpha, NO_RING):
        raise TypeError(
            f"alpha is {alpha!r:.80}, a {type(alpha).__name__}, and theta holds {ring.__name__}; "
            "want an element of the same ring, e.g. Fraction(1, 10)"
        )
    return alpha


def checked_steps(steps: Any) -> int:
    """The number of inner steps, or an error."""
    if type(steps) is not int:
        if not is_integer(steps):
            raise TypeError(f"steps is {steps!r}; want an integer K >= 0")
        steps = operator.index(steps)
    if steps < 0:
        raise ValueError(f"steps is {steps}; want K >= 0 inner steps")
    return steps


def number(value: Any) -> Any:
    """A Python number, or an element of the ring."""
    return np.asarray(value).item()
