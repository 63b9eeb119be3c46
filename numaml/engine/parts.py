"""A meta-batch in blocks, one after another, where all its traces at once would be too much memory.

Every inner step's trace is kept for its Hessian-vector product. Memory that fits is warm, and what
does not fit is given back to the system after every call and faulted in again. Tasks are
independent, so blocks of them need no more than one block's memory, and (M5) puts them together.
The mean is derived in ``derivations/3-meta-gradient.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ..network.inputs import Rows
from ..weights.theta import size

Array = np.ndarray[Any, Any]

KEPT = 2**26  # bytes; what glibc's malloc keeps for the next call
BLOCK = 2**25  # bytes of a block's traces: half of KEPT, for temporaries come on top
# Each block reads θ and adds up a gradient: its traces should be many times that, and its rows
# enough to be worth NumPy's calls.
THETAS, ROWS = 16, 64


class Part(NamedTuple):
    """Some of the tasks."""

    support: Rows
    query: Rows


def over_blocks(
    model: Any, gradient: Callable[..., Any], theta: Array, S: Rows, Q: Rows, alpha: Any, steps: int
) -> tuple[Any, Array] | None:
    """The mean of ``gradient`` over blocks of the tasks, or None where one block is best.

    `numaml.meta_gradient` asks this of a model that has it, once per call.

    Parameters
    ----------
    gradient : callable
        ``gradient(model, theta, tasks, alpha, steps)``, which gives a value and a gradient: means
        over its tasks.
    theta : (P,) array
    S, Q : Rows
        Support and query sets as `lift` gives them.
    alpha, steps
        As for `numaml.meta_gradient`.

    Returns
    -------
    value, gradient
        Means over all tasks, equal to those of all at once but for rounding (M5).
    """
    if not S.x.ndim == Q.x.ndim == 3 or S.x.dtype.hasobject:
        return None
    tasks, n, _ = S.x.shape
    at_once = tasks_at_once(model.sizes, tasks, n, Q.x.shape[1], steps, S.x.itemsize)
    if at_once >= tasks:
        return None
    parts = [Part(*(Rows(rows.x[a:b], rows.y[a:b]) for rows in (S, Q)))
             for a, b in bounds(tasks, -(-tasks // at_once))]  # fmt: skip
    results = [gradient(model, theta, part, alpha, steps) for part in parts]
    return mean(results, [len(part.support.x) for part in parts])


@cache
def tasks_at_once(
    sizes: tuple[int, ...], tasks: int, n: int, m: int, steps: int, itemsize: int
) -> int:
    """How many tasks to take into one block; all of them where their traces fit."""
    each = itemsize * trace_size(sizes, n, m, steps)
    if tasks * each <= KEPT:
        return tasks
    wanted = max(BLOCK, THETAS * itemsize * size(sizes))
    return max(wanted // each, -(-ROWS // n))


def trace_size(sizes: tuple[int, ...], n: int, m: int, steps: int) -> int:
    """Numbers that one task's traces hold; an estimate, right within a factor of two.

    Of every layer at every step h, s′, δ and a product; φ_{k+1} − φ_k as δ of the support, or where
    that is fewer numbers multiplied out; and the query's pass.
    """
    width = sum(sizes[1:])
    return steps * (4 * n * width + min(size(sizes), steps * n * width)) + 4 * m * width


def bounds(count: int, parts: int) -> Iterator[tuple[int, int]]:
    """Where each of so many parts begins and ends; their sizes differ by at most one."""
    return pairwise(part * count // parts for part in range(parts + 1))


def mean(results: Sequence[tuple[Any, Array]], sizes: Sequence[int]) -> tuple[Any, Array]:
    """The mean over all tasks, from the means over each part."""
    value, gradient = (
        sum(n * result[i] for n, result in zip(sizes, results, strict=True)) / sum(sizes)
        for i in (0, 1)
    )  # (M5)
    return value, np.asarray(gradient)
