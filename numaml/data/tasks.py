"""Where tasks come from: support/query pairs, MAML's sinusoids, N-way K-shot classification."""

from __future__ import annotations  # numpy.random is named, not loaded: 8 ms of the import

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from . import given

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples ``x`` with targets ``y``; of one task, or of T tasks along a leading axis.

    Parameters
    ----------
    x : (n, n_in) or (T, n, n_in) array
    y : (…, n, n_out) array, or (…, n) integer classes for "cross_entropy"
        The axes before n are those of x.

    Raises
    ------
    TypeError, ValueError
        If the shapes do not match, the batch is empty, or a number is NaN, infinite or masked, or
        has more digits than float64.

    Notes
    -----
    Numbers of any byte order keep their precision; float16 becomes float32, which loses nothing.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> x = np.linspace(-1, 1, 10)
    >>> numaml.Batch(x[:, None], x**2)
    Traceback (most recent call last):
        ...
    ValueError: y has shape (10,) and holds numbers, not classes; want (10, n_out): y[..., None] ...
    >>> numaml.Batch(x[:, None], x[:, None] ** 2).y.shape
    (10, 1)
    """

    x: Array
    y: Array
    looked_at: ClassVar[bool] = True  # its numbers are finite: nobody looks at them again

    def __post_init__(self) -> None:
        given.same_rows(self.x, y=self.y)
        x, y = _numbers(self.x, "x"), _numbers(self.y, "y")
        if x.ndim not in (2, 3):
            raise ValueError(f"x has shape {x.shape}; want (n, n_in), or (T, n, n_in) for T tasks")
        if 0 in x.shape or 0 in y.shape:
            raise ValueError(f"x has shape {x.shape} and y {y.shape}; want at least one of each")
        rows = x.shape[:-1]
        if y.shape == rows and y.dtype.kind not in "iu":
            raise ValueError(
                f"y has shape {y.shape} and holds numbers, not classes; want "
                f"{(*rows, 'n_out')}: y[..., None] for one output".replace("'", "")
            )
        if y.shape != rows and y.shape[:-1] != rows:
            raise ValueError(
                f"x has shape {x.shape} and y {y.shape}; want y {(*rows, 'n_out')}, or {rows} for "
                "integer classes".replace("'", "")
            )
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)


def trusted(x: Array, y: Array) -> Batch:
    """A batch of finite numbers that fit each other; nobody looks at them again."""
    batch = object.__new__(Batch)
    object.__setattr__(batch, "x", x)
    object.__setattr__(batch, "y", y)
    return batch


@dataclass(frozen=True, eq=False)
class Tasks:
    """Support and query sets of one task, or of T tasks along the same leading axis.

    Parameters
    ----------
    support, query : Batch
        May differ in their number of examples, in nothing else.

    Raises
    ------
    TypeError, ValueError
        If the number of tasks, features or outputs differs.
    """

    support: Batch
    query: Batch

    def __post_init__(self) -> None:
        for name in ("support", "query"):
            if not isinstance(getattr(self, name), Batch):
                raise TypeError(f"{name} is {type(getattr(self, name)).__name__}; want a Batch")
        axis = self.support.x.ndim - 2  # the examples: the one axis that may differ
        for name in ("x", "y"):
            s, q = getattr(self.support, name).shape, getattr(self.query, name).shape
            if s[:axis] + s[axis + 1 :] != q[:axis] + q[axis + 1 :] or len(s) != len(q):
                raise ValueError(
                    f"{name} has shape {s} in the support and {q} in the query; want the same "
                    f"but for the number of examples (axis {axis})"
                )


def _numbers(array: Any, name: str) -> Array:
    """An array of finite numbers (exact ones in object arrays), or an error."""
    array = given.array(array, name)
    if array.dtype.kind not in "biufcO":
        raise TypeError(f"{name} has dtype {array.dtype}; want numbers")
    if array.dtype.kind in "fc" and not np.isfinite(array).all():
        where = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
        raise ValueError(f"{name}{list(where)} is {array[where]}; want finite numbers")
    return array
