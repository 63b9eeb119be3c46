"""The outer loop: Adam on the meta-gradient, interrupted and resumed to the same bits."""

from __future__ import annotations  # numpy.random is named, not loaded: 8 ms of the import

import math
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.alpha import checked_rates, kept_alpha, varied
from ..engine.arguments import checked_steps, checked_theta
from ..engine.calls import meta_gradient
from ..engine.inner import Rule, Scheduled
from ..files.lock import locked
from ..files.names import described, name_of
from ..files.own import check_own
from ..files.whole import remove_unfinished
from ..maml import Model
from ..network.settings import as_count, as_real
from .conditions import changes, conditions
from .evaluation import adapted
from .generators import recorded, restored
from .state import CHECKPOINT, DTYPES, FILES, Moments, State

Array = np.ndarray[Any, Any]
Source = Callable[["np.random.Generator"], Any]
MetaGradient = Callable[..., tuple[Any, Array]]
Outer = Callable[..., tuple[Any, Array]]


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

    Raises
    ------
    TypeError, ValueError
        If theta is not one row of finite numbers, gradient or moments are not like theta, or beta
        is not a real number > 0.

    References
    ----------
    Kingma, Ba 2015, "Adam", Algorithm 1 in the efficient form of the end of section 2.
    """
    theta, beta = checked_theta(theta), _checked_beta(beta)
    gradient = _checked_gradient(gradient, theta)
    for name, moment in zip(("first", "second"), moments[:2], strict=True):
        if moment.shape != theta.shape:
            raise ValueError(f"moments.{name} has shape {moment.shape}, and theta {theta.shape}")
    with np.errstate(under="ignore"):  # squares of small numbers, whatever the caller's state
        return _adam(theta, gradient, moments, beta)


def _adam(theta: Array, gradient: Array, moments: Moments, beta: float) -> tuple[Array, Moments]:
    """`adam`, of what was looked at before."""
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
    alpha: Any,
    steps: int,
    iterations: int,
    beta: float = 1e-3,
    decay: bool = False,
    limit: float | None = None,
    gradient: MetaGradient = meta_gradient,
    outer: Outer | None = None,
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
        `numaml.MLP`, or your own with ``value`` and ``linearize``. A checkpoint knows it by its
        fields if it is a dataclass, else by its `repr` without addresses: give your own a `repr`
        that tells its settings.
    theta : (P,) float32 or float64 array
        Where to start; its dtype is the dtype of training. Not changed.
    source : callable
        ``source(rng) -> tasks``, e.g. `numaml.Sinusoids`. All its randomness must come from rng, or
        from generators that rng spawns. A checkpoint knows those that are frozen dataclasses, as
        numaml's are, by their fields; others may be mended between two runs.
    alpha, steps
        Inner learning rate and number of inner steps, as for `meta_gradient`.
    iterations : int
        Total number of outer steps, those of a resumed run included.
    beta : float
        Outer learning rate.
    decay : bool
        Let it fall linearly to 0 at the last of the iterations, whose number is then fixed for
        the run.
    limit : float, optional
        Most that the norm of a meta-gradient may be: a longer one is shortened to it. One task
        whose inner steps run away else moves theta far.
    gradient : callable
        `meta_gradient`, `first_order_meta_gradient`, or anything of the same signature whose
        gradient has theta's shape and dtype. One with ``at(iteration) -> gradient``, such as
        `numaml.family.Annealed`, is asked for that of every iteration, counted from 0. With a
        folder it must have a name that tells it from others: that of a function at the top of a
        module, or a ``__name__`` given to it.
    outer : callable, optional
        ``outer(model, theta, tasks, alpha, steps) -> (meta-value, theta)``: an outer step of your
        own, in place of gradient and Adam; of a trust region, say. It must depend on nothing else,
        and with a folder have a name as ``gradient`` must.
    rng : numpy Generator or int
        Or a seed. The generator is advanced. With a folder it must be one of NumPy's.
    folder : path, optional
        Where to keep ``checkpoint.npz``, ``metrics.csv`` and, with ``validate``,
        ``validation.csv``; without it nothing is written.
    resume : bool
        Continue from the checkpoint in ``folder`` if there is one, to the same bits as a run that
        was never interrupted: on the same processor, with the same NumPy and number of BLAS
        threads, which the checkpoint notes. ``theta`` and ``rng`` count only where there is none.
    every : int
        Iterations between checkpoints, and between validations.
    validate : callable, optional
        ``validate(theta)`` -> a score, larger is better; called after every ``every``-th iteration.
        (Neither it nor ``gradient`` can write to theta.)
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
        On Ctrl-C, once the checkpoint is written: after the iteration is complete, or, where Ctrl-C
        reached its workers or comes twice, of the one before. A program that handles Ctrl-C itself
        goes on doing so.
    OSError
        If the folder cannot be written, or something but a file has the name of one of its files;
        its last checkpoint stays.
    TypeError, ValueError
        If theta, a number or the gradient is not as said, the source fails, or the checkpoint is
        unreadable, has more iterations, or was made with another model, gradient, ``every``,
        ``validate`` (there or not, and its name), source or number.

    Warns
    -----
    UserWarning
        If a run is resumed on another processor, NumPy or number of BLAS threads.

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
    theta, iterations = _start(theta, model, alpha, steps), as_count("iterations", iterations, 0)
    settings = _numbers(theta, alpha, steps, beta, every) | _extras(decay, iterations, limit, outer)
    settings |= _parties(model, gradient, outer, validate, source, folder, resume)
    state, at = State(theta, np.random.default_rng(rng), settings=settings), _at(outer or gradient)
    with _running(state, folder, resume, iterations, validate) as (state, interrupted):
        while state.iteration < iterations and not interrupted.is_set():
            _outer_step(state, model, source, at, folder)
            progress(state.iteration, state.values[-1])
            _keep_in_time(state, folder, validate)
    return _released(state)


def _keep_in_time(state: State, folder: Any, validate: Any) -> None:
    if state.iteration % state.settings["every"] == 0:
        _keep(state, folder, validate)


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
    best = state.theta if all(score > earlier for _, earlier in state.scores) else state.best
    state.best = best  # in one go with the score: Ctrl-C comes between calls
    state.scores.append((state.iteration, score))


def _at(gradient: Any) -> Callable[[int], MetaGradient | Outer]:
    """The gradient of every iteration; whether they differ is asked once, for it takes 7 μs."""
    return gradient.at if isinstance(gradient, Scheduled) else lambda _: gradient


def _outer_step(
    state: State, model: Model, source: Source, at: Callable[[int], Any], folder: Any
) -> None:
    """One iteration, in place; if it fails or is cut, the state is as before."""
    before = None if folder is None else recorded(state.rng)
    try:
        theta, moments, value = _stepped(state, model, source, at(state.iteration), folder)
    except BaseException:
        if before is not None:  # what is kept now draws the same tasks again
            state.rng = restored(before)
        raise
    state.theta, state.moments = theta, moments
    state.values.append(value)  # in one go with the others: Ctrl-C comes between calls


def _stepped(
    state: State, model: Model, source: Source, gradient: MetaGradient | Outer, folder: Any
) -> tuple[Array, Moments, float]:
    """Tasks, meta-gradient, Adam; or tasks and an outer step that is somebody's own."""
    settings, tasks = state.settings, _tasks(state, source, folder)
    beta = settings["beta"]
    if "decay" in settings:
        beta *= 1 - state.iteration / settings["decay"]
    with np.errstate(all="ignore"):  # found out below, with advice
        result = gradient(model, state.theta, tasks, settings["alpha"], settings["steps"])
        value, slope = _checked_result(result, state.theta)
        if "outer" in settings:
            theta, moments = slope.copy(), state.moments._replace(steps=state.iteration + 1)
        else:
            slope = _limited(slope, settings.get("limit", math.inf))
            theta, moments = _adam(state.theta, slope, state.moments, beta)
        # A gradient that is not finite makes a theta that is not, and a number that is not a
        # product that is not: then, or if it is too large, each is looked at.
        finite = math.isfinite(theta.dot(moments.second)) or (
            np.isfinite(theta).all() and np.isfinite(moments.second).all()
        )
        if not (finite and math.isfinite(value)):
            cause, advice = _cause(state, model, tasks, value, slope)
            raise FloatingPointError(
                f"training diverged at iteration {state.iteration + 1}: {cause} {_rates(state)}; "
                f"{_kept(folder)}; {advice}"
            )
    theta.setflags(write=False)
    return theta, moments, value


