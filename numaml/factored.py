"""Weights ``W + UᵀV`` that are never multiplied out, and vectors made of them.

A step along the gradient of an affine layer adds hᵀδ to its weight, a matrix whose rank is at
most the number of examples. Adapted weights and adjoints are kept as such sums, and the passes ask
of them only ``h @ W`` and ``delta @ W.mT``. Derived in ``derivations/5-factored.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .params import Array, Layers, Outer, size, unpack

Pair = tuple[Array, Array]


def pays(rank: int, n_in: int, n_out: int) -> bool:
    """Whether a product through r-row factors is cheaper than through the matrix itself (W2)."""
    return rank * (n_in + n_out) < n_in * n_out  # (W2)


class Weight:
    """``base + Σ UᵀV``: base (n_in, n_out) shared by all tasks, (T, n_in, n_out), or None for 0."""

    __array_ufunc__ = None  # so that h @ weight asks __rmatmul__
    __slots__ = ("base", "pairs", "stack")

    def __init__(self, base: Array | None, pairs: list[Pair], stack: Pair | None = None) -> None:
        self.base, self.pairs, self.stack = base, pairs, stack

    def __sub__(self, other: Weight) -> Weight:
        base = self.base if other.base is None else _plus(self.base, -other.base)
        pairs = list(self.pairs)
        for U, V in other.pairs:
            known = [i for i, (mine, _) in enumerate(pairs) if mine is U]
            if known:  # the same rows again, e.g. the support inputs at every inner step
                pairs[known[0]] = (U, pairs[known[0]][1] - V)
            else:
                pairs.append((U, -V))
        return Weight(base, pairs)

    def __rmul__(self, number: Any) -> Weight:
        base = None if self.base is None else number * self.base
        return Weight(base, [(U, number * V) for U, V in self.pairs])

    def __rmatmul__(self, h: Array) -> Any:
        self._settle()
        product = None
        if self.base is not None:
            product = _product(h, self.base)
        if self.stack is not None:
            U, V = self.stack
            product = _plus(product, (h @ U.mT) @ V)  # (W1)
        return product

    @property
    def mT(self) -> Weight:
        self._settle()
        base = None if self.base is None else self.base.mT
        stack = None if self.stack is None else (self.stack[1], self.stack[0])
        return Weight(base, [], stack)

    def _settle(self) -> None:
        """Before the first product: stack the factors, or multiply them out where that pays."""
        if not self.pairs:
            return
        n_in, n_out = self.pairs[0][0].shape[-1], self.pairs[0][1].shape[-1]
        own = self.base is not None and self.base.ndim > 2  # multiplied out at an earlier step
        if not own and pays(sum(U.shape[-2] for U, _ in self.pairs), n_in, n_out):
            if self.stack is None:
                self.stack = _stacked(self.pairs)
        else:
            self.base, self.pairs = self.multiplied_out(), []

    def multiplied_out(self) -> Any:
        """The matrix, or matrices."""
        total = self.base
        for U, V in self.pairs:
            total = _plus(total, U.mT @ V)
        return total

    def summed_over_tasks(self) -> Any:
        """Sum over the task axis: one product over all tasks, steps and examples (W3)."""
        total = None if self.base is None else self.base.sum(axis=0)
        if self.pairs:
            U, V = _stacked(self.pairs)
            flat_U, flat_V = U.reshape(-1, U.shape[-1]), V.reshape(-1, V.shape[-1])
            total = _plus(total, flat_U.T @ flat_V)  # (W3)
        return total


class Vector:
    """A vector laid out as θ whose weights are `Weight`: θ itself, φ_k, a gradient, λ_k.

    It has what ``phi - alpha * g`` and the mean over tasks ask for, and becomes a flat array by
    ``numpy.asarray``.
    """

    __array_ufunc__ = None
    __slots__ = ("layers",)

    def __init__(self, layers: list[tuple[Weight, Array]]) -> None:
        self.layers = layers  # [(weight, b as a row (…, 1, n_out)), …]

    @classmethod
    def lift(cls, layers: Layers) -> Vector:
        """The vector of unpacked layers; nothing is copied."""
        return cls([(Weight(W, []), b[..., None, :]) for W, b in layers])

    @classmethod
    def of(cls, outers: Iterable[Outer]) -> Vector:
        """The gradient whose layers are Σ hᵀδ and 1ᵀδ."""
        return cls([(Weight(None, pairs), _ones(delta) @ delta) for pairs, delta in outers])

    def __sub__(self, other: Vector) -> Vector:
        both = zip(self.layers, other.layers, strict=True)
        return Vector([(W - W_, b - b_) for (W, b), (W_, b_) in both])

    def __rmul__(self, number: Any) -> Vector:
        return Vector([(number * W, number * b) for W, b in self.layers])

    def __len__(self) -> int:
        return len(self.layers[-1][1])

    def sum(self, axis: int) -> Array:
        """Sum over the task axis, as a flat array."""
        return _flat([(W.summed_over_tasks(), b.sum(axis=axis)) for W, b in self.layers])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        flat = _flat([(W.multiplied_out(), b) for W, b in self.layers])
        return flat if dtype is None else flat.astype(dtype)


def _flat(layers: Layers) -> Array:
    """θ's layout from matrices (…, n_in, n_out) and rows (…, 1, n_out)."""
    sizes = [layers[0][0].shape[-2], *(W.shape[-1] for W, _ in layers)]
    lead = np.broadcast_shapes(*(block.shape[:-2] for layer in layers for block in layer))
    vector = np.empty((*lead, size(sizes)), layers[-1][1].dtype)
    for (W, b), (W_, b_) in zip(unpack(vector, sizes), layers, strict=True):
        W[...] = W_
        b[...] = b_[..., 0, :]
    return vector


def _ones(delta: Array) -> Array:
    return np.ones((1, delta.shape[-2]), delta.dtype)


def _plus(a: Any, b: Any) -> Any:
    return b if a is None else a + b


def _stacked(pairs: Sequence[Pair]) -> Pair:
    if len(pairs) == 1:
        return pairs[0]
    U, V = zip(*pairs, strict=True)
    return np.concatenate(U, axis=-2), np.concatenate(V, axis=-2)


def _product(h: Array, W: Array) -> Array:
    """``h @ W``; as one large product where all tasks share W."""
    if h.shape[-1] == 1:
        return h * W  # an outer product, which NumPy does faster as such
    if W.ndim > 2 or h.ndim == 2:
        return h @ W
    return (h.reshape(-1, h.shape[-1]) @ W).reshape(*h.shape[:-1], W.shape[-1])
