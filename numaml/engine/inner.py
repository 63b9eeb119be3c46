"""Inner steps other than φ − α g, for the loops of `maml`: a step and its adjoint.

The recursion of `maml` is right for any step φ_{k+1} = φ_k − s_k, if ``linearize`` gives s_k in
place of g_k and the product with the transposed Jacobian of s_k in place of hvp. `Stepped` is the
model that does, and α is 1. Derived in ``derivations/8-family.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from ..maml import Lifting, lifted, offers
from ..weights.factored import Layered
from ..weights.nothing import NOTHING
from ..weights.rates import Form, Rates, by_rates, factor

Array = np.ndarray[Any, Any]
Pull = Callable[[Any, Any], tuple[Any, Any]]


@runtime_checkable
class Rule(Protocol):
    """An inner step and its adjoint; what numaml takes in place of α, if it is a frozen dataclass.

    ``step(k, u, g) -> (s, u, pull)``: from the gradient g_k and what is carried from step to step,
    u_k (None at k = 0), the move s_k of φ_{k+1} = φ_k − s_k, and u_{k+1}.

    ``pull(lam, mu) -> (w, mu)``: from λ_{k+1} and μ_{k+1} (None at k = K − 1) what H_k is applied
    to, λ_k = λ_{k+1} − H_k w, and μ_k: w is minus the cotangent of g_k, μ that of u, with λ_{k+1}
    that of φ_{k+1}.

    Vectors are arrays (T, P) or (P,), laid out as θ, and are not written into.
    """

    def step(self, k: int, u: Any, g: Any) -> tuple[Any, Any, Pull]: ...


@runtime_checkable
class Scheduled(Protocol):
    """A meta-gradient that changes as training goes on, by the number of the iteration alone.

    ``at(iteration) -> gradient``, a callable of the signature of `numaml.meta_gradient`.
    """

    def at(self, iteration: int) -> Any: ...


class Carried(NamedTuple):
    """What `Descent` carries to the next step, u and d = φ − θ, or back, −μ and κ."""

    of_u: Any = NOTHING
    of_d: Any = NOTHING


class Descent:
    """u_{k+1} = m u_k + g_k + p (φ_k − θ), φ_{k+1} = φ_k − α_k ∘ u_{k+1}; and its adjoint.

    Where ``bars`` is a list, pulls note there for each task what a rate does: [(place, number), …].
    """

    def __init__(self, form: Form, values: Array, layered: bool) -> None:
        self.form, self.layered, self.values = form, layered, values
        self.m, self.p = (
            None if place is None else values[place, ...] for place in (form.momentum, form.pull)
        )
        self.bars: list[tuple[Any, Any]] | None = None

    def step(self, k: int, before: Carried | None, g: Any) -> tuple[Any, Carried, Pull]:
        """A step, and its adjoint as a function."""
        before = before or Carried()
        alpha = factor(self.form.steps[k], self.values, self.form.blocks, self.layered)
        u = g
        if self.p is not None:
            u = self.p * before.of_d + u
        if self.m is not None:
            u = self.m * before.of_u + u
        move = alpha * u  # (G1)

        def pull(lam: Any, after: Carried | None) -> tuple[Any, Carried]:
            after = after or Carried()
            lam = lam + after.of_d if self.p is not None else lam
            w = alpha * lam if self.m is None else alpha * lam + after.of_u  # (G2)
            if self.bars is not None:
                self.note(k, u, lam, before, w)
            of_u = NOTHING if self.m is None else self.m * w
            return w, Carried(of_u, NOTHING if self.p is None else after.of_d - self.p * w)

        of_u = NOTHING if self.m is None else u
        return move, Carried(of_u, NOTHING if self.p is None else before.of_d - move), pull

    def note(self, k: int, u: Any, lam: Any, before: Carried, w: Any) -> None:
        """The products by which the rates move the query loss, but for their sign."""
        form, blocks = self.form, self.form.blocks
        bars = by_rates(form.steps[k], u, lam, blocks)  # (G4)
        for place, carried in ((form.momentum, before.of_u), (form.pull, before.of_d)):
            if place is not None and carried is not NOTHING:
                bars += by_rates(place, carried, w, blocks)
        self.bars = [*(self.bars or ()), *bars]


def slopes(bars: Iterable[tuple[Any, Any]], values: Array) -> Array:
    """By every rate the derivative of the mean over tasks of λ_K's loss, from what was noted."""
    totals: dict[Any, Any] = {}
    for place, one in bars:
        totals[place] = totals[place] + one if place in totals else one
    found, stop = [np.zeros(0, values.dtype)], 0
    for place in sorted(totals, key=lambda one: one if isinstance(one, int) else one.start):
        start, end = (place, place + 1) if isinstance(place, int) else place
        found.append(np.zeros(start - stop, values.dtype))  # what does nothing
        found.append(-1 * _task_mean(totals[place], isinstance(place, int)))
        stop = end
    return np.concatenate([*found, np.zeros(len(values) - stop, values.dtype)])


