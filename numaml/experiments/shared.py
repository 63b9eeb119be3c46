"""What experiments share: a learner's settings, its training, and a run folder of learners."""

import dataclasses
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from ..engine.calls import first_order_meta_gradient, meta_gradient
from ..files.lock import locked
from ..files.version import __version__
from ..files.whole import write_table, write_whole
from ..learners.learner import Learner
from ..network.mlp import MLP
from ..training.outer import Source, train
from ..training.state import State

Array = np.ndarray[Any, Any]
Validator = Callable[[Array], float]

LEARNER = "learner.npz"  # in a run folder

LEARNERS = {
    "exact": "MAML, exact",
    "first-order": "first-order MAML",
    "pretrained": "pretrained on all tasks",
}
LARGEST_CONFIG = 100_000  # bytes; the longest has some 500


@dataclass(frozen=True)
class Config:
    """One learner's settings; an experiment adds its own, its model and its tasks.

    Parameters
    ----------
    learner : str
        "exact", "first-order", or "pretrained": one network fitted to all tasks together, which
        is meta-training with no inner step.
    seed : int
        Of initialisation and of the tasks.
    iterations, every : int
        Outer steps; outer steps between checkpoints, and between validations.
    tasks, shots, queries : int
        Tasks per outer step; support and query examples per task, or in classification per class.
    alpha, steps
        Inner learning rate and inner steps in training.
    beta : float
        Outer learning rate (Adam).
    decay : bool
        Whether it falls linearly to 0 at the last outer step.
    hidden : tuple of int
        Widths of the hidden layers.
    activation, dtype : str
        As for `numaml.MLP` and its ``init``; of training, float32 or float64.

    Raises
    ------
    TypeError, ValueError
        If a setting is not of its kind, negative, or not finite.
    """

    NAME: ClassVar[str]
    BESIDE: ClassVar[tuple[str, ...]]  # learners to compare with

    learner: str = "exact"
    seed: int = 0
    iterations: int = 70_000
    every: int = 1000
    tasks: int = 25
    shots: int = 10
    queries: int = 10
    alpha: float = 0.01
    steps: int = 1
    beta: float = 1e-3
    decay: bool = False
    hidden: tuple[int, ...] = (40, 40)
    activation: str = "relu"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        for setting in dataclasses.fields(self):
            _check_setting(setting.name, getattr(self, setting.name), setting.default)
        if self.learner not in LEARNERS or self.dtype not in ("float32", "float64"):
            raise ValueError(
                f"learner is {self.learner!r} and dtype {self.dtype!r}; want one of "
                f"{list(LEARNERS)}, and float32 or float64"
            )

    @property
    def model(self) -> MLP:
        """The network that is trained."""
        raise NotImplementedError

    def start(self, rng: np.random.Generator) -> Array:
        """Meta-parameters to begin with."""
        return self.model.init(rng, self.dtype)

    def source(self) -> Source:
        """Where the tasks to train on come from."""
        raise NotImplementedError

    def validator(self) -> Validator | None:
        """What to choose the best meta-parameters by, if not simply the last ones."""
        return None

    def prepared(self) -> Self:
        """The settings together with what is to be known of the data; errors before any work."""
        need, have = self.least_memory(), _memory()
        if need > have:
            raise ValueError(
                f"this needs at least {need / 1e9:.0f} GB of memory, and the machine has "
                f"{have / 1e9:.0f}: fewer tasks, shots, queries or steps, or a smaller hidden"
            )
        return self

    def finished(self, theta: Array) -> Learner:
        """What the run's ``learner.npz`` holds."""
        settings = dataclasses.asdict(self)
        settings.pop("data", None)  # a path of this machine, which those it is sent to have not
        about = {"numaml": __version__, "experiment": self.NAME, **settings}
        return Learner(self.model, theta, self.alpha, self.steps, provenance=about)

    def least_memory(self) -> float:
        """Bytes that training cannot do without: θ, its gradient, Adam's moments, activations."""
        sizes, exact = self.model.sizes, self.learner == "exact"
        kept, at_once = (self.steps, 1) if exact else (0, self.tasks)  # the smallest block is one
        inputs = self.tasks * (self.shots + self.queries) * sizes[0]
        examples = at_once * (self.shots * (kept + 1) + self.queries)
        return np.dtype(self.dtype).itemsize * (
            4 * self.model.size + inputs + examples * sum(sizes[1:])
        )

    def save(self, folder: Path) -> None:
        """Write ``config.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {"experiment": self.NAME, **dataclasses.asdict(self)}
        write_whole(folder / "config.json", (json.dumps(content, indent=2) + "\n").encode())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read ``config.json``.

        Raises
        ------
        FileNotFoundError, ValueError
            If it is not there, or not the configuration of such a run.
        """
        name, content = read(folder)
        try:
            if name != cls.NAME:
                raise ValueError(f"not of the experiment {cls.NAME}, but {name}")
            config = cls(**{**content, "hidden": tuple(content["hidden"])})
            config.model  # noqa: B018  # made once, to be refused now
        except (ValueError, TypeError, KeyError) as error:
            raise _unreadable(folder, error) from error
        return config


