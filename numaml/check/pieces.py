"""The meta-gradient from its pieces, and what it would be with one of the known mistakes.

The pieces are plain callables, the gradients of the support and of the query loss. Products with
the Hessian are derivatives of the former, by complex steps or differences.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from .derivatives import central_difference, complex_step
from .probe import DOUBLE, Probe

Array = np.ndarray[Any, Any]
Gradient = Callable[[Array], Any]
Task = tuple[Gradient, Gradient]  # of the support loss, of the query loss
Start = Callable[[int, list[Array]], Any]  # a task's number and path -> λ to start from
Points = Callable[[list[Array]], list[Array]]  # its path -> where its Hessian is taken


def nowhere(_: list[Array]) -> list[Array]:
    """Over no points: no curvature."""
    return []


STALE = "stale parameters: the Hessian"
FIRST_ORDER = (
    "first-order MAML: the curvature of the inner loop is missing (the inner gradient is detached; "
    "in PyTorch: no create_graph=True; in JAX: a stop_gradient)"
)


class Pieces:
    """A meta-objective taken apart: its tasks' gradients, alpha and steps, around theta."""

    def __init__(self, theta: Array, tasks: Sequence[Task], alpha: Any, steps: int) -> None:
        self.theta, self.tasks, self.alpha, self.steps = theta, tasks, alpha, steps
        self.probe = Probe(tasks[0][0], theta)
        if self.probe.shape != theta.shape:
            raise ValueError(
                f"a support gradient has shape {self.probe.shape} and theta {theta.shape}; want "
                "the same"
            )

    @cached_property
    def paths(self) -> list[list[Array]]:
        """φ_0, …, φ_{K+1} of every task: one more than is needed."""
        paths = []
        for support, _ in self.tasks:
            path = [self.theta]
            for _ in range(self.steps + 1):
                g = np.asarray(support(path[-1]))
                path.append((path[-1] - self.alpha * g).astype(self.theta.dtype))
            paths.append(path)
        return paths

    def product(self, task: int, phi: Array, v: Array) -> tuple[Array, Array]:
        """H v at φ, and an estimate of its error."""
        gradient = self.tasks[task][0]
        if not v.any():
            return 0 * v, 0 * v
        if self.probe.analytic:
            value = complex_step(gradient, phi.astype(float), v)
            return value, DOUBLE * np.abs(value)
        # As far as a plain difference should go: noise / t is about t² there.
        noise = min(self.probe.noise / self.probe.scale, 1e-2)
        t = noise ** (1 / 3) * self.probe.reach(v)

        def along(s: float) -> Array:
            return np.asarray(gradient((phi + s * v).astype(phi.dtype)), float)

        value, error = central_difference(along, 0.0, 1.0, t)
        return value, error + 2 * noise * float(np.max(np.abs(along(0.0)))) / t

    def back(self, task: int, lam: Any, points: Sequence[Array], rate: Any) -> Array:
        """``λ ← λ − H(φ) α λ`` over the points, last one first; below it, its error."""
        lam = np.asarray(lam, float)
        error = np.zeros_like(lam)
        for phi in reversed(points):
            curved, off = self.product(task, phi, rate * lam)
            lam, error = lam - curved, error + off
        return np.array([lam, error])

    def adjoint(self, start: Start, points: Points, rate: Any = None) -> Array:
        """Mean over tasks of λ_0, with its error, from a start and over points that may be bent."""
        rate = self.alpha if rate is None else rate
        with np.errstate(all="ignore"):
            rows = [
                self.back(t, start(t, path), points(path), rate)
                for t, path in enumerate(self.paths)
            ]
        return np.asarray(np.mean(rows, axis=0))

    def query(self, t: int, path: list[Array]) -> Any:
        return self.tasks[t][1](path[self.steps])

    def support(self, t: int, path: list[Array]) -> Any:
        return self.tasks[t][0](path[self.steps])

    def points(self, path: list[Array]) -> list[Array]:
        return path[: self.steps]

    @cached_property
    def exact(self) -> Array:
        """The meta-gradient; below it, an estimate of its error."""
        exact, error = self.adjoint(self.query, self.points)
        # The gradients at the end of the path have noise of their own.
        noise = self.probe.noise / self.probe.scale * np.sqrt(np.mean(exact**2))
        return np.array([exact, error + noise])

    @cached_property
    def first_order(self) -> Array:
        return np.asarray(self.adjoint(self.query, nowhere)[0])

    def mistakes(self) -> Iterator[tuple[str, Array]]:
        """Known mistakes and the meta-gradients they give, the likely ones first."""
        K, q, s, points = self.steps, self.query, self.support, self.points
        bent: list[tuple[str, Start, Points, Any]] = [
            (FIRST_ORDER, q, nowhere, None),
            (f"{STALE} at theta in every inner step", q, lambda p: p[:1] * K, None),
            (f"{STALE} at the last phi in every inner step", q, lambda p: p[K : K + 1] * K, None),
            ("no adaptation: the query gradient at theta, not at phi",
             lambda t, p: self.tasks[t][1](p[0]), nowhere, None),
            ("the support loss judged in place of the query loss", s, points, None),
            ("the support gradient at phi, in place of any meta-gradient", s, nowhere, None),
            ("truncation: only the last inner step is differentiated",
             q, lambda p: p[:K][-1:], None),
            ("inner steps differentiated in the wrong order", q, lambda p: p[:K][::-1], None),
            ("curvature added, not subtracted: λ + αHλ", q, points, -self.alpha),
            ("curvature without alpha: λ − Hλ", q, points, 1.0),
            (f"{K + 1} inner steps in place of {K}",
             lambda t, p: self.tasks[t][1](p[K + 1]), lambda p: p[: K + 1], None),
            (f"{K - 1} inner steps in place of {K}",
             lambda t, p: self.tasks[t][1](p[max(K - 1, 0)]), lambda p: p[: max(K - 1, 0)], None),
            ("Reptile's direction theta − phi, which is no gradient",
             lambda _, p: p[0] - p[K], nowhere, None),
        ]  # fmt: skip
        for sentence, start, over, rate in bent:
            yield sentence, self.adjoint(start, over, rate)[0]
        count = len(self.tasks)
        for t, path in enumerate(self.paths if count > 1 else ()):
            alone = self.back(t, q(t, path), points(path), self.alpha)[0]
            yield f"task {t + 1} of {count} alone (are gradients zeroed between tasks?)", alone
