"""Relative errors, and derivatives without a formula: complex step, central difference."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .scale import norm

Array = np.ndarray[Any, Any]

# Far below any rounding error of the function, so that its square vanishes beside 1.
TINY = 1e-30


@np.errstate(under="ignore")
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
    error = norm(got - want) / (norm(want) or 1.0)
    return error if np.isfinite(error) else float("inf")


def complex_step(f: Callable[[Any], Any], x: Any, v: Any, step: float = TINY) -> Any:
    """Derivative of f at x along v, ``Im f(x + i t v) / t`` with a tiny t: exact to rounding.

    Parameters
    ----------
    f : callable
        Complex-analytic near x: no abs, conj, max, comparison of the imaginary part, or cast to
        real numbers in it.
    x, v : arrays that broadcast
        Point and direction. A stack of directions gives a stack of derivatives if f maps rows
        to rows.
    step : float
        t. Where f or x is below 1e-250, t times it is lost to underflow: take 1e-10 there.

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
    return np.imag(f(x + 1j * (step * v))) / step


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
