"""What a function allows: its precision, its noise, and its derivative by the best method for it.

A method is chosen, and its error estimated, by trying the function, never by trusting it.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .derivatives import TINY, central_difference, complex_step

Array = np.ndarray[Any, Any]

COMPLEX, DIFFERENCES = "complex step", "adaptive central differences (SciPy)"
SINGLE, DOUBLE = float(np.finfo("f4").eps), float(np.finfo("f8").eps)
GOOD_ENOUGH = 1e-11  # relative; a smaller error of a difference is not worth more evaluations
NOISE_POINTS, NOISE_ORDERS = 9, (4, 5, 6)  # of the difference table, as in Moré and Wild
RESOLVED = 30.0  # times the noise: what is larger is no noise


class Derivative(NamedTuple):
    """A derivative, and what is known about it.

    Parameters
    ----------
    value, error : float or array
        The derivative, and an estimate of its absolute error.
    method, step : str, float
        How it was found, and the smallest step along v.
    jump : float or array
        Between the slopes on either side, seen at a kink only; it is part of the error.
    """

    value: Any
    error: Any
    method: str
    step: float
    jump: Any


class Taylor(NamedTuple):
    """How ``|f(x + h v) − f(x) − h·slope|`` falls with h.

    Parameters
    ----------
    order : float
        2 if slope is the derivative, 1 if not; NaN if rounding hides the remainder.
    steps, remainders : arrays
        h, and the remainders that stand out of the noise of f.
    """

    order: float
    steps: Array
    remainders: Array


def derivative(f: Callable[[Array], Any], x: Any, v: Any) -> Derivative:
    """Derivative of f at x along v by the best method that f allows, with an error estimate.

    The complex step if f is seen to pass complex numbers (same value, no warning, agrees with
    differences), else adaptive central differences by SciPy. Their error estimate adds what the
    last steps differ by, the measured noise of f over the step, and the jump of the slope if x
    sits on a kink.

    Parameters
    ----------
    f : callable
        From a (P,) array to a number or an array.
    x, v : (P,) arrays
        Point and direction; f is called with arrays of x's dtype (and complex128, to try).

    Returns
    -------
    derivative : Derivative
        ``value, error, method, step, jump``.

    Raises
    ------
    ImportError
        If differences are needed and SciPy >= 1.15 is not installed.
    TypeError, ValueError
        If x or a value of f is not made of real, finite numbers.

    References
    ----------
    Moré, Wild 2011, "Estimating Computational Noise", for the noise.

    Examples
    --------
    >>> import math, numpy as np
    >>> from numaml import check
    >>> x = np.array([0.3, 0.4])
    >>> check.derivative(lambda x: np.exp(x[0] * x[1]), x, np.array([1.0, 0.0])).method
    'complex step'
    >>> def f(x):
    ...     return math.exp(x[0] * x[1])                      # math.exp refuses complex numbers
    >>> got = check.derivative(f, x, np.array([1.0, 0.0]))
    >>> got.method
    'adaptive central differences (SciPy)'
    >>> bool(abs(got.value - 0.4 * f(x)) < got.error < 1e-10)
    True
    >>> check.derivative(lambda x: abs(float(x[0])), np.zeros(1), np.ones(1)).jump   # a kink
    2.0
    """
    probe = Probe(f, as_point(x))
    got = probe.along(np.asarray(v, float))
    value, error, jump = (a.reshape(probe.shape)[()] for a in (got.value, got.error, got.jump))
    if not probe.shape:
        value, error, jump = float(value), float(error), float(jump)
    return Derivative(value, error, got.method, got.step, jump)


def taylor(f: Callable[[Array], Any], slope: float, x: Any, v: Any) -> Taylor:
    """Order with which the Taylor remainder ``|f(x + h v) − f(x) − h·slope|`` falls.

    2 if slope is the derivative of f at x along v, 1 if it is not or if x sits on a kink. It uses
    no derivative but the one under test.

    Parameters
    ----------
    f : callable
        From a (P,) array to a number.
    slope : float
        The directional derivative under test, e.g. ``gradient @ v``.
    x, v : (P,) arrays
        Point and direction.

    Returns
    -------
    taylor : Taylor
        ``order, steps, remainders``, with remainders above the noise of f only. ``order`` is of
        the two smallest of these steps, and NaN if there are not two: then rounding hides it.

    Examples
    --------
    >>> import numpy as np
    >>> from numaml import check
    >>> x, v = np.array([0.3, 0.4]), np.array([1.0, 2.0])
    >>> def f(x):
    ...     return np.sin(x) @ np.sin(x)
    >>> right = np.sin(2 * x) @ v
    >>> [round(check.taylor(f, slope, x, v).order, 1) for slope in (right, 1.01 * right)]
    [2.0, 1.0]
    """
    x, v = as_point(x), np.asarray(v, float)
    return Probe(f, x).taylor(slope, v)


def as_point(x: Any) -> Array:
    """One row of real, finite floating-point numbers."""
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise TypeError(f"the point has dtype {x.dtype}; want real floating-point numbers")
    if x.ndim != 1 or not x.size:
        raise ValueError(
            f"the point has shape {x.shape}; want one row (P,): flatten it, e.g. with ravel()"
        )
    if not np.isfinite(x).all():
        raise ValueError("the point holds NaN or infinity; want finite numbers")
    return x


def precision(numbers: Array) -> float:
    """Relative spacing of the floating-point format that the numbers were computed in.

    By their dtype, or by their bits: float32 results cast to float64 use 24 of its 53.
    """
    numbers = np.asarray(numbers)
    if numbers.dtype.kind == "f" and numbers.dtype.itemsize < 8:
        return float(np.finfo(numbers.dtype).eps)
    mantissas = np.frexp(numbers[np.isfinite(numbers)])[0] * 2.0**24
    fits = bool((mantissas == np.rint(mantissas)).all())
    # Numbers of 20 bits and less are nice ones, 0.5 or 3, in whatever format.
    nice = bool((mantissas / 16 == np.rint(mantissas / 16)).all())
    return SINGLE if fits and not nice else DOUBLE


class Probe:
    """f around x. Directions need not be of length 1; results are flat."""

    def __init__(self, f: Callable[[Array], Any], x: Array) -> None:
        self.f, self.x = f, x
        first = np.asarray(f(x.copy()))
        self.shape, self.dtype = first.shape, first.dtype
        if first.dtype.kind not in "fiu":
            raise TypeError(f"the function returned {first.dtype}; want a real number or array")
        self.y = first.astype(float).ravel()
        if not np.isfinite(self.y).all():
            raise ValueError("the function is NaN or infinite at this point; nothing to compare")
        self.wobble = float(np.max(np.abs(self(x) - self.y), initial=0.0))
        v = np.random.default_rng(0).choice([-1.0, 1.0], len(x))
        near = [self.at(t * self.reach(v), v) for t in (-0.01, 0.003, 0.02)]
        finite = [y for y in near if np.isfinite(y).all()]  # beside x, f may not be defined
        self.scale = float(np.sqrt(np.mean(np.square([self.y, *finite])))) or 1.0
        self.eps = max(precision(np.array(near, first.dtype)), float(np.finfo(x.dtype).eps))
        self.noise = max(self._noise(v), self.wobble)
        self.analytic = not self.wobble and self._passes_complex() and self._agrees(v)
        self.method = COMPLEX if self.analytic else DIFFERENCES

    def __call__(self, x: Array) -> Array:
        return np.asarray(self.f(x), float).ravel()

    def at(self, t: float, v: Array) -> Array:
        return self((self.x + t * v).astype(self.x.dtype))

    def reach(self, v: Array) -> float:
        """The t at which t·v changes the numbers it changes by about their own size."""
        size = float(np.sqrt(np.mean(np.square(self.x, dtype=float)))) or 1.0
        return size * math.sqrt(np.count_nonzero(v)) / float(np.linalg.norm(v))

    def _noise(self, v: Array) -> float:
        """Standard deviation of f's rounding, from a table of differences over tiny steps."""
        t = 8 * self.eps * self.reach(v)
        for _ in range(8):
            # Not from x itself: f may jump there, as adapted parameters do at a ReLU's kink.
            table = np.array([self.at(i * t, v) for i in range(1, NOISE_POINTS + 1)])
            if len(np.unique(table, axis=0)) > NOISE_POINTS // 2:
                break
            t *= 32  # f works in a coarser precision than it shows: it has not moved
        noise = 0.5 * self.eps * self.scale
        for k in range(1, max(NOISE_ORDERS) + 1):
            table = np.diff(table, axis=0)
            if k in NOISE_ORDERS:
                gamma = math.factorial(k) ** 2 / math.factorial(2 * k)
                noise = max(noise, math.sqrt(gamma * float(np.mean(table**2))))
        return noise

    def _passes_complex(self) -> bool:
        """Whether f takes complex numbers and returns the same value, with no imaginary part."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # e.g. a discarded imaginary part
                y = np.asarray(self.f(self.x.astype(complex)))
        except Exception:
            return False
        if y.dtype.kind != "c" or y.shape != self.shape or y.imag.any():
            return False
        off = np.max(np.abs(y.real.ravel() - self.y), initial=0.0)
        return bool(off <= 1e3 * self.noise)

    def _agrees(self, v: Array) -> bool:
        """Whether complex step and difference agree: abs, conj and casts lose it in silence."""
        step = self._complex(v)
        # Best for a plain difference: its rounding, noise / t, is about its truncation, t².
        t = min(self.noise / self.scale, 1e-3) ** (1 / 3) * self.reach(v)
        difference, error = central_difference(lambda s: self.at(s, v), 0.0, 1.0, t)
        allowed = 10 * np.max(error) + 10 * self.noise / t + 1e-4 * np.max(np.abs(difference))
        return bool(np.max(np.abs(step - difference)) <= allowed)

    def _complex(self, v: Array) -> Array:
        return np.ravel(complex_step(self.f, self.x.astype(float), v))

    def along(self, v: Array) -> Derivative:
        """Derivative along v by the method for this function."""
        jump = self._jump(v)
        if self.analytic:
            value = self._complex(v)
            return Derivative(value, 16 * DOUBLE * np.abs(value) + jump, COMPLEX, TINY, jump)
        value, error, step = self._differences(v, runs=1 if jump.any() else 12)
        return Derivative(value, error + jump, DIFFERENCES, step, jump)

    def _jump(self, v: Array) -> Array:
        """|slope on the one side − slope on the other|; 0 where it is not seen to be a jump.

        (f(h) + f(−h) − 2 f(0)) / h tends to it, and to 0 in proportion to h where f is smooth.
        """
        h = self.reach(v) * math.sqrt(100 * min(self.noise / self.scale, 1e-4))
        narrow, wide = (np.abs(self.at(t, v) + self.at(-t, v) - 2 * self.y) / t for t in (h, 4 * h))
        kink = (narrow * h > RESOLVED * self.noise) & (wide < 2 * narrow)  # 4 if smooth, 1 if not
        return np.where(kink, narrow, 0.0)

    def _differences(self, v: Array, runs: int) -> tuple[Array, Array, float]:
        """Of SciPy's iterations the best, by truncation (how fast they settle) plus noise."""
        best = _Best(self, v)
        scipy_derivative = _scipy_derivative()
        with np.errstate(all="ignore"):
            for _ in range(runs):  # SciPy stops where its error grows, as it does by a kink
                scipy_derivative(
                    best.values, np.zeros_like(self.y), preserve_shape=True, order=6, maxiter=32,
                    initial_step=best.step, tolerances={"atol": 0.0, "rtol": 0.0},
                    callback=lambda result: best.keep(result),  # SciPy writes onto it
                )  # fmt: skip
                if best.done:
                    break
                best.step = best.h
        return best.value, best.error, best.smallest

    def taylor(self, slope: float, v: Array, slope_noise: float = 0.0) -> Taylor:
        """The slope's own rounding hides the remainder just as the noise of f does."""
        steps = 0.1 * self.reach(v) * 4.0 ** -np.arange(14)
        remainders = []
        for h in steps.tolist():
            rest = float(np.abs(self.at(h, v) - self.y - h * slope)[0])
            if not rest > RESOLVED * (self.noise + h * slope_noise):
                break
            remainders.append(rest)
        steps, seen = steps[: len(remainders)], np.array(remainders)
        order = math.log(seen[-2] / seen[-1], 4) if len(seen) > 1 else math.nan
        return Taylor(order, steps, seen)


