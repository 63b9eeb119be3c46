"""Norms, means and multiples at any scale: no square overflows, or underflows to 0."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def unit(a: Any) -> tuple[Array, int]:
    """(a / 2^e, e) with the largest number between 1/2 and 1; e is 0 if it is 0 or not finite."""
    a = np.asarray(a)
    a = a.astype(complex if a.dtype.kind == "c" else float)
    largest = float(np.max(np.abs(a), initial=0.0))
    e = int(np.frexp(largest)[1]) if np.isfinite(largest) else 0
    return times_power(a, -e), e


def times_power(a: Any, e: int) -> Array:
    """a · 2^e in two halves, since 2^e alone may be out of range."""
    with np.errstate(under="ignore", over="ignore"):
        return np.asarray(a * 2.0 ** (e // 2) * 2.0 ** (e - e // 2))


def norm(a: Any) -> float:
    """Euclidean norm of all numbers in a."""
    a, e = unit(a)
    return float(times_power(float(np.linalg.norm(a.ravel())), e))


def rms(a: Any) -> float:
    """Root of the mean of squares; 0 of nothing."""
    return norm(a) / max(float(np.size(a)), 1.0) ** 0.5


def multiple(got: Any, want: Any) -> float:
    """The c for which c·want is nearest to got; NaN if want is 0 or one of them not finite."""
    (got, e), (want, f) = unit(got), unit(want)
    squared = float(want @ want)
    return float(times_power(float(want @ got) / squared, e - f)) if squared else float("nan")


def cosine(a: Any, b: Any) -> float:
    """Of the angle between a and b; NaN if one of them is 0."""
    a, b = unit(a)[0], unit(b)[0]
    if not a.any() or not b.any():
        return float("nan")
    return float(a @ b) / float(np.linalg.norm(a)) / float(np.linalg.norm(b))
