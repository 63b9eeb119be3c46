"""Check of a meta-gradient: against its value, against its pieces, against numaml's own model."""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from .adam import Adam
from .calls import Watched, as_point, not_finite, numbers
from .checks import Function, Row, answer, evidence_of, rows_of
from .diagnosis import RIGHT, UNCLEAR, WRONG, Evidence, tolerance
from .inner import Inner
from .orders import Shapes, layout
from .orders import blocks as blocks_of
from .pieces import FIRST_ORDER, Pieces, Task
from .probe import scalar_probe
from .report import ESTIMATES, Report, assert_right, judge
from .scale import multiple, norm

Array = np.ndarray[Any, Any]

Mistakes = Callable[[], Iterator[tuple[str, Array]]]
WHAT = "meta-gradient"
# An alpha that explains an answer is looked for from these multiples of the one that was said.
TIMES = "{:.4g} times as large"
ALPHAS = (1.0, 0.5, 2.0, 5.0, 10.0)
FITS, FIT_STEP = 5, 1e-3


@np.errstate(under="ignore")
def meta_gradient(
    value: Function,
    gradient: Any,
    theta: Any,
    *,
    tasks: Sequence[Task] | None = None,
    alpha: Any = None,
    steps: int | None = None,
    blocks: Shapes | None = None,
    **family: Any,
) -> Report:
    """Check a meta-gradient against the meta-value, and say what kind of mistake is in it.

    Any meta-objective: ``value`` is differentiated as it is. With its pieces (``tasks``, ``alpha``,
    ``steps``) the typical mistakes are computed as well and recognised, and a value too noisy for
    differences (float32) is helped out by the inner gradients, if both agree. The pieces may be
    those of MAML's family: K times ``u = momentum u + g + decay phi + pull (phi - theta)`` from
    u = 0, and ``phi = phi - alpha u``; or Adam's u, into which ``g + decay phi + pull (phi -
    theta)`` enters.

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
    alpha : float, (P,) or (K, P) array, optional
        Inner learning rate: one, one per parameter, or one per step and parameter.
    steps : int, optional
        Number K of inner steps ``phi = phi - alpha * support_gradient(phi)``.
    blocks
        As for `numaml.check.gradient`.
    **family
        ``weights`` (K,) of the query loss after every step, where not the last alone counts;
        ``momentum``, ``decay`` (in the gradient; with ``decoupled`` True beside it or beside
        Adam's u, as in AdamW), ``pull`` (the proximal term's), numbers >= 0;
        ``rates`` (P,) or (K, P), integers: learned rates stand behind θ in ``theta``, and these
        are their numbers from 0, parameter by parameter; alpha (here 1 if not given) times them
        are the inner learning rates. ``adam``, a mapping with some of ``b1`` (0.9), ``b2``
        (0.999), ``epsilon`` (1e-8) and ``epsilon_inside`` the root (False), from moments of 0.

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
    theta = as_point(theta, "theta")
    pieces = _pieces(theta, tasks, alpha, steps, family)
    probe, rows = scalar_probe(value, theta, "the value"), rows_of(blocks, len(theta))
    evidence = evidence_of(probe, rows, answer(gradient, theta))
    if pieces:
        return _judge_with(pieces, evidence, rows, _head(blocks, pieces))
    report = judge(WHAT, evidence)
    if report.verdict == WRONG and not report.looks_like:
        note = "give tasks, alpha and steps to have first-order MAML and other mistakes recognised"
        report = replace(report, notes=(*report.notes, note))
    return report


def assert_meta_gradient(value: Function, gradient: Any, theta: Any, **pieces: Any) -> None:
    """A line of somebody's test: fails with the whole report of `meta_gradient` unless it is right.

    Parameters
    ----------
    value, gradient, theta, **pieces
        As for `numaml.check.meta_gradient`.

    Raises
    ------
    AssertionError
        With the report, if the verdict is "wrong" or "cannot tell".
    ImportError, TypeError, ValueError
        As `numaml.check.meta_gradient`.

    Examples
    --------
    >>> import numpy as np
    >>> from numaml import check
    >>> def value(theta):
    ...     phi = theta - 0.1 * np.cos(theta)
    ...     return phi @ phi
    >>> def detached(theta):
    ...     return 2 * (theta - 0.1 * np.cos(theta))
    >>> check.assert_meta_gradient(value, detached, np.array([0.3, 0.4, 0.5]))
    Traceback (most recent call last):
        ...
    AssertionError: meta-gradient: WRONG
    ...
    """
    __tracebackhide__ = True  # pytest then shows the user's line
    assert_right(meta_gradient(value, gradient, theta, **pieces))


def _pieces(
    theta: Array,
    tasks: Sequence[Task] | None,
    alpha: Any,
    steps: int | None,
    family: dict[str, Any],
) -> Pieces | None:
    if tasks is None and alpha is None and steps is None and not family:
        return None
    if alpha is None and "rates" in family:
        alpha = 1.0
    if tasks is None or alpha is None or steps is None:
        raise TypeError("want tasks, alpha and steps together, or none of them")
    inner = _inner(len(theta), alpha, steps, **family)
    try:
        pairs = [(support, query) for support, query in tasks]
    except (TypeError, ValueError):
        raise TypeError(
            f"tasks is {tasks!r:.60}; want a pair (support_gradient, query_gradient) for every task"
        ) from None
    if not pairs:
        raise ValueError("got 0 tasks; want at least one")
    return Pieces(theta, pairs, inner)


def _inner(
    length: int,
    alpha: Any,
    steps: Any,
    *,
    weights: Any = None,
    momentum: Any = 0.0,
    decay: Any = 0.0,
    pull: Any = 0.0,
    rates: Any = None,
    adam: Any = None,
    decoupled: bool = False,
) -> Inner:
    """The inner loop of a point of that length, learned rates included, if it can be one."""
    if isinstance(steps, bool | np.bool_) or not hasattr(steps, "__index__"):
        raise TypeError(f"steps is {steps!r}; want an integer K >= 0")
    steps = operator.index(steps)
    if steps < 0:
        raise ValueError(f"steps is {steps}; want K >= 0 inner steps")
    which = None if rates is None else _which(rates, length, steps)
    size = length if which is None else which.shape[1]
    rows = None if weights is None else _weights(weights, steps)
    factors: dict[str, Any] = {
        name: _factor(number, name)
        for name, number in (("momentum", momentum), ("decay", decay), ("pull", pull))
    }
    if decoupled and not factors["decay"]:
        raise ValueError("decoupled says where weight decay goes, and decay is 0; want decay > 0")
    settings = None if adam is None else _adam(adam, factors["momentum"])
    how = {**factors, "which": which, "adam": settings, "decoupled": bool(decoupled)}
    return Inner(steps, _rates(alpha, size, steps), rows, **how)


def _finite(a: Any, name: str) -> Array:
    a = numbers(float(a) if isinstance(a, Fraction) else a, name).astype(float)
    if what := not_finite(a):
        raise ValueError(f"{name} is {what}; want finite numbers")
    return a


def _weights(weights: Any, steps: int) -> Array:
    rows = _finite(weights, "weights")
    if rows.shape != (steps,):
        raise ValueError(f"weights has shape {rows.shape}; want ({steps},), one for every step")
    return rows


def _factor(number: Any, name: str) -> float:
    a = _finite(number, name)
    if a.ndim or a < 0:
        raise ValueError(f"{name} is {number!r:.60}; want one number >= 0")
    return float(a)


def _adam(given: Any, momentum: float) -> Adam:
    """Adam's settings: what is not said is what optimisers begin with."""
    names = "b1", "b2", "epsilon", "epsilon_inside"
    if not isinstance(given, Mapping) or not set(given) <= set(names):
        raise TypeError(f"adam is {given!r:.60}; want a mapping of some of {', '.join(names)}")
    if momentum:
        raise ValueError(f"momentum is {momentum} beside adam; want one of them: b1 is Adam's own")
    adam = Adam(**{**given, "epsilon_inside": bool(given.get("epsilon_inside", False))})
    b1, b2, epsilon = (_factor(getattr(adam, name), f"adam's {name}") for name in names[:3])
    if b1 >= 1 or b2 >= 1 or not epsilon:
        raise ValueError(f"adam is {given!r:.60}; want b1 and b2 below 1, and epsilon > 0")
    return adam._replace(b1=b1, b2=b2, epsilon=epsilon)


