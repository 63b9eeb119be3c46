"""The four passes over one batch, each beside its tangent.

    (F1) z_l = N(h_{l-1} W_l) + b_l                  (R1) = R{F1}
    (F2) h_l = s(z_l)                                (R2) = R{F2}
    (B1) δ_{l-1} = s′(z_{l-1}) ∘ (c_l W_lᵀ)           (R3) = R{B1}
    (B2) ∂W_l = h_{l-1}ᵀ c_l, ∂b_l = 1ᵀ δ_l          (R4) = R{B2}

N normalises and J_l is its Jacobian: c_l = J_l δ_l is the cotangent of a_l = h_{l-1} W_l. Layers
count from 1 to L as in the derivations; h[0] is the input x, and where a list has nothing at 0 it
has None. The last layer is linear and never normalised: u = z_L = h_{L-1} W_L + b_L. A pass needs
of a weight only ``h @ W`` and ``c @ W.mT``, and leaves a gradient as pairs (h, c); a task axis, if
there is one, leads. Derived in ``derivations/1-backpropagation.md``, ``2-r-operator.md`` and
``5-normalisation.md``.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..weights.factored import Outer
from ..weights.theta import Array
from .activations import Function

Each = Sequence[Any]  # one of every layer, and None at 0
Norm = Callable[[Array], Any]  # a -> q = N(a), with its Jacobian


class Plain(NamedTuple):
    """No normalisation: q = a, and its Jacobian is 1."""

    q: Any

    def J(self, w: Array) -> Array:
        """J w = w."""
        return w

    def R_J(self, w: Array, Jw: Array, w_dot: Array, a_dot: Array, q_dot: Array) -> Array:
        """R{J w} = w_dot."""
        return w_dot


class Trace(NamedTuple):
    """What forward and backward computed, and the R-passes use again."""

    h: Each  # inputs of the layers
    N: Each  # q = N(a), with its Jacobian
    z: Each  # pre-activations; z[L] is u
    s1: Each  # s′(z)
    delta: Each  # cotangents of z
    c: Each  # of a
    e: Each  # of h


class Tangents(NamedTuple):
    """What the R-forward pass computed."""

    h_dot: Each
    a_dot: Each
    q_dot: Each
    z_dot: Each


def forward(W: Each, b: Each, x: Array, s: Function, norm: Norm) -> tuple[Each, Each, Each]:
    """(F1), (F2): of every layer its input h, its q = N(a), and z."""
    L = len(W) - 1
    h, (N, z) = [x], empty(L, 2)
    for l in range(1, L + 1):
        a = h[l - 1] @ W[l]
        N[l] = norm(a) if l < L else Plain(a)
        z[l] = N[l].q + b[l]  # (F1)
        if l < L:
            h.append(s(z[l]))  # (F2)
    return h, N, z


def r_forward(W: Each, W_dot: Each, b_dot: Each, trace: Trace) -> Tangents:
    """(R1), (R2): the tangents of `forward` along W_dot and b_dot, with x fixed."""
    L, h, N, s1 = len(W) - 1, trace.h, trace.N, trace.s1
    h_dot, a_dot, q_dot, z_dot = empty(L, 4)
    for l in range(1, L + 1):
        a_dot[l] = h[l - 1] @ W_dot[l]
        if l > 1:
            a_dot[l] = a_dot[l] + h_dot[l - 1] @ W[l]
        q_dot[l] = N[l].J(a_dot[l])
        z_dot[l] = q_dot[l] + b_dot[l]  # (R1) = R{F1}
        if l < L:
            h_dot[l] = s1[l] * z_dot[l]  # (R2) = R{F2}
    return Tangents(h_dot, a_dot, q_dot, z_dot)


def backward(
    W: Each, h: Each, N: Each, z: Each, s_prime: Function, delta_L: Array
) -> tuple[list[Outer], Trace]:
    """(B1), (B2): the gradient as outer products, from δ_L = ∂loss/∂u; and the trace."""
    L = len(W) - 1
    s1, delta, c, e, outers = empty(L, 5)
    delta[L] = delta_L
    for l in range(L, 0, -1):
        c[l] = N[l].J(delta[l])
        outers[l] = [(h[l - 1], c[l])], delta[l]  # (B2)
        if l > 1:
            e[l - 1] = c[l] @ W[l].mT
            s1[l - 1] = s_prime(z[l - 1])
            delta[l - 1] = s1[l - 1] * e[l - 1]  # (B1)
    return outers[1:], Trace(h, N, z, s1, delta, c, e)


def r_backward(
    W: Each,
    W_dot: Each,
    trace: Trace,
    tangents: Tangents,
    s_second: Function | None,
    delta_dot_L: Array,
) -> list[Outer]:
    """(R3), (R4): the tangent of the gradient as outer products, from δ_dot_L."""
    L, (h, N, z, s1, delta, c, e), (h_dot, a_dot, q_dot, z_dot) = len(W) - 1, trace, tangents
    delta_dot, c_dot, e_dot, outers = empty(L, 4)
    delta_dot[L] = delta_dot_L
    for l in range(L, 0, -1):
        c_dot[l] = N[l].R_J(delta[l], c[l], delta_dot[l], a_dot[l], q_dot[l])
        outers[l] = [(h[l - 1], c_dot[l])], delta_dot[l]  # (R4) = R{B2}
        if l > 1:
            outers[l][0].append((h_dot[l - 1], c[l]))  # (R4) = R{B2}, second term
            e_dot[l - 1] = c_dot[l] @ W[l].mT + c[l] @ W_dot[l].mT
            delta_dot[l - 1] = s1[l - 1] * e_dot[l - 1]  # (R3) = R{B1}
        if l > 1 and s_second:
            bend = s_second(z[l - 1]) * z_dot[l - 1] * e[l - 1]
            delta_dot[l - 1] = delta_dot[l - 1] + bend  # (R3) = R{B1}, second term
    return outers[1:]


def empty(L: int, lists: int) -> list[list[Any]]:
    """So many lists with a place for every layer."""
    return list(map(list, [[None] * (L + 1)] * lists))
