"""Exact arithmetic: the field GF(2^61 − 1), and dual numbers over any ring."""

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class Mod:
    """Element of the field GF(p), p = 2^61 − 1: exact arithmetic without growing numbers.

    Two polynomials of degree d that differ agree at a random point with probability at most
    d/p (Schwartz–Zippel), so one equality at random elements all but proves an identity.

    Parameters
    ----------
    value : int
        Taken modulo p.

    Examples
    --------
    >>> from numaml.check import Mod
    >>> Mod(1) / 3 * 3 == Mod(1), Mod(2) - 5 == -3
    (True, True)
    """

    __slots__ = ("value",)
    p = 2**61 - 1

    def __init__(self, value: int) -> None:
        self.value = int(value) % self.p

    def __add__(self, other: Any) -> Any:
        n = _integer(other)
        return NotImplemented if n is None else Mod(self.value + n)

    def __mul__(self, other: Any) -> Any:
        n = _integer(other)
        return NotImplemented if n is None else Mod(self.value * n)

    def __truediv__(self, other: Any) -> Any:
        n = _integer(other)
        return NotImplemented if n is None else Mod(self.value * pow(n, -1, self.p))

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> "Mod":
        return Mod(-self.value)

    def __sub__(self, other: Any) -> Any:
        return self + -other

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __eq__(self, other: object) -> bool:
        n = _integer(other)
        return n is not None and (self.value - n) % self.p == 0

    def __hash__(self) -> int:
        return hash(self.value)

    def __repr__(self) -> str:
        return f"Mod({self.value})"


def _integer(other: Any) -> int | None:
    """What GF(p) may be combined with: its own elements and integers, never a float."""
    if isinstance(other, Mod):
        return other.value
    return int(other) if isinstance(other, int | np.integer | np.bool_) else None


class Dual:
    """``value + tangent·ε`` with ε² = 0 over any ring: arithmetic that carries a derivative.

    Parameters
    ----------
    value, tangent
        Elements of the same ring; `Dual` numbers themselves for derivatives of derivatives.

    Examples
    --------
    >>> from fractions import Fraction
    >>> from numaml.check import Dual
    >>> x = Dual(Fraction(1, 3), Fraction(1))
    >>> (x * x * x).tangent                                       # 3 x² at x = 1/3
    Fraction(1, 3)
    """

    __slots__ = ("tangent", "value")

    def __init__(self, value: Any, tangent: Any) -> None:
        self.value, self.tangent = value, tangent

    def __add__(self, other: Any) -> "Dual":
        if isinstance(other, Dual):
            return Dual(self.value + other.value, self.tangent + other.tangent)
        return Dual(self.value + other, self.tangent)

    def __mul__(self, other: Any) -> "Dual":
        if isinstance(other, Dual):
            tangent = self.value * other.tangent + self.tangent * other.value
            return Dual(self.value * other.value, tangent)
        return Dual(self.value * other, self.tangent * other)

    __radd__, __rmul__ = __add__, __mul__

    def __truediv__(self, count: int) -> "Dual":
        return Dual(self.value / count, self.tangent / count)

    def __neg__(self) -> "Dual":
        return Dual(-self.value, -self.tangent)

    def __sub__(self, other: Any) -> "Dual":
        return self + -1 * other

    def __rsub__(self, other: Any) -> "Dual":
        return -self + other

    def __gt__(self, other: Any) -> bool:
        return bool(self.value > other)

    def __ge__(self, other: Any) -> bool:
        return bool(self.value >= (other.value if isinstance(other, Dual) else other))


def dual_gradient(f: Callable[[Array], Any], x: Array) -> Array:
    """Exact gradient of f at x over any ring, one coordinate at a time, through f's value alone.

    Parameters
    ----------
    f : callable
        From an object array of `Dual` numbers to one of them, by ring operations.
    x : (P,) object array
        Elements of the ring; `Dual` numbers themselves for a derivative of a gradient.

    Returns
    -------
    gradient : (P,) object array

    Examples
    --------
    >>> import numpy as np
    >>> from numaml.check import Mod, dual_gradient
    >>> x = np.array([Mod(2), Mod(5)])
    >>> dual_gradient(lambda x: x[0] * x[0] * x[1], x)
    array([Mod(20), Mod(4)], dtype=object)
    """
    gradient = np.empty(x.shape, object)
    for i in range(len(x)):
        # element·0 + 1 is the ring's own one: a plain 1 would divide into a float.
        seeds = [Dual(element, element * 0 + int(i == j)) for j, element in enumerate(x)]
        seeded = np.array(seeds, object)
        gradient[i] = f(seeded).tangent
    return gradient
