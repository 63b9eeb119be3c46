"""The meta-gradient from its pieces, and what it would be with one of the known mistakes.

The pieces are plain callables, the gradients of the support and of the query loss. Products with
the Hessian are derivatives of the former, by complex steps or differences.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from .calls import Watched, numbers
from .derivatives import central_difference, complex_step
from .inner import EXACT, Bent, Inner, nowhere
from .probe import DOUBLE, SUBNORMAL, Probe
from .scale import norm, rms

Array = np.ndarray[Any, Any]
Gradient = Callable[[Array], Any]
SETS = ("support", "query")
Task = tuple[Gradient, Gradient]  # of the support loss, of the query loss

STALE = "stale parameters: the Hessian"
FIRST_ORDER = (
    "first-order MAML: the curvature of the inner loop is missing (the inner gradient is detached; "
    "in PyTorch: no create_graph=True; in JAX: a stop_gradient)"
)

CHAINED = (
    "each task going on from where the last one ended (is the module cloned, or its state put "
    "back, for every task?)"
)
STATE = "the inner optimiser's state going on from task to task (is it put back for every one?)"


class Trace(NamedTuple):
    """A task's way: φ_0, …, φ_{K+1}, one more than is needed, and the moves u_1, … between them.

    With each move what is carried on from it, such as Adam's moments.
    """

    phis: list[Array]
    moves: list[Array]
    states: list[Any]


class Pieces:
    """A meta-objective taken apart: its tasks' gradients and inner loop, around a point.

    The point is θ, followed by the learned rates if there are any.
    """

    def __init__(self, point: Array, tasks: Sequence[Task], inner: Inner) -> None:
        self.inner = inner
        self.ends: dict[tuple[int, int, str], Array] = {}  # gradients there, of which all start
        self.theta, self.rates = np.split(point, [len(point) - inner.learned])
        named = [
            [
                Watched(g, f"the {which} gradient of task {t}")
                for g, which in zip(pair, SETS, strict=True)
            ]
            for t, pair in enumerate(tasks, 1)
        ]
        self.supports, self.queries = zip(*named, strict=True)
        first = Probe(self.supports[0], self.theta, self.supports[0].name)
        others = [Probe(g, self.theta, g.name, like=first) for g in self.supports[1:]]
        self.probes = [first, *others]

    @property
    def count(self) -> int:
        return len(self.probes)

    @property
    def notes(self) -> tuple[str, ...]:
        """What somebody should know about the gradients, by the first that shows it."""
        noisy = [probe.noisy for probe in self.probes if probe.noisy][:1]
        return (*noisy, *[note for g in (*self.supports, *self.queries) for note in g.notes][:1])

    @property
    def at_a_root_of_zero(self) -> tuple[str, ...]:
        """Where Adam's root has no derivative, in words."""
        K, adam = self.inner.steps, self.inner.adam
        if not adam or adam.epsilon_inside or not K:
            return ()
        still = np.any([trace.states[0].second == 0 for trace in self.traces], axis=0)
        if not still.any():
            return ()
        return (
            f"Adam's root is 0 in {np.sum(still)} of {len(still)} parameters, whose gradients are "
            "0: the step has a slope there, 1/epsilon, the root has none, and who differentiates "
            "it gets NaN (eps_root > 0, where there is one, puts an epsilon inside)",
        )

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
    def traces(self) -> list[Trace]:
        """Every task's way of adapting."""
        return [self._trace(support, self.theta) for support in self.supports]

    def _trace(self, support: Watched, theta: Array, state: Any = None) -> Trace:
        phis, moves = [theta], list[Array]()
        states = [self.inner.start(theta) if state is None else state]
        for k in range(self.inner.steps + 1):
            g = self.at(support, phis[-1])
            state, u = self.inner.moved(states[-1], g, phis[-1], theta)
            phi = phis[-1] - self.inner.rate(k, self.rates) * u
            phis.append(phi.astype(self.theta.dtype))
            moves.append(u)
            states.append(state)
        return Trace(phis, moves, states[1:])

    @property
    def overflow(self) -> str:
        """Where the way of adapting leaves the finite numbers, in words; empty if nowhere."""
        for t, trace in enumerate(self.traces, 1):
            for k, phi in enumerate(trace.phis[: self.inner.steps + 1]):
                if not np.isfinite(phi).all():
                    return f"task {t} has NaN or infinity in its parameters after {k} inner steps"
        return ""

    def adapting(self, **other: Any) -> "Pieces":
        """The same tasks with another inner loop."""
        one = copy(self)
        for name in ("traces", "exact", "first_order"):
            vars(one).pop(name, None)
        one.inner, one.ends = self.inner._replace(**other), {}
        return one

    def faster(self, factor: float) -> "Pieces":
        """The same with another alpha."""
        return self.adapting(alpha=factor * self.inner.alpha)

    def louder(self, factor: float) -> "Pieces":
        """The same with support losses that are so many times as large."""
        return self.adapting(louder=factor * self.inner.louder)

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

    def back(self, t: int, bent: Bent = EXACT) -> Array:
        """A task's gradient by θ and the learned rates, by the recursion; below it, its error."""
        return self._back(t, bent)[0]

    def _back(
        self, t: int, bent: Bent = EXACT, onto: Any = 0.0, later: Any = None
    ) -> tuple[Array, Any]:
        """The same, and the cotangent of what was carried to the first step.

        ``onto`` and ``later`` are those of the end of its way and of what is carried on from it.
        """
        inner, trace = self.inner, self.traces[t]
        steps = max(inner.steps + bent.more, 0)
        lam, error = self._judged(t, 0, bent) * (not steps) + onto, np.zeros(len(self.theta))
        anchor = np.zeros(len(self.theta))
        by_rates = np.zeros((2, inner.learned))
        for k in reversed(range(steps)):
            lam = lam + self._weight(k + 1, steps, bent) * self._judged(t, k + 1, bent)
            rate = inner.rate(k, self.rates)
            self._add_rates(by_rates, k, trace.moves[k], lam, error)
            moved = -rate * lam
            n, later = inner.back(trace.states[k], moved, later, bent)
            curved, off = self._curved(t, k, steps, n, lam, bent)
            lam = lam + curved + inner.decay * bent.decayed * (moved if inner.decoupled else n)
            lam = lam + inner.pull * bent.pulled * n
            anchor = anchor - inner.pull * bent.pulled * bent.anchored * n
            error = error + off
        by_rates = by_rates * (not bent.frozen_rates)
        return np.concatenate([[lam + anchor, error], by_rates], axis=1), later

    def _judged(self, t: int, k: int, bent: Bent) -> Array:
        """The gradient of the loss that is judged after k steps."""
        key = t, bent.ends(k), bent.judged
        if key not in self.ends:
            gradients = self.queries if bent.judged == "query" else self.supports
            self.ends[key] = np.asarray(self.at(gradients[t], self.traces[t].phis[key[1]]), float)
        return self.ends[key]

    def _weight(self, k: int, steps: int, bent: Bent) -> float:
        return self.inner.weight(k, steps) * bent.weights[0 if k == steps else 1]

    def _curved(
        self, t: int, k: int, steps: int, n: Array, lam: Array, bent: Bent
    ) -> tuple[Array, Array]:
        """H n of step k, and its error."""
        at, rate = bent.where(k, steps), self.inner.rate(k, self.rates)
        if at is None:
            return 0 * n, 0 * n
        phi = self.traces[t].phis[at]
        if bent.rates == "none":
            n = -lam
        if bent.rates == "reversed":
            n = -self.inner.rate(steps - 1 - k, self.rates) * lam
        louder = self.inner.louder
        if bent.rates == "outside":
            curved, off = self.product(t, phi, -louder * lam)
            return rate * curved, np.abs(rate) * off
        mask = 1.0 if bent.head is None else bent.head
        curved, off = self.product(t, phi, louder * mask * n)
        return bent.sign * mask * curved, off

    def _add_rates(self, by_rates: Array, k: int, move: Array, lam: Array, error: Array) -> None:
        """−α u ∘ λ of step k, to the learned rates that its parameters have."""
        if self.inner.which is None or k >= len(self.inner.which):
            return
        scale = self.inner._replace(which=None).rate(k, self.rates)
        for row, numbers_ in zip(by_rates, (-move * lam, np.abs(move) * error), strict=True):
            np.add.at(row, self.inner.which[k], scale * numbers_)

    def adjoint(self, bent: Bent = EXACT) -> Array:
        """Mean of the tasks' gradients; below it, its error."""
        with np.errstate(all="ignore"):
            rows = [self.back(t, bent) for t in range(self.count)]
        return np.asarray(np.mean(rows, axis=0))

    def chained(self, parameters: bool, state: bool) -> Array:
        """The meta-gradient if each task went on from what the last one ended with."""
        one, K, start, carried = self.adapting(), self.inner.steps, self.theta, None
        traces = list[Trace]()
        for support in self.supports:
            traces.append(self._trace(support, start, carried))
            start = traces[-1].phis[K] if parameters else start
            carried = traces[-1].states[K - 1] if state and K else None
        vars(one)["traces"] = traces
        found, later = np.zeros(len(self.theta) + len(self.rates)), None
        onto: Any = 0.0
        for t in reversed(range(self.count)):
            rows, later = one._back(t, onto=onto, later=later if state else None)
            of_theta, of_rates = np.split(rows[0], [len(self.theta)])
            onto = of_theta if parameters else 0.0
            of_theta = found[: len(of_theta)] * (not parameters) + of_theta
            found = np.concatenate([of_theta, found[len(of_theta) :] + of_rates])
        return found / self.count

    @cached_property
    def exact(self) -> Array:
        """The meta-gradient; below it, an estimate of its error."""
        exact, error = self.adjoint()
        # The gradients at the end of the path have noise of their own.
        noise = max(probe.relative_noise for probe in self.probes) * rms(exact)
        return np.array([exact, np.abs(error) + noise])

    @cached_property
    def first_order(self) -> Array:
        return np.asarray(self.adjoint(Bent(where=nowhere))[0])

    def mistakes(self, head: Array | None = None) -> Iterator[tuple[str, Array]]:
        """Known mistakes and the meta-gradients they give, the likely ones first.

        ``head`` tells the parameters of the last layer, where that is known.
        """
        for sentence, bent in (*_of_maml(self.inner), *_of_the_family(self.inner, head)):
            yield sentence, self.adjoint(bent)[0]
        for sentence, other in _other_loops(self.inner):
            yield sentence, self.adapting(**other).exact[0]
        with np.errstate(all="ignore"):
            if self.count > 1:
                yield CHAINED, self.chained(parameters=True, state=False)
                if self.inner.momentum or self.inner.adam:
                    yield STATE, self.chained(parameters=False, state=True)
                    both = f"{CHAINED}, and its optimiser's state too"
                    yield both, self.chained(parameters=True, state=True)
            ends = [trace.phis[self.inner.steps] for trace in self.traces]
            direction = np.concatenate([self.theta - np.mean(ends, axis=0), 0 * self.rates])
            yield "Reptile's direction theta − phi, which is no gradient", direction
            for t in range(self.count if self.count > 1 else 0):
                alone = f"task {t + 1} of {self.count} alone (are gradients zeroed between tasks?)"
                yield alone, self.back(t)[0]


