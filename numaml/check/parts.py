"""Checks of the parts that a user brings: an activation, a loss."""

import math
from itertools import pairwise
from typing import Any

import numpy as np

from .calls import Watched, as_point, numbers
from .checks import difference, differs, gathered
from .diagnosis import Part
from .probe import Derivative, Probe, directions, precision
from .report import Report, judge
from .scale import times_power, unit

Array = np.ndarray[Any, Any]

# The smallest number that counts by itself, beside the middling one, is the noise to this power:
# 2e-3 in float64. In a tail few digits are left of formulas such as s′ = s(1 − s).
LEAST = 1 / 6
# Both tails and the middle, and no number at which somebody would put a kink.
GRID = (-29.7, -7.3, -2.31, -1.7, -0.93, -0.37, 0.21, 0.77, 1.39, 2.83, 7.7, 31.3)


@np.errstate(under="ignore")
def activation(triple: Any) -> Report:
    """Check an activation (s, s′, s″): s′ is the derivative of s, and s″ of s′.

    Parameters
    ----------
    triple : (s, s_prime, s_second)
        Callables from an array to an array, number by number; None for an s″ that is 0 everywhere.

    Returns
    -------
    report : Report
        Its blocks are s′ and s″.

    Raises
    ------
    ImportError, TypeError, ValueError
        As `numaml.check.gradient`; also if a function changes the shape.

    Examples
    --------
    >>> import numpy as np
    >>> from numaml import check
    >>> swish = (
    ...     lambda z: z / (1 + np.exp(-z)),
    ...     lambda z: 1 / (1 + np.exp(-z)) + z * np.exp(-z) / (1 + np.exp(-z)) ** 2,
    ...     None,                                             # as if it were a ReLU
    ... )
    >>> report = check.activation(swish)
    >>> report.verdict, report.where, report.looks_like
    ('wrong', 's″', 'a fault in some blocks: zero in s″; right in s′')
    """
    z, names = np.array(GRID), ("s", "s′", "s″")
    if not isinstance(triple, tuple | list) or len(triple) != 3:
        raise TypeError(f"the activation is {triple!r:.60}; want (s, s_prime, s_second)")
    zero = np.zeros_like if triple[2] is None else triple[2]
    calls = [Watched(f, name) for f, name in zip((*triple[:2], zero), names, strict=True)]
    parts, probes, found, precisions = (
        list[Part](),
        list[Probe](),
        list[Derivative](),
        list[float](),
    )
    for f, f_prime in pairwise(calls):
        got = numbers(f_prime(z), f_prime.name)
        probe = Probe(f, z, f.name)
        for shape in (probe.shape, got.shape):
            if shape != z.shape:
                raise ValueError(
                    f"from {z.shape} came {shape} around {f_prime.name}; want the same shape"
                )
        probes.append(probe)
        precisions.append(precision(got))
        found.append(probe.along(np.ones_like(z)))
        least = max(probe.eps, probe.relative_noise) ** LEAST
        parts.append(_alike(f_prime.name, got.astype(float), found[-1], probe.y / z, least))
    notes = tuple(note for call in calls for note in call.notes)
    return judge("activation", gathered(parts, precisions, probes, found, notes))


def _alike(name: str, got: Array, truth: Derivative, slopes: Array, least: float) -> Part:
    """Every number of the grid counts alike, down to a share of the middling one."""
    size = np.maximum(np.abs(truth.value), np.abs(slopes))
    size = np.maximum(size, least * np.median(size))
    size = np.where(size > 0, size, np.max(size, initial=0.0) or 1.0)
    return Part(
        name, got / size, truth.value / size, truth.error / size, kink=bool(truth.kink.any())
    )


