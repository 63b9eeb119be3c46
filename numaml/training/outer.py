"""The outer loop: Adam on the meta-gradient, interrupted and resumed to the same bits."""

from __future__ import annotations  # numpy.random is named, not loaded: 8 ms of the import

import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.calls import meta_gradient
from ..files.lock import locked
from ..files.whole import UNFINISHED
from ..maml import Model
from .evaluation import adapted
from .state import Moments, State

Array = np.ndarray[Any, Any]
Source = Callable[["np.random.Generator"], Any]
MetaGradient = Callable[..., tuple[Any, Array]]


def adam(theta: Array, gradient: Array, moments: Moments, beta: float) -> tuple[Array, Moments]:
    """One Adam step (O1) with outer learning rate beta; decay rates 0.9 and 0.999, ε = 1e-8.

    Parameters
    ----------
    theta, gradient : (P,) arrays
    moments : Moments
        Zeros and 0 at the start.
    beta : float
        Outer learning rate.

    Returns
    -------
    theta, moments
        New ones; nothing is changed in place.

    References
    ----------
    Kingma, Ba 2015, "Adam", Algorithm 1 in the efficient form of the end of section 2.
    """
    first = 0.9 * moments.first + 0.1 * gradient
    second = 0.999 * moments.second + 0.001 * (gradient * gradient)
    t = moments.steps + 1
    rate = beta * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t)
    theta = theta - rate * first / (np.sqrt(second) + 1e-8)  # (O1)
    return theta, Moments(first, second, t)


def train(
    model: Model,
    theta: Array,
    source: Source,
    *,
    alpha: float,
    steps: int,
    iterations: int,
    beta: float = 1e-3,
    decay: bool = False,
    gradient: MetaGradient = meta_gradient,
    rng: np.random.Generator | int = 0,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    every: int = 1000,
    validate: Callable[[Array], float] | None = None,
    progress: Callable[[int, float], None] = lambda iteration, value: None,
) -> State:
    """Meta-train: at each iteration draw tasks, take the meta-gradient, make one Adam step (O1).

    Parameters
    ----------
    model : Model
        `numaml.MLP`, or your own with ``value`` and ``linearize``.
    theta : (P,) array
        Where to start; its dtype is the dtype of training. Not changed.
    source : callable
        ``source(rng) -> tasks``, e.g. `numaml.Sinusoids`. All its randomness must come from rng.
    alpha, steps
        Inner learning rate and number of inner steps.
    iterations : int
        Total number of outer steps, those of a resumed run included.
    beta : float
        Outer learning rate.
    decay : bool
        Let it fall linearly to 0 at the last of the iterations, whose number is then fixed for
        the run.
    gradient : callable
        `meta_gradient`, `first_order_meta_gradient`, or anything of the same signature.
    rng : numpy Generator or int
        Or a seed. The generator is advanced.
    folder : path, optional
        Where to keep ``checkpoint.npz``, ``metrics.csv`` and, with ``validate``,
        ``validation.csv``; without it nothing is written.
    resume : bool
        Continue from the checkpoint in ``folder`` if there is one, to the same bits as a run that
        was never interrupted; ``theta`` and ``rng`` then count only where there is none.
    every : int
        Iterations between checkpoints, and between validations.
    validate : callable, optional
        ``validate(theta)`` -> a score, larger is better; called after every ``every``-th iteration.
        The meta-parameters with the highest score are kept as ``state.best``. It must depend on
        theta alone, or a resumed run differs from an uninterrupted one.
    progress : callable, optional
        Called after each iteration with its number and its meta-value.

    Returns
    -------
    state : State
        ``state.theta`` are the trained meta-parameters, ``state.values`` the meta-values; with
        ``validate``, ``state.best`` and ``state.scores`` what it found.

    Raises
    ------
    FileExistsError
        If folder holds a checkpoint and resume is False.
    BlockingIOError
        If another run is training in folder.
    FloatingPointError
        If the meta-value, the meta-gradient, Adam's step or a score becomes NaN or infinite: with
        the cause, the iteration, and what to do. The folder is left as it is.
    KeyboardInterrupt
        On Ctrl-C, after the iteration is complete and its checkpoint written.
    OSError
        If the folder cannot be written; its last checkpoint stays.
    ValueError
        If theta is not finite, the source fails, or the checkpoint was made with other settings or
        is unreadable.

    References
    ----------
    Finn, Abbeel, Levine 2017, Algorithm 1, with Adam as in its experiments.

    Examples
    --------
    >>> import numaml
    >>> model = numaml.MLP((1, 16, 1))
    >>> state = numaml.train(
    ...     model, model.init(0), numaml.Sinusoids(), alpha=0.01, steps=1, iterations=200
    ... )
    >>> sum(state.values[-50:]) < sum(state.values[:50])
    True
    """
    _check_numbers(alpha, beta, steps=(steps, 0), iterations=(iterations, 0), every=(every, 1))
    settings = _settings(gradient, theta, decay * iterations, alpha=alpha, steps=steps, beta=beta)
    state = State(np.array(theta), np.random.default_rng(rng), settings=settings)
    with locked(folder), _deferred_interrupt() as interrupted:
        state = _begin(state, folder, resume)
        while state.iteration < iterations and not interrupted.is_set():
            _outer_step(state, model, source, gradient, folder)
            progress(state.iteration, state.values[-1])
            if state.iteration % every == 0:
                _keep(state, folder, validate)
        _keep(state, folder)
    return state


