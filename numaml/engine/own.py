"""A model of one's own, held to what a model promises wherever it is run plainly.

It gets views that it cannot write to, and what it gives must have the shapes and the dtype that
`numaml.maml` counts on: a loss, or one per task; a gradient, and a product, like it and theta.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..weights.numbers import check_numbers
from .models import leaves, rebuilt
from .recording import Unseen

Array = np.ndarray[Any, Any]


class Own:
    """The model, looked at."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def value(self, theta: Array, batch: Any) -> Any:
        """The model's loss."""
        value = self.model.value(unwritable(theta), _unwritable(batch))
        return _loss(value, theta, "value")

    def predict(self, theta: Array, x: Array) -> Any:
        """What the model predicts, if it can."""
        return self.model.predict(unwritable(theta), unwritable(x))

    def linearize(self, theta: Array, batch: Any) -> tuple[Any, Array, Callable[[Array], Array]]:
        """The model's loss, gradient and Hessian product."""
        given = self.model.linearize(unwritable(theta), _unwritable(batch))
        value, gradient, hvp = _three(given)
        value = _loss(value, theta, "linearize's value")
        shape = np.shape(value) + theta.shape[-1:]
        gradient = _like(gradient, shape, theta, "linearize's gradient")

        def product(v: Array) -> Array:
            return _like(hvp(unwritable(v)), shape, theta, "hvp(v)")

        return value, gradient, product


def _three(results: Any) -> tuple[Any, Any, Any]:
    if not isinstance(results, tuple) or len(results) != 3 or not callable(results[2]):
        raise TypeError(
            f"linearize gave {type(results).__name__}; want (value, gradient, hvp), hvp a callable"
        )
    return results


def unwritable(array: Array) -> Array:
    """A view that nobody can write to."""
    view = array.view()
    view.flags.writeable = False
    return view


def _unwritable(batch: Any) -> Any:
    """A batch of arrays that cannot be written to; what is made of anything else stays as it is."""
    found: list[Array] = []
    try:
        leaves(batch, found)
    except Unseen:
        return batch
    return rebuilt(batch, map(unwritable, found))


def _loss(value: Any, theta: Array, name: str) -> Any:
    shape, dtype = np.shape(value), np.asarray(value).dtype
    wanted = {"c": "fiuc", "O": "Oi"}.get(theta.dtype.kind, "fiu")
    if isinstance(value, (list, tuple, np.ma.MaskedArray)) or dtype.kind not in wanted:
        raise TypeError(
            f"{name} is {value!r:.80}; want a number like those of theta, {theta.dtype}, or an "
            "array with one for each task"
        )
    if dtype.hasobject:
        check_numbers(np.asarray(value), name)
    if len(shape) > 1 or (theta.ndim > 1 and shape != theta.shape[:1]):
        raise ValueError(
            f"{name} has shape {shape}; want one number, or one for each task of theta "
            f"{theta.shape}"
        )
    return value


def _like(array: Any, shape: tuple[int, ...], theta: Array, name: str) -> Array:
    if not isinstance(array, np.ndarray) or array.shape != shape:
        raise ValueError(
            f"{name} is {type(array).__name__} of shape {np.shape(array)}; want an array {shape}: "
            "as many numbers as theta, behind the axis of the values if they have one"
        )
    if array.dtype != theta.dtype:
        raise TypeError(f"{name} has dtype {array.dtype}; want theta's {theta.dtype}")
    return array