def _of_maml(inner: Inner) -> list[tuple[str, Bent]]:
    K = inner.steps
    return [
        (FIRST_ORDER, Bent(where=nowhere)),
        (f"{STALE} at theta in every inner step", Bent(where=lambda k, K: 0)),
        (f"{STALE} at the last phi in every inner step", Bent(where=lambda k, K: K)),
        ("no adaptation: the query gradient at theta, not at phi",
         Bent(where=nowhere, ends=lambda k: 0)),
        ("the support loss judged in place of the query loss", Bent(judged="support")),
        ("the support gradient at phi, in place of any meta-gradient",
         Bent(where=nowhere, judged="support")),
        ("truncation: only the last inner step is differentiated",
         Bent(where=lambda k, K: k if k == K - 1 else None)),
        ("detached after the first step: only the first inner step is differentiated",
         Bent(where=lambda k, K: None if k else 0)),
        ("inner steps differentiated in the wrong order", Bent(where=lambda k, K: K - 1 - k)),
        ("the adjoint of the wrong step: the Hessian of step k at phi_{k+1}, one too late",
         Bent(where=lambda k, K: k + 1)),
        ("curvature added, not subtracted: λ + αHλ", Bent(sign=-1.0)),
        ("curvature without alpha: λ − Hλ", Bent(rates="none")),
        (f"{K + 1} inner steps in place of {K}", Bent(more=1)),
        (f"{K - 1} inner steps in place of {K}", Bent(more=-1)),
    ]  # fmt: skip


