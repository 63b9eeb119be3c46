"""Single numbers, each kind checked in one place, wherever one is meant: got, wanted, fix."""

import math
import operator
from numbers import Real
from typing import Any

import numpy as np

from .numbers import NO_RING


def is_integer(got: Any) -> bool:
    """Whether it is one whole number: neither True nor an array, of Python or of NumPy."""
    return hasattr(got, "__index__") and not isinstance(got, (bool, np.bool_, np.ndarray))


def as_count(name: str, got: Any, least: int = 1) -> int:
    """An integer of at least so much, as Python's."""
    if not is_integer(got):
        raise TypeError(f"{name} is {got!r:.80}; want an integer >= {least}")
    if operator.index(got) < least:
        raise ValueError(f"{name} is {got!r:.80}; want an integer >= {least}")
    return operator.index(got)


def as_real(name: str, got: Any, limit: str = "", meant: str = "") -> float:
    """One finite real number, as Python's; not of a dtype that theta cannot have."""
    if type(got) is not float and (
        not isinstance(got, Real) or isinstance(got, (bool, np.float16, np.longdouble))
    ):
        raise TypeError(f"{name} is {got!r:.80}; want {meant or 'one real number'}{limit}")
    try:
        number = float(got)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} is {str(got)[:80]}; want {meant or 'a finite number'}{limit}")
    return number


def in_ring(name: str, got: Any, theta: Any) -> Any:
    """An element of the ring that θ's numbers are of."""
    if isinstance(got, NO_RING):
        raise TypeError(
            f"{name} is {got!r:.80}, a {type(got).__name__}, and theta holds "
            f"{type(theta[0]).__name__}; want an element of the same ring, e.g. Fraction(1, 10)"
        )
    return got
