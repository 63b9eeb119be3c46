"""Weights ``W + UᵀV`` that are never multiplied out, and vectors made of them.

A step along the gradient of an affine layer adds hᵀδ to its weight, a matrix whose rank is at
most the number of examples. Adapted weights and adjoints are kept as such sums, and the passes ask
of them only ``h @ W`` and ``delta @ W.mT``. Derived in ``derivations/5-factored.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .theta import Array, size, unpack

Pair = tuple[Array, Array]
# A layer's gradient before it is multiplied out: W's part is the sum of hᵀc over the pairs (h, c),
# b's part is 1ᵀδ.
Outer = tuple[list[Pair], Array]
Known = dict[tuple[int, int], tuple[Array, Array, Array]]


def pays(rank: int, n_in: int, n_out: int) -> bool:
    """Whether a product through r-row factors is cheaper than through the matrix itself (W2)."""
    return rank * (n_in + n_out) < n_in * n_out  # (W2)


# Where a layer's matrices of all tasks hold no more numbers than this, factors save less than their
# handling costs in Python.
FEW = 2**15


@cache
def _anywhere(
    rule: Callable[..., bool], few: int, rank: int, sizes: tuple[int, ...], tasks: int
) -> bool:
    """Whether factors pay in any layer; remembered by all it depends on: it is asked every step."""
    return any(
        tasks * n_in * n_out > few and rule(rank, n_in, n_out) for n_in, n_out in pairwise(sizes)
    )


# Factors are stacked into one pair only up to this n_in + n_out: above it, copying them costs what
# fewer products save, and memory.
STACKED = 512


# Up to this many numbers Wᵀ is copied once: OpenBLAS multiplies small matrices two to five times as
# slowly by a transposed one, at every step.
TURNED = 2**14

# Of a matrix with fewer columns than this OpenBLAS is slow to multiply by the transpose.
NARROW = 32


class Weight:
    """``base + Σ UᵀV``: base (n_in, n_out) shared by all tasks, (T, n_in, n_out), or None for 0.

    ``known`` keeps the first layer's products with the inputs, the same at every step, and
    ``turned`` is a copy of baseᵀ where that is faster to multiply by.
    """

    __array_ufunc__ = None  # so that h @ weight asks __rmatmul__
    __slots__ = ("base", "known", "pairs", "settled", "turned")

    def __init__(
        self,
        base: Array | None,
        pairs: Sequence[Pair] = (),
        known: Known | None = None,
        turned: Array | None = None,
    ) -> None:
        self.base, self.pairs, self.known, self.turned = base, pairs, known, turned
        self.settled = not pairs

    @classmethod
    def shared(cls, W: Array, known: Known | None) -> Weight:
        """A weight of θ; of the first layer, whose transpose nobody asks for, with ``known``."""
        turn = known is None and W.ndim == 2 and W.size <= TURNED
        return cls(W, known=known, turned=np.ascontiguousarray(W.T) if turn else None)

    def minus(self, number: Any, other: Weight) -> Weight:
        """``self − number · other``."""
        base, known, turned = self.base, self.known, self.turned
        if other.base is not None:
            base, known, turned = _sum(base, -number * other.base), None, None
        pairs = list(self.pairs)
        for U, V in other.pairs:
            for i, (mine, V_) in enumerate(pairs):
                if mine is U:  # the same rows again, e.g. the support inputs at every inner step
                    pairs[i] = (U, V_ - number * V)
                    break
            else:
                pairs.append((U, -number * V))
        return Weight(base, pairs, known, turned)

    def __rmatmul__(self, h: Array) -> Any:
        self._settle()
        product = None if self.base is None else self._once(h, self.base, _product)
        for U, V in self.pairs:
            product = _sum(product, self._once(h, U, _gram) @ V)  # (W1)
        return product

    @property
    def mT(self) -> Weight:
        self._settle()
        return self._transposed()

    def _transposed(self) -> Weight:
        base = self.turned
        if base is None and self.base is not None:
            base = self.base.mT
        transpose = Weight(base, [(V, U) for U, V in self.pairs])
        transpose.settled = True
        return transpose

    def _once(self, h: Array, M: Array, product: Callable[[Array, Array], Array]) -> Array:
        known = self.known
        if known is None:
            return product(h, M)
        key, swapped = (id(h), id(M)), (id(M), id(h))
        if swapped in known:  # h Uᵀ is (U hᵀ)ᵀ; a base is never on the left
            return known[swapped][2].mT
        if key not in known:
            known[key] = h, M, product(h, M)  # with h and M, so that their ids stay theirs
        return known[key][2]

    def _settle(self) -> None:
        """Before the first product: stack the factors, or multiply them out where that pays."""
        if self.settled:
            return
        self.settled = True
        own = self.base is not None and self.base.ndim > 2  # its factors were multiplied out before
        (U, V), *_ = self.pairs
        n_in, n_out = U.shape[-1], V.shape[-1]
        if own or not pays(sum(U.shape[-2] for U, _ in self.pairs), n_in, n_out):
            self.base, self.pairs = self.multiplied_out(), ()
            self.known = self.turned = None  # another matrix at every step
        elif self.known is None and self.pairs[1:] and n_in + n_out <= STACKED:
            self.pairs = [_stacked(self.pairs)]

    def multiplied_out(self) -> Any:
        """The matrix, or matrices; in memory a narrow one lies column by column."""
        total = self.base
        if self.pairs and self.pairs[0][1].shape[-1] < NARROW <= self.pairs[0][0].shape[-1]:
            return self._transposed().multiplied_out().mT
        for U, V in self.pairs:
            total = _sum(total, U.mT @ V)
        return total

    def sum_over_tasks(self, out: Array) -> None:
        """Sum over the task axis, each pair in one product over all tasks and examples."""
        if self.base is not None:
            np.add.reduce(self.base, out=out)
        for i, (U, V) in enumerate(_few(self.pairs)):
            if i or self.base is not None:
                out += U.T @ V  # (W3)
            else:
                np.matmul(U.T, V, out=out)


Weights = list[tuple[Weight, Array]]


class Multiple(NamedTuple):
    """``number · vector``, taken when it is subtracted: one pass fewer."""

    number: Any
    vector: Vector


class Vector:
    """A vector laid out as θ: θ itself, φ_k, a gradient, λ_k; by ``numpy.asarray`` a flat array.

    Its weights are `Weight`. Where no layer's factors pay it is ``flat``, one array. It has what
    ``phi - alpha * g`` and the mean over tasks ask for.
    """

    __array_ufunc__ = None
    __slots__ = ("_layers", "flat", "known", "sizes")

    def __init__(
        self,
        sizes: tuple[int, ...],
        layers: Any = None,
        flat: Any = None,
        known: Known | None = None,
    ) -> None:
        self.sizes, self._layers, self.flat, self.known = sizes, layers, flat, known

    @classmethod
    def lift(cls, flat: Array, sizes: tuple[int, ...], tasks: int) -> Vector:
        """θ as a vector, nothing copied; its kin keep the products with the inputs together."""
        if not _anywhere(pays, FEW, 0, sizes, tasks):
            return cls(sizes, flat=flat)
        known: Known = {}
        layers = [
            (Weight.shared(W, None if l else known), b[..., None, :])
            for l, (W, b) in enumerate(unpack(flat, sizes))
        ]
        return cls(sizes, layers, flat, known)

    @classmethod
    def of(cls, outers: Sequence[Outer], sizes: tuple[int, ...], known: Known | None) -> Vector:
        """The gradient whose layers are Σ hᵀδ and 1ᵀδ; ``known`` is the first layer's."""
        delta = outers[0][1]
        ones = _ones(delta.shape[-2], delta.dtype)
        if _anywhere(pays, FEW, delta.shape[-2], sizes, tasks_of(delta)):
            layers = [(Weight(None, pairs), ones @ delta) for pairs, delta in outers]
            layers[0][0].known = known
            return cls(sizes, layers, known=known)
        flat = np.empty((*delta.shape[:-2], size(sizes)), delta.dtype)
        for (W, b), (pairs, delta) in zip(unpack(flat, sizes), outers, strict=True):
            for i, (U, V) in enumerate(pairs):
                if i:
                    W += U.mT @ V
                else:
                    np.matmul(U.mT, V, out=W)
            np.matmul(ones, delta, out=b[..., None, :])
        return cls(sizes, flat=flat, known=known)

    @property
    def layers(self) -> Any:
        """``[(W, b as a row (…, 1, n_out)), …]``, each W a `Weight`, or an array where flat."""
        if self._layers is None:
            self._layers = [(W, b[..., None, :]) for W, b in unpack(self.flat, self.sizes)]
        return self._layers

    def __rmul__(self, number: Any) -> Multiple:
        return Multiple(number, self)

    def __sub__(self, other: Multiple) -> Vector:
        number, vector = other
        if self.flat is not None and vector.flat is not None:
            step = number * vector.flat
            flat = np.subtract(self.flat, step, out=step)
            return Vector(self.sizes, flat=flat, known=self.known)
        both = zip(self.layers, vector.layers, strict=True)
        layers = [
            (_weight(W).minus(number, _weight(W_)), b - number * b_) for (W, b), (W_, b_) in both
        ]
        return Vector(self.sizes, layers, known=self.known)

    def mean(self, axis: int) -> Array:
        """Mean over the task axis, as a flat array."""
        if self.flat is not None:
            return np.add.reduce(self.flat, axis) / len(self.flat)
        (_, b), *_ = self.layers
        total = np.empty(size(self.sizes), b.dtype)
        for (W, b), (W_, b_) in zip(unpack(total, self.sizes), self.layers, strict=True):
            W_.sum_over_tasks(W)
            np.add.reduce(b_, (axis, 1), out=b)
        return np.divide(total, len(b_), out=total)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if self.flat is not None:
            return self.flat
        (_, b), *_ = self.layers
        flat = np.empty((*b.shape[:-2], size(self.sizes)), b.dtype)
        for (W, b), (W_, b_) in zip(unpack(flat, self.sizes), self.layers, strict=True):
            W[...] = W_.multiplied_out()
            b[...] = b_.squeeze(-2)
        return flat


