"""NOTHING and ONE: the zero and the one that no sum and no product is computed with.

NOTHING stands for the part of a direction along which no step moves. What is multiplied by it is
nothing, what it is added to stays the same array. What is multiplied by ONE stays it too.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class Nothing:
    """0 of any shape; `NOTHING` is the only one."""

    __array_ufunc__ = None  # so that an array leaves sums and products to it
    base, pairs = None, ()  # as a `Factored` that is 0
    shape, dtype = (0, 0), np.dtype(np.float64)

    def __add__(self, other: Any) -> Any:
        return other

    def __rsub__(self, other: Any) -> Any:
        return other

    def __sub__(self, other: Any) -> Any:
        return -1 * other

    def __neg__(self) -> Nothing:
        return self

    def __mul__(self, _: Any) -> Nothing:
        return self

    @property
    def mT(self) -> Nothing:
        """The transpose."""
        return self

    __radd__ = __add__
    __rmul__ = __matmul__ = __rmatmul__ = __truediv__ = __mul__


class One:
    """A weight, or a slope, that changes nothing; `ONE` is the only one."""

    __array_ufunc__ = None

    def __mul__(self, other: Any) -> Any:
        return other

    @property
    def mT(self) -> One:
        """The transpose."""
        return self

    __rmatmul__ = __mul__


NOTHING: Any = Nothing()
ONE: Any = One()


def for_all(layers: Any) -> Any:
    """[(W, b), …] with the same task axes: a block that no step moved is one for all tasks."""
    tasks = max(b.shape[:-1] for _, b in layers)
    if all(W.shape[:-2] == b.shape[:-1] == tasks for W, b in layers):
        return layers
    each = np.ones((*tasks, 1), layers[0][1].dtype)  # times 1 changes no bit
    return [(W * each[..., None], b * each) for W, b in layers]
