"""Activations as rows (s, s′, s″).

Everything is complex-analytic away from kinks (a kink is decided by ``z.real > 0``), so the
complex step passes through it. The polynomial rows hold over any commutative ring: integers are
their only constants. Those made of exponentials stand in ``smooth.py``.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .smooth import sigmoid, sigmoid_prime, sigmoid_second, softplus, tanh_prime, tanh_second

Array = np.ndarray[Any, Any]
Function = Callable[[Array], Array]
Activation = tuple[Function, Function, Function | None]  # s″ is None where it is 0 everywhere


def relu(z: Array) -> Array:
    return z * relu_prime(z)  # (A1): a maximum with 0 takes NumPy four times as long


def relu_prime(z: Array) -> Array:
    """1 where z > 0, elsewhere 0, at the kink too."""
    return (z.real > 0).astype(z.dtype)


ACTIVATIONS: dict[str, Activation] = {
    "relu": (relu, relu_prime, None),
    "sigmoid": (sigmoid, sigmoid_prime, sigmoid_second),
    "softplus": (softplus, sigmoid, sigmoid_prime),
    "tanh": (np.tanh, tanh_prime, tanh_second),
    "identity": (lambda z: z, np.ones_like, None),
    "square": (lambda z: z * z, lambda z: 2 * z, lambda z: np.full_like(z, 2)),  # (A5)
}

# n_in times the variance of initial weights that keeps activations' size; 1 where none is given.
GAINS = {"relu": 2}