def _rates(alpha: Any, size: int, steps: int) -> Any:
    """A learning rate >= 0, or rates of any sign per parameter, or per step and parameter."""
    a = _finite(alpha, "alpha")
    if a.shape not in ((), (size,), (steps, size)):
        raise ValueError(
            f"alpha has shape {a.shape}; want one number, ({size},), or ({steps}, {size}) for "
            "every step"
        )
    if not a.ndim and a < 0:
        raise ValueError(f"alpha is {a} < 0; want finite numbers, and one alone >= 0")
    return a if a.ndim else float(a)


def _which(rates: Any, length: int, steps: int) -> Array:
    """(K, P) numbers of learned rates, P being what they leave of the length for θ."""
    which = np.array(rates)
    if which.dtype.kind not in "iu" or which.ndim not in (1, 2) or not which.size:
        raise TypeError(
            f"rates is {rates!r:.60}; want the number of its learned rate for every parameter, "
            "integers of shape (P,) or (K, P)"
        )
    learned = int(which.max()) + 1
    if set(which.ravel().tolist()) != set(range(learned)):
        raise ValueError(f"rates holds {sorted(set(which.ravel().tolist()))}; want 0, 1, 2, …")
    if which.shape not in ((length - learned,), (steps, length - learned)) or not steps:
        raise ValueError(
            f"rates has shape {which.shape} and names {learned} of the {length} numbers of theta; "
            f"want ({length - learned},), or ({steps}, {length - learned}) for every step, K >= 1"
        )
    return np.array(np.broadcast_to(which, (steps, which.shape[-1])))