def _tasks(state: State, source: Source, folder: Any) -> Any:
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
    return tasks


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
    return (
        "("
        + ", ".join(f"{n} = {state.settings[n]!s:.200}" for n in ("alpha", "beta", "steps"))
        + ")"
    )


def _start(theta: Any, model: Any, alpha: Any, steps: Any) -> Array:
    """A copy that nobody writes to; rates that do not fit it are refused."""
    theta = np.array(checked_theta(theta))
    if theta.dtype.name not in DTYPES:
        raise TypeError(f"theta has dtype {theta.dtype}; want {' or '.join(DTYPES)} to train")
    if varied(alpha) and not isinstance(alpha, Rule):
        own = theta[: getattr(model, "size", None)]  # learned rates lie behind it
        checked_rates(alpha, own, model, checked_steps(steps))
    theta.setflags(write=False)
    return theta


def _released(state: State) -> State:
    """The state for its user, who may write to its arrays."""
    state.theta = state.theta.copy()
    state.best = None if state.best is None else state.best.copy()
    return state


def _numbers(theta: Array, alpha: Any, steps: Any, beta: Any, every: Any) -> dict[str, Any]:
    """The numbers that stay as they are when a run is resumed; Python's, which JSON can hold."""
    return {
        "alpha": kept_alpha(alpha, theta),
        "steps": checked_steps(steps),
        "beta": _checked_beta(beta),
        "every": as_count("every", every, 1),
        "size": len(theta),
        "dtype": theta.dtype.name,
    }


