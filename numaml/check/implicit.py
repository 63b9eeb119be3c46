"""Check of an implicit meta-gradient, that of a minimum, as iMAML and its like take it."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .calls import as_point, numbers
from .checks import Function, Row, answer, evidence_of, rows_of
from .diagnosis import Evidence, tolerance
from .inner import Inner
from .orders import Shapes
from .pieces import Pieces, Task
from .probe import scalar_probe
from .report import ESTIMATES, Report, judge
from .scale import norm

Array = np.ndarray[Any, Any]

WHAT = "implicit meta-gradient"
SLOPE = 1e-6  # beside its two terms: a larger slope says that a minimum is none
FEW = 10  # steps of conjugate gradients after which others stop


@np.errstate(under="ignore")
def implicit_gradient(
    value: Function,
    gradient: Any,
    theta: Any,
    *,
    tasks: Sequence[Task],
    minima: Any,
    pull: float,
    blocks: Shapes | None = None,
) -> Report:
    """Check ``mean (I + H/p)⁻¹ ∇L_Q(φ)`` against the value, with φ = argmin L_S + ½ p |φ − θ|².

    Parameters
    ----------
    value : callable
        From theta (P,) to the mean over tasks of L_Q(φ(θ)), the inner problems solved to the end.
    gradient : callable or (P,) array
        The meta-gradient under test.
    theta : (P,) array
        Meta-parameters.
    tasks : sequence of (support_gradient, query_gradient)
        For every task ∇L_S and ∇L_Q, two callables from (P,) to (P,).
    minima : (T, P) array
        Every task's φ.
    pull : float
        p > 0 of the proximal term.
    blocks
        As for `numaml.check.gradient`.

    Returns
    -------
    report : Report
        A note names the tasks whose φ is no minimum: there the formula holds for nobody.

    Raises
    ------
    ImportError, TypeError, ValueError
        As `numaml.check.gradient`.

    Notes
    -----
    The matrices H + p I are made column by column, so P gradients (or a few times as many) are
    taken of every task.

    References
    ----------
    Rajeswaran, Finn, Kakade, Levine 2019, "Meta-Learning with Implicit Gradients", equation 6.

    Examples
    --------
    >>> import numpy as np
    >>> from numaml import check
    >>> A, b, p = np.diag([1.0, 2.0, 3.0]), np.array([1.0, -1.0, 2.0]), 0.5     # L_S = φ·Aφ/2
    >>> def solved(theta):
    ...     return np.linalg.solve(A + p * np.eye(3), p * theta)
    >>> def value(theta):                                                       # L_Q = |φ − b|²/2
    ...     return (solved(theta) - b) @ (solved(theta) - b) / 2
    >>> theta = np.array([0.3, 0.4, 0.5])
    >>> tasks, minima = [(lambda phi: A @ phi, lambda phi: phi - b)], [solved(theta)]
    >>> report = check.implicit_gradient(
    ...     value, solved(theta) - b, theta, tasks=tasks, minima=minima, pull=p)
    >>> report.looks_like.split(":")[0]
    'first order'
    """
    theta = as_point(theta, "theta")
    p = float(numbers(pull, "pull"))
    if not p > 0 or not np.isfinite(p):
        raise ValueError(f"pull is {pull!r:.60}; want p > 0")
    pieces = Pieces(theta, list(tasks), Inner(0, 0.0))
    found = numbers(minima, "minima").astype(float)
    if found.shape != (pieces.count, len(theta)):
        raise ValueError(f"minima has shape {found.shape}; want {(pieces.count, len(theta))}")
    probe, rows = scalar_probe(value, theta, "the value"), rows_of(blocks, len(theta))
    evidence = evidence_of(probe, rows, answer(gradient, theta))
    solves = Solves(pieces, found.astype(theta.dtype), p)
    return judge(WHAT, _with_mistakes(evidence, rows, solves))


def _with_mistakes(evidence: Evidence, rows: list[Row], solves: "Solves") -> Evidence:
    """The known mistakes beside it, as far as the pieces belong to the value."""
    notes = (*evidence.notes, *solves.notes)
    exact, off = solves.exact
    made = np.concatenate([row.along(exact) for row in rows])
    spread = np.concatenate([np.abs(row.directions) @ off[row.where] for row in rows])
    allowed = ESTIMATES * (evidence.noise + norm(spread))
    allowed += tolerance(evidence.eps) * norm(evidence.want)
    if not norm(evidence.want - made) <= allowed:
        strange = "tasks, minima and pull do not belong to this value; they were left aside"
        return evidence._replace(notes=(*notes, strange))

    def mistakes() -> Iterator[tuple[str, list[Array]]]:
        for sentence, vector in solves.mistakes():
            if tolerance(evidence.eps) * norm(exact) < norm(vector - exact) < np.inf:
                yield sentence, [row.along(vector) for row in rows]

    counts = {"tasks": solves.pieces.count}
    return evidence._replace(mistakes=mistakes, counts=counts, notes=notes)


class Solves:
    """Minima, their Hessians, and what solving with these gives."""

    def __init__(self, pieces: Pieces, minima: Array, p: float) -> None:
        self.pieces, self.minima, self.p = pieces, minima, p
        unit = np.eye(len(pieces.theta))
        products = [
            [pieces.product(t, phi, column) for column in unit] for t, phi in enumerate(minima)
        ]
        self.H, self.off = np.moveaxis(np.array(products), 2, 0)
        self.ends = self.queries_at(minima)

    def queries_at(self, phis: Any) -> list[Array]:
        pairs = zip(self.pieces.queries, phis, strict=True)
        return [np.asarray(self.pieces.at(query, phi), float) for query, phi in pairs]

    @property
    def notes(self) -> tuple[str, ...]:
        """Which minima are none."""
        pieces, bad = self.pieces, []
        for t, phi in enumerate(self.minima):
            g, pulled = pieces.at(pieces.supports[t], phi), self.p * (phi - pieces.theta)
            share = norm(g + pulled) / (norm(g) + norm(pulled) or 1.0)
            allowed = max(SLOPE, ESTIMATES * pieces.probes[t].relative_noise)
            bad += [f"task {t + 1} ({share:.0e})"] if share > allowed else []
        if not bad:
            return pieces.notes
        slopes = "slopes are left where minima should be, beside their terms"
        return (*pieces.notes, f"{slopes}: {', '.join(bad)}; solve the inner problems to the end")

    @property
    def exact(self) -> tuple[Array, Array]:
        """``mean p (H + p I)⁻¹ ∇L_Q(φ)``, and an estimate of its error."""
        unit, rows = np.eye(self.H.shape[-1]), []
        for H, off, q in zip(self.H, self.off, self.ends, strict=True):
            inverse = np.linalg.inv(H + self.p * unit)
            x = self.p * inverse @ q
            rows.append((x, np.abs(inverse) @ (np.abs(off) @ np.abs(x))))
        exact, error = np.mean(rows, axis=0)
        return exact, error

    def mean(self, matrix: Any, ends: list[Array] | None = None) -> Array:
        """Mean of the solutions with matrices made of H and I."""
        unit, ends = np.eye(self.H.shape[-1]), self.ends if ends is None else ends
        solved = [
            np.linalg.lstsq(matrix(H, unit), q, rcond=None)[0]
            for H, q in zip(self.H, ends, strict=True)
        ]
        return np.asarray(np.mean(solved, axis=0))

    def mistakes(self) -> Iterator[tuple[str, Array]]:
        """Known mistakes and what they give."""
        p = self.p
        flat = "first order: the query gradient at phi, as if phi moved with theta"
        yield flat, np.asarray(np.mean(self.ends, axis=0))
        yield (
            "the proximal term missing in the solve: H/p in place of I + H/p",
            self.mean(lambda H, I: H / p),
        )
        yield (
            "its weight missing in the solve: I + H in place of I + H/p",
            self.mean(lambda H, I: I + H),
        )
        yield "damped: another I beside I + H/p", self.mean(lambda H, I: 2 * I + H / p)
        yield "a sign in the solve: I − H/p in place of I + H/p", self.mean(lambda H, I: I - H / p)
        at_theta = self.queries_at([self.pieces.theta] * self.pieces.count)
        yield "the query gradient at theta, not at phi", self.mean(lambda H, I: I + H / p, at_theta)
        for j in range(1, FEW + 1):
            yield f"conjugate gradients stopped after {j} steps: solve to the end", self.stopped(j)
        darts = "one step in place of the solve, as in DARTS: p times the query gradient at phi"
        yield darts, self.neumann(1)
        for j in range(2, FEW + 1):
            series = f"a Neumann series of {j} terms: it needs as many as make it converge"
            yield series, self.neumann(j)
        for j in range(2, 2 * FEW + 1):
            old = "conjugate gradients along the residual of the step before, in p = r + beta p"
            yield f"{old} ({j} steps)", self.stopped(j, old=True)

    def neumann(self, terms: int) -> Array:
        """The first terms of ``p Σ (I − (H + p I))^j ∇L_Q(φ)``."""
        found = []
        for H, q in zip(self.H, self.ends, strict=True):
            total = term = q
            for _ in range(terms - 1):
                term = term - (H @ term + self.p * term)
                total = total + term
            found.append(self.p * total)
        return np.asarray(np.mean(found, axis=0))

    def stopped(self, steps: int, *, old: bool = False) -> Array:
        """Conjugate gradients from 0; ``old`` is a mistake, the residual of the step before."""
        found = []
        for H, q in zip(self.H, self.ends, strict=True):
            x, r = 0 * q, q
            d = r
            for _ in range(steps if q.any() else 0):
                moved = d + H @ d / self.p
                step = (r @ r) / (d @ moved)
                x, before, r = x + step * d, r, r - step * moved
                if norm(r) <= SLOPE * norm(q):
                    break
                d = (before if old else r) + (r @ r) / (before @ before) * d
            found.append(x)
        return np.asarray(np.mean(found, axis=0))