def _weight(W: Any) -> Weight:
    return W if isinstance(W, Weight) else Weight(W)


def _sum(total: Any, fresh: Any) -> Any:
    """``total + fresh``, a total of None being 0; in the memory of ``fresh``."""
    return fresh if total is None else plus(fresh, total)


def plus(a: Any, b: Any, spare: bool = True) -> Any:
    """``a + b``, in the memory of ``a`` if nobody asks for that again."""
    return np.add(a, b, out=a if spare else None)


def times(a: Any, b: Any, spare: bool = True) -> Any:
    """``a ∘ b``, in the memory of ``a`` if nobody asks for that again."""
    return np.multiply(a, b, out=a if spare else None)


def tasks_of(rows: Array) -> int:
    """The number of tasks whose rows these are."""
    return math.prod(rows.shape[:-2])


def _rows(a: Array) -> Array:
    """The rows of all tasks below one another."""
    return a.reshape(-1, a.shape[-1])


def _stacked(pairs: Sequence[Pair]) -> Pair:
    U, V = zip(*pairs, strict=True)
    return np.concatenate(U, axis=-2), np.concatenate(V, axis=-2)


def _few(pairs: Sequence[Pair]) -> Iterator[Pair]:
    """The pairs over the rows of all tasks, three in one where copies cost less than sums do."""
    pairs = [(_rows(U), _rows(V)) for U, V in pairs]
    copied = sum(U.size + V.size for U, V in pairs) * 3
    if len(pairs) < 2 or copied > 2 * sum(len(U.T) * len(V.T) for U, V in pairs):
        yield from pairs
    else:
        yield from (_stacked(pairs[i : i + 3]) for i in range(0, len(pairs), 3))


