"""θ and its layers: one flat vector, ``[W1.ravel(), b1, W2.ravel(), b2, …]`` in C order."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Layers = list[tuple[Array, Array]]
Shapes = tuple[tuple[int, int], ...]  # (n_in, n_out) of every layer


@lru_cache(256)  # of networks, which files may name
def places(shapes: Shapes) -> list[tuple[int, int, int, tuple[int, int]]]:
    """Of every layer where W begins, where it ends and b begins, where b ends; and W's shape."""
    found, stop = [], 0
    for n_in, n_out in shapes:
        start, middle, stop = stop, stop + n_in * n_out, stop + (n_in + 1) * n_out
        found.append((start, middle, stop, (n_in, n_out)))
    return found


def size(shapes: Shapes) -> int:
    """Length P of θ."""
    return places(shapes)[-1][2]


def unpack(theta: Array, shapes: Shapes) -> Layers:
    """Views ``[(W, b), …]`` into θ; leading task axes stay in front."""
    lead = theta.shape[:-1]
    # Splitting one axis of any array is a view, whatever its strides.
    return [
        (theta[..., start:middle].reshape(lead + shape), theta[..., middle:stop])
        for start, middle, stop, shape in places(shapes)
    ]


def pack(layers: Sequence[tuple[Array, Array]]) -> Array:
    """θ from ``[(W, b), …]``; the inverse of `unpack`, nothing is broadcast."""
    flat = [block for W, b in layers for block in (W.reshape(*b.shape[:-1], -1), b)]
    return np.concatenate(flat, axis=-1)
