"""Arrays of other dtypes than θ's: converted or refused, with nothing lost."""

from typing import Any

import numpy as np

from ..weights.refusals import plain

Array = np.ndarray[Any, Any]


def converted(array: Any, dtype: np.dtype[Any], name: str) -> Array:
    """As `numaml.network.inputs.as_dtype`, of what is not in that dtype."""
    array = plain(array, name)
    if array.dtype == dtype:  # of a list, or of a subclass
        return array
    if array.dtype.kind in "iu" and not dtype.hasobject:
        _check_integers(array, dtype, name)
    exact = not dtype.hasobject or array.dtype.kind in "iu"
    if array.dtype == np.longdouble or not (exact and np.can_cast(array.dtype, dtype, "same_kind")):
        raise TypeError(
            f"{name} has dtype {array.dtype} and theta {dtype}; want {name} to fit into theta's "
            "dtype: convert one of them with .astype"
        )
    try:
        with np.errstate(over="raise", under="ignore"):
            return array.astype(dtype)
    except FloatingPointError:
        where = tuple(np.argwhere(abs(array) > np.finfo(dtype).max)[0].tolist())
        raise ValueError(
            f"{name}{list(where)} is {array[where]}, beyond theta's {dtype}; scale {name}, or take "
            "theta in float64"
        ) from None


def _check_integers(array: Array, dtype: np.dtype[Any], name: str) -> None:
    """Refuse integers that θ's dtype does not tell from all others."""
    whole = 2 ** (np.finfo(dtype).nmant + 1)
    if np.iinfo(array.dtype).max <= whole or not array.size:
        return
    if int(array.max()) > whole or int(array.min()) < -whole:
        where = tuple(np.argwhere((array > whole) | (array < -whole))[0].tolist())
        raise ValueError(
            f"{name}{list(where)} is {array[where]}, and {dtype} tells integers up to {whole} "
            f"apart; subtract what all have in common, or take {name} or theta in float64"
        )
