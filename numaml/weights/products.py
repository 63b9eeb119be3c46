"""How BLAS is best asked for a product: what is known, each rule with its measurement beside it.

Measured with OpenBLAS in float32 on two cores. No rule changes what is computed, only how.
"""

from functools import lru_cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# glibc's malloc hands freed memory back to the system above twice the largest block it has freed so
# far, and faults it in again at the next pass. One untouched block, freed at once, sets that limit
# to its maximum; small networks run 1.6 times as fast. Elsewhere it does nothing.
np.empty(32_000_000, np.uint8)

# OpenBLAS multiplies small matrices two to five times as slowly by a transposed one. A copy of Wᵀ
# that serves every step costs less up to this many numbers.
TURNED = 2**14

# An outer product of as many numbers is a product of matrices with a second column and row of
# zeros, two to four times as fast as what NumPy makes of it: 25 times 10 by 40 in 2 μs, not 5.
OUTER = 2**12

# OpenBLAS starts threads above 2¹⁸ multiplications, which gains nothing below some 2²¹, and on a
# machine whose cores are busy costs a hundred times what the product does.
ALONE, TOGETHER = 2**18, 2**21

# Matrices of ones are kept for the next time; one of more numbers than this drives out the others.
KEPT = 2**16

# Of a weight's pairs one is made up to this n_in + n_out: fewer products, K of them becoming one.
# Above it copying them costs what fewer products save, and memory.
STACKED = 512


def product(h: Array, W: Array) -> Array:
    """``h @ W``; where all tasks share W, in few products of many tasks each."""
    if h.shape[-1] == 1:  # an outer product
        if h.size * W.shape[-1] < OUTER:
            return h * W
        h, W = (np.concatenate([a, np.zeros_like(a)], axis) for a, axis in ((h, -1), (W, -2)))
    if W.ndim > 2 or h.ndim == 2:
        return h @ W
    # One product of T n rows instead of T products of n: 1.5 to 8 times as fast.
    tasks = tasks_at_once(len(h), h.shape[-2] * W.size)
    rows = h.reshape(len(h) // tasks, tasks * h.shape[-2], h.shape[-1])
    return (rows @ W).reshape(*h.shape[:-1], W.shape[1])


@lru_cache(1024)
def tasks_at_once(tasks: int, each: int) -> int:
    """How many tasks of ``each`` multiplications to take into one product: a divisor of all."""
    if ALONE < tasks * each < TOGETHER:
        fitting = [n for n in range(1, tasks) if not tasks % n and n * each <= ALONE]
        return max(fitting, default=tasks)
    return tasks


def turned(W: Array) -> Array:
    """Wᵀ, as a copy where that is faster to multiply by."""
    return W.mT.copy() if W.ndim == 2 and W.size <= TURNED else W.mT


def row_sum(a: Array) -> Array:
    """``1ᵀ a``: the sum over rows, which keep their axis; as a product up to ten times as fast."""
    return ones(1, a.shape[-2], a.dtype) @ a


def column_sum(a: Array) -> Array:
    """``a 1``: the sum over columns, which keep their axis; as `row_sum`."""
    return a @ ones(a.shape[-1], 1, a.dtype)


@lru_cache(256)
def ones(rows: int, columns: int, dtype: Any) -> Array:
    """A matrix of ones, which nobody may write into."""
    if rows * columns > KEPT:
        ones.cache_clear()
    array = np.ones((rows, columns), dtype)
    array.flags.writeable = False
    return array
