"""The outer loop: Adam on the meta-gradient, progress, checkpoints that resume to the same bits."""

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class Moments(NamedTuple):
    """Adam's state: first and second moment of the gradient, and the number of steps taken."""

    first: Array
    second: Array
    steps: int


def adam(theta: Array, gradient: Array, moments: Moments, beta: float) -> tuple[Array, Moments]:
    """One Adam step (O1) with outer learning rate beta; decay rates 0.9 and 0.999, ε = 1e-8."""
    first = 0.9 * moments.first + 0.1 * gradient
    second = 0.999 * moments.second + 0.001 * (gradient * gradient)
    t = moments.steps + 1
    rate = beta * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t)
    theta = theta - rate * first / (np.sqrt(second) + 1e-8)  # (O1)
    return theta, Moments(first, second, t)