def _of_the_family(inner: Inner, head: Array | None) -> Iterator[tuple[str, Bent]]:
    if head is not None:
        yield "curvature of the last layer only: the others' steps are detached", Bent(head=head)
    if inner.plain and not inner.one_rate:
        yield "α ∘ (H λ), the rates outside: it is H (α ∘ λ)", Bent(rates="outside")
        reversed_ = "the adjoint of the wrong step: its rates run backwards"
        yield reversed_, Bent(rates="reversed")
    if inner.learned:
        yield "rates that never change: no gradient reaches them", Bent(frozen_rates=True)
    if inner.momentum:
        yield "momentum's adjoint dropped: the buffer is detached", Bent(carried=False)
    if inner.adam:
        yield "Adam's moments detached between steps", Bent(carried=False)
        yield "Adam's second moment detached: only the first is differentiated", Bent(rooted=False)
        flat = "Adam's step at a gradient of 0 taken for flat: its slope there is 1/epsilon"
        yield flat, Bent(flat=True)
    if inner.decay:
        only = "weight decay in the gradient only: its own derivative is missing"
        yield only, Bent(decayed=False)
    if inner.pull:
        yield "the proximal term not differentiated", Bent(pulled=False)
        yield "the proximal term's theta detached", Bent(anchored=False)
    if inner.weights is not None:
        last = "the last weight of the multi-step loss missing"
        yield last, Bent(weights=(0.0, 1.0))
        yield "only the last loss of the multi-step loss", Bent(weights=(1.0, 0.0))


def _other_loops(inner: Inner) -> Iterator[tuple[str, dict[str, Any]]]:
    """What another inner loop would give, whose value the one under test is not."""
    if inner.momentum:
        yield "no momentum: plain gradient steps", {"momentum": 0.0}
    if inner.adam:
        adam = inner.adam
        side = adam._replace(epsilon_inside=not adam.epsilon_inside)
        yield "Adam's epsilon on the other side of the root", {"adam": side}
        hat = "Adam's epsilon before the bias correction: divide it by sqrt(1 - b2^k)"
        yield hat, {"adam": adam._replace(hat=True)}
        yield "Adam without bias correction", {"adam": adam._replace(corrected=False)}
        yield "plain gradient steps, without Adam", {"adam": None}
    if inner.decay:
        yield "no weight decay", {"decay": 0.0}
    if inner.decay and (inner.momentum or inner.adam):
        said, done = "beside it (decoupled)", "in the gradient (L2)"
        said, done = (said, done) if inner.decoupled else (done, said)
        other = {"decoupled": not inner.decoupled}
        yield f"the other weight decay: {done}, which was said to be {said}", other
    if inner.pull:
        yield "the proximal term missing", {"pull": 0.0}