def _head(blocks: Shapes | None, pieces: Pieces) -> Array | None:
    """Which parameters are of the last layer: those from the last matrix on. None: not known."""
    size = len(pieces.theta)
    if blocks is None:
        return None
    places = [
        where.start
        for _, shape, where in layout(blocks, size + len(pieces.rates))
        if len(shape) > 1 and where.stop <= size
    ]
    return np.arange(size) >= places[-1] if places and places[-1] else None


def _judge_with(
    pieces: Pieces,
    evidence: Evidence,
    rows: list[Row],
    head: Array | None,
    conventions: Mistakes = lambda: iter(()),
) -> Report:
    """A verdict by the value, and by its pieces as far as these belong to it."""
    share, why = _share(pieces, evidence, rows)
    notes = [*evidence.notes, *pieces.notes, *pieces.at_a_root_of_zero]
    if not share:
        fits = _would_fit(pieces, evidence, rows)
        notes.append(f"{why}; they were left aside{fits}")
        return judge(WHAT, evidence._replace(notes=tuple(notes)))
    if share != 1:
        notes.append(f"the value is {share:.4g} times the mean of the tasks' query losses")

    exact = pieces.exact[0]
    same = tolerance(evidence.eps) * norm(exact)
    got = np.concatenate([part.got for part in evidence.parts]) / share

    def mistakes() -> Iterator[tuple[str, list[Array]]]:
        every = chain(pieces.mistakes(head), conventions(), _other_alphas(pieces, rows, got))
        for sentence, vector in every:
            if same < norm(vector - exact) < np.inf:  # it is none where it changes nothing
                yield sentence, [share * row.along(vector) for row in rows]

    evidence = _sharpened(pieces, share, evidence, rows)._replace(
        mistakes=mistakes, counts={"tasks": pieces.count}, notes=tuple(notes)
    )
    curvature = share * _along(rows, exact - pieces.first_order)
    return _told_apart(judge(WHAT, evidence), evidence, norm(curvature))