def _product(h: Array, W: Array) -> Array:
    """``h @ W``; where all tasks share W, in few products of many tasks each."""
    if h.shape[-1] == 1:
        return h * W  # an outer product, which NumPy does faster as such
    if W.ndim > 2 or h.ndim == 2:
        return h @ W
    tasks = _tasks_at_once(len(h), h.shape[-2] * W.size)
    rows = h.reshape(len(h) // tasks, tasks * h.shape[-2], h.shape[-1])
    return (rows @ W).reshape(*h.shape[:-1], *W.shape[1:])


@cache
def _ones(n: int, dtype: Any) -> Array:
    """A row of n ones, to sum rows with."""
    return np.ones((1, n), dtype)


@cache
def _tasks_at_once(tasks: int, each: int) -> int:
    """How many tasks of ``each`` multiplications to take into one product: a divisor of all.

    OpenBLAS starts threads above 2¹⁸ multiplications, which gains nothing below some 2²¹ and on a
    machine whose cores are busy costs a hundred times what the product does.
    """
    if 2**18 < tasks * each < 2**21:
        fitting = [n for n in range(1, tasks) if not tasks % n and n * each <= 2**18]
        return max(fitting, default=tasks)
    return tasks


def _gram(h: Array, U: Array) -> Array:
    return h @ U.mT
