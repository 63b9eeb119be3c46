"""The outer loop: Adam on the meta-gradient, checkpoints that resume to the same bits, tests."""

from __future__ import annotations  # numpy.random is named, not loaded: 8 ms of the import

import csv
import io
import json
import math
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .lock import locked
from .maml import Model, inner_loop, lifted, meta_gradient

Array = np.ndarray[Any, Any]
Source = Callable[["np.random.Generator"], Any]
MetaGradient = Callable[..., tuple[Any, Array]]

WINDOW = 100  # iterations averaged in one row of metrics.csv


class Moments(NamedTuple):
    """Adam's state: first and second moment of the gradient, and the number of steps taken."""

    first: Array
    second: Array
    steps: int


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


@dataclass
class State:
    """Everything the next iteration depends on; what a checkpoint holds.

    Parameters
    ----------
    theta : (P,) array
        Meta-parameters.
    rng : numpy Generator
        The one source of randomness.
    moments : Moments, optional
        Adam's; zero by default.
    values : list of float
        The meta-value of every iteration so far.
    settings : dict
        What must not change when training is resumed (alpha, steps, beta, …).
    scores : list of (int, float)
        Every validation so far: iteration and score.
    best : (P,) array, optional
        Meta-parameters at the first of the highest scores.
    """

    theta: Array
    rng: np.random.Generator
    moments: Moments = None  # type: ignore[assignment]  # filled in below, from theta
    values: list[float] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    scores: list[tuple[int, float]] = field(default_factory=list)
    best: Array | None = None

    def __post_init__(self) -> None:
        if self.moments is None:
            self.moments = Moments(np.zeros_like(self.theta), np.zeros_like(self.theta), 0)

    @property
    def iteration(self) -> int:
        """Number of outer steps taken."""
        return len(self.values)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``checkpoint.npz`` and the tables ``metrics.csv`` and ``validation.csv``.

        Each is written whole or not at all; the last only if there were validations. The tables
        are made from what the checkpoint holds, and made again when a run is resumed.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {
            "theta": self.theta,
            "first": self.moments.first,
            "second": self.moments.second,
            "steps": self.moments.steps,
            "values": np.array(self.values, float),
            "rng": _state_of(self.rng.bit_generator),
            "settings": json.dumps(self.settings),
        }
        if self.scores:
            arrays |= {"scores": np.array(self.scores), "best": self.best}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_whole(folder / "checkpoint.npz", buffer.getvalue())
        means = [
            (stop, math.fsum(self.values[stop - WINDOW : stop]) / WINDOW)
            for stop in range(WINDOW, self.iteration + 1, WINDOW)
        ]
        write_table(folder / "metrics.csv", ("iteration", "meta_value"), means)
        if self.scores:
            write_table(folder / "validation.csv", ("iteration", "score"), self.scores)
        _settle(folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> State:
        """Read what `save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no checkpoint in the folder.
        ValueError
            If it cannot be read as one.
        """
        path = Path(folder) / "checkpoint.npz"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not there; want the folder of a training run")
        try:
            return cls._read(path.read_bytes())
        except Exception as error:  # zipfile and NumPy raise a dozen kinds on damaged bytes
            raise ValueError(
                f"{path} is not a readable checkpoint ({error}); it was damaged or written by "
                "something else: train anew in another folder"
            ) from error

    @classmethod
    def _read(cls, content: bytes) -> State:
        import zipfile

        with zipfile.ZipFile(io.BytesIO(content)) as members:
            size = sum(member.file_size for member in members.infolist())
        if size > len(content):  # what `save` writes is not compressed
            raise ValueError(f"its {len(content)} bytes unpack to {size}")
        with np.load(io.BytesIO(content), allow_pickle=False) as saved:
            moments = Moments(saved["first"], saved["second"], int(saved["steps"]))
            settings, values = json.loads(str(saved["settings"])), saved["values"].tolist()
            state = cls(saved["theta"], _generator(str(saved["rng"])), moments, values, settings)
            if "best" in saved:
                state.best = saved["best"]
                state.scores = [(int(i), float(score)) for i, score in saved["scores"].tolist()]
        state._check()
        return state

    def _check(self) -> None:
        """What `train` relies on, or an error."""
        theta, values = self.theta, np.array(self.values)
        vectors = [theta, *self.moments[:2], *([] if self.best is None else [self.best])]
        if theta.ndim != 1 or {(v.shape, v.dtype) for v in vectors} != {(theta.shape, theta.dtype)}:
            raise ValueError(f"theta is {theta.dtype} {theta.shape}, and Adam's moments are not")
        if theta.dtype.kind not in "fc" or not all(np.isfinite(v).all() for v in vectors):
            raise ValueError("theta or Adam's moments are not finite numbers")
        if values.ndim != 1 or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
            raise ValueError("its meta-values are not finite numbers")
        if self.moments.steps != len(values) or not isinstance(self.settings, dict):
            raise ValueError(f"{self.moments.steps} steps gave {len(values)} meta-values")


def _generator(text: str) -> np.random.Generator:
    state = json.loads(text)
    kind = state["bit_generator"]
    if kind not in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"):
        raise ValueError(f"unknown bit generator {kind!r}")
    bits = getattr(np.random, kind)()
    bits.state = state
    # NumPy takes positions outside its buffers, and then reads there.
    inside = state.get("buffer_pos", 0) in range(5)
    if kind == "MT19937":
        inside = state["state"]["pos"] in range(625)
    if not inside or json.loads(_state_of(bits)) != state:
        raise ValueError(f"not a state of {kind}")
    return np.random.Generator(bits)


def _state_of(bits: np.random.BitGenerator) -> str:
    return json.dumps(bits.state, default=np.ndarray.tolist)


UNFINISHED = ".unfinished"  # what the name of a file ends on while it is written


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under another name and rename it: readers see the old one or the new.

    Raises
    ------
    OSError
        If it cannot be written; what was there is then untouched.
    """
    unfinished = path.with_name(f".{path.name}.{os.urandom(4).hex()}{UNFINISHED}")
    try:
        with unfinished.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise type(error)(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _settle(folder: Path) -> None:
    """Make the new names survive a power cut too, where a folder can be opened (Windows cannot)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_table(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a CSV file, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *rows])
    write_whole(path, text.getvalue().encode())


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
        adapted = _adapted(model, state.theta, tasks, settings["alpha"], settings["steps"])
        for k, (phi, _) in enumerate(adapted):
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