def _check_setting(name: str, got: Any, default: Any) -> None:
    """Of the default's kind, and if a number then from 0, or 1 where that is the least."""
    kind = int | float if isinstance(default, float) else type(default)
    if not isinstance(got, kind) or isinstance(got, bool) != isinstance(default, bool):
        raise TypeError(f"{name} is {got!r}; want a {type(default).__name__} as in {default!r}")
    if isinstance(got, int | float):
        least = int(name in ("iterations", "every"))
        if not least <= got < 2**63 or (name == "beta" and not got):
            wanted = "a number > 0" if name == "beta" else f"a number from {least}, below 2^63"
            raise ValueError(f"{name} is {got!r}; want {wanted}")


def _memory() -> float:
    """Bytes of memory the machine has, or infinity where it does not say (Windows)."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):
        return float("inf")


def read(folder: Path) -> tuple[str, dict[str, Any]]:
    """A run's experiment and settings, as ``config.json`` has them.

    Raises
    ------
    FileNotFoundError, ValueError
        If it is not there, or is damaged.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; want the folder of a training run")
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise ValueError(f"it has {path.stat().st_size} bytes; want at most {LARGEST_CONFIG}")
        content = json.loads(path.read_bytes())
        return str(content.pop("experiment")), content
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: Exception) -> ValueError:
    return ValueError(f"{folder / 'config.json'} is not a run's configuration: {error}")


def fit(config: Config, folder: Path, resume: bool, progress: Callable[..., None]) -> State:
    """Train one learner in its folder; progress gets iteration, meta-value, and last validation.

    At the end ``learner.npz`` is there, with the meta-parameters that `Trained` chooses.

    Raises
    ------
    FileExistsError
        If the folder holds a run and resume is False.
    ValueError
        If the run has gone further already.
    BlockingIOError
        If another run is training there.
    """
    source, validator, scores = config.source(), config.validator(), list[float]()
    rng = np.random.default_rng(config.seed)
    start, first_order = config.start(rng), config.learner == "first-order"
    with locked(folder):
        _refuse_overwriting(folder, resume)
        _refuse_going_back(folder, config.iterations)
        config.save(folder)
        state = train(
            config.model,
            start,
            source,
            alpha=config.alpha,
            steps=0 if config.learner == "pretrained" else config.steps,
            iterations=config.iterations,
            beta=config.beta,
            decay=config.decay,
            gradient=first_order_meta_gradient if first_order else meta_gradient,
            rng=rng,
            folder=folder,
            resume=resume,
            every=config.every,
            validate=_noting(scores, validator) if validator else None,
            progress=lambda iteration, value: progress(iteration, value, *scores[-1:]),
        )
        config.finished(Trained(config, state).theta).save(folder / LEARNER)
    return state


def _noting(scores: list[float], validator: Validator) -> Validator:
    def validate(theta: Array) -> float:
        scores.append(validator(theta))
        return scores[-1]

    return validate


def _refuse_overwriting(folder: Path, resume: bool) -> None:
    if not resume and (folder / "config.json").exists():
        raise FileExistsError(
            f"{folder} holds a run already; continue it with --resume {folder}, or choose another "
            "folder with --out"
        )


def _refuse_going_back(folder: Path, iterations: int) -> None:
    done = State.load(folder).iteration if (folder / "checkpoint.npz").exists() else 0
    if done > iterations:
        raise ValueError(
            f"{folder} has {done} outer steps already; want --iterations {done} or more, or "
            "another run with --out"
        )


class Trained(NamedTuple):
    """One learner as its folder has it."""

    config: Any  # of the experiment
    state: State

    @property
    def theta(self) -> Array:
        """The meta-parameters that did best in validation, or the last ones."""
        return self.state.theta if self.state.best is None else self.state.best


def load(run: Path, kind: type[Config], **changes: Any) -> dict[str, Trained]:
    """The run's own learner, then those trained beside it for comparison, by learner.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder is not a run, or one of its files is damaged.
    """
    beside = [run / name for name in LEARNERS if (run / name / "checkpoint.npz").is_file()]
    folders = (run, *beside)
    trained = {}
    for folder in folders:
        config, state = dataclasses.replace(kind.load(folder), **changes), State.load(folder)
        if len(state.theta) != config.model.size:
            raise ValueError(
                f"{folder / 'checkpoint.npz'} has theta of {len(state.theta)} numbers, and "
                f"{folder / 'config.json'} a network of {config.model.size}; want both of one run"
            )
        trained[config.learner] = Trained(config, state)
    return trained


def steps_title(k: int) -> str:
    return "1 step" if k == 1 else f"{k} steps"


def write_results(rows: list[dict[str, Any]], run: Path) -> None:
    """Write ``results.csv`` into the run folder."""
    write_table(run / "results.csv", rows[0], [row.values() for row in rows])
