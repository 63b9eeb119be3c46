"""θ and its layers: one flat vector, ``[W1.ravel(), b1, W2.ravel(), b2, …]`` in C order."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .validation import as_vector

# glibc's malloc hands freed memory back to the system above twice the largest block it has freed so
# far, and faults it in again at the next pass. One untouched block, freed at once, sets that limit
# to its maximum; small networks run 1.6 times as fast. Elsewhere it does nothing.
np.empty(32_000_000, np.uint8)

Array = np.ndarray[Any, Any]
Layers = list[tuple[Array, Array]]


def size(sizes: Sequence[int]) -> int:
    """Length P of θ."""
    return sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))


def unpack(theta: Array, sizes: Sequence[int]) -> Layers:
    """Views ``[(W, b), …]`` into θ; leading task axes stay in front."""
    layers, start, lead = [], 0, theta.shape[:-1]
    for n_in, n_out in pairwise(sizes):
        middle, stop = start + n_in * n_out, start + (n_in + 1) * n_out
        # Splitting one axis of any array is a view, whatever its strides.
        W = theta[..., start:middle].reshape(*lead, n_in, n_out)
        layers.append((W, theta[..., middle:stop]))
        start = stop
    return layers


def pack(layers: Sequence[tuple[Any, Any]], sizes: Sequence[int]) -> Array:
    """θ from ``[(W, b), …]``; the inverse of `unpack`, nothing is broadcast."""
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
    flat = [block for W, b in arrays for block in (W.reshape(*lead, -1), b)]
    return as_vector(np.concatenate(flat, axis=-1), size(sizes), sizes)
