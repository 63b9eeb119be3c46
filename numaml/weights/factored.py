"""Weights ``W + Σ UᵀV``, multiplied out only where that pays, and vectors made of them.

A step along the gradient of an affine layer adds hᵀc to its weight, a matrix whose rank is at most
the number of examples. Adapted weights and adjoints are kept as such sums, for the passes ask of a
weight only what `Weight` says. Derived in ``derivations/6-fast-weights.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, reduce
from itertools import pairwise
from operator import add
from typing import Any, Protocol

import numpy as np

from .products import STACKED, product, row_sum, turned
from .theta import Array, pack, unpack

Pair = tuple[Array, Array]
# A layer's gradient before it is multiplied out: W's part is the sum of hᵀc over the pairs (h, c),
# b's part is 1ᵀδ.
Outer = tuple[list[Pair], Array]


class Weight(Protocol):
    """What the passes and the two loops ask of a weight; a NumPy array has it all.

    ``h @ W`` going forward, ``c @ W.mT`` going backward; ``W - alpha * G`` for a step, G being a
    gradient; ``W.mean(0)`` over the task axis at the end.
    """

    @property
    def mT(self) -> Any: ...

    def __rmatmul__(self, h: Any, /) -> Any: ...

    def __rmul__(self, number: Any, /) -> Any: ...

    def __sub__(self, other: Any, /) -> Any: ...

    def mean(self, axis: Any, /) -> Any: ...


# Where a layer's matrices of all tasks hold no more numbers than this, factors save less than their
# handling costs.
FEW = 2**15


def pays(rank: int, n_in: int, n_out: int) -> bool:
    """Whether a product through r-row factors is cheaper than through the matrix itself (W2)."""
    return rank * (n_in + n_out) < n_in * n_out  # (W2)


def layered(sizes: Sequence[int], tasks: int, rank: int) -> bool:
    """Whether vectors are kept layer by layer, or as flat arrays: then no factors pay anywhere."""
    return any(tasks * i * o > FEW and pays(rank, i, o) for i, o in pairwise(sizes))


def forms(sizes: Sequence[int], tasks: int, n: int, steps: int) -> list[list[str]]:
    """Of every layer the form of its weight in φ_0, …, φ_K; `numaml.engine.plan` has the words."""
    if not layered(sizes, tasks, n):
        return [["flat"] * (steps + 1) for _ in sizes[1:]]
    found = []
    for number, (n_in, n_out) in enumerate(pairwise(sizes)):
        # The first layer's inputs, x, are the same at every step.
        ranks = [n if number == 0 else k * n for k in range(1, steps + 1)]
        pay = ["factored" if pays(rank, n_in, n_out) else "multiplied out" for rank in ranks]
        found.append(["shared", *pay])
    return found


class Factored:
    """``base + Σ UᵀV``: base (n_in, n_out) shared by all tasks, (T, n_in, n_out), or None for 0."""

    __array_ufunc__ = None  # so that h @ weight asks __rmatmul__

    def __init__(self, base: Array | None, pairs: Sequence[Pair] = ()) -> None:
        self.base, self.pairs = base, list(pairs)

    def __rmul__(self, number: Any) -> Factored:
        base = None if self.base is None else number * self.base
        return Factored(base, [(U, number * V) for U, V in self.pairs])

    def __sub__(self, other: Factored) -> Factored:
        mine = self.__dict__.get("settled", self)  # what was multiplied out stays so
        base, pairs = mine.base, mine.pairs.copy()
        if other.base is not None:
            base = -other.base if base is None else base - other.base
        for U, V in other.pairs:
            same = [i for i, (U_, _) in enumerate(pairs) if U_ is U]  # x at every inner step
            if same:
                pairs[same[0]] = U, pairs[same[0]][1] - V
            else:
                pairs.append((U, -V))
        return Factored(base, pairs)

    def __rmatmul__(self, h: Array) -> Any:
        W = self.settled
        base = None if W.base is None else product(h, W.base)
        return _sum([base, *((h @ U.mT) @ V for U, V in W.pairs)])  # (W1)

    @property
    def mT(self) -> Factored:
        """The transpose: the factors change places."""
        W = self.settled
        base = None if W.base is None else turned(W.base)
        transpose = Factored(base, [(V, U) for U, V in W.pairs])
        transpose.settled = transpose  # what is chosen for W is chosen for Wᵀ
        return transpose

    @cached_property
    def settled(self) -> Factored:
        """The form that products go through; decided when the first is asked for."""
        if not self.pairs:
            return self
        (U, V), own = self.pairs[0], self.base is not None and self.base.ndim > 2
        width = U.shape[-1], V.shape[-1]
        if own or not pays(sum(U.shape[-2] for U, _ in self.pairs), *width):
            return Factored(self.multiplied_out())  # and so are all that come of it: their own
        if len(self.pairs) > 1 and sum(width) <= STACKED:
            return Factored(self.base, [_stacked(self.pairs, -2)])
        return self

    def multiplied_out(self) -> Any:
        """The matrix, or matrices."""
        return _sum([self.base, *(U.mT @ V for U, V in self.pairs)])

    def mean(self, axis: int) -> Any:
        """Mean over the task axis, of the pairs in products over all tasks and examples."""
        base = None if self.base is None else mean(self.base, axis)
        pairs = [(_rows(U), _rows(V) / len(V)) for U, V in self.pairs]
        if pairs and pays(len(pairs[0][0]), *(M.shape[1] for M in pairs[0])):
            pairs = [_stacked(pairs, 0)]  # copies cost less than sums of matrices
        return _sum([base, *(U.T @ V for U, V in pairs)])  # (W3)


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
        both = zip(self.layers, other.layers, strict=True)
        return Layered([(W - W_, b - b_) for (W, b), (W_, b_) in both])

    def mean(self, axis: int) -> Array:
        """Mean over the task axis, as a flat array."""
        return pack([(W.mean(axis), mean(b, axis)[0]) for W, b in self.layers])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return pack([(W.multiplied_out(), b.squeeze(-2)) for W, b in self.layers])


Vector = Array | Layered


def lift(theta: Array, sizes: tuple[int, ...], tasks: int, rank: int) -> Vector:
    """θ in the form that is fast to adapt; nothing is copied."""
    if theta.ndim > 1 or not layered(sizes, tasks, rank):
        return theta
    return Layered([(Factored(W), b[None]) for W, b in unpack(theta, sizes)])


def layers_of(theta: Vector, sizes: tuple[int, ...]) -> Sequence[tuple[Any, Array]]:
    """``[(W, b as a row (…, 1, n_out)), …]``."""
    if isinstance(theta, Layered):
        return theta.layers
    return [(W, b[..., None, :]) for W, b in unpack(theta, sizes)]


def gradient(outers: Sequence[Outer], theta: Vector) -> Vector:
    """The vector whose layers are Σ hᵀc and 1ᵀδ, in θ's form."""
    if isinstance(theta, Layered):
        return Layered([(Factored(None, pairs), row_sum(delta)) for pairs, delta in outers])
    blocks = [(_sum([U.mT @ V for U, V in pairs]), row_sum(delta)) for pairs, delta in outers]
    return pack([(W, b[..., 0, :]) for W, b in blocks])


def mean(a: Array, axis: int) -> Array:
    """The mean along an axis."""
    return np.add.reduce(a, axis) / a.shape[axis]


def _sum(terms: Sequence[Any]) -> Any:
    """The sum of those that are there; None if none is."""
    there = [term for term in terms if term is not None]
    return reduce(add, there) if there else None


def _stacked(pairs: Sequence[Pair], axis: int) -> Pair:
    """One pair whose rows are those of all."""
    U, V = (np.concatenate(Ms, axis) for Ms in zip(*pairs, strict=True))
    return U, V


def _rows(a: Array) -> Array:
    """The rows of all tasks below one another."""
    return a.reshape(-1, a.shape[-1])
