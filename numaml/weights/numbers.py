"""What a vector like θ must be: finite numbers of a known dtype, or the elements of a ring."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

DTYPES = frozenset(np.dtype(name) for name in ("float32", "float64", "complex128", "object"))


def as_numbers(array: Any, name: str) -> Array:
    """An array of numbers that one can calculate with, or an error: got, wanted, fix."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; want an array: fill or drop what is masked")
    array = np.asarray(array)
    if array.dtype not in DTYPES:
        native = array.dtype.newbyteorder("=")
        if native not in DTYPES:
            raise TypeError(
                f"{name} has dtype {array.dtype}; want float32, float64, complex128 or object: "
                f"convert it, e.g. {name}.astype(float)"
            )
        array = array.astype(native)
    (_check_ring if array.dtype.hasobject else _check_finite)(array, name)
    return array


def _check_ring(array: Array, name: str) -> None:
    for kind in set(map(type, array.ravel().tolist())):
        if kind in (bool, int, type(None)) or issubclass(kind, (float, complex, np.generic)):
            raise TypeError(
                f"{name} holds {kind.__name__} in an object array; want elements of one ring in "
                "which 1/n exists, e.g. fractions.Fraction, or an array of floats"
            )


def _check_finite(array: Array, name: str) -> None:
    with np.errstate(all="ignore"):
        if np.isfinite(np.add.reduce(array, None)):  # one pass: a finite sum has finite terms
            return
    finite = np.isfinite(array)
    if not finite.all():
        where = tuple(np.argwhere(~finite)[0].tolist())
        raise ValueError(f"{name}{list(where)} is {array[where]}; want finite numbers")
