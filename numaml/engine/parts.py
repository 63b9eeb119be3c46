"""A meta-batch in parts, one after another, where all its traces at once would be too much memory.

Every inner step's trace is kept for its Hessian-vector product. Memory that fits is warm, and what
does not fit is given back to the system after every call and faulted in again. Tasks are
independent, so parts of them need no more than one part's memory, and (M5) puts them together.
The mean is derived in ``derivations/3-meta-gradient.md``.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..maml import Array, Model, offers
from .models import leaves, rebuilt

KEPT = 2**26  # bytes; what glibc's malloc keeps for the next call
PART = 2**25  # bytes of a part's traces: half of KEPT, for temporaries come on top
# Each part reads θ and adds up a gradient: its traces should be some times that (with less than 5
# it takes a tenth longer), and its rows enough to be worth NumPy's calls.
THETAS, ROWS = 6, 64


@runtime_checkable
class Foreseen(Model, Protocol):
    """A model that tells beforehand how large its traces are; of any other all tasks are one part.

    ``trace_size(n, m, steps)`` is the number of numbers that one task's traces hold, with n support
    and m query examples; right within a factor of two.
    """

    def trace_size(self, n: int, m: int, steps: int) -> int: ...


@runtime_checkable
class Rowed(Foreseen, Protocol):
    """One whose products have other numbers of rows than there are examples.

    ``rows(n)`` are those of every layer for n examples.
    """

    def rows(self, n: int) -> tuple[int, ...]: ...


def in_parts(
    model: Model, theta: Array, S: Any, Q: Any, steps: int
) -> Iterator[tuple[int, tuple[Any, Any]]]:
    """How many tasks, and their support and query sets, of every part; all in one if they fit."""
    count = parts_of(model, theta, S, Q, steps)
    if count < 2:
        yield len(S.x) if np.ndim(getattr(S, "x", 0)) > 2 else 1, (S, Q)
        return
    arrays: list[Array] = []
    leaves((S, Q), arrays)
    for start, stop in bounds(len(arrays[0]), count):
        yield stop - start, rebuilt((S, Q), iter([array[start:stop] for array in arrays]))


def parts_of(model: Any, theta: Array, S: Any, Q: Any, steps: int) -> int:
    """How many parts these tasks are taken in; of one size, where that is not many more.

    Parts of one size are replayed on the same memory.
    """
    if theta.dtype.hasobject or not (offers(model, Foreseen) and S.x.ndim == Q.x.ndim == 3):
        return 1
    tasks, n, _ = S.x.shape
    each = theta.itemsize * model.trace_size(n, Q.x.shape[-2], steps)
    if tasks * each <= KEPT:
        return 1
    wanted = max(PART, THETAS * theta.nbytes)
    rows = max(model.rows(n)) if offers(model, Rowed) else n
    least = -(-tasks // max(wanted // each, -(-ROWS // rows)))
    return next((n for n in range(least, 2 * least) if not tasks % n), least)


def bounds(count: int, parts: int) -> Iterator[tuple[int, int]]:
    """Where each of so many parts begins and ends; their sizes differ by at most one."""
    return pairwise(part * count // parts for part in range(parts + 1))


def mean(results: Iterable[tuple[Any, Array]], sizes: Sequence[int]) -> tuple[Any, Array]:
    """The mean over all tasks, from the means over each part, of which none is kept."""
    if len(sizes) == 1:
        (result,) = results
        return result
    value: Any = 0
    gradient: Any = 0
    for n, (of_part, slope) in zip(sizes, results, strict=True):
        value, gradient = value + n * of_part, gradient + n * slope
    return value / sum(sizes), gradient / sum(sizes)  # (M5)
