"""A step inside a trust region: down the gradient, as far as a divergence allows.

Nothing here knows what θ is of. Derived in ``derivations/9-policy-gradients.md``.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Product = Callable[[Array], Array]  # v -> F v

SHORTER, TRIES = 0.8, 15  # of the steps that are tried, one after another


def conjugate_gradients(
    product: Product, b: Array, iterations: int = 10, enough: float = 1e-10
) -> tuple[Array, Array]:
    """Solve F x = b for a positive definite F that is only known by its products.

    Parameters
    ----------
    product : callable
        v -> F v.
    b : (P,) array
    iterations : int
        At most so many products.
    enough : float
        The square of the residual's length, relative to that of b, that ends it.

    Returns
    -------
    x, product : (P,) arrays
        x, exact after P iterations but for rounding, and F x.

    References
    ----------
    Hestenes, Stiefel 1952, "Methods of Conjugate Gradients for Solving Linear Systems", section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from numaml.family.trust_region import conjugate_gradients
    >>> F = np.array([[2.0, 1.0], [1.0, 3.0]])
    >>> x, F_x = conjugate_gradients(lambda v: F @ v, np.array([4.0, 7.0]))
    >>> x.round(12), F_x.round(12)
    (array([1., 2.]), array([4., 7.]))
    """
    x, residual, p = np.zeros_like(b), b, b
    square = first = float(b @ b)
    for _ in range(iterations):
        if square <= enough * first:
            break
        F_p = product(p)
        length = square / float(p @ F_p)
        x, residual = x + length * p, residual - length * F_p  # (T1)
        square, before = float(residual @ residual), square
        p = residual + square / before * p
    return x, b - residual


def trust_region_step(
    theta: Array,
    value: float,
    gradient: Array,
    product: Product,
    judged: Callable[[Array], tuple[float, float]],
    limit: float,
    iterations: int = 10,
    damping: float = 1e-5,
) -> Array:
    """θ after one step: along −F⁻¹ gradient, where ½ sᵀF s is the limit, or shorter.

    Parameters
    ----------
    theta : (P,) array
        Where to start.
    value, gradient : float, (P,) array
        What is to be lowered there.
    product : callable
        v -> F v, the Hessian at theta of the divergence from theta.
    judged : callable
        theta -> (value, divergence from the start), finite or not.
    limit : float
        What the divergence may be.
    iterations : int
        Of the conjugate gradients.
    damping : float
        Times the identity is added to F.

    Returns
    -------
    theta : (P,) array
        The first of θ + 0.8ʲ s, j = 0, …, 14, with a lower value and a divergence within the
        limit; θ itself if there is none.

    References
    ----------
    Schulman et al. 2015, "Trust Region Policy Optimization", appendix C.

    Examples
    --------
    >>> import numpy as np
    >>> from numaml.family.trust_region import trust_region_step
    >>> def judged(x):
    ...     return float(x @ x), 0.5 * float((x - 1) @ (x - 1))
    >>> one = np.ones(2)
    >>> trust_region_step(one, 2.0, 2 * one, lambda v: v, judged, limit=0.01).round(4)
    array([0.9, 0.9])
    """

    def damped(v: Array) -> Array:
        return product(v) + damping * v

    x, F_x = conjugate_gradients(damped, gradient, iterations)
    square = float(x @ F_x)
    if not square > 0:
        return theta
    step = -math.sqrt(2 * limit / square) * x  # (T2)
    for _ in range(TRIES):
        lower, divergence = judged(theta + step)
        if lower < value and divergence <= limit:
            return theta + step
        step = SHORTER * step
    return theta
