"""The family's answers: one inner step, differentiated as it stands, and mistakes that bend it.

The definitions stand in the README of numaml/check/vectors. A step is

    u ← μ u + g + δ φ + p (φ − θ),    φ ← φ − α_k ∘ u,

or Adam's; decoupled, δ φ stands beside u, or beside what Adam makes of it (AdamW). Every derivative
is `scalars.gradient` of the value. A mistake either is another algorithm, or detaches a number, or
puts another matrix in the place of a step's Jacobian.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import mpmath
from scalars import Scalar, frozen, gradient, reciprocal, root, value
from solve import Case, leaves, loss, loss_gradient, plus, transposed, values


class Adam(NamedTuple):
    b1: Fraction
    b2: Fraction
    epsilon: Fraction
    inside: bool  # ε under the root
    corrected: bool = True
    hat: bool = False  # ε before the bias correction


class Member(NamedTuple):
    """A member of the family: a case, and how its inner loop differs from MAML's.

    Step k moves parameter i with the rate ``rates[which[k][i]]``; ``weights[k]`` is that of the
    query loss after step k + 1. Without steps φ is the minimum of L_S + ½ p |φ − θ|².
    """

    case: Case
    rates: list
    which: list
    weights: list
    momentum: Fraction = Fraction(0)
    buffer: list | None = None
    decay: Fraction = Fraction(0)
    decoupled: bool = False
    pull: Fraction = Fraction(0)
    adam: Adam | None = None
    reptile: bool = False
    # Of mistakes: what a batch's loss is multiplied by, and how new gradients enter the buffer.
    support_scale: Callable = lambda net, n: 1
    query_scale: Callable = lambda net, n: 1
    fresh: Fraction = Fraction(1)


def keep(numbers, *_):
    return numbers


def freeze(numbers, *_):
    return [frozen(one) for one in numbers]


class Bent(NamedTuple):
    """What a mistake does to the numbers that a step is made of; nothing, if it is none."""

    gradient: Callable = keep  # of (g, k, K)
    buffer: Callable = keep
    decayed: Callable = keep
    pulled: Callable = keep
    anchor: Callable = keep
    second: Callable = keep
    jacobian: Callable | None = None  # of (step, k): the matrix in place of ∂φ_{k+1}/∂φ_k


class Leaves(NamedTuple):
    """What a member's value is differentiated by."""

    theta: list
    rates: list
    buffer: list
    momentum: Any
    decay: Any
    pull: Any


def leaves_of(m):
    number, net = m.case.net.number, m.case.net
    rows = (m.case.theta, m.rates, m.buffer or [0] * net.length)
    settings = (m.momentum, m.decay, m.pull)
    return Leaves(*(leaves(map(number, row)) for row in rows), *leaves(map(number, settings)))


def scaled_loss(m, phi, batch, scale):
    net = m.case.net
    return loss(net, phi, *batch) * net.number(scale(net, len(batch[0])))


def unrolled(m, at, task, bent=Bent()):  # noqa: B008  # it never changes
    """(meta-value, φ_K) of one task, as scalars of the leaves."""
    support, query = task[:2], task[2:]
    K, number = m.case.steps, m.case.net.number
    phi, u, second, total, path = at.theta, at.buffer, [0] * len(at.theta), 0, [values(at.theta)]
    for k in range(K):
        before, phi = phi, freeze(phi) if bent.jacobian else phi
        g = gradient(scaled_loss(m, phi, support, m.support_scale), phi)
        g, u = bent.gradient(g, k, K), bent.buffer(u)
        rates = [at.rates[j] for j in m.which[k]]
        if m.adam:
            g = g if m.decoupled or not m.decay else plus(g, at.decay, bent.decayed(phi))
            u, second, move = adam(m, u, second, g, k, bent)
        else:
            u = pushed(m, at, phi, u, g, bent)
            move = u
        after = [p - a * s for p, a, s in zip(phi, rates, move, strict=True)]
        if m.decoupled:
            pairs = zip(after, rates, bent.decayed(phi), strict=True)
            after = [p - a * at.decay * old for p, a, old in pairs]
        path.append(values(after))
        phi = (
            straightened(after, before, bent.jacobian(m, path, k, support))
            if bent.jacobian
            else after
        )
        if m.weights[k]:
            total = total + scaled_loss(m, phi, query, m.query_scale) * number(m.weights[k])
    return total, phi


