"""Checks of the parts that a user brings: an activation, a loss."""

from typing import Any

import numpy as np

from .checks import gathered
from .diagnosis import Part
from .probe import Derivative, Probe, precision
from .report import Report, judge

Array = np.ndarray[Any, Any]

# Both tails and the middle, and no number at which somebody would put a kink.
GRID = (-29.7, -7.3, -2.31, -1.7, -0.93, -0.37, 0.21, 0.77, 1.39, 2.83, 7.7, 31.3)


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
    s, s_prime, s_second = triple
    z = np.array(GRID)
    parts, probes, found = list[Part](), list[Probe](), list[Derivative]()
    for name, f, f_prime in (("s′", s, s_prime), ("s″", s_prime, s_second)):
        probe = Probe(f, z)
        got = np.zeros_like(z) if f_prime is None else np.asarray(f_prime(z))
        for shape in (probe.shape, got.shape):
            if shape != z.shape:
                raise ValueError(f"from {z.shape} came {shape} around {name}; want the same shape")
        probes.append(probe)
        found.append(probe.along(np.ones_like(z)))
        parts.append(Part(name, got, found[-1].value, found[-1].error))
    return judge(
        "activation", gathered(parts, [precision(part.got) for part in parts], probes, found)
    )


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
    u = np.asarray(u)
    rng = np.random.default_rng(0)
    directions = rng.choice([-1.0, 1.0], (6, u.size))
    _, delta, hessian = function(u, y)

    def value(flat: Array) -> Any:  # tasks do not mix: their sum has every one's derivative
        return np.sum(function(flat.reshape(u.shape), y)[0])

    def gradient(flat: Array) -> Any:
        return np.ravel(function(flat.reshape(u.shape), y)[1])

    products = [hessian(v.reshape(u.shape).astype(u.dtype)) for v in directions]
    for name, array in (("gradient", delta), ("Hessian product", products[0])):
        if np.shape(array) != u.shape:
            raise ValueError(f"the {name} has shape {np.shape(array)} and u {u.shape}")
    probes = [Probe(value, u.ravel()), Probe(gradient, u.ravel())]
    found = [[probe.along(v) for v in directions] for probe in probes]
    parts = [
        Part("gradient", directions @ np.ravel(delta), *_stacked(found[0])),
        Part("Hessian product", np.ravel(products), *_stacked(found[1])),
    ]
    precisions = [precision(np.asarray(delta)), precision(np.array(products))]
    return judge("loss", gathered(parts, precisions, probes, [*found[0], *found[1]]))


def _stacked(found: list[Derivative]) -> tuple[Array, Array]:
    return np.ravel([d.value for d in found]), np.ravel([d.error for d in found])