def _would_fit(pieces: Pieces, evidence: Evidence, rows: list[Row]) -> str:
    """Which alpha would fit a value that is not that of its pieces, in words; empty if none."""
    if not np.isfinite(pieces.exact).all() or evidence.coarse:
        return ""
    near = tolerance(evidence.eps) * norm(evidence.want) + ESTIMATES * evidence.noise
    for made, losses in ((_faster, ""), (_all_louder, f" and losses {TIMES}")):
        c = _fitted(pieces, made, rows, evidence.want)
        if c and _distance(_along(rows, made(pieces, c)), evidence.want) <= near:
            return f" (they would fit with alpha {TIMES}{losses}: a sum for a mean?)".format(c, c)
    return ""


def _other_alphas(pieces: Pieces, rows: list[Row], got: Array) -> Iterator[tuple[str, Array]]:
    """The meta-gradients nearest to an answer among those of all alphas, and of louder losses."""
    adam = pieces.inner.adam
    others = [
        (_faster, "alpha acts {:.4g} times as strongly as was said", adam is None),
        (_all_louder, _ALL_LOUDER + ("" if adam else ", and alpha acts so"), True),
    ]
    if not pieces.inner.plain:  # else it is another alpha
        others.append((_support_louder, "the support losses are {:.4g} times as large", True))
    for made, sentence, of_losses in others:
        c = _fitted(pieces, made, rows, got)
        if c:
            whole = of_losses and abs(c - round(c)) < 0.01 and round(c) > 1
            end = " (summed over examples or outputs, not averaged?)" if whole else ""
            yield sentence.format(c) + end, made(pieces, c)


_ALL_LOUDER = "another convention: all losses are {:.4g} times as large"


def _faster(pieces: Pieces, c: float) -> Array:
    """The meta-gradient with c times alpha."""
    return np.asarray(pieces.faster(c).exact[0])


def _support_louder(pieces: Pieces, c: float) -> Array:
    """The meta-gradient with c times the support losses."""
    return np.asarray(pieces.louder(c).exact[0])


def _all_louder(pieces: Pieces, c: float) -> Array:
    """The meta-gradient with c times all losses."""
    return np.asarray(c * pieces.louder(c).exact[0])


def _fitted(
    pieces: Pieces, of: Callable[[Pieces, float], Array], rows: list[Row], got: Array
) -> float:
    """The c > 0 whose meta-gradient is nearest, by Gauss's and Newton's steps; 0 if none."""
    if not np.isfinite(got).all():
        return 0.0

    def made(c: float) -> Array:
        return _along(rows, of(pieces, c))

    c = min(ALPHAS, key=lambda c: _distance(made(c), got))
    for _ in range(FITS):
        here = made(c)
        slope = (made(c * (1 + FIT_STEP)) - here) / (c * FIT_STEP)
        if not np.isfinite(here).all() or not np.isfinite(slope).all() or not slope.any():
            return 0.0
        c = float(np.clip(c + multiple(got - here, slope), c / 2, 2 * c))
    return c


def _distance(a: Array, b: Array) -> float:
    return norm(a - b) if np.isfinite(a).all() else np.inf


def _along(rows: list[Row], vector: Array) -> Array:
    return np.concatenate([row.along(vector) for row in rows])


def _spread(row: Row, off: Array) -> Array:
    """Error along a row's directions of a vector whose numbers are off by so much."""
    off = off[row.where]
    return np.array([norm(direction * off) for direction in row.directions])


