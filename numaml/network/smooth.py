"""Smooth activations and their derivatives, all made of exp(−|z|): it never overflows.

Products take the place of 1 minus something, and nothing cancels.
"""

import numpy as np

from ..weights.theta import Array


def exp_minus_abs(z: Array) -> tuple[Array, Array]:
    """exp(−|z|), which never overflows and is analytic on either side, and where z > 0."""
    positive = z.real > 0
    return np.exp(z * ~positive - z * positive), positive


def sigmoid(z: Array) -> Array:
    exp, positive = exp_minus_abs(z)
    return (positive + exp * ~positive) / (1 + exp)  # (A2)


def sigmoid_prime(z: Array) -> Array:
    return sigmoid(z) * sigmoid(-z)


def sigmoid_second(z: Array) -> Array:
    up, down = sigmoid(z), sigmoid(-z)
    return up * down * (down - up)


def softplus(z: Array) -> Array:
    exp, positive = exp_minus_abs(z)
    return z * positive + np.log1p(exp)  # (A3)


def tanh_prime(z: Array) -> Array:
    exp, _ = exp_minus_abs(2 * z)
    return 4 * exp / (1 + exp) ** 2  # (A4): 1 − tanh² without its cancellation


def tanh_second(z: Array) -> Array:
    return -2 * np.tanh(z) * tanh_prime(z)
