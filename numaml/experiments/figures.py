"""Figures: learning curves, and what adaptation does (needs matplotlib)."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.sinusoids import sinusoid
from ..data.tasks import Batch
from ..engine.calls import adapt
from ..files.whole import write_whole
from .omniglot import CHUNK, PAPER, TEST_STEPS
from .shared import LEARNERS, Trained

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, GREEN, RED = "#222222", "#9a9a9a", "#2e8b57", "#c0392b"
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


def _write(drawn: "Figure", path: Path) -> None:
    content = io.BytesIO()
    drawn.savefig(content)
    write_whole(path, content.getvalue())


def learning_curve(trained: dict[str, Trained], path: Path, loss: str) -> None:
    """Meta-value against outer steps, averaged over windows of them; below it, validation."""
    validated = {learner: one for learner, one in trained.items() if one.state.scores}
    classifies = loss == "cross-entropy"
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
        grid[1].set_ylabel("accuracy" if classifies else loss)
        grid[1].set_title("Validation, on what was not trained on", loc="left")
    for axes in grid:
        _plain(axes)
    grid[-1].set_xlabel("outer step")
    grid[0].legend(frameon=False)
    _write(drawn, path)


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
    for axes in grid[:, 0]:
        axes.set_ylabel("y")
    grid[0, 0].set_ylim(-6, 6)  # a prediction far outside must not squeeze the rest
    handles, labels = grid[0, 0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    drawn.suptitle(f"Two tasks never seen before: {PICTURE_SHOTS} points, a few gradient steps")
    _write(drawn, path)


def _panel(
    axes: "Axes", one: Trained, support: Batch, truth: tuple[float, float], colour: str
) -> None:
    grid = np.linspace(-5, 5, 401)[:, None]
    curve = sinusoid(*truth, grid)
    axes.plot(grid, curve, color=INK, linewidth=1.2, label="true curve")
    model, theta, alpha = one.config.model, one.theta, one.config.alpha
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


def accuracy(trained: dict[str, Trained], rows: list[dict[str, Any]], path: Path) -> None:
    """Accuracy on fresh tasks against adaptation steps, with 95 % intervals."""
    drawn = figure(7, 4)
    axes = drawn.subplots()
    curves = {
        LEARNERS[one]: (COLOURS[one], [row for row in rows if row["learner"] == one])
        for one in trained
    }
    ways, shots = rows[0]["ways"], rows[0]["shots"]
    if (ways, shots) in PAPER:
        published = [float(number) / 100 for number in PAPER[ways, shots].split(" ± ")]
        row = dict(zip(("steps", "accuracy", "ci95"), (TEST_STEPS, *published), strict=True))
        curves["MAML paper"] = (INK, [row])
    for name, (colour, points) in curves.items():
        k, mean, interval = ([row[key] for row in points] for key in ("steps", "accuracy", "ci95"))
        style: Any = {"color": colour, "marker": "o", "markersize": 4, "capsize": 3}
        axes.errorbar(k, mean, interval, label=name, **style)
    axes.axhline(1 / ways, color=FAINT, linewidth=1, linestyle=":", label="chance")
    axes.set_xlabel("adaptation steps")
    axes.set_ylabel("accuracy")
    axes.set_title(f"{ways}-way {shots}-shot, characters never trained on", loc="left")
    _plain(axes)
    axes.legend(frameon=False, loc="center right")
    _write(drawn, path)


def one_task(one: Trained, path: Path, seed: int) -> None:
    """Support and query drawings of a task, and which class each query is taken for."""
    config = one.config
    source = config.tasks_from(config.images()[2], CHUNK, config.shots)
    tasks = source(np.random.default_rng([seed, 3]))
    support, query = (Batch(batch.x[0], batch.y[0]) for batch in (tasks.support, tasks.query))
    drawings = {"support": support.x[:: config.shots], "query": query.x[:: config.shots]}
    verdicts = [np.ones(config.ways, bool)] * 2
    for steps in (0, TEST_STEPS):
        phi = adapt(config.model, one.theta, support, config.alpha, steps)
        taken = config.model.predict(phi, query.x).argmax(-1)[:: config.shots]
        when = f"taken for,\nafter {steps} steps" if steps else "taken for,\nbefore"
        drawings[when] = drawings["support"][taken]
        verdicts.append(taken == np.arange(config.ways))
    _drawings(drawings, verdicts, path)


def _drawings(drawings: dict[str, Any], right: list[Any], path: Path) -> None:
    """A row of pictures for each name; framed in red where it is not right."""
    rows, ways = len(drawings), len(right[0])
    drawn = figure(ways + 1.4, rows + 0.8)
    grid = drawn.subplots(rows, ways, squeeze=False)
    for row, (name, pictures) in enumerate(drawings.items()):
        grid[row, 0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axes, picture, ok in zip(grid[row], pictures, right[row], strict=True):
            pixels = round(len(picture) ** 0.5)
            axes.imshow(picture.reshape(pixels, pixels), cmap="gray_r", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            colour, width = (FAINT, 0.8) if row < 2 else (GREEN if ok else RED, 2.5)
            axes.spines[:].set(color=colour, linewidth=width)
    drawn.suptitle("One task of characters never trained on")
    _write(drawn, path)


def _sinusoid_figures(
    trained: dict[str, Trained], _rows: list[dict[str, Any]], run: Path, seed: int
) -> list[Path]:
    paths = [run / "learning_curve.png", run / "adaptation.png"]
    learning_curve(trained, paths[0], "squared error")
    adaptation(trained, paths[1], seed)
    return paths


def _omniglot_figures(
    trained: dict[str, Trained], rows: list[dict[str, Any]], run: Path, seed: int
) -> list[Path]:
    paths = [run / "learning_curve.png", run / "accuracy.png", run / "task.png"]
    learning_curve(trained, paths[0], "cross-entropy")
    accuracy(trained, rows, paths[1])
    one_task(next(iter(trained.values())), paths[2], seed)
    return paths


def _table_figures(
    trained: dict[str, Trained], _rows: list[dict[str, Any]], run: Path, _seed: int
) -> list[Path]:
    path = run / "learning_curve.png"
    classifies = next(iter(trained.values())).config.classes
    learning_curve(trained, path, "cross-entropy" if classifies else "squared error")
    return [path]


FIGURES = {
    "sinusoid": _sinusoid_figures, "omniglot": _omniglot_figures, "table": _table_figures,
}  # fmt: skip
