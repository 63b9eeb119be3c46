"""The inner loop in words: which rates there are, what moves, and what of it is learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..engine.alpha import varied
from ..engine.calls import first_order_meta_gradient, meta_gradient
from ..family import Exact, FirstOrder, MultiStep, joined, parted, rates
from ..network.settings import check_name

Array = np.ndarray[Any, Any]

RATES = ("fixed", "one", "layer", "tensor", "parameter")
MOVES = ("all", "head", "body", "biases")
WEIGHTS = ("last", "multi-step")
EPOCHS = 100  # of a training, in the first ten of which the weights of losses move to the last


@dataclass(frozen=True)
class Inner:
    """The inner loop of a training, as a user says it.

    Parameters
    ----------
    model : MLP or ConvNet
    alpha : float, or a structure of rates
        A structure says itself what moves, and is not learned.
    steps : int
        Inner steps K; with none there is nothing to learn but theta.
    rates : str
        What there is a learned rate for: each "layer", "tensor" (and step: LSLR) or "parameter"
        (Meta-SGD), or "one" for all; or none, and alpha stays "fixed".
    moves : str
        "all", or the "head" (ANIL), the "body" (BOIL) or the "biases" alone.
    weights : str
        Whether the "last" step's query loss counts, or by MAML++'s schedule "multi-step".
    momentum : float
        Of the inner steps; learned with the rates.

    Raises
    ------
    ValueError
        If one is none of these, or they do not go together.
    """

    model: Any
    alpha: Any
    steps: int
    rates: str = "fixed"
    moves: str = "all"
    weights: str = "last"
    momentum: float = 0.0

    def __post_init__(self) -> None:
        for name, known in (("rates", RATES), ("moves", MOVES), ("weights", WEIGHTS)):
            check_name(name, getattr(self, name), known)
        if self.rates == "parameter" and self.moves != "all":
            raise ValueError(
                f"rates is 'parameter' and only the {self.moves} moves; want rates 'tensor', or "
                "all to move"
            )
        words = self.rates, self.moves, self.momentum
        if varied(self.alpha) and words != ("fixed", "all", 0):
            raise ValueError(
                "alpha is a structure of rates, or a rule; want a number, where rates, moves and "
                "momentum say what becomes of it"
            )

    @property
    def learned(self) -> bool:
        """Whether rates are behind θ in one vector."""
        return self.rates != "fixed" and self.steps > 0

    @property
    def given(self) -> Any:
        """The rate or the structure of all rates, as training begins with it."""
        per = "one" if self.rates == "fixed" else self.rates
        steps = self.steps if per == "tensor" and self.steps else None
        found = self.alpha
        if (per, self.moves) != ("one", "all"):
            found = rates(self.model, self.alpha, per, self.moves, steps)
        return {"rates": found, "momentum": self.momentum} if self.momentum else found

    def joined(self, theta: Array) -> Array:
        """θ and what is learned besides."""
        return joined(self.model, theta, self.given, self.steps) if self.learned else theta

    def parted(self, vector: Array) -> tuple[Array, Any]:
        """θ, and the rates to adapt it by."""
        if self.learned:
            return parted(self.model, vector, self.given, self.steps)
        return vector, self.given

    def gradient(self, first_order: bool, iterations: int) -> Callable[..., Any]:
        """What a training of so many outer steps takes."""
        if not self.learned and self.weights == "last":
            return first_order_meta_gradient if first_order else meta_gradient
        schedule = MultiStep(max(1, iterations // EPOCHS))
        kind = FirstOrder if first_order else Exact
        return kind(self.learned, schedule if self.weights == "multi-step" else None)
