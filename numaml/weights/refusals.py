"""What is said of arrays that one cannot calculate with, and what is made of them if one can."""

from typing import Any, NoReturn

import numpy as np

Array = np.ndarray[Any, Any]

DTYPES = frozenset(np.dtype(name) for name in ("float32", "float64", "complex128", "object"))


def plain(array: Any, name: str) -> Array:
    """An array without a mask."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; want an array: fill or drop what is masked")
    return np.asarray(array)


def made_native(array: Any, name: str) -> Array:
    """An array of a known dtype, of whatever was given."""
    array = plain(array, name)
    native = array.dtype.newbyteorder("=")
    if native not in DTYPES:
        raise TypeError(
            f"{name} has dtype {array.dtype}; want float32, float64, complex128 or object: "
            f"convert it, e.g. {name}.astype(float)"
        )
    return np.asarray(array, native)


def refuse_kinds(array: Array, name: str, out: tuple[type, ...]) -> None:
    """Refuse an object array with elements of these kinds."""
    for kind in set(map(type, array.ravel().tolist())):
        if issubclass(kind, out):
            raise TypeError(
                f"{name} holds {kind.__name__} in an object array; want elements of one ring in "
                "which 1/n exists, e.g. fractions.Fraction, or an array of floats"
            )


def refuse_not_finite(array: Array, name: str) -> NoReturn:
    """Say where the first number that is not finite stands."""
    where = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
    raise ValueError(f"{name}{list(where)} is {array[where]}; want finite numbers")
