"""What theta is made of, and how much of a meta-gradient is second order, block by block."""

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .calls import not_finite, numbers
from .diagnosis import WHOLE
from .scale import cosine, norm

Array = np.ndarray[Any, Any]
Shapes = Mapping[str, Sequence[int]]

PIECES = 8  # that theta is cut into if nobody says what it is made of


def blocks(sizes: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the blocks of an MLP's theta, ``{"W1": (n_in, n_1), "b1": (n_1,), …}``.

    Parameters
    ----------
    sizes : sequence of int
        Widths of the layers, as for `numaml.MLP`.

    Examples
    --------
    >>> from numaml import check
    >>> check.blocks((1, 40, 2))
    {'W1': (1, 40), 'b1': (40,), 'W2': (40, 2), 'b2': (2,)}
    """
    names: dict[str, tuple[int, ...]] = {}
    for l, (n_in, n_out) in enumerate(pairwise(sizes), 1):
        names |= {f"W{l}": (n_in, n_out), f"b{l}": (n_out,)}
    return names


def layout(blocks: Shapes | None, length: int) -> list[tuple[str, tuple[int, ...], slice]]:
    """(name, shape, where in theta) of every block that holds anything."""
    if blocks is None:
        edges = np.linspace(0, length, min(PIECES, length) + 1).astype(int).tolist()
        return [(f"theta[{a}:{b}]", (b - a,), slice(a, b)) for a, b in pairwise(edges)]
    if not isinstance(blocks, Mapping):
        raise TypeError(f"blocks is {blocks!r:.60}; want a mapping from names to shapes")
    rows, start = [], 0
    for name, shape in blocks.items():
        sizes = _shape(name, shape)
        stop = start + math.prod(sizes)
        rows.append((str(name), sizes, slice(start, stop)))
        start = stop
    if start != length:
        raise ValueError(
            f"the blocks hold {start} numbers and theta {length}; want every block's name and "
            "shape, in theta's order"
        )
    names = [name for name, _, _ in rows]
    if len({*names, WHOLE}) <= len(names):
        raise ValueError(f"the blocks are called {names}; want different names, none {WHOLE!r}")
    return [row for row in rows if math.prod(row[1])]


def _shape(name: Any, shape: Any) -> tuple[int, ...]:
    try:
        sizes = tuple(operator.index(n) for n in shape)
    except TypeError:
        sizes = (-1,)
    if min(sizes, default=1) < 0:
        raise TypeError(f"block {name!r} has shape {shape!r}; want whole numbers, e.g. (3, 4)")
    return sizes


class Share(NamedTuple):
    """How far first order is from exact in one block."""

    name: str
    missing: float  # ‖exact − first order‖ / ‖exact‖
    cosine: float


@dataclass(frozen=True)
class Orders:
    """How much of a meta-gradient is second order, altogether and block by block.

    Parameters
    ----------
    missing : float
        ‖exact − first order‖ / ‖exact‖: the error of first-order MAML.
    cosine : float
        Of the angle between the two.
    blocks : tuple of Share
        ``name, missing, cosine`` of every block.
    """

    missing: float
    cosine: float
    blocks: tuple[Share, ...]

    def __str__(self) -> str:
        rows = [*self.blocks, Share("together", self.missing, self.cosine)]
        width = max(len(row.name) for row in rows)
        lines = [f"{'':{width}}  second-order part  cosine"]
        lines += [
            f"{name:{width}}  {100 * share:15.2f} %  {cosine:6.3f}" for name, share, cosine in rows
        ]
        return "\n".join(lines)


@np.errstate(under="ignore")
def order_report(exact: Any, first_order: Any, *, blocks: Shapes | None = None) -> Orders:
    """``‖exact − first order‖ / ‖exact‖`` and the cosine between them, block by block.

    Parameters
    ----------
    exact, first_order : (P,) arrays
        Two meta-gradients at the same theta.
    blocks : mapping from names to shapes, optional
        What theta is made of, in its order; `numaml.check.blocks` makes it for an MLP.

    Returns
    -------
    orders : Orders
        NaN as cosine where one of the two is zero.

    Raises
    ------
    TypeError, ValueError
        If the shapes differ, a number is not real and finite, or the blocks do not add up to P.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> model = numaml.MLP((1, 8, 1), "tanh")
    >>> tasks = numaml.Sinusoids(tasks=3)(np.random.default_rng(0))
    >>> arguments = model, model.init(0), tasks, 0.05, 2
    >>> _, exact = numaml.meta_gradient(*arguments)
    >>> _, first_order = numaml.first_order_meta_gradient(*arguments)
    >>> print(numaml.check.order_report(exact, first_order, blocks=numaml.check.blocks((1, 8, 1))))
              second-order part  cosine
    ...
    """
    exact, first_order = (
        numbers(a, name).astype(float)
        for a, name in ((exact, "exact"), (first_order, "first_order"))
    )
    if exact.ndim != 1 or exact.shape != first_order.shape or not exact.size:
        raise ValueError(
            f"exact has shape {exact.shape} and first_order {first_order.shape}; want (P,) twice"
        )
    for a, name in ((exact, "exact"), (first_order, "first_order")):
        if what := not_finite(a):
            raise ValueError(f"{name} holds NaN or infinity ({what}); want finite numbers")
    rows = [
        _share(name, exact[where], first_order[where])
        for name, _, where in layout(blocks, len(exact))
    ]
    return Orders(*_share("", exact, first_order)[1:], tuple(rows))


def _share(name: str, exact: Array, first: Array) -> Share:
    length = norm(exact)
    missing = norm(exact - first) / length if length else math.nan if first.any() else 0.0
    return Share(name, missing, cosine(exact, first))
