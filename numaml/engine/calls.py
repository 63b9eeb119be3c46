"""The public calls: the mathematics of `maml`, run in the way that is fast for the case at hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NamedTuple

import numpy as np

from .. import maml
from .models import identity, leaves
from .parts import Foreseen, in_parts, mean
from .recording import Unseen
from .store import Store

Array = np.ndarray[Any, Any]

STORE = Store()
# Error states under which nobody asks which operation overflowed, only that one did.
REPLAYED = {"ignore", "warn"}


def replayed(core: Any, model: Any, theta: Array, *rest: Any) -> Sequence[Any]:
    """``core(model, theta, *batches, alpha, steps)``, from a recording if there is one."""
    if not _may_be_replayed(theta):
        return _tuple(core(model, theta, *rest))
    try:
        key, function, arrays = _recordable(core, model, theta, *rest)
    except Unseen:
        return _tuple(core(model, theta, *rest))
    return STORE.run(key, function, arrays)


def _may_be_replayed(theta: Array) -> bool:
    return STORE.on and theta.dtype.kind == "f" and REPLAYED.issuperset(np.geterr().values())


def _recordable(
    core: Any, model: Any, theta: Array, *rest: Any
) -> tuple[Any, Callable[..., Any], list[Array]]:
    """What tells a call from others, the call as a function of arrays alone, and these arrays."""
    *batches, alpha, steps = rest
    whose, (found, rebuilt) = identity(model), leaves(tuple(batches))
    arrays = [np.ascontiguousarray(array) for array in (theta, *found)]
    arrays.insert(1, np.array(alpha, theta.dtype))

    def function(theta: Array, alpha: Array, *arrays: Array) -> Sequence[Any]:
        return _tuple(core(model, theta, *rebuilt(*arrays), alpha, steps))

    shapes = tuple((array.shape, array.dtype) for array in arrays)
    return (core, whose, steps, shapes), function, arrays


def _tuple(results: Any) -> Sequence[Any]:
    return results if isinstance(results, tuple) else (results,)


class Plan(NamedTuple):
    """How a meta-gradient is run; `plan` makes it."""

    parts: tuple[int, ...]
    forms: tuple[tuple[str, ...], ...]
    replay: str


def plan(model: maml.Model, theta: Any, tasks: Any, alpha: Any, steps: Any) -> Plan:
    """Tell how `numaml.meta_gradient` runs with these arguments, computing nothing.

    Parameters
    ----------
    model, theta, tasks, alpha, steps
        As for `numaml.meta_gradient`.

    Returns
    -------
    plan : Plan
        ``parts``: the numbers of tasks that are taken together, one part after another. More than
        one where the traces of all tasks would need more than 64 MiB; a part's need 32 MiB.

        ``forms``: of every layer the form of its weight in φ_0, …, φ_K:

        ==================  ====================================================================
        "flat"              all weights of a task are one array, since in no layer the matrices
                            of all tasks hold more than 2¹⁵ numbers while factors pay
        "shared"            θ's own W, for all tasks
        "factored"          W + UᵀV with r rows in U and V, while r (n_in + n_out) < n_in n_out;
                            r is n in the first layer, whose inputs are the same at every step,
                            and k n after k steps in the others
        "multiplied out"    a matrix W for each task, when the factors do not pay any more
        ==================  ====================================================================

        Empty for a model that does not tell.

        ``replay``: "plain", with the reason, if such a call runs as the program stands; "first"
        or "recorded" if it was not seen yet or is replayed from now on.

    Raises
    ------
    TypeError, ValueError
        As `numaml.meta_gradient`.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> model = numaml.MLP((1, 100, 1))
    >>> tasks = numaml.Sinusoids()(np.random.default_rng(0))
    >>> numaml.engine.plan(model, model.init(0), tasks, 0.01, 1)
    Plan(parts=(25,), forms=(('flat', 'flat'), ('flat', 'flat')), replay='first')
    """
    model, theta, S, Q, alpha, steps = maml.checked_tasks(model, theta, tasks, alpha, steps)
    parts = [(size, part) for size, part in in_parts(model, theta, S, Q, steps)]
    forms: list[list[str]] = []
    if isinstance(model, Foreseen):
        shape = parts[0][1][0].x.shape
        forms = model.forms(shape[0] if len(shape) > 2 else 1, shape[-2], steps)
    if not _may_be_replayed(theta):
        replay = "plain: switched off, theta neither float32 nor float64, or NumPy raises errors"
    else:
        try:
            key, _, _ = _recordable(maml.exact, model, theta, *parts[0][1], alpha, steps)
            replay = STORE.state(key)
        except Unseen as error:
            replay = f"plain: {error}"
    sizes = tuple(size for size, _ in parts)
    return Plan(sizes, tuple(map(tuple, forms)), replay)


class Seen(NamedTuple):
    """What is known of calls of some shapes; `recordings` makes it."""

    call: str
    calls: int
    steps: int
    bytes: int
    reason: str


def recordings() -> list[Seen]:
    """Tell what was called so far, and what was recorded of it, the oldest first.

    Returns
    -------
    seen : list of Seen
        Of every kind of call that is remembered its ``call`` (a text), the number of ``calls``, of
        its recording the ``steps`` that a replay takes and the ``bytes`` of its memory, both 0
        where there is none, and the ``reason`` why there can be none.

    Notes
    -----
    A call of some shapes runs plainly the first time and is recorded the second; the recording is
    tried on other numbers before it is used. All recordings together have at most 256 MiB, that is
    what four parts of a meta-batch need; the one not used for longest goes first.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> model = numaml.MLP((1, 8, 1))
    >>> tasks = numaml.Sinusoids(tasks=3)(np.random.default_rng(0))
    >>> for _ in range(3):
    ...     _ = numaml.meta_gradient(model, model.init(0), tasks, alpha=0.01, steps=1)
    >>> seen = numaml.engine.recordings()[-1]
    >>> seen.calls, seen.steps < 80, seen.reason
    (3, True, '')
    """
    return [
        Seen(f"{core.__name__}, {whose[0].__name__}, {steps} steps, {_shown(shapes)}", *of)
        for (core, whose, steps, shapes), of in STORE.known()
    ]


def replaying(on: bool) -> bool:
    """Switch replaying on or off for this process, and forget all recordings.

    Parameters
    ----------
    on : bool

    Returns
    -------
    before : bool
        Whether it was on.

    Examples
    --------
    >>> import numaml
    >>> numaml.engine.replaying(False)
    True
    >>> numaml.engine.replaying(True)
    False
    """
    before, STORE.on = STORE.on, bool(on)
    STORE.clear()
    return before


def _shown(shapes: Any) -> str:
    return ", ".join(f"{dtype} {shape}" for shape, dtype in shapes)


def _public(plain: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """With the plain function's name and words; processes find it in this module."""

    def named(fast: Callable[..., Any]) -> Callable[..., Any]:
        fast = wraps(plain)(fast)
        fast.__module__ = __name__
        return fast

    return named


