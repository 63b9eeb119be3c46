"""Bad input is refused here, before any work: every message says got, wanted, fix."""

import operator
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

DTYPES = tuple(np.dtype(name) for name in ("float32", "float64", "complex128", "object"))


def as_sizes(sizes: Any) -> tuple[int, ...]:
    """Widths of the layers as a tuple of Python integers."""
    try:
        sizes = tuple(operator.index(width) for width in sizes)
    except TypeError:
        raise TypeError(f"sizes is {sizes!r}; want integers, e.g. (1, 40, 40, 1)") from None
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes is {sizes}; want at least (n_in, n_out), each >= 1")
    return sizes


def check_name(what: str, got: Any, known: Iterable[Any]) -> None:
    """One of the known names."""
    if got not in tuple(known):
        raise ValueError(f"{what} is {got!r}; want one of {', '.join(map(repr, known))}")


def check_activation(activation: Any, known: Iterable[str]) -> None:
    """A known name, or callables (s, s′, s″), the last one possibly None."""
    if isinstance(activation, str):
        check_name("activation", activation, known)
        return
    ok = isinstance(activation, tuple) and len(activation) == 3
    if not ok or not all(map(callable, activation[: 2 + (activation[2] is not None)])):
        raise TypeError(
            f"activation is {activation!r}; want one of {', '.join(map(repr, known))}, or a tuple "
            "of callables (s, s′, s″)"
        )


def check_inexact(dtype: Any) -> None:
    """A dtype for random numbers."""
    if np.dtype(dtype) not in (np.float32, np.float64, np.complex128):
        raise TypeError(f"dtype is {dtype!r}; want float32, float64 or complex128")


def as_vector(vector: Any, length: int, sizes: Sequence[int], name: str = "theta") -> Array:
    """An array with a dtype the core knows, and ``length`` numbers along the last axis."""
    vector = np.asarray(vector)
    if vector.dtype not in DTYPES:
        raise TypeError(
            f"{name} has dtype {vector.dtype}; want float32, float64, complex128 or object: "
            f"convert it, e.g. {name}.astype(float)"
        )
    if vector.shape[-1:] != (length,):
        raise ValueError(f"{name} has shape {vector.shape}; sizes={tuple(sizes)} need ({length},)")
    return vector


def as_layers(layers: Sequence[tuple[Any, Any]], sizes: Sequence[int]) -> list[tuple[Array, Array]]:
    """Pairs (W, b) of exactly the shapes of a network's layers, with the same axes in front."""
    if len(layers) != len(sizes) - 1:
        raise ValueError(
            f"got {len(layers)} layers; sizes={tuple(sizes)} need {len(sizes) - 1} pairs (W, b)"
        )
    arrays = [(np.asarray(W), np.asarray(b)) for W, b in layers]
    lead = arrays[0][0].shape[:-2]
    for number, ((W, b), (n_in, n_out)) in enumerate(zip(arrays, pairwise(sizes), strict=True), 1):
        for name, block, shape in (("W", W, (n_in, n_out)), ("b", b, (n_out,))):
            if block.shape != lead + shape:
                raise ValueError(
                    f"{name}{number} has shape {block.shape}; want exactly {lead + shape}: "
                    "reshape or transpose it yourself, blocks are never broadcast"
                )
    return arrays


def as_dtype(array: Any, dtype: np.dtype[Any], name: str) -> Array:
    """``array`` in θ's dtype if that loses no kind of number (complex, exact), else an error."""
    array = np.asarray(array)
    if array.dtype == dtype:
        return array
    exact = not dtype.hasobject or array.dtype.kind in "iu"
    if not (exact and np.can_cast(array.dtype, dtype, "same_kind")):
        raise TypeError(
            f"{name} has dtype {array.dtype} and theta {dtype}; want {name} to fit into theta's "
            "dtype: convert one of them with .astype"
        )
    return array.astype(dtype)


class Rows(NamedTuple):
    """A batch that has been checked, in θ's dtype."""

    x: Array
    y: Array


def as_rows(batch: Any, theta: Array, model: Any) -> Rows:
    """A batch whose shapes, dtypes and classes fit θ and the network."""
    if model.norm and theta.dtype.hasobject:
        raise TypeError(
            f"theta has dtype object and norm is {model.norm!r}; want floating-point theta: the "
            "square root in a normalisation has no exact value"
        )
    x = as_inputs(batch.x, theta, model.sizes)
    return Rows(x, as_targets(batch.y, x, model.sizes, model.loss))


def as_inputs(x: Any, theta: Array, sizes: Sequence[int]) -> Array:
    """x (…, n, n_in) in θ's dtype, with the task axes of θ or its own."""
    x = as_dtype(x, theta.dtype, "x")
    if x.ndim < 2 or x.shape[-1] != sizes[0]:
        raise ValueError(
            f"x has shape {x.shape}; sizes={sizes} need (…, n, {sizes[0]}): rows are examples, "
            "columns features"
        )
    lead = theta.shape[:-1]
    if x.ndim == 2 and lead:
        return np.broadcast_to(x, lead + x.shape)
    if lead not in ((), x.shape[:-2]):
        raise ValueError(
            f"theta has shape {theta.shape} and x {x.shape}; want the same task axes in front of "
            "both, or none in front of one"
        )
    return x


def as_targets(y: Any, x: Array, sizes: Sequence[int], loss: str) -> Array:
    """y as the loss wants it, with the task axes of x."""
    if loss == "cross_entropy":
        y, shape = _as_classes(y, sizes), x.shape[:-1]
    else:
        y, shape = as_dtype(y, x.dtype, "y"), (*x.shape[:-1], sizes[-1])
    if y.shape == shape:
        return y
    if y.shape != shape[x.ndim - 2 :]:
        raise ValueError(
            f"y has shape {y.shape}; {loss} with x {x.shape} and sizes={sizes} needs {shape}"
        )
    return np.broadcast_to(y, shape)


def _as_classes(y: Any, sizes: Sequence[int]) -> Array:
    y = np.asarray(y)
    if y.dtype.kind not in "iu":
        raise TypeError(f"y has dtype {y.dtype}; cross_entropy wants integer classes")
    if y.min() < 0 or y.max() >= sizes[-1]:
        raise ValueError(
            f"y has classes {y.min()} to {y.max()}; sizes={sizes} need 0 to {sizes[-1] - 1}"
        )
    return y


def as_direction(v: Any, theta: Array, lead: tuple[int, ...], sizes: Sequence[int]) -> Array:
    """v for a Hessian-vector product: like θ, one row per task."""
    length = theta.shape[-1]
    v = as_vector(as_dtype(v, theta.dtype, "v"), length, sizes, "v")
    if not lead or v.shape[:-1] == lead:
        return v
    if v.ndim > 1:
        raise ValueError(f"v has shape {v.shape}; want ({length},) or {(*lead, length)}")
    return np.broadcast_to(v, (*lead, length))
