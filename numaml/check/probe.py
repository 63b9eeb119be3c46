"""What a function allows: its precision, its noise, and its derivative by the best method for it.

A method is chosen, and its error estimated, by trying the function, never by trusting it.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .calls import Watched, as_direction, as_point, not_finite, numbers
from .derivatives import TINY, complex_step
from .scale import norm, rms

Array = np.ndarray[Any, Any]

COMPLEX, DIFFERENCES = "complex step", "adaptive central differences (SciPy)"
SINGLE, DOUBLE = float(np.finfo("f4").eps), float(np.finfo("f8").eps)
SUBNORMAL = float(np.finfo(float).smallest_subnormal)
GOOD_ENOUGH = 1e-11  # relative; a smaller error of a difference is not worth more evaluations
NOISE_POINTS, NOISE_ORDERS = 9, (4, 5, 6)  # of the difference table, as in Moré and Wild
UNSURE = 3.0  # times the jump of a slope: at kinks of several units what is seen may cancel
SKEW = 0.37  # of a step: a function in steps of its own has another pattern there
RESOLVED = 30.0  # times the noise: what is larger is no noise
NOISY = 1e4  # times the rounding of f's format: what scatters by more is called noisy
CALLS = 3  # at the same point, to see whether f is a function
# Of the way from the point to where its numbers have changed by their own size. A bend that stays
# as sharp up to here is a kink at the point; in single precision noise hides what is so near.
KINK_WITHIN = 1e-8
QUARTERINGS = 9  # of the step when complex step and differences are compared
LEAST_IMAGINARY, LARGEST_TINY = 1e-280, 1e-9  # above underflow; so that its square is rounding


class Derivative(NamedTuple):
    """A derivative, and what is known about it.

    Parameters
    ----------
    value, error : float or array
        The derivative, and an estimate of its absolute error.
    method, step : str, float
        How it was found, and the smallest step along v.
    jump : float or array
        Between the slopes on either side, where the slope is seen to change; part of the error.
    kink : bool or array
        Whether it changes so near the point that the point sits on a kink.
    """

    value: Any
    error: Any
    method: str
    step: float
    jump: Any
    kink: Any


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


@np.errstate(under="ignore")
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
        ``value, error, method, step, jump, kink``.

    Raises
    ------
    ImportError
        If differences are needed and SciPy >= 1.15 is not installed.
    TypeError, ValueError
        If x, v or a value of f is not made of real, finite numbers, or v is 0.

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
    x = as_point(x)
    probe, v = Probe(f, x), as_direction(v, x)
    got = probe.along(v)
    arrays = (got.value, got.error, got.jump, got.kink)
    value, error, jump, kink = (
        a.reshape(probe.shape) if probe.shape else a.item() for a in map(np.asarray, arrays)
    )
    return Derivative(value, error, got.method, got.step, jump, kink)


@np.errstate(under="ignore")
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

    Raises
    ------
    TypeError, ValueError
        As `derivative`; if f returns more than one number, or slope is not a finite number.

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
    x, along = as_point(x), numbers(slope, "the slope")
    if along.size != 1 or not_finite(along):
        raise ValueError(f"the slope is {slope}; want one finite number, e.g. gradient @ v")
    return scalar_probe(f, x).taylor(float(along.item()), as_direction(v, x))


def precision(numbers: Array) -> float:
    """Relative spacing of the floating-point format that the numbers were computed in.

    By their dtype, or by their bits: float32 results cast to float64 use 24 of its 53.
    """
    numbers = np.asarray(numbers)
    numbers = numbers if numbers.dtype.kind == "f" else numbers.astype(float)
    if numbers.dtype.itemsize < 8:
        return float(np.finfo(numbers.dtype).eps)
    mantissas = np.frexp(numbers[np.isfinite(numbers)])[0] * 2.0**24
    fits = bool((mantissas == np.rint(mantissas)).all())
    # Numbers of 20 bits and less are nice ones, 0.5 or 3, in whatever format.
    nice = bool((mantissas / 16 == np.rint(mantissas / 16)).all())
    return SINGLE if fits and not nice else DOUBLE


def scalar_probe(f: Callable[[Array], Any], x: Array, name: str = "the function") -> "Probe":
    """Of a function that has to return one number."""
    probe = Probe(f, x, name)
    if probe.y.size != 1:
        raise ValueError(
            f"{name} returned shape {probe.shape}; want one number, e.g. a mean over tasks"
        )
    return probe


class Probe:
    """f around x. Directions need not be of length 1; results are flat, and so is the noise."""

    def __init__(
        self,
        f: Callable[[Array], Any],
        x: Array,
        name: str = "the function",
        like: "Probe | None" = None,
    ) -> None:
        """``like`` probes another such function, so that its noise is known."""
        self.f = f if isinstance(f, Watched) else Watched(f, name)
        self.x, self.name, self.infinite = x, name, False
        first = numbers(self.f(x), name, returned=True)
        self.shape, self.dtype = first.shape, first.dtype
        self.y = first.astype(float).ravel()
        self._refuse_not_finite()
        v = directions(1, len(x), np.random.default_rng(0))[0]
        near = [self.at(t * self.reach(v), v) for t in (-0.01, 0.003, 0.02)]
        rows = [self.y, *(y for y in near if np.isfinite(y).all())]  # beside x, f may be undefined
        self.scales = np.max(np.abs(rows), axis=0)
        self.scale = float(np.max(self.scales, initial=0.0)) or 1.0
        self.eps = max(precision(np.array(near, first.dtype)), float(np.finfo(x.dtype).eps))
        noise = like.relative_noise * self.scales if like else self._noise(v, near)
        again = [np.abs(self(x) - self.y) for _ in range(CALLS)]
        wobble = np.max(np.nan_to_num(again, nan=np.inf), axis=0)
        self.wobble = float(np.max(wobble, initial=0.0))
        self.noise: Array = np.fmax(noise, wobble)
        self.analytic = not self.wobble and self._passes_complex() and self._agrees(v)
        self.method = COMPLEX if self.analytic else DIFFERENCES

    def _refuse_not_finite(self) -> None:
        if what := not_finite(self.y):
            raise ValueError(
                f"{self.name} is NaN or infinite at this point ({what}): nothing to compare; want "
                "finite numbers, e.g. by a smaller alpha or at another point"
            )

    def __call__(self, x: Array) -> Array:
        y = np.array(self.f(x), float)
        if y.shape != self.shape:
            raise ValueError(f"{self.name} returned shape {self.shape}, and then {y.shape}")
        self.infinite = self.infinite or not np.isfinite(y).all()
        return y.ravel()

    def at(self, t: float, v: Array) -> Array:
        return self((self.x + t * v).astype(self.x.dtype))

    def reach(self, v: Array) -> float:
        """The t at which t·v changes the numbers it changes by about their own size."""
        return (rms(self.x) or 1.0) * math.sqrt(np.count_nonzero(v)) / norm(v)

    @property
    def relative_noise(self) -> float:
        """The largest noise beside the largest number."""
        return float(np.max(self.noise, initial=0.0)) / self.scale

    def tiny(self, v: Array) -> float:
        """The complex step along v: 1e-30, unless x or f is of a scale where that is lost."""
        reach = self.reach(v)
        least = LEAST_IMAGINARY / min(self.scale, reach)
        return reach * min(max(TINY / reach, least), LARGEST_TINY)

    @property
    def coarse(self) -> bool:
        """Whether f is of single precision, or as noisy as if a part of it were."""
        return self.eps > DOUBLE or self.relative_noise > SINGLE / 100

    @property
    def noisy(self) -> str:
        """How noisy f is, in words; empty if it is not."""
        wobble, noise = self.wobble / self.scale, self.relative_noise
        if wobble > 100 * self.eps:
            return (
                f"called again at the same point, {self.name} differs by {wobble:.0e} of its size: "
                "it is noisy; fix its seed, switch dropout off"
            )
        if noise > NOISY * self.eps:
            return (
                f"{self.name} is noisy: beside the point it scatters by {noise:.0e} of its size, "
                f"where rounding leaves {self.eps:.0e} (a part in a coarser format? an iteration "
                "that stops early? a seed made of its argument?)"
            )
        return ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What somebody should know about f."""
        return (self.noisy, *self.f.notes) if self.noisy else self.f.notes

    def _noise(self, v: Array, near: list[Array]) -> Array:
        """Standard deviation of f's rounding, from tables of differences over tiny steps.

        Over wider ones for numbers that have not moved: f works in a coarser precision than it
        shows, or has lost their digits. A number that jumps once is on a kink, and not noisy.
        """
        reach, noise = self.reach(v), 0.5 * self.eps * self.scales
        alive = waiting = np.any([y != self.y for y in near], axis=0)
        t, coarse = 8 * self.eps * reach, 2 * SINGLE * reach
        table = self._table(t, v)
        moves = (np.sum(table[1:] != table[:-1], axis=0) > 1) | _moves(table)
        while True:
            if moves.any():
                noise = np.fmax(noise, np.where(moves, self._scatter(t, v, NOISE_ORDERS), 0.0))
            waiting, t = waiting & ~moves, 32 * t
            few = 2 * np.sum(waiting) <= np.sum(alive)
            if not waiting.any() or t > (coarse if few else 0.1 * reach):
                break
            moves = waiting & _moves(self._table(t, v))
        if self.eps < SINGLE:
            noise = np.fmax(noise, self._coarse_noise(noise, coarse, v))
            noise = self._of_one_format(noise, alive)
        single = self.dtype == np.float32
        return noise + (float(np.finfo("f4").smallest_subnormal) if single else SUBNORMAL)

    def _coarse_noise(self, noise: Array, t: float, v: Array) -> Array:
        """The same over steps of single precision: parts of f may move over these only."""
        found = self._scatter(t, v, NOISE_ORDERS[1:])
        if not np.any(found > noise):
            return found
        w = v[::-1] if len(v) > 1 else -v  # a kink on the way is not on another one
        return np.fmin(found, self._scatter(t, w, NOISE_ORDERS[1:]))

    def _of_one_format(self, noise: Array, alive: Array) -> Array:
        """If most numbers are coarser than float64 by the same, so are those that did not move."""
        scales = np.where(self.scales > 0, self.scales, np.inf)
        shares = (noise / scales)[alive]
        coarse = shares[shares > RESOLVED * self.eps]
        if 2 * len(coarse) <= len(shares):
            return noise
        low, middle, high = np.quantile(coarse, [0.25, 0.5, 0.75])
        return np.fmax(noise, self.scales * middle) if high < 10 * low else noise

    def _scatter(self, t: float, v: Array, orders: Sequence[int]) -> Array:
        """What is no polynomial in f's values over steps t, and over others: f may have its own."""
        return np.fmax(*(_scatter(self._table(one, v), orders) for one in (t, SKEW * t)))

    def _table(self, t: float, v: Array) -> Array:
        # Not from x itself: f may jump there, as adapted parameters do at a ReLU's kink.
        return np.array([self.at(i * t, v) for i in range(1, NOISE_POINTS + 1)])

    def _passes_complex(self) -> bool:
        """Whether f takes complex numbers and returns the same value, with no imaginary part."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # e.g. a discarded imaginary part
                y = np.array(self.f(self.x.astype(complex)))
        except Exception:
            return False
        if y.dtype.kind != "c" or y.shape != self.shape or y.imag.any():
            return False
        return bool(np.all(np.abs(y.real.ravel() - self.y) <= 1e3 * self.noise))

    def _agrees(self, v: Array) -> bool:
        """Whether complex step and difference agree: abs, conj and casts lose it in silence.

        Of differences over steps that are quartered the best one counts, number by number.
        """
        jump, _, within = self._jump(v)
        if jump.any():  # one slope is not the mean of two
            return False
        narrower = math.log(0.1 * self.reach(v) / np.min(within), 4)
        steps = 0.1 * self.reach(v) * 0.25 ** np.arange(QUARTERINGS + 1.0 + narrower)[:, None]
        pairs = np.array([(self.at(t, v), self.at(-t, v)) for t in steps[:, 0].tolist()])
        with np.errstate(all="ignore"):  # far away f may overflow
            plain = (pairs[:, 0] - pairs[:, 1]) / (2 * steps)
            fine = plain[1:] + np.diff(plain, axis=0) / 15  # of fourth order
            settled = np.maximum(np.abs(fine - plain[1:])[:-1], np.abs(np.diff(fine, axis=0)))
            errors = settled + self.noise / steps[2:]
            errors = np.where(np.isnan(errors) | (steps[:-2] > within), np.inf, errors)
            best = np.argmin(errors, axis=0)[None]
            error, difference = (np.take_along_axis(a, best, 0)[0] for a in (errors, fine[:-1]))
            return bool(np.all(np.abs(self.complex_at(self.x, v) - difference) <= 10 * error))

    def complex_at(self, x: Array, v: Array) -> Array:
        """Derivative along v at a point x beside the probe's own."""
        return np.ravel(complex_step(self.f, x.astype(float), v, self.tiny(v)))

    def along(self, v: Array) -> Derivative:
        """Derivative along v by the method for this function."""
        jump, kink, within = self._jump(v)
        if self.analytic:
            value = self.complex_at(self.x, v)
            if np.isfinite(value).all():
                step = self.tiny(v)
                error = 16 * DOUBLE * np.abs(value) + SUBNORMAL / step + UNSURE * jump
                return Derivative(value, error, COMPLEX, step, jump, kink)
        value, error, step = self._differences(v, within, runs=1 if jump.any() else 12)
        return Derivative(value, error + UNSURE * jump, DIFFERENCES, step, jump, kink)

    def _jump(self, v: Array) -> tuple[Array, Array, Array]:
        """|slope on the one side − slope on the other|, if it is a kink, and how far none is.

        (f(h) + f(−h) − 2 f(0)) / h tends to the first, and to 0 like h where f is smooth.
        It is followed towards the point as far as it stands out of the noise: a kink beside the
        point fades on the way, and only what is followed to within KINK_WITHIN is one at it.
        """
        reach, noise = self.reach(v), RESOLVED * self.noise

        def bend(t: float) -> Array:
            ahead, behind = self.at(t, v), self.at(-t, v)
            with np.errstate(invalid="ignore", over="ignore"):  # of infinities
                return np.abs((ahead - self.y) + (behind - self.y)) / t

        h = reach * math.sqrt(100 * min(self.relative_noise, 1e-4))
        wide, jump, nearest = bend(4 * h), np.zeros_like(noise), np.full_like(noise, h)
        within = np.full_like(noise, 0.1 * reach)
        while h > 256 * self.eps * reach:
            narrow = bend(h)
            stays, seen = wide < 2 * narrow, narrow * h > noise  # 4 times if smooth
            follow = jump * h > noise
            if not np.any(seen | follow):
                break
            fades = follow & ~(stays & seen)
            within = np.where(fades, h / 4, within)  # a wider step gives a mean of two slopes
            jump = np.where(stays & seen, narrow, np.where(seen | follow, 0.0, jump))
            nearest = np.where(stays & seen, h, nearest)
            wide, h = narrow, h / 4
        return jump, (jump > 0) & (nearest <= KINK_WITHIN * reach), within

    def _differences(self, v: Array, within: Array, runs: int) -> tuple[Array, Array, float]:
        """Of SciPy's iterations the best, by truncation (how fast they settle) plus noise."""
        best = _Best(self, v, within)
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
        return best.value * best.unit, best.error * best.unit, best.smallest

    def taylor(self, slope: float, v: Array, slope_noise: float = 0.0) -> Taylor:
        """The slope's own rounding hides the remainder just as the noise of f does."""
        steps = 0.1 * self.reach(v) * 4.0 ** -np.arange(14)
        remainders = []
        for h in steps.tolist():
            rest = float(np.abs(self.at(h, v) - self.y - h * slope)[0])
            if not rest > RESOLVED * (self.noise[0] + h * slope_noise):
                break
            remainders.append(rest)
        steps, seen = steps[: len(remainders)], np.array(remainders)
        order = math.log(seen[-2] / seen[-1], 4) if len(seen) > 1 else math.nan
        return Taylor(order, steps, seen)


