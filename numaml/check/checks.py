"""Checks of a gradient and of a Hessian-vector product, along directions in every block."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .calls import Watched, as_point, numbers
from .diagnosis import WHOLE, Evidence, Part
from .orders import Shapes, layout
from .probe import COMPLEX, DOUBLE, Derivative, Probe, directions, precision, scalar_probe
from .report import ESTIMATES, ROUNDING_OF_SUMS, Report, judge
from .scale import norm

Array = np.ndarray[Any, Any]
Function = Callable[[Array], Any]

# A number lost in the rounding of larger ones is another one at points so far away, and one that
# is well computed is the same to that.
SHAKEN, SHAKES = 1e-9, 8


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
        rows.append(Row(name, shape, where, directions(k, n, rng) / math.sqrt(k)))
    return rows


@np.errstate(under="ignore")
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
    probe, rows = scalar_probe(f, x, "f"), rows_of(blocks, len(x))
    return judge("gradient", evidence_of(probe, rows, answer(g, x)))


class Answer(NamedTuple):
    """The answer under test, in the precision it has, and what calling for it showed."""

    numbers: Array
    off: Array  # what a second call differs by
    notes: tuple[str, ...] = ()


def answer(g: Any, x: Array, name: str = "the gradient") -> Answer:
    """The answer under test, of x's shape: as it is, or what a function returns, twice."""
    call = Watched(g, name) if callable(g) else None
    got, again = (numbers(call(x) if call else g, name) for _ in range(2))
    for one in (got, again):
        if one.shape != x.shape:
            raise ValueError(
                f"{name} has shape {one.shape} and the point {x.shape}; want the same, e.g. by "
                "ravel()"
            )
    off = difference(got, again)
    notes = call.notes if call else ()
    return Answer(got, off, (*differs(name, off, got), *notes))


def difference(got: Array, again: Array) -> Array:
    """What the same call gave a second time, less what it gave first; infinite if not finite."""
    with np.errstate(invalid="ignore"):
        off = np.abs(again.astype(float) - got.astype(float))
    same = (got == again) | (np.isnan(got) & np.isnan(again))
    return np.where(np.isfinite(off), off, np.where(same, 0.0, np.inf))


def differs(name: str, off: Array, got: Array) -> tuple[str, ...]:
    """A note on an answer that is another one when it is asked for again."""
    with np.errstate(invalid="ignore"):
        share = norm(off) / (norm(got) or 1.0)
    if share <= 100 * precision(got) or not np.isfinite(got).all():
        return ()
    return (
        f"called again with the same, {name} differs by {share:.0e} of its size: it is noisy, or "
        "writes into what it keeps; fix its seed, switch dropout off",
    )


def evidence_of(probe: Probe, rows: list[Row], said: Answer) -> Evidence:
    """A gradient beside the derivatives of the value, row by row."""
    got = said.numbers.astype(float)
    parts, derivatives = [], list[Derivative]()
    for row in rows:
        found = [probe.along(v) for v in row.vectors(len(got))]
        derivatives += found
        flipped = row.flipped(got[row.where])
        part = Part(
            row.name,
            row.along(got),
            np.array([d.value[0] for d in found]),
            np.array([d.error[0] for d in found]) + np.abs(row.directions) @ said.off[row.where],
            None if flipped is None else row.directions @ flipped,
            kink=any(d.kink[0] for d in found),
        )
        parts.append(part)
    parts = _shaken(probe, parts, [(list(row.vectors(len(got))), slice(1)) for row in rows])
    v = next(rows[0].vectors(len(got)))
    evidence = gathered(parts, [precision(said.numbers)], [probe], derivatives, said.notes)
    rounding = precision(said.numbers) * float(np.abs(got) @ np.abs(v))
    with np.errstate(all="ignore"):  # the answer may be NaN
        return evidence._replace(order=probe.taylor(float(got @ v), v, rounding).order)


def _shaken(probe: Probe, parts: list[Part], ways: list[tuple[list[Array], slice]]) -> list[Part]:
    """With the rounding of complex steps where a part is so small that it may be nothing else.

    It is seen at points close by, where rounding is another and the derivative is not. A part is
    what derivatives along so many ways are in one slice.
    """
    largest = max(norm(part.want) for part in parts)
    least = ESTIMATES * ROUNDING_OF_SUMS * probe.eps * largest
    if probe.method != COMPLEX:
        return parts
    return [
        part._replace(error=part.error + _rounding(probe, *way, part.want))
        if 0 < norm(part.want) <= least
        else part
        for part, way in zip(parts, ways, strict=True)
    ]


def _rounding(probe: Probe, vectors: list[Array], where: slice, want: Array) -> Array:
    rng, worst = np.random.default_rng(0), np.zeros_like(want)
    for _ in range(SHAKES):
        beside = probe.x * (1 + SHAKEN * rng.uniform(-1, 1, probe.x.shape))
        there = [probe.complex_at(beside, v)[where] for v in vectors]
        worst = np.fmax(worst, np.abs(np.ravel(there) - want))
    return worst


def gathered(
    parts: list[Part],
    precisions: Sequence[float],
    probes: list[Probe],
    found: list[Derivative],
    notes: tuple[str, ...] = (),
) -> Evidence:
    """Parts with what is known about the functions that the truth was taken from."""
    notes = (*(note for probe in probes for note in probe.notes), *notes)
    eps = max(*precisions, *(probe.eps for probe in probes))
    return Evidence(
        parts,
        eps=eps,
        method=", ".join(dict.fromkeys(probe.method for probe in probes)),
        step=min(d.step for d in found),
        kinks=sum(bool(np.any(d.kink)) for d in found),
        infinite=any(probe.infinite for probe in probes),
        coarse=eps > DOUBLE or any(probe.coarse for probe in probes),
        notes=tuple(dict.fromkeys(notes)),
    )


@np.errstate(under="ignore")
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
    probe, rows = Probe(g, x, "g"), rows_of(blocks, len(x))
    if probe.shape != x.shape:
        raise ValueError(
            f"g returned shape {probe.shape} and the point has {x.shape}; want a gradient"
        )
    ways = [v.astype(x.dtype) for row in rows for v in row.vectors(len(x))]
    product = Watched(hvp, "hvp")
    got = np.array([_product(product, v) for v in ways])
    off = difference(got[0], _product(product, ways[0]))  # the first once more, after the others
    notes = (*differs("hvp(v)", off, got[0]), *product.notes)
    found = [probe.along(v.astype(float)) for v in ways]
    parts = [_of_product(row, got.astype(float), off, found) for row in rows[1:]]
    parts = _shaken(
        probe, parts, [([v.astype(float) for v in ways], row.where) for row in rows[1:]]
    )
    evidence = gathered(parts, [precision(got)], [probe], found, notes)
    return judge("Hessian-vector product", evidence)


def _product(hvp: Function, v: Array) -> Array:
    product = numbers(hvp(v), "hvp(v)")
    if product.shape != v.shape:
        raise ValueError(f"hvp(v) has shape {product.shape} and v {v.shape}; want the same")
    return product


def _of_product(row: Row, got: Array, off: Array, found: list[Derivative]) -> Part:
    """One block of the products along all directions."""
    got, flipped = got[:, row.where], row.flipped(got[:, row.where])
    return Part(
        row.name,
        got.ravel(),
        np.ravel([d.value[row.where] for d in found]),
        np.ravel([d.error[row.where] + off[row.where] for d in found]),
        None if flipped is None else flipped.ravel(),
        kink=any(d.kink[row.where].any() for d in found),
    )