@_public(maml.adapt)
def adapt(model: maml.Model, theta: Any, support: Any, alpha: Any, steps: Any) -> Array:
    if not maml.checked_steps(steps):
        return maml.adapt(model, theta, support, alpha, steps)
    given = maml.checked(model, theta, support, alpha=alpha, steps=steps)
    return replayed(maml.adapted, model, *given)[0]


@_public(maml.meta_value)
def meta_value(model: maml.Model, theta: Any, tasks: Any, alpha: Any, steps: Any) -> Any:
    given = maml.checked_tasks(model, theta, tasks, alpha, steps)
    return maml.number(replayed(maml.value_after, *given)[0])


@_public(maml.meta_gradient)
def meta_gradient(model: maml.Model, theta: Any, tasks: Any, alpha: Any, steps: Any) -> maml.Result:
    model, theta, *batches, alpha, steps = maml.checked_tasks(model, theta, tasks, alpha, steps)
    results, sizes = [], []
    S, Q = batches
    for size, part in in_parts(model, theta, S, Q, steps):
        value, gradient = replayed(maml.exact, model, theta, *part, alpha, steps)
        results.append((maml.number(value), gradient))
        sizes.append(size)
    return results[0] if len(results) == 1 else mean(results, sizes)


@_public(maml.first_order_meta_gradient)
def first_order_meta_gradient(
    model: maml.Model, theta: Any, tasks: Any, alpha: Any, steps: Any
) -> maml.Result:
    given = maml.checked_tasks(model, theta, tasks, alpha, steps)
    value, gradient = replayed(maml.first_order, *given)
    return maml.number(value), gradient
