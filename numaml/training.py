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
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

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

        Each is written whole or not at all; the last only if there were validations.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {
            "theta": self.theta,
            "first": self.moments.first,
            "second": self.moments.second,
            "steps": self.moments.steps,
            "values": np.array(self.values, float),
            "rng": json.dumps(self.rng.bit_generator.state, default=np.ndarray.tolist),
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
            # From memory: a damaged file would be left open otherwise.
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as saved:
                moments = Moments(saved["first"], saved["second"], int(saved["steps"]))
                rng = _generator(json.loads(str(saved["rng"])))
                settings = json.loads(str(saved["settings"]))
                values = saved["values"].tolist()
                state = cls(saved["theta"], rng, moments, values, settings)
                if "best" in saved:
                    state.best = saved["best"]
                    state.scores = [(int(i), score) for i, score in saved["scores"].tolist()]
                return state
        except Exception as error:  # zipfile and NumPy raise a dozen kinds on damaged bytes
            raise ValueError(
                f"{path} is not a readable checkpoint ({error}); it was damaged or written by "
                "something else: train anew in another folder"
            ) from error


def _generator(state: dict[str, Any]) -> np.random.Generator:
    kind = state["bit_generator"]
    if kind not in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"):
        raise ValueError(f"unknown bit generator {kind!r}")
    bits = getattr(np.random, kind)()
    bits.state = state
    return np.random.Generator(bits)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it: readers see the old one or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
    FloatingPointError
        If the meta-value, the meta-gradient or a score becomes NaN or infinite.
    KeyboardInterrupt
        On Ctrl-C, after the iteration is complete and its checkpoint written.
    ValueError
        If the checkpoint was made with other settings, or is unreadable.

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
    _check_numbers(beta, iterations=(iterations, 0), every=(every, 1))
    settings = _settings(gradient, theta, decay * iterations, alpha=alpha, steps=steps, beta=beta)
    state = _begin(State(np.array(theta), np.random.default_rng(rng)), settings, folder, resume)
    with _deferred_interrupt() as interrupted:
        while state.iteration < iterations and not interrupted.is_set():
            _outer_step(state, model, source, gradient, folder)
            progress(state.iteration, state.values[-1])
            if state.iteration % every == 0:
                _keep(state, folder, validate)
        _keep(state, folder)
    return state


def _keep(state: State, folder: Any, validate: Callable[[Array], float] | None = None) -> None:
    if validate is not None:
        _validate(state, validate)
    if folder is not None:
        state.save(folder)


def _validate(state: State, validate: Callable[[Array], float]) -> None:
    score = float(validate(state.theta))
    if not math.isfinite(score):
        raise FloatingPointError(f"validation at iteration {state.iteration} gave {score}")
    if all(score > earlier for _, earlier in state.scores):
        state.best = state.theta  # never changed in place
    state.scores.append((state.iteration, score))


def _outer_step(
    state: State, model: Model, source: Source, gradient: MetaGradient, folder: Any
) -> None:
    """One iteration, in place: tasks, meta-gradient, Adam."""
    settings = state.settings
    tasks = source(state.rng)
    with np.errstate(over="ignore", invalid="ignore"):  # found out below, with advice
        value, slope = gradient(model, state.theta, tasks, settings["alpha"], settings["steps"])
        finite = math.isfinite(value) and np.isfinite(slope).all()
    if not finite:
        raise FloatingPointError(_diverged(state, value, folder))
    beta = settings["beta"]
    if "decay" in settings:
        beta *= 1 - state.iteration / settings["decay"]
    state.theta, state.moments = adam(state.theta, slope, state.moments, beta)
    state.values.append(float(value))


def _settings(gradient: MetaGradient, theta: Array, decay: int, **numbers: float) -> dict[str, Any]:
    name, dtype = getattr(gradient, "__name__", repr(gradient)), str(np.asarray(theta).dtype)
    settings = {**numbers, "gradient": name, "size": len(theta), "dtype": dtype}
    return settings | ({"decay": decay} if decay else {})


def _check_numbers(beta: float, **counts: tuple[int, int]) -> None:
    for name, (number, least) in counts.items():
        if not hasattr(number, "__index__") or number < least:
            raise ValueError(f"{name} is {number!r}; want an integer >= {least}")
    if not 0 < beta < math.inf:
        raise ValueError(f"beta is {beta!r}; want an outer learning rate > 0")


def _begin(state: State, settings: dict[str, Any], folder: Any, resume: bool) -> State:
    """The state to start from: the given one, or the folder's if it is to be resumed."""
    state.settings = settings
    if folder is None or not (Path(folder) / "checkpoint.npz").exists():
        _keep(state, folder)  # an unwritable folder is found out now, not after the first hour
        return state
    if not resume:
        raise FileExistsError(
            f"{folder} holds a checkpoint already; resume it (resume=True, on the command line "
            "--resume), or choose another folder"
        )
    saved = State.load(folder)
    for name in settings | saved.settings:
        was, wanted = saved.settings.get(name), settings.get(name)
        if was != wanted:
            raise ValueError(
                f"{folder} was trained with {name} = {was!r}, not {wanted!r}; "
                "resume it as it was, or choose another folder"
            )
    return saved


def _diverged(state: State, value: float, folder: Any) -> str:
    settings = state.settings
    kept = "no checkpoint: train with a folder to keep one"
    if folder is not None:
        kept = f"last good checkpoint: iteration {State.load(folder).iteration} in {folder}"
    return (
        f"training diverged at iteration {state.iteration + 1}: the meta-value is {value} or its "
        f"gradient is not finite (alpha = {settings['alpha']}, beta = {settings['beta']}, "
        f"steps = {settings['steps']}); {kept}; try a smaller alpha or beta"
    )


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
    """Mean over tasks (last axis) and the half-width 1.96·sd/√T of its 95 % interval."""
    return losses.mean(-1), 1.96 * losses.std(-1) / math.sqrt(losses.shape[-1])