def _extras(decay: Any, iterations: int, limit: Any, outer: Any) -> dict[str, Any]:
    """The iteration at which the outer rate comes to 0, if it falls; a limit, if there is one."""
    falls = {"decay": iterations} if _checked_flag("decay", decay) else {}
    if limit is not None and outer is not None:
        raise ValueError(
            "limit is for a meta-gradient, and outer makes its own step; want one of them"
        )
    return falls | _limit(limit)


def _limit(limit: Any) -> dict[str, Any]:
    """The most that the norm of a meta-gradient may be, if there is such."""
    if limit is None:
        return {}
    number = as_real("limit", limit, " > 0, or None", "a norm")
    if number <= 0:
        raise ValueError(f"limit is {limit!r}; want a norm > 0, or None")
    return {"limit": number}


def _limited(slope: Array, limit: float) -> Array:
    """The same direction, no longer than that."""
    if limit == math.inf:
        return slope
    length = float(np.linalg.norm(slope.astype(np.float64)))
    return slope * (limit / length) if length > limit else slope


def _parties(
    model: Any, gradient: Any, outer: Any, validate: Any, source: Any, folder: Any, resume: Any
) -> dict[str, Any]:
    """Who takes part in a run, by what tells them from others; in a folder they must have that."""
    if _checked_flag("resume", resume) and folder is None:
        raise ValueError("resume is True and there is no folder; name the folder of the run")
    name = _named("gradient", gradient, folder)
    own = {} if outer is None else {"outer": _named("outer", outer, folder)}
    frozen = is_dataclass(source) and vars(type(source))["__dataclass_params__"].frozen
    return {
        "model": described(model),
        "gradient": name,
        "validate": None if validate is None else name_of(validate),
        "source": described(source) if frozen and folder is not None else None,
        **own,
    }


def _named(what: str, function: Any, folder: Any) -> str:
    """A function by its name, which in a folder must tell it from others."""
    name = name_of(function)
    if folder is not None and "<" in name:
        raise ValueError(
            f"{what} is {name}, which in a checkpoint would not tell it from others; define it "
            "with def at the top of a module, or give it a name that does: "
            f"{what}.__name__ = 'mine, with two terms'"
        )
    return name


def _checked_beta(beta: Any) -> float:
    number = as_real("beta", beta, " > 0", "an outer learning rate")
    if number <= 0:
        raise ValueError(f"beta is {beta}; want an outer learning rate > 0")
    return number


def _checked_flag(name: str, flag: Any) -> bool:
    if not isinstance(flag, bool | np.bool_):
        raise TypeError(f"{name} is {flag!r}; want True or False")
    return bool(flag)


