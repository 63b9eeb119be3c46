"""Meta-gradients of the family: losses after every step, and rates that are learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..engine.alpha import checked_rates
from ..engine.arguments import checked_tasks, number
from ..engine.inner import Course, Stepped, slopes
from ..engine.parts import in_parts, mean
from ..engine.replayed import replayed, value_and_gradient
from ..maml import Model, Result, exact, lifted, value_after
from ..weights.nothing import NOTHING
from ..weights.rates import Rates, by_rates
from .joint import apart
from .schedules import MultiStep, checked_weights

Array = np.ndarray[Any, Any]


class Summed(Stepped):
    """Steps with a query loss after each: M = Σ_k v_k L_Q(φ_k)."""

    def __init__(self, model: Any, values: Array, form: Any, weights: Any, curved: bool) -> None:
        super().__init__(model, values, form)
        self.weights, self.curved, self.before = weights, curved, NOTHING

    def lift(self, theta: Array, support: Any, *others: Any) -> tuple[Any, ...]:
        """As `Stepped`; the query set is kept."""
        vector, course, self.query = super().lift(theta, support, *others)
        course.curved = self.curved
        return vector, course, self.query

    def value(self, theta: Any, batch: Any) -> Any:
        """The sum up to φ_K."""
        return self.before + self.weights[-1] * super().value(theta, batch)

    def linearize(self, theta: Any, batch: Any) -> tuple[Any, Any, Callable[[Any], Any]]:
        """On the support set the next step; on the query set the sum up to φ_K."""
        value, vector, back = super().linearize(theta, batch)
        if not isinstance(batch, Course):
            v = self.weights[-1]
            return self.before + v * value, v * vector, back
        v, q = self.weights[batch.k - 1], NOTHING
        if v is not None:
            loss, q, _ = self.model.linearize(theta, self.query)
            self.before = self.before + v * loss

        return value, vector, lambda lam: back(lam) - (v * q if v is not None else q)  # (G5)


class Noting:
    """A model whose products note on their way what one rate for all steps does: ⟨g_k, λ_{k+1}⟩."""

    def __init__(self, model: Any) -> None:
        self.model, self.bars = model, list[tuple[Any, Any]]()

    def lift(self, theta: Array, *batches: Any) -> tuple[Any, ...]:
        """As the model's own."""
        return lifted(self.model, theta, *batches)

    def checked(self, theta: Array, *batches: Any) -> tuple[Any, ...]:
        """As they are."""
        return theta, *batches

    def value(self, theta: Any, batch: Any) -> Any:
        """The model's own."""
        return self.model.value(theta, batch)

    def linearize(self, theta: Any, batch: Any) -> tuple[Any, Any, Callable[[Any], Any]]:
        """The model's own."""
        value, g, hvp = self.model.linearize(theta, batch)

        def noted(lam: Any) -> Any:
            self.bars += by_rates(0, g, lam, ())  # (G4)
            return hvp(lam)

        return value, g, noted


