"""Rows of the audit for the family: steps with rates of their own, learned rates, other losses.

Each is run on a network whose vectors are flat, and on one whose weights are kept as W + UᵀV.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..data.tasks import Batch, Tasks
from ..engine import calls
from ..family import Exact, FirstOrder, joined, parted, reptile_direction
from ..network.mlp import MLP
from . import complex_step, relative_error

Array = np.ndarray[Any, Any]

T, N_SUPPORT, N_QUERY, STEPS, A = 6, 3, 4, 3, 0.3
SMALL, LARGE = MLP((2, 5, 4, 3), "tanh"), MLP((2, 80, 81, 3), "tanh")
WEIGHTS = 0.2, 0, -0.3, 0.7
Problem = tuple[MLP, Array, Tasks]


def _problem(model: MLP) -> Problem:
    rng = np.random.default_rng(30)

    def batch(n: int) -> Batch:
        return Batch(rng.normal(size=(T, n, 2)), rng.normal(size=(T, n, 3)))

    theta = model.init(rng) + 0.1 * rng.normal(size=model.size)
    return model, theta, Tasks(batch(N_SUPPORT), batch(N_QUERY))


def _worst(error: Callable[..., float], *structures: Any) -> float:
    """Over the structures and both networks; with a rate for each parameter all is flat anyway."""
    both = [(alpha, model) for alpha in structures for model in (SMALL, LARGE)]
    return max(error(*_problem(model), alpha) for alpha, model in both
               if alpha is not EACH or model is SMALL)  # fmt: skip


# For three layers and three steps: something stays in every place at some step.
RATES = [(A, (None, A / 2), -A), (None, None, A), [A / 2, ((A, None), None, (A / 3, A)), A]]
EACH = {"parameters": A / 2}
CARRIED = {"rates": [A, (None, A, A / 2), ((A, None), A, A)], "momentum": 0.4, "pull": 0.6}


def _multiplied_out(model: MLP, theta: Array, alpha: Any) -> Array:
    """A rate for each parameter, block by block."""
    blocks = model.unpack(theta)
    whole = alpha if isinstance(alpha, tuple) else (alpha,) * len(blocks)
    pairs = [one if isinstance(one, tuple) else (one, one) for one in whole]
    return np.concatenate([np.full(block.size, rate or 0.0)
                           for two, pair in zip(blocks, pairs, strict=True)
                           for block, rate in zip(two, pair, strict=True)])  # fmt: skip


def _g1(model: MLP, theta: Array, tasks: Tasks, alpha: Any) -> float:
    """Adapted parameters, against steps along gradients of `linearize`, written out."""
    about = alpha if isinstance(alpha, dict) else {"rates": alpha}
    rates, phi, u = about["rates"], theta, np.zeros(())
    for k in range(STEPS):
        g = model.linearize(phi, tasks.support)[1]
        u = about.get("momentum", 0) * u + g + about.get("pull", 0) * (phi - theta)
        one = rates[k] if isinstance(rates, list) else rates
        phi = phi - _multiplied_out(model, theta, one) * u
    return relative_error(calls.adapt(model, theta, tasks.support, alpha, STEPS), phi)


def _along(value: Callable[[Array], Any], gradient: Array, point: Array, last: int) -> float:
    """A gradient against complex steps of the value: in random directions, and the last ones."""
    rng = np.random.default_rng(31)
    ends = np.eye(last, len(point), len(point) - last)
    directions = np.concatenate([rng.normal(size=(2, len(point))), gradient[None], ends])
    want = [complex_step(value, point, v) for v in directions]
    errors = [relative_error(directions[:3] @ gradient, want[:3])]
    return max([*errors, relative_error(directions[3:] @ gradient, want[3:])])


def _g3(model: MLP, theta: Array, tasks: Tasks, alpha: Any) -> float:
    def value(theta: Array) -> Any:
        return calls.meta_value(model, theta, tasks, alpha, STEPS)

    gradient = calls.meta_gradient(model, theta, tasks, alpha, STEPS)[1]
    return _along(value, gradient, theta, 1)


def _learned(weights: Any) -> Callable[..., float]:
    def error(model: MLP, theta: Array, tasks: Tasks, alpha: Any) -> float:
        gradient, start = Exact(True, weights), joined(model, theta, alpha, STEPS)
        count = min(len(start) - model.size, 8)
        start = start + 0.1 * np.cos(np.arange(len(start)))

        def value(point: Array) -> Any:
            return gradient.value(model, point, tasks, alpha, STEPS)

        got, slope = gradient(model, start, tasks, alpha, STEPS)
        learned, rates = parted(model, start, alpha, STEPS)
        losses = [calls.meta_value(model, learned, tasks, _first(rates, k), k)
                  for k in range(STEPS + 1)]  # fmt: skip
        want = np.dot(weights or (0, 0, 0, 1), losses)
        return max(relative_error(got, want), _along(value, slope, start, count))

    return error


def _first(alpha: Any, k: int) -> Any:
    """The rates of the first k steps."""
    if isinstance(alpha, dict):
        return {**alpha, "rates": _first(alpha["rates"], k)}
    return (alpha[:k] if k else alpha[0]) if isinstance(alpha, list) else alpha


def _g5(model: MLP, theta: Array, tasks: Tasks, alpha: Any) -> float:
    """And of first order: the sum of the gradients along the way, each as it stands there."""
    slope = FirstOrder(weights=WEIGHTS)(model, theta, tasks, alpha, STEPS)[1]
    want = np.zeros_like(theta)
    for k, v in enumerate(WEIGHTS):
        phi = calls.adapt(model, theta, tasks.support, _first(alpha, k), k)
        want += v * model.linearize(phi, tasks.query)[1].mean(0)
    return max(relative_error(slope, want), _learned(WEIGHTS)(model, theta, tasks, alpha))


def _g6(model: MLP, theta: Array, tasks: Tasks, alpha: Any) -> float:
    _, direction = reptile_direction(model, theta, tasks, alpha, STEPS)
    want = np.zeros_like(theta)
    for t in range(T):
        phi = theta
        for _ in range(STEPS):
            one = Batch(tasks.support.x[t], tasks.support.y[t])
            phi = phi - alpha * model.linearize(phi, one)[1]
        want += (theta - phi) / T
    return relative_error(direction, want)


ROUNDING = 1e-13  # as in ``audit.py``; a product with a factor through thousands of parameters
Check = tuple[str, float, Callable[[], float]]
ROWS: dict[str, Check] = {
    "(G1) step with rates": ("steps written out", ROUNDING, lambda: _worst(
        _g1, *RATES, CARRIED)),
    "(G2) adjoint of what is carried": ("complex step of the meta-value", ROUNDING, lambda: _worst(
        _g3, CARRIED)),
    "(G3) H of the rated adjoint": ("complex step of the meta-value", ROUNDING, lambda: _worst(
        _g3, *RATES, EACH)),
    "(G4) learned rates": ("complex step of the meta-value", ROUNDING, lambda: _worst(
        _learned(None), A, *RATES, CARRIED, EACH)),
    "(G5) losses after every step": ("complex step of their sum", ROUNDING, lambda: _worst(
        _g5, RATES[0], CARRIED)),
    "(G6) Reptile": ("task by task", ROUNDING, lambda: _worst(_g6, A)),
    "(G7) steps of the head": ("complex step of the meta-value", ROUNDING, lambda: _worst(
        _g3, (None, None, A), {"rates": (None, None, (None, A)), "momentum": 0.4, "pull": 0.6})),
}  # fmt: skip
