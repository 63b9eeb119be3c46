"""A call through other inner steps than φ − α g: what runs, and what it is a function of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..maml import exact
from ..weights.rates import Rates
from .head import moves_the_head, through_the_head
from .inner import Stepped

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Through:
    """A core of `maml`, through other inner steps: a function of all rates in place of α."""

    core: Any
    form: Any

    @property
    def __name__(self) -> str:
        return f"{self.core.__name__} with rates"

    def __call__(self, model: Any, theta: Array, *rest: Any) -> Any:
        *batches, values, steps = rest
        if self.core is exact and moves_the_head(model, self.form):
            return through_the_head(model, self.form, theta, *rest)
        return self.core(Stepped(model, values, self.form), theta, *batches, 1, steps)


def through(core: Any, alpha: Any) -> tuple[Any, Any]:
    """A core and what it takes in place of α."""
    return (Through(core, alpha.form), alpha.values) if type(alpha) is Rates else (core, alpha)