def pushed(m, at, phi, u, g, bent):
    """u ← μ u + g + δ φ + p (φ − θ)."""
    u = [
        at.momentum * u_i + m.case.net.number(m.fresh) * g_i for u_i, g_i in zip(u, g, strict=True)
    ]
    if m.decay and not m.decoupled:
        u = [u_i + at.decay * p for u_i, p in zip(u, bent.decayed(phi), strict=True)]
    if m.pull:
        away = bent.pulled(plus(phi, -1, bent.anchor(at.theta)))
        u = [u_i + at.pull * a for u_i, a in zip(u, away, strict=True)]
    return u


def adam(m, first, second, g, k, bent):
    """Adam's two moments after step k, and the move m̂/(√v̂ + ε) or m̂/√(v̂ + ε)."""
    number, (b1, b2, epsilon, inside, corrected, hat) = m.case.net.number, m.adam
    first = [number(b1) * a + number(1 - b1) * g_i for a, g_i in zip(first, g, strict=True)]
    second = bent.buffer(second)
    second = [
        number(b2) * a + number(1 - b2) * (g_i * g_i) for a, g_i in zip(second, g, strict=True)
    ]
    share = [number(1 / (1 - b ** (k + 1)) if corrected else 1) for b in (b1, b2)]
    near = number(epsilon) * value(root(share[1]) if hat else 1)
    move = []
    for a, v in zip(first, bent.second(second), strict=True):
        v_hat = v * share[1]
        scale = root(v_hat + near) if inside else root(v_hat) + near
        move.append(a * share[0] * reciprocal(scale))
    return first, second, move


def straightened(after, before, J):
    """The numbers ``after``, with the matrix J as their derivative by ``before``."""
    moved = plus(before, -1, freeze(before))
    return [
        one + sum(J_ij * d for J_ij, d in zip(row, moved, strict=True))
        for one, row in zip(after, J, strict=True)
    ]


# The answers.


def derivatives(m, at, total):
    """Of a member's value by what it depends on, of those that it has."""
    found = {"meta_gradient": values(gradient(total, at.theta))}
    if m.rates:
        found["rate_gradient"] = values(gradient(total, at.rates))
    if m.buffer:
        found["buffer_gradient"] = values(gradient(total, at.buffer))
    for name in ("momentum", "decay", "pull"):
        if getattr(m, name):
            found[f"{name}_gradient"] = values(gradient(total, [getattr(at, name)]))
    return found


def answers_of_task(m, task, bent):
    at = leaves_of(m)
    total, phi = (minimum if not m.case.steps else unrolled)(m, at, task, bent)
    return {"meta_value": [value(total)], "phi": values(phi), **derivatives(m, at, total)}


def answers(m, bent=Bent()):  # noqa: B008
    """Every answer of a member, by its steps or by the bent ones."""
    rows = [answers_of_task(m, task, bent) for task in m.case.tasks]
    Scalar.made.clear()
    share = m.case.net.number(Fraction(1, len(rows)))
    found = {
        field: [sum(column) * share for column in transposed([row[field] for row in rows])]
        for field in rows[0]
        if field != "phi"
    }
    found = {field: a if field in ROWS else a[0] for field, a in found.items()}
    return {"phi": [row["phi"] for row in rows], **found}