@np.errstate(under="ignore")
def loss(function: Any, u: Any, y: Any) -> Report:
    """Check a loss: its gradient belongs to its value, its Hessian product to its gradient.

    Parameters
    ----------
    function : callable
        ``function(u, y) -> (value, gradient, hessian)``, a row of ``numaml.network.losses.LOSSES``:
        value of shape (…), gradient like u, ``hessian(u_dot)`` like u.
    u : (…, n, n_out) array
        Outputs of a network. Every axis with a size of its own finds more.
    y : array
        Targets, as the loss wants them.

    Returns
    -------
    report : Report
        Its blocks are the gradient and the Hessian product.

    Raises
    ------
    ImportError, TypeError, ValueError
        As `numaml.check.gradient`; also if the gradient or the product has not u's shape.

    Examples
    --------
    >>> import numpy as np
    >>> from numaml import check
    >>> def squared_error(u, y):
    ...     count = u.shape[-2]                               # and the outputs?
    ...     value = ((u - y) ** 2).sum((-2, -1)) / u[0].size
    ...     return value, 2 * (u - y) / count, lambda u_dot: 2 * u_dot / count
    >>> u, y = np.random.default_rng(0).normal(size=(2, 4, 3, 5))
    >>> check.loss(squared_error, u, y).looks_like
    'a fault in some blocks: 5 times the right one: a sum in place of a mean in gradient; ...'
    """
    u = numbers(u, "u")
    x, call = as_point(u.ravel(), "u, in a row,"), Watched(function, "the loss")
    value, delta, hessian = _three(call(u, y))
    _refuse_other_value(value, u)
    product = Watched(hessian, "the Hessian product")
    ways = directions(6, u.size, np.random.default_rng(0)).astype(u.dtype)
    delta = _like(u, delta, "the gradient")
    along = [*ways, ways[0]]  # the first once more, after the others
    *products, again = (_like(u, product(v.reshape(u.shape)), product.name) for v in along)
    off = difference(products[0], again)

    def at(flat: Array, which: int) -> Any:
        return _three(call(flat.reshape(u.shape), y))[which]

    probes = [
        Probe(lambda flat: np.sum(at(flat, 0)), x, "the loss"),  # tasks do not mix
        Probe(lambda flat: np.ravel(at(flat, 1)), x, "its gradient"),
    ]
    found = [[probe.along(v) for v in ways.astype(float)] for probe in probes]
    parts = [
        _in_its_unit(Part("gradient", ways.astype(float) @ delta, *_stacked(found[0]))),
        _in_its_unit(Part("Hessian product", np.ravel(products), *_stacked(found[1], off))),
    ]
    precisions = [precision(delta), precision(np.array(products))]
    notes = (*differs(product.name, off, products[0]), *product.notes, *call.notes)
    return judge("loss", gathered(parts, precisions, probes, [*found[0], *found[1]], notes))


def _refuse_other_value(value: Any, u: Array) -> None:
    if u.ndim > 1 and np.size(value) != math.prod(u.shape[:-2]):
        raise ValueError(
            f"the value has shape {np.shape(value)} and u {u.shape}; want {u.shape[:-2]}: a mean "
            "over examples for every task"
        )


def _three(row: Any) -> Any:
    if not isinstance(row, tuple | list) or len(row) != 3:
        raise TypeError(f"the loss returned {type(row).__name__}; want (value, gradient, hessian)")
    return row


def _like(u: Array, a: Any, name: str) -> Array:
    """An answer of u's shape, in a row."""
    if np.shape(a) != u.shape:
        raise ValueError(f"{name} has shape {np.shape(a)} and u {u.shape}; want the same")
    return numbers(a, name).ravel()


def _stacked(found: list[Derivative], off: Any = 0.0) -> tuple[Array, Array]:
    return np.ravel([d.value for d in found]), np.ravel([d.error + off for d in found])


def _in_its_unit(part: Part) -> Part:
    """With numbers about 1: a gradient and a Hessian are not of the same unit."""
    e = unit(part.want)[1]
    got, want, error = (times_power(a, -e) for a in part[1:4])
    return part._replace(got=got, want=want, error=error)