def _scatter(table: Array, orders: Sequence[int]) -> Array:
    """Standard deviation of what differences of these orders leave of a table of values."""
    found = np.zeros_like(table[0])
    with np.errstate(all="ignore"):
        for k in orders:
            gamma = math.factorial(k) ** 2 / math.factorial(2 * k)
            rows = np.abs(np.diff(table, k, axis=0))
            largest = np.max(rows, axis=0)
            mean = np.mean((rows / largest) ** 2, axis=0)
            found = np.fmax(found, np.where(largest > 0, largest * np.sqrt(gamma * mean), 0.0))
    return found


def _moves(table: Array) -> Array:
    """Whether more than half of the values in a column differ."""
    table = np.sort(table, axis=0)
    return np.asarray(1 + np.sum(table[1:] > table[:-1], axis=0) > NOISE_POINTS // 2)


def directions(count: int, n: int, rng: np.random.Generator) -> Array:
    """Random directions of n numbers, no two of them of the same size: none hides what another
    hides, as two numbers that have changed places."""
    return np.asarray(rng.choice([-1.0, 1.0], (count, n)) * rng.uniform(0.5, 1.5, (count, n)))


class _Best:
    """The best of SciPy's iterations so far, for every number that f returns."""

    def __init__(self, probe: Probe, v: Array, within: Array) -> None:
        self.probe, self.v = probe, v
        self.unit = 2.0 ** min(max(math.frexp(probe.scale)[1], -1000), 1000)  # squares fit
        self.widest = self.step = self.h = within
        self.smallest = float(np.min(within))
        self.value, self.error = np.zeros_like(probe.y), np.full_like(probe.y, np.inf)
        self.known = {0.0: np.zeros_like(probe.y)}
        self.changes: list[Array] = []
        self.done = False

    def values(self, t: Array) -> Array:
        """f along v less f here, with a row of t for every number that f returns."""
        for one in np.unique(t).tolist():
            if one not in self.known:
                self.known[one] = (self.probe.at(one, self.v) - self.probe.y) / self.unit
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
        noise = 2 * (self.probe.noise / self.unit) / self.h
        better = settling + noise < self.error
        self.value = np.where(better, result.df, self.value)
        self.error = np.fmin(settling + noise, self.error)
        self.smallest = float(np.min(self.h[better], initial=self.smallest))
        enough = settling + noise <= GOOD_ENOUGH * np.abs(result.df)
        lost = self.h < self.probe.eps * self.widest  # x + h v is x
        if np.all((noise > settling) | enough | lost):
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
