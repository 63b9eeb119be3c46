"""Losses as rows of (value, gradient, Hessian product), all by the outputs u.

Everything is complex-analytic, and squared error holds over any commutative ring: integers are
its only constants and its only divisors. The losses of policies stand in ``gaussian.py``.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .gaussian import gaussian_kl, gaussian_nll

Array = np.ndarray[Any, Any]
Function = Callable[[Array], Array]
Loss = Callable[[Array, Array], tuple[Any, Array, Function]]


def squared_error(u: Array, y: Array) -> tuple[Any, Array, Function]:
    """Mean of (u − y)² over examples and outputs."""
    residual = u - y
    count = residual.shape[-2] * residual.shape[-1]
    value = np.add.reduce(residual * residual, (-2, -1)) / count  # (L1)
    return value, 2 * residual / count, lambda u_dot: 2 * u_dot / count


def cross_entropy(u: Array, y: Array) -> tuple[Any, Array, Function]:
    """Mean over examples of −ln softmax(u)[y]."""
    n, classes = u.shape[-2], np.arange(u.shape[-1])
    one_hot = (y[..., None] == classes).astype(u.dtype)
    top = (u.real.argmax(-1)[..., None] == classes).astype(u.dtype)
    ones = np.ones((len(classes), 1), u.dtype)  # a @ ones is the sum over classes

    # Where one p is nearly 1, sums leave it out and shifts make its term 0: nothing cancels.
    shifted = u - u * top @ ones
    exp = np.exp(shifted)
    rest = (exp - top) @ ones  # without the top class, whose exp is exactly 1
    value = (np.log1p(rest) - shifted * one_hot @ ones).sum((-2, -1)) / n  # (L2)
    p = exp / (1 + rest)
    others = p - p * one_hot
    delta = (others - one_hot * (others @ ones)) / n

    def hessian(u_dot: Array) -> Array:
        centred = u_dot - u_dot * top @ ones
        return p * (centred - p * centred @ ones) / n

    return value, delta, hessian


# Losses whose targets are integer classes, not numbers.
OF_CLASSES = frozenset({"cross_entropy"})
LOSSES: dict[str, Loss] = {
    "squared_error": squared_error,
    "cross_entropy": cross_entropy,
    "gaussian_nll": gaussian_nll,
    "gaussian_kl": gaussian_kl,
}
# Losses that read u as (μ, ln σ), and weigh every example.
OF_POLICIES = frozenset({"gaussian_nll", "gaussian_kl"})


def target_width(loss: str, n_out: int) -> int:
    """How many numbers an example's target has."""
    given = {"gaussian_nll": n_out // 2, "gaussian_kl": n_out}  # an action, or a policy
    return given[loss] + 1 if loss in OF_POLICIES else n_out
