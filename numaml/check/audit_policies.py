"""Rows of the audit for policy gradients and trust regions, each by a method of its own."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..data.environments import Rounds
from ..data.tasks import Batch
from ..family import policies
from ..family.policies import Adaptation, Paths, Recipe
from ..family.trust_region import conjugate_gradients, trust_region_step
from ..maml import inner_loop, pull_back
from ..network.gaussian import gaussian_nll
from ..network.mlp import MLP
from . import complex_step, relative_error

Array = np.ndarray[Any, Any]

T, N, H, D = 3, 4, 6, 2  # tasks, paths, steps, coordinates; observations have 5
ALPHA, DISCOUNT = 0.3, 0.9


def _paths() -> Paths:
    """Paths of which some end early."""
    rng = np.random.default_rng(20)
    ends = rng.integers(1, H + 1, (T, N, 1))
    taken = np.arange(H) < ends
    seen, actions = rng.normal(size=(T, N, H, 5)), rng.normal(size=(T, N, H, D))
    seen[0, 0, 0, 0] = 30.0  # beyond what the baseline looks at
    return Paths(seen, actions, rng.normal(size=(T, N, H)) * taken, taken)


class _Line:
    """A point on a line, whose path ends beyond 0.2."""

    where = np.zeros((T, 1, 1))

    def reset(self, paths: int, rng: np.random.Generator) -> Array:
        self.where = np.zeros((T, paths, 1)) + np.arange(T)[:, None, None] / 10
        return self.where

    def step(self, actions: Array) -> tuple[Array, Array, Array]:
        self.where = self.where + 0.1 * actions
        return self.where, -(self.where[..., 0] ** 2), self.where[..., 0] > 0.2


def _j2() -> float:
    """F v against complex steps of the divergence's meta-gradient, no step of which knows F."""
    model, rng = MLP((1, 6, 5, 2), "tanh", "gaussian_nll"), np.random.default_rng(21)
    theta, v = rng.normal(0, 0.5, (2, model.size))
    recipe = Recipe(paths=4, judged_by=5, horizon=H)
    one, of_kl = Adaptation(model, theta, Rounds(_Line(), 1, 2), ALPHA, 2, recipe), "gaussian_kl"
    last = one.seen[-1]
    if last.paths.taken.all():
        return math.inf
    before = model.predict(last.phi, last.batch.x)
    taken = last.paths.taken.reshape(T, -1, 1)
    weights = taken * (taken.shape[1] / np.add.reduce(taken, 1, keepdims=True, dtype=float))
    judge = Batch(last.batch.x, np.concatenate([before, weights], -1))

    def slope(theta: Array) -> Array:
        phi, hvps = theta, list[Any]()
        for stage in one.seen[:-1]:
            phi = inner_loop(model, phi, stage.batch, ALPHA, 1, hvps)
        lam = replace(model, loss=of_kl).linearize(phi, judge)[1]
        return np.asarray(pull_back(reversed(hvps), ALPHA, lam).mean(0))

    return relative_error(one.curvature()(v), complex_step(slope, theta, v))


def _matrix() -> tuple[Array, Array]:
    """A positive definite matrix with two eigenvalues, so that two iterations solve, and a row."""
    rng = np.random.default_rng(22)
    Q = np.linalg.qr(rng.normal(size=(7, 7)))[0]
    return Q * np.array([1, 1, 1, 3, 3, 3, 3]) @ Q.T, rng.normal(size=7)


def _t1() -> float:
    F, b = _matrix()
    F = F + np.diag(np.arange(7.0))
    x, F_x = conjugate_gradients(lambda v: F @ v, b, 7, 0.0)
    return max(relative_error(x, np.linalg.solve(F, b)), relative_error(F_x, b))


def _t2() -> float:
    """The step of the damped system, and one that had to be made shorter four times."""
    F, g = _matrix()
    theta, tried = np.ones(7), list[Array]()

    def judged(theta: Array) -> tuple[float, float]:
        tried.append(theta)
        return (2.0, 0.0) if len(tried) < 3 else (0.5, 0.3 if len(tried) < 5 else 0.1)

    got = trust_region_step(theta, 1.0, g, lambda v: F @ v, judged, 0.2, damping=0.5)
    x = np.linalg.solve(F + 0.5 * np.eye(7), g)
    step = -math.sqrt(0.4 / (g @ x)) * x
    return max(relative_error(got, theta + 0.8**4 * step), relative_error(tried[0], theta + step))


