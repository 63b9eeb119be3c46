"""Check of a meta-gradient: against its value, against its pieces, against numaml's own model."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from .checks import Function, Row, answer, evidence_of, rows_of, scalar_probe
from .diagnosis import RIGHT, UNCLEAR, WRONG, Evidence, norm
from .orders import Shapes
from .orders import blocks as blocks_of
from .pieces import FIRST_ORDER, Pieces, Task
from .probe import as_point
from .report import ESTIMATES, Report, judge, tolerance

Array = np.ndarray[Any, Any]

Mistakes = Callable[[], Iterator[tuple[str, Array]]]
WHAT = "meta-gradient"


def meta_gradient(
    value: Function,
    gradient: Any,
    theta: Any,
    *,
    tasks: Sequence[Task] | None = None,
    alpha: Any = None,
    steps: int | None = None,
    blocks: Shapes | None = None,
) -> Report:
    """Check a meta-gradient against the meta-value, and say what kind of mistake is in it.

    Any meta-objective: ``value`` is differentiated as it is. With its pieces (``tasks``, ``alpha``,
    ``steps``) the typical mistakes are computed as well and recognised, and a value too noisy for
    differences (float32) is helped out by the inner gradients, if both agree.

    Parameters
    ----------
    value : callable
        The meta-value, from theta (P,) to one number.
    gradient : callable or (P,) array
        The meta-gradient under test.
    theta : (P,) array
        Meta-parameters; everything is called with arrays of its dtype.
    tasks : sequence of (support_gradient, query_gradient), optional
        For every task ∇L_S and ∇L_Q, two callables from (P,) to (P,).
    alpha : float or (P,) array, optional
        Inner learning rate.
    steps : int, optional
        Number K of inner steps ``phi = phi - alpha * support_gradient(phi)``.
    blocks
        As for `numaml.check.gradient`.

    Returns
    -------
    report : Report

    Raises
    ------
    ImportError, TypeError, ValueError
        As `numaml.check.gradient`; and if tasks, alpha and steps are not given together.

    Notes
    -----
    With tasks, "right" is said only if first-order MAML would have been seen to be wrong, unless
    the two are equal, which a note says.

    References
    ----------
    Finn, Abbeel, Levine 2017, "Model-Agnostic Meta-Learning", section 5.2 on the first-order
    approximation.

    Examples
    --------
    >>> import numpy as np
    >>> from numaml import check
    >>> A, B = np.diag([1.0, 2.0, 3.0]), np.diag([3.0, 1.0, 2.0])   # L_S = p·Ap/2, L_Q = p·Bp/2
    >>> alpha, theta = 0.1, np.array([0.3, 0.4, 0.5])
    >>> def value(theta):
    ...     phi = theta - alpha * (A @ theta)
    ...     return phi @ B @ phi / 2
    >>> def detached(theta):
    ...     return B @ (theta - alpha * (A @ theta))
    >>> tasks = [(lambda p: A @ p, lambda p: B @ p)]
    >>> report = check.meta_gradient(value, detached, theta, tasks=tasks, alpha=alpha, steps=1)
    >>> report.looks_like.split(":")[0]
    'first-order MAML'
    """
    theta = as_point(theta)
    pieces = _pieces(theta, tasks, alpha, steps)
    probe, rows = scalar_probe(value, theta), rows_of(blocks, len(theta))
    evidence = evidence_of(probe, rows, answer(gradient, theta))
    if pieces:
        return _judge_with(pieces, evidence, rows)
    report = judge(WHAT, evidence)
    if report.verdict == WRONG and not report.looks_like:
        note = "give tasks, alpha and steps to have first-order MAML and other mistakes recognised"
        report = replace(report, notes=(*report.notes, note))
    return report


def _pieces(
    theta: Array, tasks: Sequence[Task] | None, alpha: Any, steps: int | None
) -> Pieces | None:
    if tasks is None and alpha is None and steps is None:
        return None
    if tasks is None or alpha is None or steps is None:
        raise TypeError("want tasks, alpha and steps together, or none of them")
    if not tasks or steps < 0:
        raise ValueError(f"got {len(tasks)} tasks and {steps} steps; want at least one, steps >= 0")
    return Pieces(theta, list(tasks), alpha, steps)


def _judge_with(
    pieces: Pieces, evidence: Evidence, rows: list[Row], conventions: Mistakes = lambda: iter(())
) -> Report:
    """A verdict by the value, and by its pieces as far as these belong to it."""
    share = _share(pieces, evidence, rows)
    if share is None:
        note = (
            "tasks, alpha and steps do not belong to this value: the meta-gradient made of them is "
            "not its derivative; they were left aside"
        )
        return judge(WHAT, evidence._replace(notes=(*evidence.notes, note)))
    notes = list(evidence.notes)
    if share != 1:
        notes.append(f"the value is {share:.4g} times the mean of the tasks' query losses")

    def mistakes() -> Iterator[tuple[str, list[Array]]]:
        for sentence, vector in chain(pieces.mistakes(), conventions()):
            if np.isfinite(vector).all():
                yield sentence, [share * row.along(vector) for row in rows]

    evidence = _sharpened(pieces, share, evidence, rows)._replace(
        mistakes=mistakes, counts={"tasks": len(pieces.tasks)}, notes=tuple(notes)
    )
    curvature = share * _along(rows, pieces.exact[0] - pieces.first_order)
    return _told_apart(judge(WHAT, evidence), evidence, norm(curvature))


def _along(rows: list[Row], vector: Array) -> Array:
    return np.concatenate([row.along(vector) for row in rows])


def _spread(row: Row, off: Array) -> Array:
    """Error along a row's directions of a vector whose numbers are off by so much."""
    return np.sqrt(np.square(row.directions) @ np.square(off[row.where]))


