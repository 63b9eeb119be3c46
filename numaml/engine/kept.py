"""An inner learning rate as a file keeps it."""

from typing import Any

import numpy as np

from ..weights.rates import described
from .arguments import checked_alpha
from .inner import Rule, varied

Array = np.ndarray[Any, Any]


def kept_alpha(alpha: Any, theta: Array) -> Any:
    """A number, or a structure of rates in which every kind has its name: JSON changes neither."""
    if isinstance(alpha, Rule):
        raise TypeError(
            f"alpha is a {type(alpha).__name__}, which no file can hold; want rates, or a gradient "
            "of your own in which it stands"
        )
    return described(alpha) if varied(alpha) else checked_alpha(alpha, theta)
