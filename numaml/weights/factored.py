"""Weights ``W + Σ UᵀV``, multiplied out only where that pays, and vectors made of them.

A step along the gradient of an affine layer adds hᵀc to its weight, a matrix whose rank is at most
the number of examples. Adapted weights and adjoints are kept as such sums. The passes and the two
loops ask of a weight four things, and a NumPy array has them all: ``h @ W`` going forward and
``c @ W.mT`` going backward, ``W - alpha * G`` for a step, and ``W.mean(0)`` over the tasks at the
end. Derived in ``derivations/6-fast-weights.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from .choice import layered, pays
from .nothing import NOTHING, for_all
from .products import STACKED, product, row_sum, turned
from .theta import Array, Shapes, pack, unpack

Pair = tuple[Array, Array]
# A layer's gradient before it is multiplied out: W's part is the sum of hᵀc over the pairs (h, c),
# b's part is 1ᵀδ.
Outer = tuple[list[Pair], Array]


class Factored:
    """``base + Σ UᵀV``: base (n_in, n_out) shared by all tasks, (T, n_in, n_out), or None for 0."""

    __array_ufunc__ = None  # so that h @ weight asks __rmatmul__

    def __init__(self, base: Array | None, pairs: Sequence[Pair] = ()) -> None:
        self.base, self.pairs = base, pairs

    def __rmul__(self, number: Any) -> Factored:
        base = None if self.base is None else number * self.base
        return Factored(base, [(U, number * V) for U, V in self.pairs])

    def __sub__(self, other: Factored) -> Factored:
        # What was multiplied out stays so.
        base, pairs = self.__dict__.get("settled", (self.base, self.pairs))
        if pairs and other.pairs and self.pairs[-1][0] is other.pairs[0][0]:
            pairs = self.pairs  # stacked they are not known again
        pairs = list(pairs)
        for U, V in other.pairs:
            for i, (U_, V_) in enumerate(pairs):
                if U_ is U:  # the support inputs at every inner step
                    pairs[i] = U, V_ - V
                    break
            else:
                pairs.append((U, -V))
        return Factored(base if other.base is None else _plus(base, -other.base), pairs)

    def __rmatmul__(self, h: Array) -> Any:
        base, pairs = self.settled
        total = None if base is None else product(h, base)
        for U, V in pairs:
            term = (h @ U.mT) @ V  # (W1)
            total = term if total is None else total + term
        return total

    @property
    def mT(self) -> Factored:
        """The transpose: the factors change places."""
        base, pairs = self.settled
        transpose = Factored(None if base is None else turned(base), [(V, U) for U, V in pairs])
        transpose.settled = transpose.base, transpose.pairs  # what is chosen for W is for Wᵀ
        return transpose

    @cached_property
    def settled(self) -> tuple[Array | None, Sequence[Pair]]:
        """(base, pairs) that products go through; decided when the first is asked for."""
        if self.pairs:
            U, V = self.pairs[0]
            own = self.base is not None and self.base.ndim > 2  # its factors did not pay before
            if own or not pays(sum([U.shape[-2] for U, _ in self.pairs]), U.shape[-1], V.shape[-1]):
                return self.multiplied_out(), ()
            if len(self.pairs) > 1 and U.shape[-1] + V.shape[-1] <= STACKED:
                return self.base, [_stacked(self.pairs, -2)]
        return self.base, self.pairs

    def multiplied_out(self) -> Any:
        """The matrix, or matrices."""
        total = self.base
        for U, V in self.pairs:
            total = _plus(total, U.mT @ V)
        return total

    def mean(self, axis: int) -> Any:
        """Mean over the task axis; of the pairs as products over all tasks and examples."""
        total = None if self.base is None else np.add.reduce(self.base, axis) / len(self.base)
        pairs = [(U.reshape(-1, U.shape[-1]), V.reshape(-1, V.shape[-1])) for U, V in self.pairs]
        few = 1  # or three, or as many as have half the numbers of a matrix: copies may cost less
        for U, V in pairs[:1]:
            if pays(len(U), U.shape[1], V.shape[1]):
                few = max(3, U.shape[1] * V.shape[1] // (2 * (U.size + V.size)))
        for i in range(0, len(pairs), few):
            U, V = _stacked(pairs[i : i + few], 0) if few > 1 else pairs[i]
            total = _plus(total, U.T @ (V / len(self.pairs[0][1])))  # (W3)
        return total


class Layered:
    """A vector laid out as θ, layer by layer: θ itself, φ_k, a gradient, λ_k.

    It has what ``phi - alpha * g`` and the mean over tasks ask for; `numpy.asarray` makes a flat
    array of it.
    """

    __array_ufunc__ = None

    def __init__(self, layers: Sequence[tuple[Any, Array]]) -> None:
        self.layers = layers  # (W, b as a row (…, 1, n_out))

    def __rmul__(self, number: Any) -> Layered:
        return Layered([(number * W, number * b) for W, b in self.layers])

    def __sub__(self, other: Layered) -> Layered:
        if other is NOTHING:
            return self
        both = zip(self.layers, other.layers, strict=True)
        return Layered([(W - W_, b - b_) for (W, b), (W_, b_) in both])

    def __add__(self, other: Layered) -> Layered:
        return self - (-1) * other

    def mean(self, axis: int) -> Array:
        """Mean over the task axis, as a flat array."""
        return pack([(W.mean(axis), np.add.reduce(b, axis)[0] / len(b)) for W, b in self.layers])

    def flat(self) -> Array:
        """All of it as one array, the weights multiplied out."""
        return pack([(W.multiplied_out(), b.squeeze(-2)) for W, b in self.layers])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return pack(for_all([(W.multiplied_out(), b.squeeze(-2)) for W, b in self.layers]))


Vector = Array | Layered


def lift(theta: Array, shapes: Shapes, tasks: int, rank: int) -> Vector:
    """θ in the form that is fast to adapt; nothing is copied."""
    if theta.ndim > 1 or not layered(shapes, tasks, rank):
        return theta
    return Layered(layers_of(theta, shapes))


def layers_of(theta: Vector, shapes: Shapes) -> Sequence[tuple[Any, Array]]:
    """``[(W, b as a row (…, 1, n_out)), …]``."""
    if isinstance(theta, Layered):
        return theta.layers
    return [(Factored(W), b[..., None, :]) for W, b in unpack(theta, shapes)]


def gradient(outers: Sequence[Outer], theta: Vector) -> Vector:
    """The vector whose layers are Σ hᵀc and 1ᵀδ, in θ's form."""
    layers = []
    for pairs, delta in outers:
        there = pairs[:-1] if pairs[-1][0] is NOTHING else pairs
        layers.append((Factored(None, there), row_sum(delta)))
    return Layered(layers) if isinstance(theta, Layered) else Layered(layers).flat()


def _plus(total: Any, term: Any) -> Any:
    """``total + term``, None being 0."""
    return term if total is None else total + term


def _stacked(pairs: Sequence[Pair], axis: int) -> Pair:
    """One pair whose rows are those of all."""
    U, V = zip(*pairs, strict=True)
    return np.concatenate(U, axis), np.concatenate(V, axis)