def evaluate(model: Model, theta: Array, tasks: Any, alpha: float, steps: int) -> Array:
    """Query loss of every task after 0, 1, …, K inner steps.

    Parameters
    ----------
    model, theta, tasks, alpha, steps
        As for `numaml.meta_value`; T tasks along a leading axis.

    Returns
    -------
    losses : (K + 1, T) array

    Examples
    --------
    >>> import numpy as np, numaml
    >>> model = numaml.MLP((1, 16, 1))
    >>> tasks = numaml.Sinusoids(tasks=600, shots=5)(np.random.default_rng(0))
    >>> numaml.evaluate(model, model.init(0), tasks, alpha=0.001, steps=10).shape
    (11, 600)
    """
    adapted = _adapted(model, theta, tasks, alpha, steps)
    return np.array([model.value(phi, query) for phi, query in adapted])


def accuracies(model: Any, theta: Array, tasks: Any, alpha: float, steps: int) -> Array:
    """Share of every task's query examples classified rightly after 0, 1, …, K inner steps.

    Parameters
    ----------
    model
        A classification model: one with ``predict(theta, x)`` -> scores (…, n, n_out), e.g.
        `numaml.MLP` with "cross_entropy". The class with the largest score is the prediction.
    theta, tasks, alpha, steps
        As for `numaml.meta_value`; ``tasks.query.y`` are integer classes (T, n).

    Returns
    -------
    accuracies : (K + 1, T) array
        Numbers from 0 to 1.

    Raises
    ------
    TypeError
        If the query targets are not integer classes.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(60, 8)), np.repeat(np.arange(12), 5)
    >>> tasks = numaml.FewShot(x, y, ways=3, shots=2, queries=3, tasks=50)(rng)
    >>> model = numaml.MLP((8, 16, 3), loss="cross_entropy")
    >>> numaml.accuracies(model, model.init(0), tasks, alpha=0.1, steps=4).shape
    (5, 50)
    """
    y = np.asarray(tasks.query.y)
    if y.dtype.kind not in "iu":
        raise TypeError(f"the query's y has dtype {y.dtype}; accuracy wants integer classes")
    adapted = _adapted(model, theta, tasks, alpha, steps)
    return np.array(
        [(model.predict(phi, query.x).argmax(-1) == y).mean(-1) for phi, query in adapted]
    )


def _adapted(
    model: Model, theta: Array, tasks: Any, alpha: float, steps: int
) -> Iterator[tuple[Array, Any]]:
    """φ_k for k = 0, 1, …, K, each with the query set in the same form."""
    phi, support, query = lifted(model, theta, tasks.support, tasks.query)
    yield phi, query
    for _ in range(steps):
        phi = inner_loop(model, phi, support, alpha, 1)
        yield phi, query


def mean_and_interval(losses: Array) -> tuple[Array, Array]:
    """Mean over T tasks (last axis) and the half-width of its 95 % interval: NaN for one task.

    1.96·sd/√T from 30 tasks on; below, Student's t with T − 1 degrees of freedom in place of 1.96,
    by Fisher's expansion in 1/(T − 1), whose last term is chosen for two tasks.
    """
    tasks = losses.shape[-1]
    if tasks == 1:
        return losses[..., 0], np.full(losses.shape[:-1], np.nan)
    few, n = tasks < 30, tasks - 1
    t = 1.96 + few * (2.3722 / n + 2.8225 / n**2 + 2.5558 / n**3 + 1.5895 / n**4 + 1.4062 / n**6)
    return losses.mean(-1), t * losses.std(-1, ddof=int(few)) / math.sqrt(tasks)
