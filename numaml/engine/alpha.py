"""The inner learning rate in all its kinds: checked, and as a file keeps it."""

from dataclasses import is_dataclass
from typing import Any

import numpy as np

from ..network.settings import as_real
from ..weights.rates import Blocks, Rates, described, parsed
from ..weights.scalars import in_ring
from .inner import Rule

Array = np.ndarray[Any, Any]

LARGEST = float(np.finfo(np.float32).max)


def any_alpha(alpha: Any, theta: Array, model: Any, steps: int) -> Any:
    """A rate, a structure of rates or a rule of the user's own, as the loops take it; or an error.

    A float that is no more than float32 holds is taken as it is, without asking here.
    """
    return (
        checked_rates(alpha, theta, model, steps) if varied(alpha) else checked_alpha(alpha, theta)
    )


def checked_alpha(alpha: Any, theta: Array) -> Any:
    """One rate as a Python float, in exact arithmetic as it is, or an error."""
    if theta.dtype.hasobject:
        return in_ring("alpha", alpha, theta)
    # A NumPy float64 scalar would promote float32 arrays.
    number = as_real("alpha", alpha, " >= 0, or rates")
    if number < 0:
        raise ValueError(f"alpha is {alpha}; want a finite number >= 0")
    if number > LARGEST and theta.dtype.char == "f":
        raise ValueError(f"alpha is {alpha}, beyond theta's float32; want a smaller one")
    return number


def varied(alpha: Any) -> bool:
    """Whether it is more than a number: a structure of rates, or a rule of the user's own."""
    return isinstance(alpha, tuple | list | dict | np.ndarray | Rule)


def for_steps(alpha: Any, steps: int) -> Any:
    """The rates for so many steps: where each has its own, those of the last go on after it.

    Examples
    --------
    >>> from numaml.engine.alpha import for_steps
    >>> for_steps([0.1, 0.2], 4), for_steps([0.1, 0.2], 1), for_steps(0.1, 4)
    ([0.1, 0.2, 0.2, 0.2], [0.1], 0.1)
    """
    if isinstance(alpha, dict) and "rates" in alpha:
        return {**alpha, "rates": for_steps(alpha["rates"], steps)}
    each = alpha.get("steps") if isinstance(alpha, dict) else alpha
    if not isinstance(each, list):
        return alpha
    return [*each[:steps], *each[-1:] * (steps - len(each))] or each[0]


def checked_rates(alpha: Any, theta: Array, model: Any, steps: int) -> Rates:
    """A structure of rates, or a rule of the user's own, as the loops take it; or an error."""
    if not isinstance(alpha, Rule):
        return parsed(alpha, theta, lambda: _blocks(model, theta), steps)
    if not (is_dataclass(alpha) and vars(type(alpha))["__dataclass_params__"].frozen):
        raise TypeError(
            f"alpha is a {type(alpha).__name__} with a step; want a frozen dataclass, so that it "
            "cannot change unseen"
        )
    return Rates(theta[:1], alpha)  # it has no rates


def _blocks(model: Any, theta: Array) -> Blocks:
    """Of every layer how long W and b are."""
    if not hasattr(model, "unpack"):
        raise TypeError(
            f"alpha has an entry for each layer, and {type(model).__name__} has no unpack(theta) "
            "-> [(W, b), …]; want one number, or an array (P,) laid out as theta"
        )
    return tuple((W.size, b.size) for W, b in model.unpack(theta))


def kept_alpha(alpha: Any, theta: Array) -> Any:
    """A number, or a structure of rates in which every kind has its name: JSON changes neither."""
    if isinstance(alpha, Rule):
        raise TypeError(
            f"alpha is a {type(alpha).__name__}, which no file can hold; want rates, or a gradient "
            "of your own in which it stands"
        )
    return described(alpha) if varied(alpha) else checked_alpha(alpha, theta)
