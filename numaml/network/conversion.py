"""Arrays of other dtypes than θ's, or for all tasks at once: made to fit or refused."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..weights.refusals import plain

Array = np.ndarray[Any, Any]

USUAL = {"df", "fd"}  # float64 for θ in float32, and the other way round


def converted(array: Any, dtype: np.dtype[Any], name: str) -> Array:
    """As `numaml.network.inputs.as_dtype`, of what is not in that dtype."""
    array = plain(array, name)
    if array.dtype == dtype:  # of a list, or of a subclass
        return array
    if array.dtype.kind in "iu" and not dtype.hasobject:
        _check_integers(array, dtype, name)
    if array.dtype.char + dtype.char not in USUAL and not _fits(array.dtype, dtype):
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


def _fits(given: np.dtype[Any], dtype: np.dtype[Any]) -> bool:
    """Whether θ's dtype has such numbers."""
    exact = not dtype.hasobject or given.kind in "iu"
    return exact and given != np.longdouble and np.can_cast(given, dtype, "same_kind")


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


def for_tasks(
    array: Array, shape: tuple[int, ...], own: int, name: str, what: str, beside: Array
) -> Array:
    """An array of this shape, or of its ``own`` last axes, to serve all tasks."""
    if array.shape not in (shape, shape[len(shape) - own :]):
        raise ValueError(
            f"{name} has shape {array.shape}; {what} of {beside.shape} wants {shape}, or "
            f"{shape[len(shape) - own :]} for all tasks"
        )
    return np.broadcast_to(array, shape)


def for_each(batches: Sequence[Any], leads: set[tuple[int, ...]]) -> list[Any]:
    """Batches (x, y) with these task axes, or without any, with the same in all."""
    if len(leads) > 1:
        shapes = ", ".join(str(batch.x.shape) for batch in batches)
        raise ValueError(f"x has shapes {shapes}; want the same number of tasks in all")
    (lead,) = leads
    return [
        batch if batch.x.ndim > 2
        else batch._make(np.broadcast_to(array, lead + array.shape) for array in batch)
        for batch in batches
    ]  # fmt: skip