def chained(m):
    """The same where each task goes on from where the last one ended."""
    at = start = leaves_of(m)
    total = 0
    for task in m.case.tasks:
        value_, phi = unrolled(m, start, task)
        total, start = total + value_, start._replace(theta=phi)
    total = total * m.case.net.number(Fraction(1, len(m.case.tasks)))
    found = {"meta_value": value(total), **derivatives(m, at, total)}
    return {field: a if field in (*ROWS, "meta_value") else a[0] for field, a in found.items()}


ROWS = ("meta_gradient", "rate_gradient", "buffer_gradient")
FIRST = ("meta_gradient", "rate_gradient")


def right(m):
    found = answers(m)
    flat = answers(m, Bent(gradient=freeze) if m.case.steps else Bent(jacobian=flat_minimum))
    found |= {f"first_order_{field}": flat[field] for field in FIRST if field in flat}
    if m.reptile:
        mean = [sum(column) / len(found["phi"]) for column in transposed(found["phi"])]
        theta = [m.case.net.number(one) for one in m.case.theta]
        found["reptile_direction"] = plus(theta, -1, mean)
    return found


# Minima: φ = argmin L_S + ½ p |φ − θ|², whose derivative is p (H + p I)⁻¹.


def hessian(net, at, support):
    """∇²L_S, row by row; asked for again and again, since mistakes put it in the wrong place."""
    key = (net, *at, id(support[0]))
    if key not in HESSIANS:
        point = leaves(at)
        slopes = gradient(loss(net, point, *support), point)
        HESSIANS[key] = [values(gradient(slope, point)) for slope in slopes]
    return HESSIANS[key]


HESSIANS = {}


def solved(A, b):
    """A⁻¹ b by elimination, with the largest pivot of each column."""
    rows, n = [[*row, b_i] for row, b_i in zip(A, b, strict=True)], len(b)
    for j in range(n):
        top = max(range(j, n), key=lambda i: abs(rows[i][j]))
        rows[j], rows[top] = rows[top], rows[j]
        rows[j] = [one / rows[j][j] for one in rows[j]]
        for i in range(n):
            if i != j:
                rows[i] = plus(rows[i], -rows[i][j], rows[j])
    return [row[-1] for row in rows]


def shifted(H, p):
    return [[h + p * (i == j) for j, h in enumerate(row)] for i, row in enumerate(H)]


def lowest(m, support):
    """The minimum by Newton's steps from θ, exactly where L_S is quadratic."""
    net = m.case.net
    theta, p = [net.number(one) for one in m.case.theta], net.number(m.pull)
    phi, near = theta, 0 if net.rational else mpmath.mpf(10) ** (20 - mpmath.mp.dps)
    while True:
        g = plus(loss_gradient(net, phi, *support), p, plus(phi, -1, theta))
        if max(map(abs, g)) <= near:
            return phi
        phi = plus(phi, -1, solved(shifted(hessian(net, phi, support), p), g))


def minimum_jacobian(m, H, p):
    """∂φ/∂θ, row by row; of p it is (H + p I)⁻¹ (θ − φ)."""
    A, n = shifted(H, p), len(H)
    return [solved(A, [p * (i == j) for i in range(n)]) for j in range(n)]


def flat_minimum(m, H, p):
    return [[p / p * (i == j) for j in range(len(H))] for i in range(len(H))]


def minimum(m, at, task, bent):
    """(meta-value, φ) as scalars of θ and p."""
    net, support, query = m.case.net, task[:2], task[2:]
    phi, p = lowest(m, support), net.number(m.pull)
    H = hessian(net, phi, support)
    J = (bent.jacobian or minimum_jacobian)(m, H, p)
    found = straightened(leaves(phi), at.theta, J)
    slope = solved(shifted(H, p), plus([net.number(one) for one in m.case.theta], -1, phi))
    found = [one + (at.pull - frozen(at.pull)) * s for one, s in zip(found, slope, strict=True)]
    return loss(net, found, *query), found
