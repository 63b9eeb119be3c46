"""Inner steps by Adam and their adjoint, in the conventions that are met.

With s the gradient that enters (weight decay and the like included) and k from 1:

    m ← b1 m + (1 − b1) s,    v ← b2 v + (1 − b2) s²,
    u = m̂ / (√v̂ + ε),        m̂ = m / (1 − b1^k),  v̂ = v / (1 − b2^k)

or, with ε inside the root, u = m̂ / √(v̂ + ε).
"""

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class Moments(NamedTuple):
    """Adam's state after so many steps, and the gradient that entered last."""

    entered: Array
    first: Array
    second: Array
    taken: int = 0


class Adam(NamedTuple):
    """Adam's settings; ``hat`` and not ``corrected`` are other conventions."""

    b1: float = 0.9
    b2: float = 0.999
    epsilon: float = 1e-8
    epsilon_inside: bool = False
    hat: bool = False  # ε before the bias correction
    corrected: bool = True

    def start(self, theta: Array) -> Moments:
        return Moments(0 * theta, 0 * theta, 0 * theta)

    def after(self, state: Moments, entered: Array) -> Moments:
        """The state once another gradient has entered."""
        return Moments(
            entered,
            self.b1 * state.first + (1 - self.b1) * entered,
            self.b2 * state.second + (1 - self.b2) * entered * entered,
            state.taken + 1,
        )

    def _corrections(self, k: int) -> tuple[float, float]:
        return (1 / (1 - self.b1**k), 1 / (1 - self.b2**k)) if self.corrected else (1.0, 1.0)

    def _below(self, state: Moments) -> tuple[Array, Array]:
        """The root, and what m̂ is divided by."""
        _, up = self._corrections(state.taken)
        epsilon = self.epsilon * up**0.5 if self.hat else self.epsilon
        if self.epsilon_inside:
            root = np.sqrt(up * state.second + epsilon)
            return root, root
        root = np.sqrt(up * state.second)
        return root, root + epsilon

    def move(self, state: Moments) -> Array:
        """u."""
        up, _ = self._corrections(state.taken)
        return np.asarray(up * state.first / self._below(state)[1])

    def back(
        self, state: Moments, moved: Array, later: Any, *, carried: bool, second: bool, flat: bool
    ) -> tuple[Array, Any]:
        """Cotangent of the gradient that entered, and those of m and v one step earlier.

        From that of u, and those that come from later steps. Without a root, which has no slope
        at 0, u is still the first moment's: its slope is 1/ε. ``carried``, ``second`` and ``flat``
        are mistakes: nothing from later steps, a root that is a constant, no slope at 0.
        """
        up, up_second = self._corrections(state.taken)
        root, below = self._below(state)
        first, of_second = later if carried and later is not None else (0.0, 0.0)
        first = first + moved * up / below
        slope = np.where(root > 0, up_second / 2 / np.where(root > 0, root, 1.0), 0.0)
        of_second = of_second - second * moved * up * state.first / below**2 * slope
        s = state.entered
        found = (1 - self.b1) * first + 2 * (1 - self.b2) * s * of_second
        found = np.where(s == 0, 0.0, found) if flat else found
        return found, (self.b1 * first, self.b2 * of_second)
