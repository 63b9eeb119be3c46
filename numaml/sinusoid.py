"""The sinusoid experiment of the MAML paper: three learners, one run folder, one table."""

import csv
import dataclasses
import io
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .maml import first_order_meta_gradient, meta_gradient
from .mlp import MLP
from .tasks import Sinusoids
from .training import State, evaluate, mean_and_interval, train, write_whole

Array = np.ndarray[Any, Any]

LEARNERS = {
    "exact": "MAML, exact",
    "first-order": "first-order MAML",
    "pretrained": "pretrained on all tasks",
}
STEPS = (0, 1, 5, 10)
TEST_TASKS = 600
# A test task's error is a mean over this many query points, so that the interval over tasks is
# that of the tasks and not of where the points happened to fall.
TEST_QUERIES = 100
# MAML paper, Table 2: 5-shot mean squared error after 1, 5 and 10 steps.
PAPER = {
    "exact": {1: 0.67, 5: 0.38, 10: 0.35},
    "pretrained": {1: 2.41, 5: 2.23, 10: 2.19},
}


@dataclass(frozen=True)
class Config:
    """One learner's settings; the defaults are the MAML paper's (section 5.1).

    Parameters
    ----------
    learner : str
        "exact", "first-order", or "pretrained": one network fitted to all tasks together, which
        is meta-training with no inner step.
    seed : int
        Of initialisation and of the tasks.
    iterations : int
        Outer steps.
    tasks, shots, queries : int
        Tasks per outer step; support and query examples per task.
    alpha, steps
        Inner learning rate and inner steps in training.
    beta : float
        Outer learning rate (Adam).
    hidden : sequence of int
        Widths of the hidden layers.
    activation, dtype : str
        As for `numaml.MLP` and its ``init``.
    """

    learner: str = "exact"
    seed: int = 0
    iterations: int = 70_000
    tasks: int = 25
    shots: int = 10
    queries: int = 10
    alpha: float = 0.01
    steps: int = 1
    beta: float = 1e-3
    hidden: tuple[int, ...] = (40, 40)
    activation: str = "relu"
    dtype: str = "float32"

    @property
    def model(self) -> MLP:
        """The network that is trained."""
        return MLP((1, *self.hidden, 1), self.activation)

    def save(self, folder: Path) -> None:
        """Write ``config.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {"experiment": "sinusoid", **dataclasses.asdict(self)}
        write_whole(folder / "config.json", (json.dumps(content, indent=2) + "\n").encode())

    @classmethod
    def load(cls, folder: Path) -> "Config":
        """Read ``config.json``.

        Raises
        ------
        FileNotFoundError, ValueError
            If it is not there, or not the configuration of a sinusoid run.
        """
        path = folder / "config.json"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not there; want the folder of a training run")
        try:
            content = json.loads(path.read_text())
            if content.pop("experiment") != "sinusoid":
                raise ValueError("not a sinusoid experiment")
            config = cls(**{**content, "hidden": tuple(content["hidden"])})
            config.model.init(0, config.dtype)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path} is not a sinusoid run's configuration: {error}") from error
        return config


def fit(
    config: Config, folder: Path, resume: bool, progress: Callable[[int, float], None]
) -> State:
    """Train one learner in its folder.

    Raises
    ------
    FileExistsError
        If the folder holds a run and resume is False.
    """
    if not resume and (folder / "config.json").exists():
        raise FileExistsError(
            f"{folder} holds a run already; continue it with --resume {folder}, or choose another "
            "folder with --out"
        )
    config.save(folder)
    rng = np.random.default_rng(config.seed)
    return train(
        config.model,
        config.model.init(rng, config.dtype),
        Sinusoids(config.tasks, config.shots, config.queries),
        alpha=config.alpha,
        steps=0 if config.learner == "pretrained" else config.steps,
        iterations=config.iterations,
        beta=config.beta,
        gradient=first_order_meta_gradient if config.learner == "first-order" else meta_gradient,
        rng=rng,
        folder=folder,
        resume=resume,
        progress=progress,
    )


class Trained(NamedTuple):
    """One learner as its folder has it."""

    config: Config
    state: State


def load(run: Path) -> dict[str, Trained]:
    """The run's own learner, then those trained beside it for comparison, by learner.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder is not a run, or one of its files is damaged.
    """
    beside = [run / name for name in LEARNERS if (run / name / "checkpoint.npz").is_file()]
    trained = [Trained(Config.load(folder), State.load(folder)) for folder in (run, *beside)]
    return {one.config.learner: one for one in trained}


def errors_on_fresh_tasks(one: Trained, shots: int, seed: int) -> Array:
    """Squared error after 0 … 10 steps on fresh tasks, (11, 600); the same tasks for a seed."""
    tasks = Sinusoids(TEST_TASKS, shots, TEST_QUERIES)(np.random.default_rng([seed, shots, 1]))
    return evaluate(one.config.model, one.state.theta, tasks, one.config.alpha, max(STEPS))


def results(trained: dict[str, Trained], seed: int) -> list[dict[str, Any]]:
    """One row per learner, shots and steps: the mean error and its 95 % interval."""
    rows = []
    for shots, (learner, one) in itertools.product((5, 10), trained.items()):
        with np.errstate(over="ignore", invalid="ignore"):  # who diverges at test shows inf or nan
            mean, interval = mean_and_interval(errors_on_fresh_tasks(one, shots, seed))
        rows += [
            {"learner": learner, "shots": shots, "steps": k, "mse": mean[k], "ci95": interval[k]}
            for k in STEPS
        ]
    return rows


def _cell(mean: float, interval: float) -> str:
    return f"{mean:.3f} ± {interval:.3f}" if mean < 1000 else "diverged"  # NaN too


def _steps(k: int) -> str:
    return "1 step" if k == 1 else f"{k} steps"


def table(rows: list[dict[str, Any]]) -> str:
    """The results as text, the paper's figures below the learners they belong to."""
    lines = []
    for shots in sorted({row["shots"] for row in rows}):
        lines.append(f"{shots}-shot test error (mean squared error, {TEST_TASKS} tasks, ± 95 %)")
        lines.append(" " * 26 + "".join(f"{_steps(k):>15}" for k in STEPS))
        for learner, name in LEARNERS.items():
            cells = [
                _cell(row["mse"], row["ci95"])
                for row in rows
                if (row["learner"], row["shots"]) == (learner, shots)
            ]
            if cells:
                lines.append(f"{name:26}" + "".join(f"{cell:>15}" for cell in cells))
            if cells and shots == 5 and learner in PAPER:
                paper = [f"{PAPER[learner][k]:.2f}" if k in PAPER[learner] else "" for k in STEPS]
                lines.append("  in the MAML paper" + " " * 8 + "".join(f"{p:>15}" for p in paper))
        lines.append("")
    return "\n".join(lines)


def write_results(rows: list[dict[str, Any]], run: Path) -> None:
    """Write ``results.csv`` into the run folder."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(run / "results.csv", text.getvalue().encode())
