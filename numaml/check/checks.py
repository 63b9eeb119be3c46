"""Checks of a gradient and of a Hessian-vector product, along directions in every block."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .diagnosis import WHOLE, Evidence, Part
from .orders import Shapes, layout
from .probe import Derivative, Probe, as_point, precision
from .report import Report, judge

Array = np.ndarray[Any, Any]
Function = Callable[[Array], Any]


class Row(NamedTuple):
    """Random directions inside one block; a gradient along them is about as long as in it."""

    name: str
    shape: tuple[int, ...]
    where: slice
    directions: Array  # (k, numbers in the block)

    def along(self, vector: Array) -> Array:
        return np.asarray(self.directions @ vector[self.where])

    def flipped(self, block: Array) -> Array | None:
        """The block (its last axis) if it had been stored transposed."""
        if len(self.shape) != 2 or min(self.shape) < 2:
            return None
        stored = block.reshape(*block.shape[:-1], *self.shape[::-1])
        return stored.swapaxes(-1, -2).reshape(block.shape)

    def vectors(self, size: int) -> Iterator[Array]:
        for direction in self.directions:
            v = np.zeros(size)
            v[self.where] = direction
            yield v


def rows_of(shapes: Shapes | None, size: int) -> list[Row]:
    """Two directions in every block, four over all of theta."""
    rng = np.random.default_rng(0)
    whole = (WHOLE, (), slice(0, size))
    rows = []
    for count, (name, shape, where) in [
        (4, whole),
        *((2, block) for block in layout(shapes, size)),
    ]:
        n = where.stop - where.start
        k = min(count, n)
        signs = rng.choice([-1.0, 1.0], (k, n))
        rows.append(Row(name, shape, where, signs / math.sqrt(k)))
    return rows


def gradient(f: Function, g: Any, x: Any, *, blocks: Shapes | None = None) -> Report:
    """Check that g is the gradient of f at x, along random directions in every block.

    Parameters
    ----------
    f : callable
        From a (P,) array to one number.
    g : callable or (P,) array
        The gradient under test, or a function that returns it.
    x : (P,) array
        Point; f and g are called with arrays of its dtype.
    blocks : mapping from names to shapes, optional
        What x is made of, in its order, e.g. ``{name: p.shape for name, p in
        net.named_parameters()}``: faults are located by it.

    Returns
    -------
    report : Report

    Raises
    ------
    ImportError
        If f does not take complex numbers and SciPy is not installed.
    TypeError, ValueError
        If a shape or dtype does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from numaml import check
    >>> x = np.array([0.3, 0.4, 0.5])
    >>> report = check.gradient(lambda x: np.sin(x) @ np.sin(x), lambda x: np.sin(x), x)
    >>> report.verdict, report.method
    ('wrong', 'complex step')
    >>> check.gradient(lambda x: x @ x, lambda x: 6 * x, x).looks_like
    '3 times the right one: a sum in place of a mean'
    """
    x = as_point(x)
    probe, rows = scalar_probe(f, x), rows_of(blocks, len(x))
    return judge("gradient", evidence_of(probe, rows, answer(g, x)))


def scalar_probe(f: Function, x: Array) -> Probe:
    probe = Probe(f, x)
    if probe.y.size != 1:
        raise ValueError(f"f returned shape {probe.shape}; want one number, e.g. a mean over tasks")
    return probe


def answer(g: Any, x: Array, name: str = "the gradient") -> Array:
    """The answer under test, of x's shape and in the precision it has."""
    g = np.asarray(g(x.copy()) if callable(g) else g)
    if g.shape != x.shape:
        raise ValueError(f"{name} has shape {g.shape} and the point {x.shape}; want the same")
    if g.dtype.kind not in "fiu":
        raise TypeError(f"{name} has dtype {g.dtype}; want real numbers")
    return g


def evidence_of(probe: Probe, rows: list[Row], got: Array) -> Evidence:
    """A gradient beside the derivatives of the value, row by row."""
    got_precision, got = precision(got), got.astype(float)
    parts, derivatives = [], list[Derivative]()
    for row in rows:
        found = [probe.along(v) for v in row.vectors(len(got))]
        derivatives += found
        flipped = row.flipped(got[row.where])
        parts.append(
            Part(
                row.name,
                row.along(got),
                np.array([d.value[0] for d in found]),
                np.array([d.error[0] for d in found]),
                None if flipped is None else row.directions @ flipped,
            )
        )
    v = next(rows[0].vectors(len(got)))
    evidence = gathered(parts, [got_precision], [probe], derivatives)
    rounding = got_precision * float(np.abs(got) @ np.abs(v))
    with np.errstate(all="ignore"):  # the answer may be NaN
        return evidence._replace(order=probe.taylor(float(got @ v), v, rounding).order)


def gathered(
    parts: list[Part], precisions: Sequence[float], probes: list[Probe], found: list[Derivative]
) -> Evidence:
    """Parts with what is known about the functions that the truth was taken from."""
    notes = tuple(
        f"called again at the same point, a function differs by {probe.wobble:.0e}: fix its seed, "
        "switch dropout off"
        for probe in probes
        if probe.wobble
    )
    return Evidence(
        parts,
        eps=max(*precisions, *(probe.eps for probe in probes)),
        method=", ".join(dict.fromkeys(probe.method for probe in probes)),
        step=min(d.step for d in found),
        kinks=sum(bool(np.any(d.jump)) for d in found),
        notes=notes,
    )


def hvp(g: Function, hvp: Any, x: Any, *, blocks: Shapes | None = None) -> Report:
    """Check that hvp(v) is the Hessian at x times v, against derivatives of the gradient g.

    Parameters
    ----------
    g : callable
        The gradient, from a (P,) array to a (P,) array. It has to be right: see `gradient`.
    hvp : callable
        From a direction v (P,) to H v (P,), with H the Hessian at x.
    x, blocks
        As for `gradient`.

    Returns
    -------
    report : Report
        The blocks are those of H v, for random v in every block.

    Raises
    ------
    ImportError, TypeError, ValueError
        As `gradient`.

    Examples
    --------
    >>> import numpy as np
    >>> from numaml import check
    >>> x = np.array([0.3, 0.4, 0.5])
    >>> report = check.hvp(np.exp, lambda v: np.exp(x) * v, x)      # of the sum of exp(x)
    >>> print(report.verdict)
    right
    >>> check.hvp(np.exp, lambda v: -np.exp(x) * v, x).looks_like
    'a flipped sign'
    """
    x = as_point(x)
    probe, rows = Probe(g, x), rows_of(blocks, len(x))
    if probe.shape != x.shape:
        raise ValueError(f"g returned shape {probe.shape} and the point has {x.shape}")
    directions = [v for row in rows for v in row.vectors(len(x))]
    got = [answer(hvp(v.astype(x.dtype)), x, "hvp(v)") for v in directions]
    found = [probe.along(v.astype(x.dtype).astype(float)) for v in directions]
    answers = np.array(got, float)
    truth, error = np.array([d.value for d in found]), np.array([d.error for d in found])
    parts = []
    for row in rows[1:]:
        flipped = row.flipped(answers[:, row.where])
        parts.append(
            Part(
                row.name,
                answers[:, row.where].ravel(),
                truth[:, row.where].ravel(),
                error[:, row.where].ravel(),
                None if flipped is None else flipped.ravel(),
            )
        )
    return judge(
        "Hessian-vector product", gathered(parts, [precision(np.array(got))], [probe], found)
    )