def _checked_result(result: Any, theta: Array) -> tuple[float, Array]:
    """What a user's gradient gave, if it is a value and a gradient."""
    if not (isinstance(result, tuple | list) and len(result) == 2):
        raise TypeError(f"gradient gave {type(result).__name__}; want (value, gradient)")
    value, slope = result
    if type(value) is not float and (
        np.ndim(value) != 0 or np.asarray(value).dtype.kind not in "fiu"
    ):
        raise TypeError(f"gradient gave the value {value!r:.200}; want one real number")
    return float(value), _checked_gradient(slope, theta)


def _checked_gradient(gradient: Any, theta: Array) -> Array:
    if isinstance(gradient, np.ma.MaskedArray):
        raise TypeError("the gradient is a masked array; want one number for each parameter")
    gradient = np.asarray(gradient)
    if gradient.shape != theta.shape or gradient.dtype != theta.dtype:
        raise TypeError(
            f"the gradient is {gradient.dtype} {gradient.shape}; want {theta.dtype} {theta.shape}, "
            "as theta is"
        )
    return gradient


@contextmanager
def _running(
    state: State, folder: Any, resume: bool, iterations: int, validate: Any
) -> Iterator[tuple[State, threading.Event]]:
    """Where a run starts from, and whether it is to end; it is kept at the end, be it by Ctrl-C.

    Ctrl-C reaches the workers of a process too, and what these then fail with ends an iteration.
    """
    with locked(folder), _deferred_interrupt() as interrupted:
        state = _begin(state, folder, resume, iterations, validate)
        try:
            yield state, interrupted
        except BaseException as error:
            if not (interrupted.is_set() or isinstance(error, KeyboardInterrupt)):
                raise
            _keep(state, folder)
            raise KeyboardInterrupt from error
        _keep(state, folder)


def _begin(state: State, folder: Any, resume: bool, iterations: int, validate: Any) -> State:
    """The state to start from: the given one, or the folder's if it is to be resumed.

    It is written at once: a folder that is full is found out now, not after the first hour.
    """
    if folder is None:
        return state
    state.conditions = conditions()
    for name in FILES:
        check_own(Path(folder) / name)
    remove_unfinished(Path(folder))
    if check_own(Path(folder) / CHECKPOINT) is None:
        _keep(state, folder)
        return state
    if not resume:
        raise FileExistsError(
            f"{folder} holds a checkpoint already; resume it (resume=True, on the command line "
            "--resume), or choose another folder"
        )
    saved = State.load(folder)
    _compare(saved, state, folder, iterations)
    saved.theta.setflags(write=False)
    saved.conditions = state.conditions
    # Ctrl-C may have come between an iteration and its validation.
    missed = saved.iteration and saved.iteration % state.settings["every"] == 0
    if missed and validate is not None and (saved.scores or [(0, 0)])[-1][0] < saved.iteration:
        _validate(saved, validate, folder)
    _keep(saved, folder)
    return saved


def _compare(saved: State, state: State, folder: Any, iterations: int) -> None:
    """Refuse to resume another run than was saved; warn of other conditions."""
    for name in state.settings | saved.settings:
        was, wanted = saved.settings.get(name), state.settings.get(name)
        if was != wanted and not (name == "source" and None in (was, wanted)):
            raise ValueError(
                f"{folder} was trained with {name} = {was!r:.300}, not {wanted!r:.300}; "
                "resume it as it was, or choose another folder"
            )
    if saved.iteration > iterations:
        raise ValueError(
            f"{folder} has {saved.iteration} iterations already, and iterations is {iterations}; "
            f"want {saved.iteration} or more, or another folder"
        )
    if changed := changes(saved.conditions, state.conditions):
        warnings.warn(
            f"{folder} was trained on other conditions ({changed}): the last bits may not be those "
            "of a run that was never interrupted",
            stacklevel=6,
        )


@contextmanager
def _deferred_interrupt() -> Iterator[threading.Event]:
    """Ctrl-C sets the event, so that an iteration is never cut in two, and is raised at the end.

    A second one cuts. Where Ctrl-C is handled by somebody else, or cannot be, it stays so.
    """
    asked = threading.Event()

    def handler(_signal: int, _frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    theirs = signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    if theirs or threading.current_thread() is not threading.main_thread():
        yield asked
        return
    with suppress(ValueError):  # the main thread of a subinterpreter
        signal.signal(signal.SIGINT, handler)
    try:
        yield asked
    finally:
        if signal.getsignal(signal.SIGINT) is handler:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if asked.is_set():
        raise KeyboardInterrupt