def _keep(state: State, folder: Any, validate: Callable[[Array], float] | None = None) -> None:
    if validate is not None:
        _validate(state, validate, folder)
    if folder is not None:
        try:
            state.save(folder)
        except OSError as error:
            raise type(error)(
                f"{error}; {_kept(folder)}; make room, then resume it "
                "(resume=True, on the command line --resume)"
            ) from error


def _kept(folder: Any) -> str:
    """What a run that has to stop leaves behind, in words."""
    if folder is None:
        return "no checkpoint: train with a folder to keep one"
    try:
        return f"last good checkpoint: iteration {State.load(folder).iteration} in {folder}"
    except (OSError, ValueError):
        return f"no checkpoint in {folder}"


def _validate(state: State, validate: Callable[[Array], float], folder: Any) -> None:
    with np.errstate(all="ignore"):
        score = float(validate(state.theta))
    if not math.isfinite(score):
        raise FloatingPointError(
            f"validation at iteration {state.iteration} gave {score} {_rates(state)}; "
            f"{_kept(folder)}; want a number: try a smaller alpha or beta"
        )
    if all(score > earlier for _, earlier in state.scores):
        state.best = state.theta  # never changed in place
    state.scores.append((state.iteration, score))


def _outer_step(
    state: State, model: Model, source: Source, gradient: MetaGradient, folder: Any
) -> None:
    """One iteration, in place: tasks, meta-gradient, Adam."""
    settings = state.settings
    try:
        tasks = source(state.rng)
    except ValueError as error:
        raise ValueError(
            f"no tasks for iteration {state.iteration + 1}: {error}; {_kept(folder)}; "
            "mend the source of tasks"
        ) from error
    if not (hasattr(tasks, "support") and hasattr(tasks, "query")):
        raise TypeError(
            f"the source gave {type(tasks).__name__}; want numaml.Tasks(support, query)"
        )
    beta = settings["beta"]
    if "decay" in settings:
        beta *= 1 - state.iteration / settings["decay"]
    with np.errstate(all="ignore"):  # found out below, with advice
        value, slope = gradient(model, state.theta, tasks, settings["alpha"], settings["steps"])
        theta, moments = adam(state.theta, slope, state.moments, beta)
        # A gradient that is not finite makes a theta that is not.
        finite = np.isfinite(theta).all() and np.isfinite(moments.second).all()
        if not (finite and math.isfinite(value)):
            cause, advice = _cause(state, model, tasks, value, slope)
            raise FloatingPointError(
                f"training diverged at iteration {state.iteration + 1}: {cause} {_rates(state)}; "
                f"{_kept(folder)}; {advice}"
            )
    state.theta, state.moments = theta, moments
    state.values.append(float(value))