def _share(pieces: Pieces, evidence: Evidence, rows: list[Row]) -> float | None:
    """c if the value's derivative is c times the pieces' (1 for a mean over tasks)."""
    exact, off = pieces.exact
    if not np.isfinite(exact).all():
        return None
    made, spread = _along(rows, exact), np.concatenate([_spread(row, off) for row in rows])
    allowed = ESTIMATES * (evidence.noise + norm(spread))
    allowed += tolerance(evidence.eps) * norm(evidence.want)
    fitted = float(made @ evidence.want) / (float(made @ made) or 1.0)
    for c in (1.0, float(round(fitted)), fitted):
        if norm(evidence.want - c * made) <= max(1.0, abs(c)) * allowed:
            return c
    return None


def _sharpened(pieces: Pieces, share: float, evidence: Evidence, rows: list[Row]) -> Evidence:
    """The pieces' own meta-gradient as the truth, where the value's derivative is the noisier."""
    exact, off = pieces.exact
    sharper = [
        part._replace(want=share * row.along(exact), error=abs(share) * _spread(row, off))
        for part, row in zip(evidence.parts, rows, strict=True)
    ]
    method = f"adjoints over differences of the inner gradients, which agree with {evidence.method}"
    other = evidence._replace(parts=sharper, method=method)
    good = ESTIMATES * evidence.noise <= tolerance(evidence.eps) * norm(evidence.want)
    return evidence if good or evidence.kinks or other.noise >= evidence.noise else other


def _told_apart(report: Report, evidence: Evidence, gap: float) -> Report:
    """A "right" is worth as much as the distance to first-order MAML that was seen."""
    if report.verdict != RIGHT:
        return report
    scale, verdict = norm(evidence.want), RIGHT
    if gap <= tolerance(evidence.eps) * scale:
        note = "first-order MAML is the same here: alpha, steps or curvature is 0"
    elif gap <= ESTIMATES * evidence.noise:
        note, verdict = "noise hides the difference from first-order MAML: a larger alpha", UNCLEAR
    else:
        note = f"first-order MAML would be off by {100 * gap / scale:.3g} %"
    return replace(report, verdict=verdict, notes=(*report.notes, note))


