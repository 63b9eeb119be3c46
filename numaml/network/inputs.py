"""Bad input is refused here, before any work: every message says got, wanted, fix."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..weights.numbers import as_numbers, check_numbers
from ..weights.refusals import plain
from .conversion import converted, for_each, for_tasks
from .losses import OF_CLASSES, target_width
from .normalisation import check_norm

Array = np.ndarray[Any, Any]


class Rows(NamedTuple):
    """A batch that has been checked, in θ's dtype."""

    x: Array
    y: Array


class Lifted(Rows):
    """One whose x is as the first layer takes it."""


def as_vector(vector: Any, length: int, sizes: Sequence[int], name: str = "theta") -> Array:
    """Numbers, ``length`` of them along the last axis."""
    vector = as_numbers(vector, name)
    if vector.shape[-1:] != (length,):
        raise ValueError(f"{name} has shape {vector.shape}; sizes={tuple(sizes)} need ({length},)")
    return vector


def as_dtype(array: Any, dtype: np.dtype[Any], name: str) -> Array:
    """``array`` in θ's dtype if that loses no kind of number (complex, exact), else an error.

    Row after row in memory: products of turned arrays are summed in another order.
    """
    if type(array) is np.ndarray and array.dtype == dtype and array.flags.c_contiguous:
        return array
    return np.asarray(converted(array, dtype, name), order="C")


def as_rows(batch: Any, theta: Array, model: Any) -> Rows:
    """A batch whose shapes, dtypes and classes fit θ and the network."""
    if model.norm:
        check_norm(model.norm, theta.dtype)
    try:
        x, y = batch.x, batch.y
    except AttributeError:
        raise TypeError(f"got a {type(batch).__name__}; want a numaml.Batch(x, y)") from None
    x = as_inputs(x, theta, model)
    y = as_targets(y, x, model.sizes, model.loss)
    if theta.dtype.hasobject or not getattr(batch, "looked_at", False):
        check_numbers(x, "x")
        check_numbers(y, "y")
    return Rows(x, y)


def alike(batches: list[Rows]) -> list[Rows]:
    """Batches with the same task axes: one that all tasks share is seen once by each."""
    leads = {batch.x.shape[:-2] for batch in batches}
    return batches if len(leads) < 2 else for_each(batches, leads - {()})


def as_inputs(x: Any, theta: Array, model: Any) -> Array:
    """x (…, n, n_in) in θ's dtype, with the task axes of θ or its own."""
    x, sizes = as_dtype(x, theta.dtype, "x"), model.sizes
    if x.ndim < 2 or x.shape[-1] != sizes[0]:
        raise ValueError(
            f"x has shape {x.shape}; sizes={sizes} need (…, n, {sizes[0]}): rows are examples, "
            "columns features"
        )
    if theta.ndim == 1:
        return x
    return for_tasks(x, (*theta.shape[:-1], *x.shape[-2:]), 2, "x", "theta", theta)


def as_targets(y: Any, x: Array, sizes: Sequence[int], loss: str) -> Array:
    """y as the loss wants it, with the task axes of x."""
    if loss in OF_CLASSES:
        y, shape, own = _as_classes(y, sizes), x.shape[:-1], 1
    else:
        width, own = target_width(loss, sizes[-1]), 2
        y, shape = as_dtype(y, x.dtype, "y"), (*x.shape[:-1], width)
    return y if y.shape == shape else for_tasks(y, shape, own, "y", loss, x)


def as_direction(v: Any, theta: Array, lead: tuple[int, ...], sizes: Sequence[int]) -> Array:
    """v for a Hessian-vector product: like θ, one row per task."""
    v = as_dtype(as_vector(v, theta.shape[-1], sizes, "v"), theta.dtype, "v")
    return for_tasks(v, (*lead, theta.shape[-1]), 1, "v", "theta", theta) if lead else v


def _as_classes(y: Any, sizes: Sequence[int]) -> Array:
    if type(y) is not np.ndarray:
        y = plain(y, "y")
    if y.dtype.kind not in "iu":
        raise TypeError(f"y has dtype {y.dtype}; cross_entropy wants integer classes")
    if y.min() < 0 or y.max() >= sizes[-1]:
        raise ValueError(
            f"y has classes {y.min()} to {y.max()}; sizes={sizes} need 0 to {sizes[-1] - 1}"
        )
    return y
