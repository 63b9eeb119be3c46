"""What somebody hands in: arrays that are looked at before use, functions that can do no harm."""

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

CURES = {
    "c": "take .real if the imaginary part is nothing but 0",
    "O": "convert it, e.g. with astype(float)",
    "b": "convert it, e.g. with astype(float)",
}


def numbers(a: Any, name: str, returned: bool = False) -> Array:
    """A copy of what was handed in (or what it returned): real numbers in native byte order."""
    verb = "returned" if returned else "is"
    if a is None:
        raise TypeError(
            f"{name} {verb} None; want real numbers: is a return missing, or (in PyTorch) a "
            "gradient that backward() did not reach?"
        )
    if isinstance(a, np.ma.MaskedArray):
        raise TypeError(f"{name} {verb} a masked array; want plain numbers: fill what it masks")
    try:
        a = np.array(a)
    except ValueError as error:
        raise TypeError(f"{name} {verb} no array ({error}); want real numbers") from None
    if a.dtype.kind not in "fiu":
        cure = CURES.get(a.dtype.kind, "convert it to numbers")
        verb = "returned" if returned else "has dtype"
        raise TypeError(f"{name} {verb} {a.dtype}; want real numbers: {cure}")
    return a.astype(a.dtype.newbyteorder("="), copy=False)


def not_finite(a: Array) -> str:
    """What is NaN or infinite in it, in words; empty if nothing is."""
    bad = np.flatnonzero(~np.isfinite(a))
    if not len(bad):
        return ""
    first = f"{np.ravel(a)[bad[0]]}"
    return first if a.size == 1 else f"{first} in {len(bad)} of {a.size} numbers, first at {bad[0]}"


def as_point(x: Any, name: str = "the point") -> Array:
    """One row of finite floating-point numbers, in single or double precision."""
    x = numbers(x, name)
    if x.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name} has dtype {x.dtype}; want float64 or float32: astype(float)")
    if x.ndim != 1 or not x.size:
        raise ValueError(
            f"{name} has shape {x.shape}; want one row (P,) of at least one number: flatten it, "
            "e.g. with ravel()"
        )
    if what := not_finite(x):
        raise ValueError(f"{name} holds NaN or infinity ({what}); want finite numbers")
    return x


def as_direction(v: Any, x: Array) -> Array:
    """A direction to go from x: as long a row, finite, and not 0."""
    v = numbers(v, "the direction").astype(float)
    if v.shape != x.shape:
        raise ValueError(
            f"the direction has shape {v.shape} and the point {x.shape}; want the same"
        )
    if what := not_finite(v):
        raise ValueError(f"the direction holds NaN or infinity ({what}); want finite numbers")
    if not v.any():
        raise ValueError("the direction is 0; want one that leads somewhere")
    return v


class Watched:
    """Somebody's function: it gets arrays of its own, and if it writes into them that is noted."""

    def __init__(self, f: Any, name: str) -> None:
        if not callable(f):
            raise TypeError(f"{name} is {type(f).__name__} {f!r:.40}; want a function")
        self.f: Callable[..., Any] = f
        self.name, self.wrote = name, False

    def __call__(self, *given: Any) -> Any:
        own = [a.copy() if isinstance(a, np.ndarray) else a for a in given]
        result = self.f(*own)
        self.wrote = self.wrote or any(
            isinstance(a, np.ndarray) and a.tobytes() != b.tobytes()
            for a, b in zip(given, own, strict=True)
        )
        return result

    @property
    def notes(self) -> tuple[str, ...]:
        if not self.wrote:
            return ()
        return (
            f"{self.name} writes into its argument: here it got a copy, but whoever calls it with "
            "theta itself has theta changed; let it copy before it writes",
        )