@dataclass(frozen=True)
class Core:
    """A core for `replayed`: what a call is besides the numbers that it is a function of."""

    function: Any  # `exact` or `value_after` of maml
    form: Any
    weighted: tuple[bool, ...]  # whether there is a v_k
    learned: bool
    curved: bool

    @property
    def __name__(self) -> str:
        return f"{self.function.__name__} of the family"

    @property
    def as_it_is(self) -> bool:
        """Whether it is MAML with one rate for all, whose own loop passes all there is to learn."""
        form = self.form
        one = set(form.steps) == {0} and form.momentum is form.pull is None
        return one and self.learned and self.curved and sum(self.weighted) == 1

    def __call__(self, model: Any, theta: Array, S: Any, Q: Any, numbers: Array, steps: int) -> Any:
        """The value, and the gradient by θ and, learned, by the multiples of the rates."""
        count = len(self.weighted)
        rates, weights = numbers[:-count], numbers[-count:]
        v = [weights[k, ...] if there else None for k, there in enumerate(self.weighted)]
        if self.learned:
            first, multiples = rates[: len(rates) // 2], rates[len(rates) // 2 :]
            rates = first * multiples
        if self.function is exact and self.as_it_is:
            noting = Noting(model)
            value, gradient = exact(noting, theta, S, Q, rates[0, ...], steps)
            gradient = np.concatenate([gradient, first * slopes(noting.bars, rates)])
            return v[-1] * value, v[-1] * gradient
        inner = Summed(model, rates, self.form, v, self.curved)
        inner.noting = self.learned and self.function is exact
        found = self.function(inner, theta, S, Q, 1, steps)
        if not inner.noting:
            return found
        value, gradient = found
        return value, np.concatenate([gradient, first * slopes(inner.rule.bars or (), rates)])


@dataclass(frozen=True)
class Exact:
    """The exact gradient of M(θ) = Σ_k v_k L_Q(φ_k), by θ and, if they are learned, by the rates.

    Parameters
    ----------
    learned : bool
        Take `joined` theta and rates in place of theta: the gradient is exact by both. A rate for
        each layer or tensor costs a product more a step; for each parameter every weight is
        multiplied out.
    weights : sequence of float, or MultiStep, optional
        v_0, …, v_K of the query losses after every step; by default that after the last counts
        alone. MAML++'s start with v_0 = 0.
    iteration : int
        The outer iteration, for weights that depend on it; `numaml.train` says which it is.

    Raises
    ------
    TypeError, ValueError
        If the weights are no finite numbers; by a call, as `numaml.meta_gradient`, and if there are
        not K + 1 weights.

    References
    ----------
    Antoniou, Edwards, Storkey 2019, "How to train your MAML", equation 3.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> model = numaml.MLP((1, 8, 1), "tanh")
    >>> tasks = numaml.Sinusoids()(np.random.default_rng(0))
    >>> joint = numaml.family.joined(model, model.init(0), 0.01, 3)
    >>> gradient = numaml.family.Exact(learned=True, weights=(0, 0.2, 0.3, 0.5))
    >>> value, slope = gradient(model, joint, tasks, 0.01, 3)
    >>> def along(v):
    ...     return gradient.value(model, joint + 1e-30j * v, tasks, 0.01, 3).imag / 1e-30
    >>> bool(np.allclose(slope[-1], along(np.eye(model.size + 1)[-1]), rtol=1e-12))
    True
    """

    learned: bool = False
    weights: Any = None
    iteration: int = 0
    curved = True

    def __post_init__(self) -> None:
        if not isinstance(self.weights, MultiStep | None):
            object.__setattr__(self, "weights", checked_weights(self.weights))

    def at(self, iteration: int) -> Exact:
        """The gradient at an outer iteration.

        Parameters
        ----------
        iteration : int
            From 0.
        """
        return replace(self, iteration=iteration) if isinstance(self.weights, MultiStep) else self

    def __call__(self, model: Model, theta: Any, tasks: Any, alpha: Any, steps: Any) -> Result:
        """The value M and its gradient.

        Parameters
        ----------
        model, theta, tasks, alpha, steps
            As for `numaml.meta_gradient`; theta joined with the rates, if they are learned.
        """
        core, (model, theta, S, Q, numbers, steps) = self._taken(
            exact, model, theta, tasks, alpha, steps
        )
        parts = list(in_parts(model, theta, S, Q, steps))
        results = (value_and_gradient(core, model, theta, *b, numbers, steps) for _, b in parts)
        return mean(results, [size for size, _ in parts])

    def value(self, model: Model, theta: Any, tasks: Any, alpha: Any, steps: Any) -> Any:
        """The value M alone.

        Parameters
        ----------
        model, theta, tasks, alpha, steps
            As for the gradient.
        """
        core, arguments = self._taken(value_after, model, theta, tasks, alpha, steps)
        return number(replayed(core, *arguments)[0])

    def _taken(
        self, function: Any, model: Any, theta: Any, tasks: Any, alpha: Any, steps: Any
    ) -> tuple[Core, tuple[Any, ...]]:
        """The core, and what it is called with."""
        multiples = None
        if self.learned:
            theta, rates, multiples = apart(model, np.asarray(theta), alpha, steps)
        taken = checked_tasks(model, theta, tasks, alpha, steps)
        model, theta, S, Q, given, steps = taken
        if multiples is None:
            rates = given if isinstance(given, Rates) else checked_rates(given, theta, model, steps)
        weights = self._weights(steps)
        numbers = [rates.values, *([] if multiples is None else [multiples])]
        there = *(w != 0 for w in weights[:-1]), True
        core = Core(function, rates.form, there, self.learned, self.curved)
        numbers.append(np.array([theta[0] * 0 + one for one in weights], theta.dtype))
        return core, (model, theta, S, Q, np.concatenate(numbers), steps)

    def _weights(self, steps: int) -> tuple[Any, ...]:
        weights = self.weights
        if isinstance(weights, MultiStep):
            return weights.at(self.iteration, steps)
        if weights is None:
            return (0,) * steps + (1,)
        if len(weights) != steps + 1:
            raise ValueError(
                f"weights has {len(weights)} numbers; steps is {steps}: want {steps + 1}, for the "
                "query losses after 0, …, K steps"
            )
        return tuple(weights)


@dataclass(frozen=True)
class FirstOrder(Exact):
    """The same with every H_k taken as 0: an approximation, named so; no gradient of its value.

    Parameters
    ----------
    learned, weights, iteration
        As for `Exact`. Rates are moved by the exact product of gradients, −g_k ∘ λ_{k+1}, with the
        λ of this approximation.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> model = numaml.MLP((1, 8, 1))
    >>> tasks = numaml.Sinusoids()(np.random.default_rng(0))
    >>> arguments = model, model.init(0), tasks, 0.01, 5
    >>> _, slope = numaml.family.FirstOrder()(*arguments)
    >>> _, same = numaml.first_order_meta_gradient(*arguments)
    >>> bool(np.allclose(slope, same, rtol=1e-14))
    True
    """

    curved = False