def _cause(state: State, model: Model, tasks: Any, value: Any, slope: Array) -> tuple[str, str]:
    """Why an iteration came to no finite numbers, and what to do."""
    settings = state.settings
    with suppress(Exception):  # tasks and model may be anything: then say what is known
        for name in ("support", "query"):
            batch = getattr(tasks, name)
            for array in (batch, getattr(batch, "x", 0), getattr(batch, "y", 0)):
                if np.asarray(array).dtype.kind in "fc" and not np.isfinite(array).all():
                    return f"the {name} set holds NaN or infinity", "mend the source of tasks"
        taken = adapted(model, state.theta, tasks, settings["alpha"], settings["steps"])
        for k, (phi, _) in enumerate(taken):
            if not np.isfinite(np.asarray(phi)).all():
                text = f"the inner loop overflowed at step {k} of {settings['steps']}"
                return text, "try a smaller alpha, or fewer steps"
    if not math.isfinite(value):
        return f"the meta-value is {value}", "try a smaller alpha or beta"
    if not np.isfinite(slope).all():
        return "the meta-gradient is not finite", "try a smaller alpha or beta"
    return f"Adam's step overflowed {state.theta.dtype}", "try a smaller beta, or a wider dtype"


def _rates(state: State) -> str:
    return "(" + ", ".join(f"{n} = {state.settings[n]}" for n in ("alpha", "beta", "steps")) + ")"


def _settings(gradient: MetaGradient, theta: Array, decay: int, **numbers: Any) -> dict[str, Any]:
    name, theta = getattr(gradient, "__name__", repr(gradient)), np.asarray(theta)
    if theta.dtype.kind in "fc" and not np.isfinite(theta).all():
        index = np.argmin(np.isfinite(theta))
        raise ValueError(f"theta[{index}] is {theta[index]}; want finite numbers to start from")
    plain = {key: n.item() if isinstance(n, np.generic) else n for key, n in numbers.items()}
    settings = {**plain, "gradient": name, "size": len(theta), "dtype": str(theta.dtype)}
    return settings | ({"decay": decay} if decay else {})


def _check_numbers(alpha: Any, beta: float, **counts: tuple[int, int]) -> None:
    for name, (number, least) in counts.items():
        if not hasattr(number, "__index__") or number < least:
            raise ValueError(f"{name} is {number!r}; want an integer >= {least}")
    if isinstance(alpha, Real) and not 0 <= float(alpha) < math.inf:
        raise ValueError(f"alpha is {alpha!r}; want an inner learning rate >= 0")
    if not 0 < beta < math.inf:
        raise ValueError(f"beta is {beta!r}; want an outer learning rate > 0")


def _begin(state: State, folder: Any, resume: bool) -> State:
    """The state to start from: the given one, or the folder's if it is to be resumed.

    It is written at once: a folder that is full is found out now, not after the first hour.
    """
    if folder is None:
        return state
    for left in Path(folder).glob(f".*{UNFINISHED}"):  # by a run that was killed
        left.unlink(missing_ok=True)
    if not (Path(folder) / "checkpoint.npz").exists():
        _keep(state, folder)
        return state
    if not resume:
        raise FileExistsError(
            f"{folder} holds a checkpoint already; resume it (resume=True, on the command line "
            "--resume), or choose another folder"
        )
    saved, settings = State.load(folder), state.settings
    for name in settings | saved.settings:
        was, wanted = saved.settings.get(name), settings.get(name)
        if was != wanted:
            raise ValueError(
                f"{folder} was trained with {name} = {was!r}, not {wanted!r}; "
                "resume it as it was, or choose another folder"
            )
    _keep(saved, folder)
    return saved


@contextmanager
def _deferred_interrupt() -> Iterator[threading.Event]:
    """Ctrl-C sets the event, so that an iteration is never cut in two, and is raised at the end.

    A second one cuts.
    """
    asked = threading.Event()

    def handler(_signal: int, _frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    previous = signal.signal(signal.SIGINT, handler)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, previous)
    if asked.is_set():
        raise KeyboardInterrupt
