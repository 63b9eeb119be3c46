"""The meta-gradient from its pieces, and what it would be with one of the known mistakes.

The pieces are plain callables, the gradients of the support and of the query loss. Products with
the Hessian are derivatives of the former, by complex steps or differences.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np

from .calls import Watched, numbers
from .derivatives import central_difference, complex_step
from .probe import DOUBLE, SUBNORMAL, Probe
from .scale import norm, rms

Array = np.ndarray[Any, Any]
Gradient = Callable[[Array], Any]
SETS = ("support", "query")
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
        self.theta, self.alpha, self.steps = theta, alpha, steps
        named = [
            [
                Watched(g, f"the {which} gradient of task {t}")
                for g, which in zip(pair, SETS, strict=True)
            ]
            for t, pair in enumerate(tasks, 1)
        ]
        self.supports, self.queries = zip(*named, strict=True)
        first = Probe(self.supports[0], theta, self.supports[0].name)
        self.probes = [first, *(Probe(g, theta, g.name, like=first) for g in self.supports[1:])]

    @property
    def count(self) -> int:
        return len(self.probes)

    @property
    def notes(self) -> tuple[str, ...]:
        """What somebody should know about the gradients, by the first that shows it."""
        noisy = [probe.noisy for probe in self.probes if probe.noisy][:1]
        return (*noisy, *[note for g in (*self.supports, *self.queries) for note in g.notes][:1])

    def at(self, gradient: Watched, phi: Array) -> Array:
        """One of the gradients at φ, of the right shape; none is asked for beyond all numbers."""
        if not np.isfinite(phi).all():
            return np.full_like(phi, np.nan)
        g = numbers(gradient(phi), gradient.name)
        if g.shape != self.theta.shape:
            raise ValueError(
                f"{gradient.name} has shape {g.shape} and theta {self.theta.shape}; want the same"
            )
        return g

    @cached_property
    def paths(self) -> list[list[Array]]:
        """φ_0, …, φ_{K+1} of every task: one more than is needed."""
        paths = []
        for support in self.supports:
            path = [self.theta]
            for _ in range(self.steps + 1):
                g = self.at(support, path[-1])
                path.append((path[-1] - self.alpha * g).astype(self.theta.dtype))
            paths.append(path)
        return paths

    @property
    def overflow(self) -> str:
        """Where the way of adapting leaves the finite numbers, in words; empty if nowhere."""
        for t, path in enumerate(self.paths, 1):
            for k, phi in enumerate(path[: self.steps + 1]):
                if not np.isfinite(phi).all():
                    return f"task {t} has NaN or infinity in its parameters after {k} inner steps"
        return ""

    def faster(self, factor: float) -> "Pieces":
        """The same with another alpha: of losses that are so many times as large."""
        other = copy(self)
        for name in ("paths", "exact", "first_order"):
            vars(other).pop(name, None)
        other.alpha = factor * self.alpha
        return other

    def product(self, task: int, phi: Array, v: Array) -> tuple[Array, Array]:
        """H v at φ, and an estimate of its error."""
        gradient, probe = self.supports[task], self.probes[task]
        if not v.any():
            return 0 * v, 0 * v
        if not np.isfinite(norm(v)):
            return v * np.nan, v * np.nan
        if probe.analytic:
            step = probe.tiny(v)
            value = complex_step(gradient, phi.astype(float), v, step)
            return value, DOUBLE * np.abs(value) + SUBNORMAL / step
        # As far as a plain difference should go: noise / t is about t² there.
        noise = min(probe.relative_noise, 1e-2)
        t = noise ** (1 / 3) * probe.reach(v)

        def along(s: float) -> Array:
            return np.asarray(gradient((phi + s * v).astype(phi.dtype)), float)

        value, error = central_difference(along, 0.0, 1.0, t)
        closer, _ = central_difference(along, 0.0, 1.0, t / 3)  # other kinks are on that way
        error = np.maximum(error, np.abs(value - closer))
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
        return self.at(self.queries[t], path[self.steps])

    def support(self, t: int, path: list[Array]) -> Any:
        return self.at(self.supports[t], path[self.steps])

    def points(self, path: list[Array]) -> list[Array]:
        return path[: self.steps]

    @cached_property
    def exact(self) -> Array:
        """The meta-gradient; below it, an estimate of its error."""
        exact, error = self.adjoint(self.query, self.points)
        # The gradients at the end of the path have noise of their own.
        noise = max(probe.relative_noise for probe in self.probes) * rms(exact)
        return np.array([exact, error + noise])

    @cached_property
    def first_order(self) -> Array:
        return np.asarray(self.adjoint(self.query, nowhere)[0])

    def mistakes(self) -> Iterator[tuple[str, Array]]:
        """Known mistakes and the meta-gradients they give, the likely ones first."""
        K, q, s, points = self.steps, self.query, self.support, self.points

        def query_at(k: int) -> Start:
            return lambda t, path: self.at(self.queries[t], path[k])

        bent: list[tuple[str, Start, Points, Any]] = [
            (FIRST_ORDER, q, nowhere, None),
            (f"{STALE} at theta in every inner step", q, lambda p: p[:1] * K, None),
            (f"{STALE} at the last phi in every inner step", q, lambda p: p[K : K + 1] * K, None),
            ("no adaptation: the query gradient at theta, not at phi",
             query_at(0), nowhere, None),
            ("the support loss judged in place of the query loss", s, points, None),
            ("the support gradient at phi, in place of any meta-gradient", s, nowhere, None),
            ("truncation: only the last inner step is differentiated",
             q, lambda p: p[:K][-1:], None),
            ("inner steps differentiated in the wrong order", q, lambda p: p[:K][::-1], None),
            ("curvature added, not subtracted: λ + αHλ", q, points, -self.alpha),
            ("curvature without alpha: λ − Hλ", q, points, 1.0),
            (f"{K + 1} inner steps in place of {K}",
             query_at(K + 1), lambda p: p[: K + 1], None),
            (f"{K - 1} inner steps in place of {K}",
             query_at(max(K - 1, 0)), lambda p: p[: max(K - 1, 0)], None),
            ("Reptile's direction theta − phi, which is no gradient",
             lambda _, p: p[0] - p[K], nowhere, None),
        ]  # fmt: skip
        for sentence, start, over, rate in bent:
            yield sentence, self.adjoint(start, over, rate)[0]
        for t, path in enumerate(self.paths if self.count > 1 else ()):
            alone = self.back(t, q(t, path), points(path), self.alpha)[0]
            yield f"task {t + 1} of {self.count} alone (are gradients zeroed between tasks?)", alone
