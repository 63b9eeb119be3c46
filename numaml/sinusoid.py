"""The sinusoid experiment of the MAML paper: three learners, one run folder, one table."""

import itertools
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from . import experiment
from .experiment import LEARNERS, Trained, steps_title
from .mlp import MLP
from .tasks import Sinusoids
from .training import evaluate, mean_and_interval

Array = np.ndarray[Any, Any]

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
class Config(experiment.Config):
    """One learner's settings; the defaults are the MAML paper's (section 5.1)."""

    NAME: ClassVar[str] = "sinusoid"
    BESIDE: ClassVar[tuple[str, ...]] = ("first-order", "pretrained")

    @property
    def model(self) -> MLP:
        """The network that is trained."""
        return MLP((1, *self.hidden, 1), self.activation)

    def source(self) -> Sinusoids:
        """The paper's sinusoids."""
        return Sinusoids(self.tasks, self.shots, self.queries)


def errors_on_fresh_tasks(one: Trained, shots: int, seed: int) -> Array:
    """Squared error after 0 … 10 steps on fresh tasks, (11, 600); the same tasks for a seed."""
    tasks = Sinusoids(TEST_TASKS, shots, TEST_QUERIES)(np.random.default_rng([seed, shots, 1]))
    return evaluate(one.config.model, one.theta, tasks, one.config.alpha, max(STEPS))


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


def table(rows: list[dict[str, Any]]) -> str:
    """The results as text, the paper's figures below the learners they belong to."""
    lines = []
    for shots in sorted({row["shots"] for row in rows}):
        lines.append(f"{shots}-shot test error (mean squared error, {TEST_TASKS} tasks, ± 95 %)")
        lines.append(" " * 26 + "".join(f"{steps_title(k):>15}" for k in STEPS))
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
