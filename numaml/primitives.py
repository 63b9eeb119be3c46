"""Activations as rows (s, s′, s″); losses as rows of (value, gradient, Hessian product).

Everything is complex-analytic away from kinks (a kink is decided by ``z.real > 0``), so the
complex step passes through it. The polynomial rows hold over any commutative ring: integers are
their only constants and their only divisors.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Function = Callable[[Array], Array]
Activation = tuple[Function, Function, Function | None]  # s″ is None where it is 0 everywhere
Loss = Callable[[Array, Array], tuple[Any, Array, Function]]


def relu(z: Array) -> Array:
    # One pass where numbers are real; among complex ones a maximum is another function.
    return np.maximum(z, 0) if z.dtype.kind in "f" else z * (z.real > 0)  # (A1)


def exp_minus_abs(z: Array) -> tuple[Array, Array]:
    """exp(−|z|), which never overflows and is analytic on either side, and where z > 0."""
    positive = z.real > 0
    return np.exp(z * ~positive - z * positive), positive


def sigmoid(z: Array) -> Array:
    e, positive = exp_minus_abs(z)
    return (positive + e * ~positive) / (1 + e)  # (A2)


def sigmoid_prime(z: Array) -> Array:
    return sigmoid(z) * sigmoid(-z)


def sigmoid_second(z: Array) -> Array:
    s, t = sigmoid(z), sigmoid(-z)
    return s * t * (t - s)


def softplus(z: Array) -> Array:
    e, positive = exp_minus_abs(z)
    return z * positive + np.log1p(e)  # (A3)


def tanh_prime(z: Array) -> Array:
    e, _ = exp_minus_abs(2 * z)
    return 4 * e / (1 + e) ** 2  # (A4): 1 − tanh² without its cancellation


def tanh_second(z: Array) -> Array:
    return -2 * np.tanh(z) * tanh_prime(z)


ACTIVATIONS: dict[str, Activation] = {
    "relu": (relu, lambda z: (z.real > 0).astype(z.dtype), None),  # at the kink: 0
    "sigmoid": (sigmoid, sigmoid_prime, sigmoid_second),
    "softplus": (softplus, sigmoid, sigmoid_prime),
    "tanh": (np.tanh, tanh_prime, tanh_second),
    "identity": (lambda z: z, np.ones_like, None),
    "square": (lambda z: z * z, lambda z: 2 * z, lambda z: np.full_like(z, 2)),  # (A5)
}


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
    e = np.exp(shifted)
    rest = (e - top) @ ones  # without the top class, whose e is exactly 1
    value = (np.log1p(rest) - shifted * one_hot @ ones).sum((-2, -1)) / n  # (L2)
    p = e / (1 + rest)
    others = p - p * one_hot
    delta = (others - one_hot * (others @ ones)) / n

    def hessian(u_dot: Array) -> Array:
        centred = u_dot - u_dot * top @ ones
        return p * (centred - p * centred @ ones) / n

    return value, delta, hessian


LOSSES: dict[str, Loss] = {"squared_error": squared_error, "cross_entropy": cross_entropy}