def against(gradient: Any, model: Any, theta: Any, tasks: Any, alpha: float, steps: int) -> Report:
    """Check somebody's meta-gradient against numaml's model of the same network and data.

    The truth is made of the model's values and first derivatives alone, by complex steps. Besides
    the mistakes that `meta_gradient` knows, other conventions are recognised: losses summed over
    examples or outputs, and ½(u − y)².

    Parameters
    ----------
    gradient : (P,) array
        The meta-gradient under test, in theta's layout (see `numaml.MLP.pack`).
    model, theta, tasks, alpha, steps
        As for `numaml.meta_gradient`.

    Returns
    -------
    report : Report

    Raises
    ------
    TypeError, ValueError
        If a shape or dtype does not fit.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> model = numaml.MLP((1, 8, 1), "tanh")
    >>> tasks = numaml.Sinusoids(tasks=3)(np.random.default_rng(0))
    >>> arguments = model, model.init(0), tasks, 0.05, 2
    >>> value, yours = numaml.first_order_meta_gradient(*arguments)
    >>> report = numaml.check.against(yours, *arguments)
    >>> report.verdict, report.looks_like.split(":")[0]
    ('wrong', 'first-order MAML')
    """
    theta = as_point(theta)
    point, got = theta.astype(float), answer(gradient, theta)
    pairs = _each_task(tasks)
    pieces_of = [(_gradient(model, support), _gradient(model, query)) for support, query in pairs]

    def value(p: Array) -> Any:
        losses = []
        for (support, _), (_, query) in zip(pieces_of, pairs, strict=True):
            phi = p
            for _ in range(steps):
                phi = phi - alpha * support(phi)
            losses.append(model.value(phi, query))
        return sum(losses) / len(losses)

    probe, rows = scalar_probe(value, point), rows_of(blocks_of(model.sizes), len(point))
    pieces = Pieces(point, pieces_of, alpha, steps)
    return _judge_with(
        pieces,
        evidence_of(probe, rows, got),
        rows,
        lambda: _other_conventions(pieces, model, pairs[0][0]),
    )


def _each_task(tasks: Any) -> list[tuple[Any, Any]]:
    """(support, query) of every task, without a task axis."""

    def each(batch: Any) -> list[Any]:
        if np.ndim(batch.x) == 2:
            return [batch]
        return [type(batch)(x, y) for x, y in zip(batch.x, batch.y, strict=True)]

    return list(zip(each(tasks.support), each(tasks.query), strict=True))


def _gradient(model: Any, batch: Any) -> Function:
    return lambda p: model.linearize(p, batch)[1]


def _other_conventions(pieces: Pieces, model: Any, support: Any) -> Iterator[tuple[str, Array]]:
    """A loss that is c times numaml's moves φ by c·α, and gives c times the meta-gradient there."""
    n, outputs = len(support.x), model.sizes[-1]
    factors: dict[float, str] = {}
    if model.loss == "squared_error":
        factors = {
            outputs / 2: "the loss is ½ Σ (u − y)² over outputs",
            1 / 2: "the loss is ½(u − y)², not (u − y)²",
            outputs: "squared errors are summed over outputs, not averaged",
            n * outputs: "squared errors are summed over examples and outputs, not averaged",
        }
    factors[n] = "losses are summed over their examples, not averaged"
    factors.pop(1, None)
    for factor, sentence in factors.items():
        other = Pieces(pieces.theta, pieces.tasks, factor * pieces.alpha, pieces.steps)
        text = f"another convention: {sentence} (alpha acts {factor:g} times as strongly)"
        yield text, factor * other.exact[0]
        yield f"{text}, and {FIRST_ORDER}", factor * other.first_order
