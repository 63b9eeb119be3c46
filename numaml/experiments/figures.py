"""What the experiments' figures share: their look, and the learning curve (needs matplotlib)."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files.whole import write_whole
from .experiment import LEARNERS, Trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, FAINT, GREEN, RED = "#222222", "#9a9a9a", "#2e8b57", "#c0392b"
COLOURS = {"exact": "#0b6e99", "first-order": "#c4581b", "pretrained": "#6b8e23"}
SMOOTH = 500  # iterations averaged in the learning curve


def figure(width: float, height: float) -> "Figure":
    """A figure that needs no display and leaves matplotlib's global state alone."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(drawn)
    return drawn


def write_figure(drawn: "Figure", path: Path) -> Path:
    """Write it, whole or not at all; its path again."""
    content = io.BytesIO()
    drawn.savefig(content)
    write_whole(path, content.getvalue())
    return path


def plain(axes: Any) -> None:
    """Without a frame."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(color=FAINT)


def learning_curve(trained: Mapping[str, Trained[Any]], run: Path) -> Path:
    """Meta-value against outer steps, averaged over windows of them; below it, validation."""
    validated = {learner: one for learner, one in trained.items() if one.state.scores}
    experiment = next(iter(trained.values())).experiment
    named, classifies = experiment.measure, experiment.model.loss == "cross_entropy"
    loss = "cross-entropy" if classifies else experiment.model.loss.replace("_", " ")
    drawn = figure(7, 6.5 if validated else 4)
    grid = drawn.subplots(2 if validated else 1, sharex=True, squeeze=False)[:, 0]
    for learner, one in trained.items():
        values = np.array(one.state.values)
        window = max(1, min(SMOOTH, len(values) // 20))
        means = values[: len(values) // window * window].reshape(-1, window).mean(1)
        iterations = window * (np.arange(len(means)) + 0.5)
        grid[0].semilogy(iterations, means, color=COLOURS[learner], label=LEARNERS[learner])
    grid[0].set_ylabel(f"meta-value (query {loss})")
    grid[0].set_title("Training: the loss each learner itself minimises", loc="left")
    for learner, one in validated.items():
        iterations, scores = np.array(one.state.scores).T
        if classifies:
            grid[1].plot(iterations, scores, color=COLOURS[learner])
        else:  # the score is minus an error, which may grow beyond all bounds
            grid[1].semilogy(iterations, -scores, color=COLOURS[learner])
    if validated:
        grid[1].set_ylabel(named)
        grid[1].set_title("Validation, on what was not trained on", loc="left")
    for axes in grid:
        plain(axes)
    grid[-1].set_xlabel("outer step")
    grid[0].legend(frameon=False)
    return write_figure(drawn, run / "learning_curve.png")