def _task_mean(total: Any, single: bool) -> Array:
    """The mean over tasks, if there are any, of one number or of a row, as a row."""
    if np.ndim(total) == 2 - single:
        return np.add.reduce(total.reshape(len(total), -1), 0) / len(total)
    if not hasattr(total, "reshape"):  # an element of a ring
        return np.array([total], object)
    return total.reshape(-1)


class Course:
    """One run through the inner steps and back, as the batch that `Stepped` linearises."""

    def __init__(self, rule: Any, support: Any) -> None:
        self.rule, self.support, self.curved = rule, support, True
        self.k, self.u, self.mu = 0, None, None

    def linearize(self, model: Any, phi: Any) -> tuple[Any, Any, Callable[[Any], Any]]:
        """The loss, the move s_k, and λ_{k+1} ↦ λ_{k+1} − λ_k."""
        value, g, hvp = model.linearize(phi, self.support)
        move, self.u, pull = self.rule.step(self.k, self.u, g)
        self.k += 1

        def adjoint(lam: Any) -> Any:
            w, self.mu = pull(lam, self.mu)
            return hvp(w) if self.curved else NOTHING  # (G3)

        return value, move, adjoint


class Stepped:
    """A model whose ``linearize`` gives, on the support set, the move of a rule and its adjoint."""

    noting = False  # what every rate does

    def __init__(self, model: Any, values: Array, form: Any) -> None:
        self.model, self.form, self.values = model, form, values

    def checked(self, theta: Array, *batches: Any) -> tuple[Any, ...]:
        """As the model's own."""
        return theta, *batches

    def lift(self, theta: Array, support: Any, *others: Any) -> tuple[Any, ...]:
        """θ as the rule can move it, the steps from here on, and the other batches."""
        vector, support, *others = lifted(self.model, theta, support, *others)  # type: ignore[assignment]  # a list
        ours = isinstance(self.form, Form)
        if not ours or self.form.by_parameter:
            vector = theta  # multiplied out
        layered = isinstance(vector, Layered)
        rule = Descent(self.form, self.values, layered) if ours else self.form
        if self.noting:
            rule.bars = []
        self.rule = rule
        return vector, Course(rule, support), *others

    def value(self, theta: Any, batch: Any) -> Any:
        """The model's loss."""
        return self.model.value(theta, batch)

    def predict(self, theta: Any, batch: Any) -> Any:
        """What the model predicts."""
        return self.model.predict(theta, batch if offers(self.model, Lifting) else batch.x)

    def linearize(self, theta: Any, batch: Any) -> tuple[Any, Any, Callable[[Any], Any]]:
        """The model's own, or on the support set the next step."""
        if isinstance(batch, Course):
            return batch.linearize(self.model, theta)
        return self.model.linearize(theta, batch)


def stepped(model: Any, alpha: Any) -> tuple[Any, Any]:
    """A model, and the α that the loops of `maml` take with it."""
    return (Stepped(model, *alpha), 1) if isinstance(alpha, Rates) else (model, alpha)
