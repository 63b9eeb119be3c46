"""Normalisation without parameters: N(a), its Jacobian J, and the tangent of J w.

    (N1) q = N(a) = r ∘ (a − mean a),  r = (variance a + ε)^(−1/2)
    (N2) J w = r ∘ (w − mean w − q ∘ mean(q ∘ w))
    (N3) R{J w} = J w_dot − r ∘ (mean(q ∘ a_dot) ∘ J w + mean(q ∘ w) ∘ q_dot + q ∘ mean(q_dot ∘ w))

Means are taken along one axis: over the examples of the batch at hand
("batch", per task and feature, in training and at test) or over the features ("layer", per
example). Derived in ``derivations/5-normalisation.md``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..weights.products import column_sum, row_sum
from .passes import Norm, Plain

Array = np.ndarray[Any, Any]

EPSILON = 1e-5


@dataclass(frozen=True)
class Normalised:
    """q = N(a), with means that are ``sums`` divided by ``count``."""

    q: Array
    r: Array
    sums: Callable[[Array], Array]
    count: int

    def mean(self, w: Array) -> Array:
        """Mean along the axis, which keeps its place."""
        return self.sums(w) / self.count

    def J(self, w: Array) -> Array:
        """J w, which is also Jᵀ w."""
        return self.r * (w - self.mean(w) - self.q * self.mean(self.q * w))  # (N2)

    def R_J(self, w: Array, Jw: Array, w_dot: Array, a_dot: Array, q_dot: Array) -> Array:
        """R{J w}, with J w and q_dot = J a_dot as they are known already."""
        q, mean = self.q, self.mean
        bend = mean(q * a_dot) * Jw + mean(q * w) * q_dot + q * mean(q_dot * w)
        return self.J(w_dot) - self.r * bend  # (N3)


def _normalise(a: Array, sums: Callable[[Array], Array], count: int) -> Normalised:
    centred = a - sums(a) / count
    r = 1 / np.sqrt(sums(centred * centred) / count + EPSILON)
    return Normalised(r * centred, r, sums, count)  # (N1)


def over_examples(a: Array) -> Normalised:
    """N over the rows of the batch at hand."""
    return _normalise(a, row_sum, a.shape[-2])


def over_features(a: Array) -> Normalised:
    """N over the columns of each row."""
    return _normalise(a, column_sum, a.shape[-1])


def centred(x: Array) -> Array:
    """The network's inputs less their mean over examples, which N over examples takes away again.

    N(x W) = N((x − mean x) W), and xᵀ c = (x − mean x)ᵀ c, for J leaves no mean in c. In single
    precision x W has few digits left behind its mean where x lies far from 0.
    """
    return x - row_sum(x) / x.shape[-2]


NORMS: dict[str | None, Norm] = {None: Plain, "batch": over_examples, "layer": over_features}


def check_norm(norm: str, dtype: np.dtype[Any]) -> None:
    """Refuse numbers that have no square root."""
    if dtype.hasobject:
        raise TypeError(
            f"theta has dtype object and norm is {norm!r}; want floating-point theta: the "
            "square root in a normalisation has no exact value"
        )


def not_alone(x: Array, model: Any) -> Array:
    """x, if a prediction can depend on it."""
    if model.norm == "batch" and 1 in model.rows(x.shape[-2])[:-1]:
        raise ValueError(
            "x has one row, and norm='batch' maps a row that is alone to the same numbers whatever "
            "it is; take more rows together, or norm='layer'"
        )
    return x
