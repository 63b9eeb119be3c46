"""What experiments share that can train MAML's family: rates, and which of them are learned."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from ..learning.inner import MOVES, RATES, WEIGHTS, Inner
from ..learning.learner import Learner
from .experiment import Array, Experiment
from .settings import setting


@dataclass(frozen=True)
class Rated(Experiment):
    """An experiment whose inner steps may have rates of their own, learned or not."""

    rates: str = setting(
        "fixed", "learn a rate for each of these (tensor: and step, as LSLR; parameter: Meta-SGD)",
        choices=RATES,
    )  # fmt: skip
    adapt: str = setting(
        "all", "what inner steps move (ANIL: head, BOIL: body)", choices=MOVES
    )  # fmt: skip
    weights: str = setting(
        "last", "query losses that count: after the last step, or after every one with MAML++'s "
        "weights", choices=WEIGHTS,
    )  # fmt: skip
    momentum: float = setting(0.0, "of the inner steps", metavar="M", below=1)
    limit: float = setting(
        0.0, "most that the norm of a meta-gradient may be (default: any)", metavar="NORM"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        Inner(None, self.alpha, *self._words())

    def _words(self) -> tuple[Any, ...]:
        steps = 0 if self.learner == "pretrained" else self.steps
        return steps, self.rates, self.adapt, self.weights, self.momentum

    @property
    def loop(self) -> Inner:
        """The inner loop of training."""
        return Inner(self.model, self.alpha, *self._words())

    @property
    def inner(self) -> Any:
        """The inner learning rate, or the structure of all rates."""
        return self.loop.given

    def joined(self, theta: Array) -> Array:
        """θ and what is learned besides."""
        return self.loop.joined(theta)

    def parted(self, vector: Array) -> tuple[Array, Any]:
        """θ, and the rates to adapt it by."""
        return self.loop.parted(vector)

    def gradient(self) -> Any:
        """What is trained by."""
        return self.loop.gradient(self.learner == "first-order", self.iterations)

    def finished(self, theta: Array) -> Learner:
        """What the run's ``learner.npz`` holds: with the rates that were learned."""
        theta, alpha = self.parted(theta)
        steps = len(alpha) if isinstance(alpha, list) else self.steps  # a rate for each of them
        return dataclasses.replace(super().finished(theta), alpha=alpha, steps=steps)
