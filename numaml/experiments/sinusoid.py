"""The sinusoid experiment of the MAML paper: three learners, one run folder, one table."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from ..data.sinusoids import Sinusoids, sinusoid
from ..data.tasks import Batch
from ..engine.alpha import for_steps
from ..engine.calls import adapt
from ..learning.evaluation import evaluate, mean_and_interval
from ..network.mlp import MLP
from .experiment import LEARNERS, Array, Row, Trained, Validator, steps_title
from .figures import COLOURS, FAINT, INK, figure, learning_curve, plain, write_figure
from .rated import Rated

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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

PICTURE_SHOTS = 5
PICTURE_TASKS = ((4.0, 0.6), (2.0, 2.4))  # (amplitude, phase): far apart, so that one sees both


@dataclass(frozen=True)
class Sinusoid(Rated):
    """Few-shot regression; the defaults are the MAML paper's (section 5.1)."""

    NAME = "sinusoid"
    HELP = "few-shot regression on sinusoids (MAML paper, section 5.1)"
    DESCRIPTION = (
        "Meta-train on sinusoids as in the MAML paper, beside first-order MAML and a network "
        "pretrained on all tasks; print the test errors beside the paper's and draw what "
        "adaptation does. The defaults are the paper's settings; what does best in validation is "
        "kept."
    )
    BESIDE = ("first-order", "pretrained")

    @property
    def model(self) -> MLP:
        """The network that is trained."""
        return MLP((1, *self.hidden, 1), self.activation)

    def source(self) -> Sinusoids:
        """The paper's sinusoids."""
        return Sinusoids(self.tasks, self.shots, self.queries)

    def validator(self) -> Validator:
        """Minus the mean error from 5 points over 1 … 10 steps, on the same tasks every time."""
        most = max(STEPS)
        tasks = Sinusoids(4 * TEST_TASKS, 5, TEST_QUERIES // 4)(
            np.random.default_rng([self.seed, 3])
        )

        def score(vector: Array) -> float:
            theta, alpha = self.parted(vector)
            with np.errstate(all="ignore"):
                errors = evaluate(self.model, theta, tasks, for_steps(alpha, most), most)[1:]
            return -float(np.where(errors < AWAY, errors, AWAY).mean())

        return score

    @classmethod
    def results(cls, trained: Mapping[str, Trained[Self]], seed: int) -> list[Row]:
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
                rows.append(
                    {"learner": learner, "shots": shots, "steps": k, "mse": mean,
                     "ci95": interval, "ran_away": lost}
                )  # fmt: skip
        return rows

    @classmethod
    def table(cls, rows: list[Row]) -> str:
        """The results as text, the paper's figures below the learners they belong to."""
        shots = sorted({row["shots"] for row in rows})
        tables = [_table_at(one, [row for row in rows if row["shots"] == one]) for one in shots]
        return "\n".join(tables)

    @classmethod
    def figures(
        cls, trained: Mapping[str, Trained[Self]], rows: list[Row], run: Path, seed: int
    ) -> list[Path]:
        """The learning curve, and what adaptation does to the curve that is predicted."""
        return [learning_curve(trained, run), adaptation(trained, run, seed)]


def errors_on_fresh_tasks(one: Trained[Sinusoid], shots: int, seed: int) -> Array:
    """Squared error after 0 … 10 steps on fresh tasks, (11, 600); the same tasks for a seed."""
    tasks = Sinusoids(TEST_TASKS, shots, TEST_QUERIES)(np.random.default_rng([seed, shots, 1]))
    return evaluate(one.experiment.model, one.theta, tasks, one.alpha_for(max(STEPS)), max(STEPS))


def _cell(row: Row) -> str:
    if math.isinf(row["mse"]):
        return "diverged"
    return f"{row['mse']:.3f} ± {row['ci95']:.3f}" + "*" * (row["ran_away"] > 0)


def _table_at(shots: int, rows: list[Row]) -> str:
    lines = [
        f"{shots}-shot test error (mean squared error, {TEST_TASKS} tasks, ± 95 %)",
        " " * 26 + "".join(f"{steps_title(k):>15}" for k in STEPS),
    ]
    for learner, name in LEARNERS.items():
        cells = [_cell(row) for row in rows if row["learner"] == learner]
        if cells:
            lines.append(f"{name:26}" + "".join(f" {cell:>14}" for cell in cells))
        if cells and shots == 5 and learner in PAPER:
            paper = [f"{PAPER[learner][k]:.2f}" if k in PAPER[learner] else "" for k in STEPS]
            lines.append(f"{'  in the MAML paper':27}" + "".join(f"{cell:>15}" for cell in paper))
    lost = max(row["ran_away"] for row in rows)
    if 0 < lost <= FEW * TEST_TASKS:
        lines.append(f"* without tasks whose error runs away over the steps, at most {lost}")
    return "\n".join([*lines, ""])


def adaptation(trained: Mapping[str, Trained[Sinusoid]], run: Path, seed: int) -> Path:
    """True curve, support points, and each learner's prediction after 0, 1 and 10 steps."""
    rng = np.random.default_rng([seed, 2])
    drawn = figure(4 * len(trained) + 1, 6.5)
    grid = drawn.subplots(len(PICTURE_TASKS), len(trained), sharex=True, sharey=True, squeeze=False)
    for row, (amplitude, phase) in enumerate(PICTURE_TASKS):
        x = rng.uniform(-5, 5, (PICTURE_SHOTS, 1))
        support = Batch(x, sinusoid(amplitude, phase, x))
        for column, (learner, one) in enumerate(trained.items()):
            _panel(grid[row, column], one, support, (amplitude, phase), COLOURS[learner])
    for column, learner in enumerate(trained):
        grid[0, column].set_title(LEARNERS[learner], loc="left", color=COLOURS[learner])
        grid[-1, column].set_xlabel("x")
    for axes in grid[:, 0]:
        axes.set_ylabel("y")
    grid[0, 0].set_ylim(-6, 6)  # a prediction far outside must not squeeze the rest
    handles, labels = grid[0, 0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    drawn.suptitle(f"Two tasks never seen before: {PICTURE_SHOTS} points, a few gradient steps")
    return write_figure(drawn, run / "adaptation.png")


def _panel(
    axes: "Axes", one: Trained[Sinusoid], support: Batch, truth: tuple[float, float], colour: str
) -> None:
    grid = np.linspace(-5, 5, 401)[:, None]
    curve = sinusoid(*truth, grid)
    axes.plot(grid, curve, color=INK, linewidth=1.2, label="true curve")
    model, theta = one.experiment.model, one.theta
    errors = []
    for steps, style in ((0, ":"), (1, "--"), (10, "-")):
        label = "before adaptation" if not steps else f"after {steps} step{'s'[: steps > 1]}"
        phi = adapt(model, theta, support, one.alpha_for(steps), steps)
        ran_away = not np.isfinite(phi).all()
        prediction = np.full_like(curve, np.nan) if ran_away else model.predict(phi, grid)
        errors.append(f"{np.mean((prediction - curve) ** 2):.2f}")
        shade, weight = (colour, 2.2) if steps == 10 else (colour if steps else FAINT, 1.4)
        axes.plot(grid, prediction, style, color=shade, linewidth=weight, label=label)
    axes.plot(support.x, support.y, "o", color=INK, markersize=6, label="support points")
    text = "squared error " + " → ".join(errors)
    axes.text(0.03, 0.03, text, transform=axes.transAxes, fontsize=9, color=INK)
    plain(axes)
