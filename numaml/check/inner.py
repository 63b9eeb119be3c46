"""An inner loop of MAML's family, and how a mistake bends the way back through it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .adam import Adam

Array = np.ndarray[Any, Any]


class Inner(NamedTuple):
    """How a task adapts: K times ``u ← μ u + g + δ φ + p (φ − θ)`` and ``φ ← φ − α_k ∘ u``.

    With Adam ``g + δ φ + p (φ − θ)`` enters its moments, and u is what it makes of them. Decoupled
    decay does not enter: a move is ``u + δ φ``, as in AdamW. The rates are alpha, and with
    ``which`` alpha times learned ones that stand behind θ. Losses of the support are ``louder``
    times what they were said to be.
    """

    steps: int
    alpha: Any  # one number, (P,) or (K, P)
    weights: Array | None = None  # (K,), of the query loss after each step; the last alone if None
    momentum: float = 0.0
    decay: float = 0.0
    pull: float = 0.0
    which: Array | None = None  # (K, P): numbers of learned rates
    adam: Adam | None = None
    louder: float = 1.0
    decoupled: bool = False

    @property
    def learned(self) -> int:
        """How many rates are learned."""
        return 0 if self.which is None else int(self.which.max()) + 1

    @property
    def plain(self) -> bool:
        """Whether a move is nothing but a gradient."""
        return not (self.momentum or self.decay or self.pull or self.adam)

    @property
    def one_rate(self) -> bool:
        """Whether all parameters have the same at all steps, so that products with it commute."""
        return self.which is None and np.ndim(self.alpha) == 0

    def rate(self, k: int, learned: Array) -> Any:
        """α_k; of a step beyond the last the last one's."""
        k = max(min(k, self.steps - 1), 0)
        alpha = self.alpha[k] if np.ndim(self.alpha) == 2 else self.alpha
        return alpha if self.which is None or not self.steps else alpha * learned[self.which[k]]

    def weight(self, k: int, steps: int) -> float:
        """Of the query loss after step k (from 1) of so many."""
        if self.weights is None or steps != self.steps:
            return float(k == steps)
        return float(self.weights[k - 1])

    def start(self, theta: Array) -> Any:
        """What is carried from step to step, before the first."""
        return self.adam.start(theta) if self.adam else 0 * theta

    def moved(self, state: Any, g: Array, phi: Array, theta: Array) -> tuple[Any, Array]:
        """What is carried on, and the move; of plain steps both are the gradient itself."""
        g = g if self.louder == 1 else self.louder * g
        if self.plain:
            return g, g
        if self.decay or self.pull:
            g = g + self.decay * (not self.decoupled) * phi + self.pull * (phi - theta)
        state = self.adam.after(state, g) if self.adam else self.momentum * state + g
        u = self.adam.move(state) if self.adam else state
        return state, u + self.decay * phi if self.decoupled else u

    def back(self, state: Any, moved: Array, later: Any, bent: "Bent") -> tuple[Array, Any]:
        """Cotangent of what entered a step, and of what was carried to it, from that of its u."""
        if self.adam:
            return self.adam.back(
                state, moved, later, carried=bent.carried, second=bent.rooted, flat=bent.flat
            )
        n = moved if later is None else self.momentum * bent.carried * later + moved
        return n, n


def its_own(k: int, steps: int) -> int | None:
    """Step k's curvature at φ_k, where it belongs."""
    return k


def nowhere(k: int, steps: int) -> int | None:
    """No curvature."""
    return None


class Bent(NamedTuple):
    """The adjoint with one thing changed; as it stands nothing is.

    In the order of the recursion: n = μ n − α ∘ λ is the adjoint of u, or what Adam makes of
    −α ∘ λ, and λ ← λ + H n + (δ + p) n + v ∇L_Q, with −p n of every step for θ itself. Decoupled
    decay adds −δ α ∘ λ in place of δ n.
    """

    where: Callable[[int, int], int | None] = its_own  # of (k, K): which φ step k's H is taken at
    ends: Callable[[int], int] = int  # of k: which φ the query gradient after k steps is taken at
    judged: str = "query"
    sign: float = 1.0  # of the curvature
    rates: str = "inside"  # H (α ∘ λ); "outside" α ∘ (H λ); "none" H λ; "reversed" α of step K − k
    head: Array | None = None  # the parameters that have curvature, True or False; None: all
    more: int = 0  # steps beyond K
    weights: tuple[float, float] = (1.0, 1.0)  # factors of the last v_k, and of the others
    carried: bool = True  # momentum or Adam's moments, from step to step
    rooted: bool = True  # Adam's second moment
    flat: bool = False  # Adam's slope where a gradient is 0
    decayed: bool = True  # δ n, or −δ α ∘ λ
    pulled: bool = True  # p n
    anchored: bool = True  # −p n, for θ itself
    frozen_rates: bool = False  # a gradient of learned rates that is zero


EXACT = Bent()