def _share(pieces: Pieces, evidence: Evidence, rows: list[Row]) -> tuple[float, str]:
    """c if the value's derivative is c times the pieces' (1 for a mean); or 0, and why."""
    exact, off = pieces.exact
    foreign = "tasks, alpha and steps do not belong to this value"
    if not np.isfinite(exact).all():
        return 0.0, f"{foreign}: {pieces.overflow or 'their meta-gradient is NaN or infinite'}"
    made, spread = _along(rows, exact), np.concatenate([_spread(row, off) for row in rows])
    allowed = ESTIMATES * (evidence.noise + norm(spread))
    allowed += tolerance(evidence.eps) * norm(evidence.want)
    if allowed > max(norm(evidence.want), norm(made)) / 2 and made.any():
        return 0.0, "noise hides whether tasks, alpha and steps belong to this value"
    fitted = multiple(evidence.want, made)
    rounded = float(round(fitted)) if np.isfinite(fitted) else 0.0
    for c in (1.0, rounded, fitted):
        if c and norm(evidence.want - c * made) <= max(1.0, abs(c)) * allowed:
            return c, ""
    return 0.0, f"{foreign}: the meta-gradient made of them is not its derivative"


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
    elif gap <= ESTIMATES * ESTIMATES * evidence.noise:  # a gap that is seen beyond doubt
        note, verdict = "noise hides the difference from first-order MAML: a larger alpha", UNCLEAR
    else:
        note = f"first-order MAML would be off by {100 * gap / scale:.3g} %"
    return replace(report, verdict=verdict, notes=(*report.notes, note))


@runtime_checkable
class Perceptron(Protocol):
    """A model that says of which layers it is made, as `numaml.MLP` does."""

    sizes: tuple[int, ...]
    loss: Any


