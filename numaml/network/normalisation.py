"""Normalisation without parameters: N(a), its symmetric Jacobian J, and the tangent of J w.

    (N1) x = N(a) = r ∘ (a − mean a),  r = (variance a + ε)^(−1/2)
    (N2) J w = r ∘ (w − mean w − x ∘ mean(x ∘ w))
    (N3) R{J w} = J w_dot − r ∘ (mean(x ∘ a_dot) ∘ J w + mean(x ∘ w) ∘ x_dot + x ∘ mean(x_dot ∘ w))

Means are taken along one axis: over the examples of the batch at hand ("batch", per task and
feature, in training and at test) or over the features ("layer", per example). Derived in
``derivations/6-normalisation.md``.
"""

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

AXES: dict[str | None, int] = {None: 0, "batch": -2, "layer": -1}
EPSILON = 1e-5


class Normalised(NamedTuple):
    """``x = N(a)`` along an axis, and what its derivatives need."""

    x: Array
    r: Array
    axis: int

    def mean(self, w: Array) -> Array:
        """Mean along the axis, which keeps its place."""
        return np.add.reduce(w, self.axis, keepdims=True) / w.shape[self.axis]

    def jacobian(self, w: Array) -> tuple[Array, Array]:
        """J w (= Jᵀ w), and mean(x ∘ w), which its tangent needs again."""
        m = self.mean(self.x * w)
        return self.r * (w - self.mean(w) - self.x * m), m  # (N2)

    def r_jacobian(self, w: Any, Jw: Any, m: Any, w_dot: Any, x_dot: Any, m_dot: Any) -> Array:
        """R{J w} from (J w, m) = jacobian(w), w_dot, and (x_dot, m_dot) = jacobian(a_dot)."""
        bend = m_dot * Jw + m * x_dot + self.x * self.mean(x_dot * w)
        return self.jacobian(w_dot)[0] - self.r * bend  # (N3)


def normalise(a: Array, axis: int) -> Normalised:
    """N(a)."""
    one = Normalised(a, a, axis)
    a = a - one.mean(a)
    r = 1 / np.sqrt(one.mean(a * a) + EPSILON)
    return Normalised(r * a, r, axis)  # (N1)
