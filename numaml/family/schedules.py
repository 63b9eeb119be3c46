"""Schedules: what depends on the outer iteration, and on nothing else, so that runs can resume."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

from ..engine.inner import Scheduled


@dataclass(frozen=True)
class MultiStep:
    """MAML++'s weights of the losses after every step, which move to the last in ``epochs``.

    Parameters
    ----------
    epoch : int
        Outer iterations of an epoch.
    epochs : int
        E, after which they stay as they are.

    Notes
    -----
    In epoch e < E: v_k = max(1/K − e/(K E), 0.03/K) for 0 < k < K, and
    v_K = min(1/K + e (K − 1)/(K E), 1 − 0.03 (K − 1)/K); v_0 = 0. From E on those of e = E.

    References
    ----------
    Antoniou, Edwards, Storkey 2019, "How to train your MAML", section 4, and its code.

    Examples
    --------
    >>> import numaml
    >>> schedule = numaml.family.MultiStep(epoch=500)
    >>> schedule.at(0, 4)
    (0.0, 0.25, 0.25, 0.25, 0.25)
    >>> [round(v, 4) for v in schedule.at(5000, 4)]
    [0.0, 0.0075, 0.0075, 0.0075, 0.9775]
    """

    epoch: int = 500
    epochs: int = 10

    def at(self, iteration: int, steps: int) -> tuple[float, ...]:
        """v_0, …, v_K at an outer iteration.

        Parameters
        ----------
        iteration, steps : int
            From 0; K.
        """
        if not steps:
            return (1.0,)
        done = min(iteration // self.epoch, self.epochs) / self.epochs
        least = 0.03 / steps
        early = max((1 - done) / steps, least)
        return (0.0, *[early] * (steps - 1), min((1 + done * (steps - 1)) / steps,
                                                 1 - (steps - 1) * least))  # fmt: skip


@dataclass(frozen=True)
class Annealed:
    """One gradient in the first iterations and another from then on: derivative-order annealing.

    Parameters
    ----------
    first, then : callable
        Of the signature of `numaml.meta_gradient`, e.g. ``FirstOrder()`` and ``Exact()``.
    until : int
        The outer iteration from which on it is the second.

    References
    ----------
    Antoniou, Edwards, Storkey 2019, "How to train your MAML", section 4.

    Examples
    --------
    >>> import numaml
    >>> gradient = numaml.family.Annealed(
    ...     numaml.family.FirstOrder(), numaml.family.Exact(), until=2500
    ... )
    >>> [type(gradient.at(i)).__name__ for i in (0, 2499, 2500)]
    ['FirstOrder', 'FirstOrder', 'Exact']
    """

    first: Any
    then: Any
    until: int

    def at(self, iteration: int) -> Any:
        """The gradient at an outer iteration.

        Parameters
        ----------
        iteration : int
            From 0.
        """
        one = self.first if iteration < self.until else self.then
        return one.at(iteration) if isinstance(one, Scheduled) else one

    def __call__(self, *arguments: Any) -> Any:
        """The gradient of the first iteration."""
        return self.at(0)(*arguments)


def checked_weights(weights: Any) -> tuple[Any, ...]:
    """v_0, …, v_K, or an error."""
    try:
        weights = tuple(weights)
    except TypeError:
        raise TypeError(f"weights is {weights!r}; want v_0, …, v_K, or a MultiStep") from None
    for one in weights:
        if isinstance(one, bool) or not isinstance(one, Real) or not math.isfinite(one):
            raise ValueError(f"weights is {weights!r}; want finite numbers v_0, …, v_K")
    return weights
