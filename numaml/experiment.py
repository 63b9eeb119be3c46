"""What experiments share: a learner's settings, its training, and a run folder of learners."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from . import __version__
from .learner import Learner
from .maml import first_order_meta_gradient, meta_gradient
from .mlp import MLP
from .training import Source, State, train, write_table, write_whole

Array = np.ndarray[Any, Any]
Validator = Callable[[Array], float]

LEARNER = "learner.npz"  # in a run folder

LEARNERS = {
    "exact": "MAML, exact",
    "first-order": "first-order MAML",
    "pretrained": "pretrained on all tasks",
}


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
    hidden : sequence of int
        Widths of the hidden layers.
    activation, dtype : str
        As for `numaml.MLP` and its ``init``.
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
        return self

    def finished(self, theta: Array) -> Learner:
        """What the run's ``learner.npz`` holds."""
        settings = dataclasses.asdict(self)
        settings.pop("data", None)  # a path of this machine, which those it is sent to have not
        about = {"numaml": __version__, "experiment": self.NAME, **settings}
        return Learner(self.model, theta, self.alpha, self.steps, provenance=about)

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
            config.model.init(0, config.dtype)
        except (ValueError, TypeError, KeyError) as error:
            raise _unreadable(folder, error) from error
        return config


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
        content = json.loads(path.read_text())
        return str(content.pop("experiment")), content
    except (ValueError, TypeError, KeyError, AttributeError) as error:
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
    """
    _refuse_overwriting(folder, resume)
    source, validator, scores = config.source(), config.validator(), list[float]()
    config.save(folder)
    rng = np.random.default_rng(config.seed)

    def validate(theta: Array) -> float:
        scores.append(validator(theta))  # type: ignore[misc]  # called only if there is one
        return scores[-1]

    state = train(
        config.model,
        config.start(rng),
        source,
        alpha=config.alpha,
        steps=0 if config.learner == "pretrained" else config.steps,
        iterations=config.iterations,
        beta=config.beta,
        decay=config.decay,
        gradient=first_order_meta_gradient if config.learner == "first-order" else meta_gradient,
        rng=rng,
        folder=folder,
        resume=resume,
        every=config.every,
        validate=validate if validator else None,
        progress=lambda iteration, value: progress(iteration, value, *scores[-1:]),
    )
    config.finished(Trained(config, state).theta).save(folder / LEARNER)
    return state


def _refuse_overwriting(folder: Path, resume: bool) -> None:
    if not resume and (folder / "config.json").exists():
        raise FileExistsError(
            f"{folder} holds a run already; continue it with --resume {folder}, or choose another "
            "folder with --out"
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
    configs = [dataclasses.replace(kind.load(folder), **changes) for folder in folders]
    states = [State.load(folder) for folder in folders]
    return {c.learner: Trained(c, state) for c, state in zip(configs, states, strict=True)}


def steps_title(k: int) -> str:
    return "1 step" if k == 1 else f"{k} steps"


def write_results(rows: list[dict[str, Any]], run: Path) -> None:
    """Write ``results.csv`` into the run folder."""
    write_table(run / "results.csv", rows[0], [row.values() for row in rows])
