"""A network's loss in scalar loops, from the definitions, and what a vector says of it.

The definitions stand in the README of numaml/check/vectors. Every derivative is `scalars.gradient`
of this value: the meta-gradient is the total derivative through every inner step. Only the wrong
answers need the recursion, since it is what they get wrong.
"""

from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import mpmath
import scalars
from scalars import Scalar, gradient

SWEPT = ("stale_hessians", "outer_gradient_at_theta", "no_adaptation", "curvature_sign")


class Net(NamedTuple):
    sizes: tuple[int, ...]
    activation: str
    loss: str = "squared_error"
    norm: str | None = None
    kink: Fraction = Fraction(0)  # relu'(0)

    @property
    def length(self):
        return sum((n_in + 1) * n_out for n_in, n_out in pairwise(self.sizes))

    @property
    def rational(self):
        polynomial = self.activation in ("relu", "square", "identity")
        return polynomial and self.loss == "squared_error" and not self.norm

    def number(self, fraction):
        """A fraction in the arithmetic of this network."""
        fraction = Fraction(fraction)
        return fraction if self.rational else mpmath.mpf(fraction.numerator) / fraction.denominator


class Case(NamedTuple):
    """The inputs of a vector: fractions, and integers for classes; a task is (x, y, x, y)."""

    name: str
    about: str
    net: Net
    theta: list
    v: list
    tasks: list
    alpha: Fraction
    steps: int


# The value, from the definitions.


def activated(net, z):
    if net.activation == "relu":
        return z * (net.kink if z.value == 0 else int(z.value > 0))
    return ACTIVATIONS[net.activation](z)


ACTIVATIONS = {
    "tanh": scalars.tanh,
    "sigmoid": scalars.sigmoid,
    "softplus": scalars.softplus,
    "identity": lambda z: z,
    "square": lambda z: z * z,
}


def standardised(net, numbers):
    share = net.number(Fraction(1, len(numbers)))
    mean = sum(numbers) * share
    centred = [a - mean for a in numbers]
    variance = sum(c * c for c in centred) * share
    scale = scalars.reciprocal_root(variance + net.number(Fraction(1, 100000)))
    return [c * scale for c in centred]


def normalised(net, rows):
    if net.norm == "batch":
        return transposed([standardised(net, column) for column in transposed(rows)])
    return [standardised(net, row) for row in rows] if net.norm == "layer" else rows


def transposed(rows):
    return [list(column) for column in zip(*rows, strict=True)]


def outputs(net, theta, x):
    rows, start = [[net.number(entry) for entry in row] for row in x], 0
    for l, (n_in, n_out) in enumerate(pairwise(net.sizes), 1):
        W, start = theta[start : start + n_in * n_out], start + n_in * n_out
        b, start = theta[start : start + n_out], start + n_out
        rows = [
            [sum(W[i * n_out + j] * row[i] for i in range(n_in)) for j in range(n_out)]
            for row in rows
        ]
        hidden = l < len(net.sizes) - 1
        rows = normalised(net, rows) if hidden else rows
        rows = [[a + b_j for a, b_j in zip(row, b, strict=True)] for row in rows]
        rows = [[activated(net, z) for z in row] for row in rows] if hidden else rows
    return rows


def loss(net, theta, x, y):
    us = outputs(net, theta, x)
    if net.loss == "cross_entropy":
        terms = [
            scalars.log(sum(scalars.exp(u_j) for u_j in u)) - u[label]
            for u, label in zip(us, y, strict=True)
        ]
    else:
        errors = [
            u_j - net.number(y_j)
            for u, row in zip(us, y, strict=True)
            for u_j, y_j in zip(u, row, strict=True)
        ]
        terms = [error * error for error in errors]
    return sum(terms) * net.number(Fraction(1, len(terms)))


# Its derivatives.


def leaves(numbers):
    return [Scalar(number) for number in numbers]


def values(numbers):
    return [scalars.value(number) for number in numbers]


def loss_gradient(net, theta, x, y):
    at = leaves(theta)
    return values(gradient(loss(net, at, x, y), at))


def hessian_product(net, theta, x, y, v):
    at = leaves(theta)
    along = [g * v_i for g, v_i in zip(gradient(loss(net, at, x, y), at), v, strict=True)]
    return values(gradient(sum(along), at))


def plus(a, scale, b):
    return [a_i + scale * b_i for a_i, b_i in zip(a, b, strict=True)]


def solve_task(case, net, task):
    """One task's answers, right and wrong ones."""
    support, query, alpha = task[:2], task[2:], net.number(case.alpha)
    theta = leaves(map(net.number, case.theta))
    phis, inner = [theta], []
    for _ in range(case.steps):
        inner.append(gradient(loss(net, phis[-1], *support), phis[-1]))
        phis.append(plus(phis[-1], -alpha, inner[-1]))
    value = loss(net, phis[-1], *query)
    exact = values(gradient(value, theta))  # through every inner step
    points = [values(phi) for phi in phis]
    first, outer = (loss_gradient(net, at, *query) for at in (points[-1], points[0]))

    def swept(lam, where, sign):
        for at in reversed(where):
            lam = plus(lam, sign * alpha, hessian_product(net, at, *support, lam))
        return lam

    return {
        "meta_value": [value.value],
        "no_adaptation_value": [scalars.value(loss(net, leaves(points[0]), *query))],
        "inner_gradients": [values(g) for g in inner],
        "phi": points[-1],
        "hvp": hessian_product(net, points[0], *support, [net.number(v_i) for v_i in case.v]),
        "meta_gradient": exact,
        "first_order": first,
        "stale_hessians": swept(first, points[:1] * case.steps, -1),
        "outer_gradient_at_theta": swept(outer, points[:-1], -1),
        "no_adaptation": outer,
        "curvature_sign": swept(first, points[:-1], 1),
    }


def solve(case):
    """(right answers, wrong answers) of a vector."""
    net = case.net
    solved = [solve_task(case, net, task) for task in case.tasks]

    def total(name, weights):
        rows = [
            [net.number(w) * a for a in one[name]] for w, one in zip(weights, solved, strict=True)
        ]
        return [sum(column) for column in transposed(rows)]

    def mean(name):
        return total(name, [Fraction(1, len(solved))] * len(solved))

    right = {name: [one[name] for one in solved] for name in ("inner_gradients", "phi", "hvp")}
    right["meta_value"] = mean("meta_value")[0]
    right["meta_gradient"] = mean("meta_gradient")
    right["first_order_meta_gradient"] = mean("first_order")
    ones, queries = [1] * len(solved), [len(task[2]) for task in case.tasks]
    shares = [Fraction(n, sum(queries)) for n in queries]
    wrong = {
        "meta_value": {
            "tasks_summed": total("meta_value", ones)[0],
            "tasks_weighted": total("meta_value", shares)[0],
            "no_adaptation": mean("no_adaptation_value")[0],
        },
        "meta_gradient": {
            "first_order": mean("first_order"),
            "tasks_summed": total("meta_gradient", ones),
            "tasks_weighted": total("meta_gradient", shares),
            **{name: mean(name) for name in SWEPT},
        },
    }
    return right, wrong
