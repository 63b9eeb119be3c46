"""Scalars that remember what they were made of, and the gradient of one with respect to others.

Reverse mode over single numbers: every operation states its own derivative, and nothing here knows
of layers, batches or tasks. A gradient is made of such scalars again and can be differentiated in
turn. The numbers are Fractions or mpmath's.
"""

from fractions import Fraction
from itertools import count
from math import isqrt

import mpmath


class Scalar:
    """A number and its parents, as pairs (scalar, partial derivative with respect to it)."""

    __slots__ = ("parents", "serial", "value")
    serials = count()
    made = []  # noqa: RUF012  # every number since this was last emptied, for who asks how long

    def __init__(self, value, *parents):
        self.value, self.parents, self.serial = value, parents, next(Scalar.serials)
        Scalar.made.append(value)

    def __add__(self, other):
        if isinstance(other, Scalar):
            return Scalar(self.value + other.value, (self, 1), (other, 1))
        return Scalar(self.value + other, (self, 1))

    def __mul__(self, other):
        if isinstance(other, Scalar):
            return Scalar(self.value * other.value, (self, other), (other, self))
        return Scalar(self.value * other, (self, other))

    __radd__, __rmul__ = __add__, __mul__

    def __sub__(self, other):
        return self + -1 * other


def value(scalar):
    """The number itself; a constant is one already."""
    return scalar.value if isinstance(scalar, Scalar) else scalar


def gradient(y, xs):
    """[∂y/∂x for x in xs], as scalars (or constants); what lies before xs is not looked at."""
    if not isinstance(y, Scalar):
        return [0] * len(xs)
    adjoints = {y: 1}
    for node in _from_last_to_first(y, set(xs)):
        for parent, partial in node.parents:
            term = adjoints[node] if partial == 1 else partial * adjoints[node]
            adjoints[parent] = adjoints[parent] + term if parent in adjoints else term
    return [adjoints.get(x, 0) for x in xs]


def _from_last_to_first(y, leaves):
    seen, todo = {y}, [y]
    while todo:
        for parent, _ in todo.pop().parents:
            if parent not in seen:
                seen.add(parent)
                if parent not in leaves:
                    todo.append(parent)
    return sorted(seen - leaves, key=lambda node: -node.serial)


def reciprocal(x):
    y = Scalar(1 / x.value)
    y.parents = ((x, -1 * (y * y)),)
    return y


def reciprocal_root(x):
    y = Scalar(1 / mpmath.sqrt(x.value))
    y.parents = ((x, y * y * y * mpmath.mpf(-0.5)),)
    return y


def root(x):
    """√x. At 0, where a slope is infinite, it is taken for 0: who divides by √x + ε may do that."""
    y = Scalar(_root(value(x)))
    if isinstance(x, Scalar) and y.value:
        half = y.value / (2 * y.value)  # in the arithmetic at hand
        y.parents = ((x, half * reciprocal(y)),)
    return y


def _root(number):
    if not isinstance(number, Fraction):
        return mpmath.sqrt(number)
    p, q = isqrt(number.numerator), isqrt(number.denominator)
    if (p * p, q * q) != (number.numerator, number.denominator):
        raise ValueError(f"the root of {number} is no fraction")
    return Fraction(p, q)


def frozen(scalar):
    """The same number, through which nothing is differentiated."""
    return Scalar(value(scalar))


def exp(x):
    y = Scalar(mpmath.exp(x.value))
    y.parents = ((x, y),)
    return y


def log(x):
    return Scalar(mpmath.log(x.value), (x, reciprocal(x)))


def tanh(x):
    y = Scalar(mpmath.tanh(x.value))
    y.parents = ((x, 1 + -1 * (y * y)),)
    return y


def sigmoid(x):
    return reciprocal(1 + exp(-1 * x))


def softplus(x):
    return log(1 + exp(x))
