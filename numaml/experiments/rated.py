"""What experiments share that can train MAML's family: rates, and which of them are learned."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from ..family import Exact, FirstOrder, MultiStep, joined, parted, rates
from ..learning.learner import Learner
from .experiment import Array, Experiment
from .settings import setting

EPOCHS = 100  # of a training, in the first ten of which the weights of losses move to the last


@dataclass(frozen=True)
class Rated(Experiment):
    """An experiment whose inner steps may have rates of their own, learned or not."""

    rates: str = setting(
        "fixed", "learn a rate for each of these (Meta-SGD: parameter)",
        choices=("fixed", "one", "layer", "tensor", "parameter"),
    )  # fmt: skip
    adapt: str = setting(
        "all", "what inner steps move (ANIL: head, BOIL: body)",
        choices=("all", "head", "body", "biases"),
    )  # fmt: skip
    weights: str = setting(
        "last", "query losses that count: after the last step, or after every one with MAML++'s "
        "weights", choices=("last", "multi-step"),
    )  # fmt: skip
    momentum: float = setting(0.0, "of the inner steps", metavar="M", below=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rates == "parameter" and self.adapt != "all":
            raise ValueError("rates is 'parameter'; want adapt 'all', or rates 'tensor'")

    @property
    def inner(self) -> Any:
        """The inner learning rate, or the structure of all rates."""
        per = "one" if self.rates == "fixed" else self.rates
        found = rates(self.model, self.alpha, per, self.adapt)
        return {"rates": found, "momentum": self.momentum} if self.momentum else found

    @property
    def learned(self) -> bool:
        """Whether rates are behind θ in one vector."""
        return self.rates != "fixed" and self.learner != "pretrained"

    def joined(self, theta: Array) -> Array:
        """θ and what is learned besides."""
        return joined(self.model, theta, self.inner, self.steps) if self.learned else theta

    def parted(self, vector: Array) -> tuple[Array, Any]:
        """θ, and the rates to adapt it by."""
        if self.learned:
            return parted(self.model, vector, self.inner, self.steps)
        return vector, self.inner

    def gradient(self) -> Any:
        """What is trained by."""
        if not self.learned and self.weights == "last":
            return super().gradient()
        weights = MultiStep(max(1, self.iterations // EPOCHS))
        kind = FirstOrder if self.learner == "first-order" else Exact
        return kind(self.learned, weights if self.weights == "multi-step" else None)

    def finished(self, theta: Array) -> Learner:
        """What the run's ``learner.npz`` holds: with the rates that were learned."""
        theta, alpha = self.parted(theta)
        steps = len(alpha) if isinstance(alpha, list) else self.steps  # a rate for each of them
        return dataclasses.replace(super().finished(theta), alpha=alpha, steps=steps)