class _Best:
    """The best of SciPy's iterations so far, for every number that f returns."""

    def __init__(self, probe: Probe, v: Array) -> None:
        self.probe, self.v = probe, v
        self.widest = self.step = self.h = self.smallest = 0.1 * probe.reach(v)
        self.value, self.error = np.zeros_like(probe.y), np.full_like(probe.y, np.inf)
        self.known = {0.0: probe.y}
        self.changes: list[Array] = []
        self.done = False

    def values(self, t: Array) -> Array:
        """f along v, with a row of t for every number that f returns."""
        for one in np.unique(t).tolist():
            if one not in self.known:
                self.known[one] = self.probe.at(one, self.v)
        rows = np.arange(len(t)).reshape(-1, *[1] * (t.ndim - 1))
        return np.vectorize(lambda one, row: self.known[one][row], otypes=[float])(t, rows)

    def keep(self, result: Any) -> None:
        iteration = int(np.max(result.nit))
        self.h = self.step / 2 ** (iteration + 1)  # order 6: h, 2h and 4h
        if iteration < 2:  # nothing to compare the first one with
            return
        self.changes.append(np.array(result.error))
        if len(self.changes) < 3:
            return
        settling = np.max(self.changes[-3:], axis=0)  # of one alone: two may agree by luck
        noise = 2 * self.probe.noise / self.h
        better = settling + noise < self.error
        self.value = np.where(better, result.df, self.value)
        self.error = np.fmin(settling + noise, self.error)
        self.smallest = self.h if better.any() else self.smallest
        enough = settling + noise <= GOOD_ENOUGH * np.abs(result.df)
        lost = self.h < self.probe.eps * self.widest  # x + h v is x
        if lost or np.all((noise > settling) | enough):
            self.done = True
            raise StopIteration


def _scipy_derivative() -> Any:
    try:
        from scipy.differentiate import derivative as scipy_derivative
    except ImportError:
        raise ImportError(
            "the function does not take complex numbers, and finite differences need "
            "SciPy >= 1.15: pip install 'numaml[check]'"
        ) from None
    return scipy_derivative
