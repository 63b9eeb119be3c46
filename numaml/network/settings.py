"""What a network is made of, and counts and names, checked in one place: got, wanted, fix."""

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..weights.scalars import as_count as as_count
from ..weights.scalars import as_real as as_real
from ..weights.scalars import is_integer as is_integer
from ..weights.theta import Shapes
from .activations import ACTIVATIONS
from .losses import LOSSES, OF_POLICIES
from .normalisation import NORMS

Array = np.ndarray[Any, Any]


def as_sizes(sizes: Any) -> tuple[int, ...]:
    """Widths of the layers as a tuple of Python integers."""
    if not isinstance(sizes, Iterable) or not all(map(is_integer, sizes := tuple(sizes))):
        raise TypeError(f"sizes is {sizes!r:.200}; want integers, e.g. (1, 40, 40, 1)")
    sizes = tuple(map(operator.index, sizes))
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes is {sizes}; want at least (n_in, n_out), each >= 1")
    return sizes


def as_image(image: Any) -> tuple[int, int, int]:
    """Height, width and channels of an image as Python integers."""
    image = _three("image", image, "(height, width, channels), e.g. (28, 28, 1)")
    if min(image) < 1:
        raise ValueError(f"image is {image}; want (height, width, channels), each >= 1")
    return image


def as_convolutions(layers: Any) -> tuple[tuple[int, int, int], ...]:
    """Filters, kernel and stride of every layer as Python integers."""
    wanted = "(filters, kernel, stride) of every layer, e.g. ((32, 3, 2), (32, 3, 2))"
    if not isinstance(layers, Sequence) or isinstance(layers, str) or not layers:
        raise TypeError(f"layers is {layers!r}; want {wanted}")
    layers = tuple(_three(f"layers[{l}]", one, wanted) for l, one in enumerate(layers))
    if min(map(min, layers)) < 1:
        raise ValueError(f"layers is {layers}; want {wanted}, each >= 1")
    return layers


def as_outputs(n_out: Any) -> int:
    """The number of outputs as a Python integer."""
    return as_count("n_out", n_out)


def _three(name: str, numbers: Any, wanted: str) -> tuple[int, int, int]:
    try:
        first, second, third = numbers
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {numbers!r:.200}; want {wanted}") from None
    if not all(map(is_integer, (first, second, third))):
        raise TypeError(f"{name} is {numbers!r:.200}; want {wanted}")
    return operator.index(first), operator.index(second), operator.index(third)


def check_names(activation: Any, loss: Any, norm: Any, n_out: int) -> None:
    """What is known of: an activation, a loss that takes so many outputs, and a normalisation."""
    check_activation(activation, ACTIVATIONS)
    check_name("loss", loss, LOSSES)
    check_name("norm", norm, NORMS)
    if loss in OF_POLICIES and n_out % 2:
        raise ValueError(
            f"a network of {n_out} outputs has the loss {loss!r}, which wants an even number: "
            "μ and ln σ of every coordinate"
        )


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


def as_layers(
    layers: Sequence[tuple[Any, Any]], shapes: Shapes, sizes: Sequence[int]
) -> list[tuple[Array, Array]]:
    """Pairs (W, b) of exactly the shapes of a network's layers, with the same axes in front."""
    if len(layers) != len(shapes):
        raise ValueError(
            f"got {len(layers)} layers; sizes={tuple(sizes)} need {len(shapes)} pairs (W, b)"
        )
    arrays = [(np.asarray(W), np.asarray(b)) for W, b in layers]
    lead = arrays[0][0].shape[:-2]
    for number, ((W, b), (n_in, n_out)) in enumerate(zip(arrays, shapes, strict=True), 1):
        for name, block, shape in (("W", W, (n_in, n_out)), ("b", b, (n_out,))):
            if block.shape != lead + shape:
                raise ValueError(
                    f"{name}{number} has shape {block.shape}; want exactly {lead + shape}: "
                    "reshape or transpose it yourself, blocks are never broadcast"
                )
    return arrays
