"""The sinusoid experiment of the MAML paper: three learners, one run folder, one table."""

import itertools
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..data.sinusoids import Sinusoids
from ..network.mlp import MLP
from ..training.evaluation import evaluate, mean_and_interval
from . import shared as experiment
from .shared import LEARNERS, Trained, Validator, steps_title

Array = np.ndarray[Any, Any]

STEPS = (0, 1, 5, 10)
TEST_TASKS = 600
# A test task's error is a mean over this many query points, so that the interval over tasks is
# that of the tasks and not of where the points happened to fall.
TEST_QUERIES = 100
# Training for one step makes a learner that may overshoot when its steps are repeated, and a few
# tasks in a thousand run away. Those with an error of AWAY, eight times that of predicting 0 for
# the largest amplitude, are counted beside the mean; where they are more than FEW, there is none.
AWAY, FEW = 100.0, 0.01
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

    def validator(self) -> Validator:
        """Minus the mean error from 5 points over 1 … 10 steps, on the same tasks every time."""
        tasks = Sinusoids(4 * TEST_TASKS, 5, TEST_QUERIES // 4)(
            np.random.default_rng([self.seed, 3])
        )

        def score(theta: Array) -> float:
            with np.errstate(all="ignore"):
                errors = evaluate(self.model, theta, tasks, self.alpha, max(STEPS))[1:]
            return -float(np.where(errors < AWAY, errors, AWAY).mean())

        return score


def errors_on_fresh_tasks(one: Trained, shots: int, seed: int) -> Array:
    """Squared error after 0 … 10 steps on fresh tasks, (11, 600); the same tasks for a seed."""
    tasks = Sinusoids(TEST_TASKS, shots, TEST_QUERIES)(np.random.default_rng([seed, shots, 1]))
    return evaluate(one.config.model, one.theta, tasks, one.config.alpha, max(STEPS))


def results(trained: dict[str, Trained], seed: int) -> list[dict[str, Any]]:
    """One row per learner, shots and steps: the mean error, its 95 % interval, who ran away."""
    rows = []
    for shots, (learner, one) in itertools.product((5, 10), trained.items()):
        with np.errstate(over="ignore", invalid="ignore"):  # who runs away shows inf or nan
            errors = errors_on_fresh_tasks(one, shots, seed)
        for k in STEPS:
            kept = errors[k][errors[k] < AWAY]
            lost = TEST_TASKS - len(kept)
            few = lost <= FEW * TEST_TASKS
            mean, interval = mean_and_interval(kept) if few else (math.inf, math.nan)
            row = {"learner": learner, "shots": shots, "steps": k, "mse": mean, "ci95": interval}
            rows.append(row | {"ran_away": lost})
    return rows


def _cell(row: dict[str, Any]) -> str:
    if math.isinf(row["mse"]):
        return "diverged"
    return f"{row['mse']:.3f} ± {row['ci95']:.3f}" + "*" * (row["ran_away"] > 0)


def table(rows: list[dict[str, Any]]) -> str:
    """The results as text, the paper's figures below the learners they belong to."""
    lines = []
    for shots in sorted({row["shots"] for row in rows}):
        lines.append(f"{shots}-shot test error (mean squared error, {TEST_TASKS} tasks, ± 95 %)")
        lines.append(" " * 26 + "".join(f"{steps_title(k):>15}" for k in STEPS))
        for learner, name in LEARNERS.items():
            cells = [
                _cell(row) for row in rows if (row["learner"], row["shots"]) == (learner, shots)
            ]
            if cells:
                lines.append(f"{name:26}" + "".join(f" {cell:>14}" for cell in cells))
            if cells and shots == 5 and learner in PAPER:
                paper = [f"{PAPER[learner][k]:.2f}" if k in PAPER[learner] else "" for k in STEPS]
                lines.append("  in the MAML paper" + " " * 8 + "".join(f"{p:>15}" for p in paper))
        lost = max(row["ran_away"] for row in rows if row["shots"] == shots)
        if 0 < lost <= FEW * TEST_TASKS:
            lines.append(f"* without tasks whose error runs away over the steps, at most {lost}")
        lines.append("")
    return "\n".join(lines)
