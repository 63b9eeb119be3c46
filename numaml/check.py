"""The verification kit: plain callables and arrays in, numbers out.

Three ways to differentiate a function without the formulas under test: `complex_step` (no
cancellation), `central_difference` (any real function), `dual_gradient` (exact over any ring,
e.g. the field `Mod`). How they work: ``derivations/4-verification.md``.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# Far below any rounding error of the function, so that its square vanishes beside 1.
TINY = 1e-30


def relative_error(got: Any, want: Any) -> float:
    """Norm-wise relative error ``‖got − want‖ / ‖want‖`` (absolute where want is 0).

    Parameters
    ----------
    got, want : array_like
        Of the same shape; nothing is broadcast.

    Returns
    -------
    error : float
        NaN and infinity in ``got`` give infinity.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> from numaml import check
    >>> check.relative_error([3.0, 4.5], [3.0, 4.0])
    0.1
    """
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape:
        raise ValueError(f"got has shape {got.shape} and want {want.shape}; want the same")
    scale = float(np.linalg.norm(want.ravel())) or 1.0
    error = float(np.linalg.norm((got - want).ravel())) / scale
    return error if np.isfinite(error) else float("inf")


def complex_step(f: Callable[[Any], Any], x: Any, v: Any) -> Any:
    """Derivative of f at x along v, ``Im f(x + i t v) / t`` with t = 1e-30: exact to rounding.

    Parameters
    ----------
    f : callable
        Complex-analytic near x: no abs, conj, max, comparison of the imaginary part, or cast to
        real numbers in it.
    x, v : arrays that broadcast
        Point and direction. A stack of directions gives a stack of derivatives if f maps rows
        to rows.

    Returns
    -------
    derivative : of the shape that f returns

    References
    ----------
    Squire, Trapp 1998, "Using Complex Variables to Estimate Derivatives of Real Functions".

    Examples
    --------
    >>> import numpy as np
    >>> from numaml import check
    >>> check.complex_step(np.sin, 1.0, 1.0) == np.cos(1.0)
    np.True_
    """
    return np.imag(f(x + 1j * TINY * v)) / TINY


def central_difference(
    f: Callable[[Any], Any], x: Any, v: Any, step: float = 1e-4
) -> tuple[Any, Any]:
    """Derivative of f at x along v by extrapolated central differences, with an error estimate.

    Parameters
    ----------
    f : callable
        Any real function.
    x, v : arrays
        Point and direction.
    step : float
        Largest step along v; half of it is used as well.

    Returns
    -------
    derivative
        ``(4 D(step/2) − D(step)) / 3``, of fourth order in step.
    error
        The distance of ``derivative`` from D(step/2), the better plain difference: an upper
        estimate where f is smooth. A kink between x − step·v and x + step·v shows as a large one,
        but one very near x may not show, and one at x does not: there the derivative returned is
        the mean of both slopes. (A relu behind a layer that is off sits on its kink while its
        biases are 0, as `MLP.init` leaves them: add noise to theta before you check it this way.)

    References
    ----------
    Richardson 1911, "The Approximate Arithmetical Solution by Finite Differences".

    Examples
    --------
    >>> import numpy as np
    >>> from numaml import check
    >>> derivative, error = check.central_difference(np.sin, 1.0, 1.0)
    >>> bool(abs(derivative - np.cos(1.0)) < error < 1e-8)
    True
    """

    def difference(t: float) -> Any:
        return (f(x + t * v) - f(x - t * v)) / (2 * t)

    wide, narrow = difference(step), difference(step / 2)
    derivative = (4 * narrow - wide) / 3
    return derivative, abs(derivative - narrow)


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
