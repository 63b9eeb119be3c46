"""A lower limit of the meta-gradient's time: its matrix products alone.

Nothing but ``np.matmul`` into arrays that exist already: no activations, losses, biases, updates or
memory to be found. The list holds what the mathematics asks for, in numaml's letters, per layer:

    inner steps    h_k W_k, and δ_k W_kᵀ above the first layer                       k = 0 … K−1
    query          h W_K, and δ W_Kᵀ above the first layer
    products H_k λ h_k Ẇ, ḣ_k W_k, δ_k Ẇᵀ, δ̇_k W_kᵀ; in the first layer h_k Ẇ alone  k = K−1 … 0
    the end        the sum over tasks of the pairs h_kᵀ δ̇_k + ḣ_kᵀ δ_k and hᵀ δ of the query

in whichever of two forms is faster at that layer. *Factored*, W_k = W − α Σ_{j<k} h_jᵀ δ_j: the
product with W is one for all tasks, the rest goes through n × n products h_k h_jᵀ. *Dense*: one
matrix per task for W_k (k > 0) and for λ, to be made by products of their own. A product of the
same two matrices is counted once, however often the formulas ask for it: x W_1 and x xᵀ, the same
at every inner step, and h_k h_jᵀ, ḣ_k h_jᵀ, δ_k δ_jᵀ, δ̇_k δ_jᵀ, which serve both j and k.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .peers import Configuration


class Product(NamedTuple):
    """``times`` products (rows, inner) @ (inner, columns), one operand perhaps a transpose."""

    times: int
    rows: int
    inner: int
    columns: int
    transposed: str = ""  # "left" or "right"


def factored(c: Configuration, n_in: int, n_out: int, first: bool) -> list[Product]:
    """Products of one layer with weights W + UᵀV that are not multiplied out."""
    T, n, m, K = c.tasks, c.support, c.query, c.steps
    found = []

    def times_weight(rows: int, rank: int, news: int, i: int, o: int, W: str = "") -> None:
        found.append(Product(1, T * rows, i, o, W))
        found.append(Product(T, rows, i, news, "right"))  # with the factors not met before
        found.append(Product(T, rows, rank, o))

    directions = [(n_in, n_out, "")] + [(n_out, n_in, "right")] * (not first)
    for i, o, W in directions:
        for k in range(K):
            if not first:
                times_weight(n, n * k, n * k, i, o, W)  # h_k W_k, δ_k W_kᵀ
                times_weight(n, n * k, n * k, i, o, W)  # ḣ_k W_k, δ̇_k W_kᵀ
            elif k:
                found.append(Product(T, n, n, o))  # x W_k: (x xᵀ) V is all that is new
            done = min(1, K - 1 - k) if first else 2 * (K - 1 - k)
            found.append(Product(T, n, m + n * done, o))  # h_k Ẇ, δ_k Ẇᵀ
        rank = n * (min(1, K) if first else K)
        times_weight(m, rank, rank, i, o, W)  # h W_K, δ W_Kᵀ of the query
    if first and K:
        found += [Product(1, T * n, n_in, n_out), Product(T, n, n_in, n, "right")]  # x W_1, x xᵀ
    rank = m + n * (min(1, K) if first else 2 * K)
    found.append(Product(1, n_in, T * rank, n_out, "left"))
    return found


def dense(c: Configuration, n_in: int, n_out: int, first: bool) -> list[Product]:
    """Products of one layer with a matrix per task."""
    T, n, m, K = c.tasks, c.support, c.query, c.steps
    found = []

    def times_weight(rows: int, own: bool, i: int, o: int, W: str = "") -> None:
        found.append(Product(T, rows, i, o, W) if own else Product(1, T * rows, i, o, W))

    for i, o, W in [(n_in, n_out, "")] + [(n_out, n_in, "right")] * (not first):
        for k in range(K):
            times_weight(n, k > 0, i, o, W)  # h_k W_k, δ_k W_kᵀ
            times_weight(n, True, i, o, W)  # h_k Ẇ, δ_k Ẇᵀ
            if not first:
                times_weight(n, k > 0, i, o, W)  # ḣ_k W_k, δ̇_k W_kᵀ
        times_weight(m, K > 0, i, o, W)  # h W_K, δ W_Kᵀ of the query
    rank = n if first else 2 * n
    found += [Product(T, n_in, n, n_out, "left")] * K  # φ_{k+1}
    found += [Product(T, n_in, m, n_out, "left")] * (K > 0)  # λ_K
    found += [Product(T, n_in, rank, n_out, "left")] * (K - 1)  # λ_k but for the last
    found.append(Product(1, n_in, T * (rank if K else m), n_out, "left"))
    return found


def calls(products: list[Product]) -> list[Callable[[], object]]:
    """The products as calls; arrays of one shape are shared, so they stay in the cache."""
    arrays: dict[tuple[int, ...], np.ndarray] = {}

    def array(place: str, *shape: int) -> np.ndarray:
        shape = shape if shape[0] > 1 else shape[1:]
        return arrays.setdefault((place, *shape), np.ones(shape, np.float32))

    def call(p: Product) -> Callable[[], object]:
        left = array("left", p.times, p.rows, p.inner)
        if p.transposed == "left":
            left = array("left", p.times, p.inner, p.rows).mT
        right = array("right", p.times, p.inner, p.columns)
        if p.transposed == "right":
            right = array("right", p.times, p.columns, p.inner).mT
        out = array("out", p.times, p.rows, p.columns)
        # An outer product is not worth a call of BLAS.
        function = np.multiply if p.inner == 1 else np.matmul
        return lambda: function(left, right, out=out)

    return [call(p) for p in products if p.inner and p.columns]


def multiplications(products: list[Product]) -> int:
    return sum(p.times * p.rows * p.inner * p.columns for p in products)


def faster(forms: list[list[Product]]) -> list[Callable[[], object]]:
    """The calls of the quicker list; a list with many times the work is not even tried."""
    least = min(multiplications(form) for form in forms)
    worth = [calls(form) for form in forms if multiplications(form) <= 4 * least]
    times = []
    for form in worth:
        for _ in range(3):
            started = time.perf_counter()
            for call in form:
                call()
            times.append((time.perf_counter() - started, worth.index(form)))
    return worth[min(times)[1]]


def limit(c: Configuration) -> Callable[[], None]:
    """A call that does the products of all layers, each layer in its faster form."""
    chosen: list[Callable[[], object]] = []
    for l, ((n_in, n_out), rows) in enumerate(zip(c.shapes, c.positions, strict=True)):
        seen = dataclasses.replace(c, support=rows * c.support, query=rows * c.query)
        chosen += faster([form(seen, n_in, n_out, l == 0) for form in (factored, dense)])

    def run() -> None:
        for call in chosen:
            call()

    return run