def _p1() -> float:
    rewards = _paths().rewards
    want = [
        math.fsum(DISCOUNT ** (k - t) * rewards[i, j, k] for k in range(t, H))
        for i, j, t in np.ndindex(T, N, H)
    ]
    return relative_error(policies.returns_to_go(rewards, DISCOUNT).ravel(), want)


def _features(seen: Array, t: int) -> list[float]:
    o = [min(max(number, -10.0), 10.0) for number in seen.tolist()]
    return [*o, *(number**2 for number in o), t / 100, (t / 100) ** 2, (t / 100) ** 3, 1.0]


def _p2() -> float:
    """By least squares of the steps taken, with the ridge as rows of their own."""
    paths, wanted, errors = _paths(), np.random.default_rng(23).normal(size=(T, N, H)), []
    got = policies.baseline(paths, wanted)
    for task in range(T):
        each = list(itertools.product(range(N), range(H)))
        f = np.array([_features(paths.observations[task, n, t], t) for n, t in each])
        kept = [paths.taken[task, n, t] for n, t in each]
        rows = np.vstack([f[kept], math.sqrt(1e-5) * np.eye(14)])
        aims = np.concatenate([wanted[task].ravel()[kept], np.zeros(14)])
        errors.append(relative_error(got[task].ravel(), f @ np.linalg.lstsq(rows, aims)[0]))
    return max(errors)


def _p3() -> float:
    paths, errors = _paths(), []
    for squared, each in itertools.product((False, True), (False, True)):
        rewards = -(paths.rewards**2) if squared else paths.rewards
        wanted = policies.returns_to_go(rewards, DISCOUNT)
        better = wanted - policies.baseline(paths, wanted)
        own = [
            [better[i, j, t] for j, t in np.ndindex(N, H) if paths.taken[i, j, t]] for i in range(T)
        ]
        centred = [[one - math.fsum(task) / len(task) for one in task] for task in own]
        by = [math.sqrt(math.fsum(a * a for a in task) / len(task)) + 1e-8 for task in centred]
        want = [
            one / (own if each else 1)
            for task, own in zip(centred, by, strict=True)
            for one in task
        ]
        recipe = Recipe(discount=DISCOUNT, squared=squared, each=each)
        got = policies.advantages(paths, recipe)
        errors += [relative_error(got[paths.taken], want), abs(got[~paths.taken]).max()]
    return max(errors)


def _p4() -> float:
    """Quotients of densities one by one; and its gradient at the start is that of (L3)."""
    rng = np.random.default_rng(24)
    u, before, u_dot = rng.normal(0, 0.5, (3, T, 7, 2 * D))
    y = rng.normal(size=(T, 7, D + 1))

    def density(u: Array, a: Array) -> float:
        pairs = zip(u[:D], u[D:], a, strict=True)
        each = (math.exp(-(((x - m) / math.exp(s)) ** 2) / 2 - s) for m, s, x in pairs)
        return math.prod(each)

    want = [
        -math.fsum(
            y[t, i, D] * density(u[t, i], y[t, i, :D]) / density(before[t, i], y[t, i, :D])
            for i in range(7)
        )
        / 7
        for t in range(T)
    ]
    along = complex_step(lambda u: policies.surrogate(u, before, y), before, u_dot)
    slope = np.add.reduce(gaussian_nll(before, y)[1] * u_dot, (-2, -1))
    return max(relative_error(policies.surrogate(u, before, y), want), relative_error(along, slope))


ROUNDING = 1e-13  # as the other rows
CURVED = 1e-12  # two steps forward and two back, each with H some tens of times the identity
SQUARED = 1e-9  # normal equations square the condition, and powers of time are alike

ROWS: dict[str, tuple[str, float, Callable[[], float]]] = {
    "(J2) curvature of the KL": ("complex step of its meta-gradient", CURVED, _j2),
    "(T1) conjugate gradients": ("a dense solution", ROUNDING, _t1),
    "(T2) trust-region step": ("a dense solution", ROUNDING, _t2),
    "(P1) returns to go": ("plain sums", ROUNDING, _p1),
    "(P2) baseline": ("least squares of the steps taken", SQUARED, _p2),
    "(P3) advantages": ("plain sums", ROUNDING, _p3),
    "(P4) surrogate": ("densities, complex step", ROUNDING, _p4),
}