@np.errstate(under="ignore")
def against(
    gradient: Any,
    model: Any,
    theta: Any,
    tasks: Any,
    alpha: Any,
    steps: int,
    *,
    blocks: Shapes | None = None,
    **family: Any,
) -> Report:
    """Check somebody's meta-gradient against a model of the same network and data, e.g. numaml's.

    The truth is made of the model's values and first derivatives alone, by complex steps if the
    model takes complex numbers. Besides the mistakes that `meta_gradient` knows, other conventions
    are recognised if it is a multilayer perceptron: losses summed over examples or outputs, and
    ½(u − y)².

    Parameters
    ----------
    gradient : callable or (P,) array
        The meta-gradient under test, in theta's layout (see `numaml.MLP.pack`).
    model, theta, tasks, alpha, steps
        As for `numaml.meta_gradient`: any model with ``value`` and ``linearize``, and its tasks.
        alpha may be one number per parameter, (P,), or per step and parameter, (K, P).
    blocks
        As for `numaml.check.gradient`; the layers of a multilayer perceptron need no mention.
    **family
        As for `numaml.check.meta_gradient`.

    Returns
    -------
    report : Report

    Raises
    ------
    ImportError, TypeError, ValueError
        As `numaml.check.gradient`.

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
    point = as_point(theta, "theta").astype(float)
    inner, watched = _inner(len(point), alpha, steps, **family), _Model(model)
    each = _each_objective(watched, point[: len(point) - inner.learned], tasks)

    def value(p: Array) -> Any:
        return sum(task.after(p, inner) for task in each) / len(each)

    names = blocks
    if blocks is None and isinstance(model, Perceptron):
        names = {**blocks_of(model.sizes), **({"rates": (inner.learned,)} if inner.learned else {})}
    rows, probe = rows_of(names, len(point)), scalar_probe(value, point, "the model's meta-value")
    pieces = Pieces(point, [(task.support, task.query) for task in each], inner)
    evidence = evidence_of(probe, rows, answer(gradient, point))
    return _judge_with(
        pieces,
        evidence._replace(notes=(*evidence.notes, *watched.notes)),
        rows,
        _head(names, pieces),
        lambda: _other_conventions(pieces, model, tasks.support),
    )


class _Model:
    """Any model, given arrays of its own."""

    def __init__(self, model: Any) -> None:
        for name in ("value", "linearize"):
            if not callable(getattr(model, name, None)):
                raise TypeError(
                    f"the model is {type(model).__name__} and has no {name}; want one with "
                    "value(theta, batch) and linearize(theta, batch)"
                )
        self.value = Watched(model.value, "model.value")
        self.linearize = Watched(model.linearize, "model.linearize")

    @property
    def notes(self) -> tuple[str, ...]:
        return self.value.notes + self.linearize.notes


class _Objective(NamedTuple):
    """One task of a model; of a stack that cannot be taken apart, the one with this number."""

    model: _Model
    tasks: tuple[Any, Any]  # support and query set
    number: int | None = None

    def support(self, phi: Array) -> Any:
        return self._gradient(phi, self.tasks[0])

    def query(self, phi: Array) -> Any:
        return self._gradient(phi, self.tasks[1])

    def after(self, point: Array, inner: Inner) -> Any:
        """The query losses after the inner steps, each with its weight, from θ and its rates."""
        theta, rates = np.split(point, [len(point) - inner.learned])
        phi, state = theta, inner.start(theta)
        total = 0.0 if inner.steps else self._loss(phi)
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked at
            for k in range(inner.steps):
                state, u = inner.moved(state, self.support(phi), phi, theta)
                phi = phi - inner.rate(k, rates) * u
                weight = inner.weight(k + 1, inner.steps)
                total = total + weight * self._loss(phi) if weight else total
        return total

    def _loss(self, phi: Array) -> Any:
        losses = np.asarray(self.model.value(phi, self.tasks[1]))
        return losses if self.number is None else losses[self.number]

    def _gradient(self, phi: Array, batch: Any) -> Any:
        g = np.asarray(self.model.linearize(phi, batch)[1])
        return g if self.number is None else g[self.number]


def _each_objective(model: _Model, theta: Array, tasks: Any) -> list[_Objective]:
    """The tasks one by one; taken apart where each part has the loss that it has in the stack."""
    if not hasattr(tasks, "support") or not hasattr(tasks, "query"):
        raise TypeError(f"tasks is {tasks!r:.60}; want support and query sets, e.g. numaml.Tasks")
    sets = tasks.support, tasks.query
    losses = [numbers(model.value(theta, batch), "model.value") for batch in sets]
    shape = losses[0].shape
    if losses[1].shape != shape or len(shape) > 1:
        raise ValueError(
            f"the model's losses have shapes {shape} on the support sets and {losses[1].shape} on "
            "the query sets; want one number, or one for each of the same tasks"
        )
    if not shape:
        return [_Objective(model, sets)]
    with suppress(Exception):  # somebody's own sets need not come apart
        pairs = _each_task(tasks)
        alone = [[model.value(theta, batch) for batch in pair] for pair in pairs]
        if np.shape(alone) == (*shape, 2) and np.allclose(alone, np.transpose(losses), atol=0):
            return [_Objective(model, pair) for pair in pairs]
    return [_Objective(model, sets, t) for t in range(shape[0])]


def _each_task(tasks: Any) -> list[tuple[Any, Any]]:
    """(support, query) of every task, without a task axis."""

    def each(batch: Any) -> list[Any]:
        if np.ndim(batch.x) == 2:
            return [batch]
        return [type(batch)(x, y) for x, y in zip(batch.x, batch.y, strict=True)]

    return list(zip(each(tasks.support), each(tasks.query), strict=True))


def _other_conventions(pieces: Pieces, model: Any, support: Any) -> Iterator[tuple[str, Array]]:
    """A loss that is c times numaml's moves φ by c·α, and gives c times the meta-gradient there."""
    if not isinstance(model, Perceptron):
        return
    n, outputs = np.shape(support.x)[-2], model.sizes[-1]
    factors: dict[float, str] = {}
    if model.loss == "squared_error":
        factors = {
            outputs / 2: "the loss is ½ Σ (u − y)² over outputs",
            1 / 2: "the loss is ½(u − y)², not (u − y)²",
            outputs: "squared errors are summed over outputs, not averaged",
            n * outputs: "squared errors are summed over examples and outputs, not averaged",
        }
    if model.loss == "cross_entropy":
        factors[outputs] = "losses are summed over examples and divided by shots: ways times ours"
    factors[n] = "losses are summed over their examples, not averaged"
    factors.pop(1, None)
    for factor, sentence in factors.items():
        other = pieces.louder(factor)
        acts = "" if pieces.inner.adam else f" (alpha acts {factor:g} times as strongly)"
        text = f"another convention: {sentence}{acts}"
        yield text, factor * other.exact[0]
        yield f"{text}, and {FIRST_ORDER}", factor * other.first_order
