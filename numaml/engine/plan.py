"""What the engine would do, and what it has done: `plan`, `recordings`, and the switch."""

from __future__ import annotations

from typing import Any, NamedTuple

from .. import maml
from ..network.network import Network
from ..weights.choice import layered, pays
from ..weights.rates import Form, Rates
from ..weights.theta import Shapes
from .arguments import checked_tasks
from .models import key_and_arrays
from .parts import in_parts
from .recording import Unseen
from .replayed import STORE, may_be_replayed
from .through import through


class Plan(NamedTuple):
    """How a meta-gradient is run; `plan` makes it.

    Parameters
    ----------
    parts : tuple of int
        Numbers of tasks taken together, one part after another.
    forms : tuple of tuples of str
        Of every layer the form of its weight in φ_0, …, φ_K.
    replay : str
        "first", "recorded", or "plain" and why.
    """

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
                            of all tasks hold more than 2¹⁵ numbers while factors pay, or 2¹⁷
                            otherwise, or since alpha has a rate for each parameter
        "shared"            θ's own W, for all tasks; where alpha is None it stays so
        "factored"          W + UᵀV with r rows in U and V, while r (n_in + n_out) < n_in n_out;
                            r is n in the first layer, whose inputs are the same at every step,
                            and k n after k steps in the others
        "multiplied out"    a matrix W for each task, when the factors do not pay any more
        ==================  ====================================================================

        Empty for another model than numaml's own. Of a convolution n counts examples and positions.

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
    model, theta, S, Q, alpha, steps = checked_tasks(model, theta, tasks, alpha, steps)
    parts = [(size, part) for size, part in in_parts(model, theta, S, Q, steps)]
    forms: list[tuple[str, ...]] = []
    if isinstance(model, Network):
        tasks, n, _ = (1, *parts[0][1][0].x.shape)[-3:]
        moves = _moves(alpha, len(model.shapes), steps)
        forms = _forms(model.shapes, model.rows(n), tasks, steps, moves)
    if not may_be_replayed(theta):
        replay = "plain: switched off, theta neither float32 nor float64, or NumPy raises errors"
    else:
        try:
            core, values = through(maml.exact, alpha)
            key, _ = key_and_arrays(core, model, theta, *parts[0][1], values, steps)
            replay = STORE.state(key)
        except Unseen as error:
            replay = f"plain: {error}"
    sizes = tuple(size for size, _ in parts)
    return Plan(sizes, tuple(forms), replay)


def _moves(alpha: Any, layers: int, steps: int) -> list[list[int]] | None:
    """Of every layer the gradients that its W has moved along before each step, and at the end.

    None where each parameter has a rate of its own, or moves by a rule of the user's own.
    """
    if not isinstance(alpha, Rates):
        return [list(range(steps + 1))] * layers
    form, found = alpha.form, list[list[int]]()
    if not isinstance(form, Form) or form.by_parameter:
        return None
    for layer in range(layers):
        moved = [0]
        for k, entry in enumerate(form.steps, 1):
            still = not isinstance(entry, int) and entry[layer][0] is None  # type: ignore[index]  # no `Each`
            along = k if form.momentum is not None else moved[-1] + 1
            moved.append(moved[-1] if still else along)
        found.append(moved)
    return found


def _forms(
    shapes: Shapes, rows: tuple[int, ...], tasks: int, steps: int, moves: list[list[int]] | None
) -> list[tuple[str, ...]]:
    if moves is None or not layered(shapes, tasks, rows[0]):
        return [("flat",) * (steps + 1) for _ in shapes]
    found = []
    for number, ((n_in, n_out), moved) in enumerate(zip(shapes, moves, strict=True)):
        ranks = [rows[number] * (k if number else 1) for k in moved]
        pay = ["factored" if pays(rank, n_in, n_out) else "multiplied out" for rank in ranks]
        found.append(tuple(p if k else "shared" for p, k in zip(pay, moved, strict=True)))
    return found


class Seen(NamedTuple):
    """What is known of calls of some shapes; `recordings` makes it.

    Parameters
    ----------
    call : str
        What was called, with which shapes.
    calls : int
        How often.
    steps, bytes : int
        Of the recording; 0 where there is none.
    reason : str
        Why there can be none.
    """

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
