"""Figures: the learning curve, and adaptation before and after (needs matplotlib)."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .maml import adapt
from .sinusoid import LEARNERS, Trained
from .tasks import Batch, sinusoid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT = "#222222", "#9a9a9a"
COLOURS = {"exact": "#0b6e99", "first-order": "#c4581b", "pretrained": "#6b8e23"}
SMOOTH = 500  # iterations averaged in the learning curve
PICTURE_SHOTS = 5
PICTURE_TASKS = ((4.0, 0.6), (2.0, 2.4))  # (amplitude, phase): far apart, so that one sees both


def figure(width: float, height: float) -> "Figure":
    """A figure that needs no display and leaves matplotlib's global state alone."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(drawn)
    return drawn


def learning_curve(trained: dict[str, Trained], path: Path) -> None:
    """Meta-value against outer steps, averaged over windows of iterations."""
    drawn = figure(7, 4)
    axes = drawn.subplots()
    for learner, one in trained.items():
        values = np.array(one.state.values)
        window = max(1, min(SMOOTH, len(values) // 20))
        means = values[: len(values) // window * window].reshape(-1, window).mean(1)
        iterations = window * (np.arange(len(means)) + 0.5)
        axes.semilogy(iterations, means, color=COLOURS[learner], label=LEARNERS[learner])
    axes.set_xlabel("outer step")
    axes.set_ylabel("meta-value (query squared error)")
    axes.set_title("Training: the loss each learner itself minimises", loc="left")
    _plain(axes)
    axes.legend(frameon=False)
    drawn.savefig(path)


def adaptation(trained: dict[str, Trained], path: Path, seed: int) -> None:
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
    grid[0, 0].set_ylim(-6, 6)  # a prediction far outside must not squeeze the rest
    handles, labels = grid[0, 0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    drawn.suptitle(f"Two tasks never seen before: {PICTURE_SHOTS} points, a few gradient steps")
    drawn.savefig(path)


def _panel(
    axes: "Axes", one: Trained, support: Batch, truth: tuple[float, float], colour: str
) -> None:
    grid = np.linspace(-5, 5, 401)[:, None]
    curve = sinusoid(*truth, grid)
    axes.plot(grid, curve, color=INK, linewidth=1.2, label="true curve")
    model, theta, alpha = one.config.model, one.state.theta, one.config.alpha
    errors = []
    for steps, style in ((0, ":"), (1, "--"), (10, "-")):
        label = "before adaptation" if not steps else f"after {steps} step{'s'[: steps > 1]}"
        prediction = model.predict(adapt(model, theta, support, alpha, steps), grid)
        errors.append(f"{np.mean((prediction - curve) ** 2):.2f}")
        shade, weight = (colour, 2.2) if steps == 10 else (colour if steps else FAINT, 1.4)
        axes.plot(grid, prediction, style, color=shade, linewidth=weight, label=label)
    axes.plot(support.x, support.y, "o", color=INK, markersize=6, label="support points")
    text = "squared error " + " → ".join(errors)
    axes.text(0.03, 0.03, text, transform=axes.transAxes, fontsize=9, color=INK)
    _plain(axes)


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(color=FAINT)
