"""Losses of policies, rows of (value, gradient, Hessian product) as in ``losses.py``.

Both read u as (μ, ln σ), normal distributions of d coordinates, and weigh every example.
Derived in ``derivations/9-policy-gradients.md``.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Function = Callable[[Array], Array]


def gaussian_nll(u: Array, y: Array) -> tuple[Any, Array, Function]:
    """Mean over examples of −weight · ln N(action; μ, σ²), y = (action, weight)."""
    n, action, weight = u.shape[-2], y[..., :-1], y[..., -1:]
    z, inverse, log_sigma = standardised(u, action)
    terms = z * z / 2 + log_sigma + math.log(2 * math.pi) / 2
    value = np.add.reduce(weight * terms, (-2, -1)) / n  # (L3)
    delta = np.concatenate([weight * z * inverse, weight * (1 - z * z)], -1) / n

    def hessian(u_dot: Array) -> Array:
        z_dot, log_sigma_dot = standardised_dot(u_dot, z, inverse)
        mu_part = weight * inverse * (z_dot - z * log_sigma_dot)
        return np.concatenate([mu_part, -2 * weight * z * z_dot], -1) / n

    return value, delta, hessian


def gaussian_kl(u: Array, y: Array) -> tuple[Any, Array, Function]:
    """Mean over examples of weight · KL(N(m, s²) ‖ N(μ, σ²)), y = (m, ln s, weight)."""
    n, d, weight = u.shape[-2], u.shape[-1] // 2, y[..., -1:]
    z, inverse, log_sigma = standardised(u, y[..., :d])
    excess = np.expm1(2 * (y[..., d:-1] - log_sigma))  # (s/σ)² − 1
    terms = (excess + z * z) / 2 + log_sigma - y[..., d:-1]
    value = np.add.reduce(weight * terms, (-2, -1)) / n  # (L4)
    delta = np.concatenate([weight * z * inverse, -weight * (excess + z * z)], -1) / n

    def hessian(u_dot: Array) -> Array:
        z_dot, log_sigma_dot = standardised_dot(u_dot, z, inverse)
        mu_part = weight * inverse * (z_dot - z * log_sigma_dot)
        sigma_part = 2 * weight * ((excess + 1) * log_sigma_dot - z * z_dot)
        return np.concatenate([mu_part, sigma_part], -1) / n

    return value, delta, hessian


def standardised(u: Array, point: Array) -> tuple[Array, Array, Array]:
    """z = (μ − point) / σ, 1/σ and ln σ, each (…, n, d)."""
    d = u.shape[-1] // 2
    inverse = np.exp(-u[..., d:])
    return (u[..., :d] - point) * inverse, inverse, u[..., d:]


def standardised_dot(u_dot: Array, z: Array, inverse: Array) -> tuple[Array, Array]:
    """The tangents of z and of ln σ."""
    d = u_dot.shape[-1] // 2
    return u_dot[..., :d] * inverse - z * u_dot[..., d:], u_dot[..., d:]
