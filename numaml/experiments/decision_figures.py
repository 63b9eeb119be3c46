"""Figures of a decision: errors with intervals, held-out tasks, reliability (needs matplotlib)."""

from pathlib import Path
from typing import Any

import numpy as np

from ..data.tasks import Batch, Tasks
from ..learning.held import DRAWS
from .decision import Decision, Part
from .figures import COLOURS, FAINT, INK, figure, plain, write_figure

Array = np.ndarray[Any, Any]
SHOWN, POINTS, BINS = 3, 100, 10  # tasks, points of a curve, bins of probabilities
OWN, OTHER = COLOURS["exact"], COLOURS["first-order"]


def errors(decision: Decision, folder: Path) -> Path:
    """Error of every way with its interval over tasks; against support rows where they differ."""
    drawn, sizes = figure(8, 4.5), decision.shots()
    axes = drawn.subplots()
    for place, way in enumerate(decision.errors(sizes[0])):
        found = [_mean_and_interval(decision, shots, way) for shots in sizes]
        mean, interval = np.array(found).T
        style: dict[str, Any] = {
            "color": OWN if way == decision.subject else FAINT,
            "marker": "o",
            "capsize": 3,
        }
        if len(sizes) == 1:
            axes.errorbar(mean, [-place], xerr=interval, **style)
        else:
            style |= {"color": OWN if way == decision.subject else f"C{place}", "label": way}
            axes.errorbar(np.array(sizes) + 0.03 * place, mean, interval, **style)
    if len(sizes) == 1:
        axes.set_yticks(-np.arange(place + 1), list(decision.errors(sizes[0])))
        axes.set_xlabel(_named(decision))
    else:
        axes.set(xlabel="support rows", ylabel=_named(decision), xticks=sizes)
        drawn.legend(loc="outside right upper", frameon=False, fontsize=8)
    axes.set_title("Tasks held out, ± 95 % over them", loc="left", fontsize=10)
    plain(axes)
    return write_figure(drawn, folder / "errors.png")


def _mean_and_interval(decision: Decision, shots: int, way: str) -> tuple[float, float]:
    row = next(one for one in decision.rows_of(shots) if one["way"] == way)
    finite = np.isfinite([row["error"], row["ci95"]])
    return (row["error"] if finite[0] else np.nan), (row["ci95"] if finite[1] else 0.0)


def _named(decision: Decision) -> str:
    if decision.parts[0].classes:
        return f"share of {decision.target} predicted wrongly"
    return f"root mean square error of {decision.target}"


def held_tasks(decision: Decision, folder: Path) -> Path:
    """The first draw of some held-out tasks: before and after adapting, and the best baseline.

    Curves where there is one feature, else what is predicted against what is true.
    """
    part = decision.parts[0]
    shown = min(SHOWN, len(part.held.names))
    drawn = figure(4 * shown, 4)
    grid = drawn.subplots(1, shown, sharey=True, squeeze=False)[0]
    ways = {decision.subject: (OWN, "-")}
    before = f"{decision.subject}, before adapting"
    ways |= {before: (FAINT, "--")} if before in part.outcomes else {}
    ways |= {decision.best(part.shots): (OTHER, ":")} if decision.baselines else {}
    for axes, number in zip(grid, range(shown), strict=True):
        panel = _curves if len(decision.features) == 1 else _scattered
        panel(axes, part, number * DRAWS, ways)
        axes.set_title(f"{part.held.names[number]}", loc="left", fontsize=10)
        axes.set_xlabel(decision.features[0] if panel is _curves else f"true {decision.target}")
        plain(axes)
    grid[0].set_ylabel(decision.target if len(decision.features) == 1 else "predicted")
    grid[0].legend(frameon=False, fontsize=8)
    return write_figure(drawn, folder / "held_tasks.png")


def _curves(axes: Any, part: Part, draw: int, ways: dict[str, tuple[str, str]]) -> None:
    tasks, scaling = part.held.drawn, part.scaling
    mine = slice(draw, draw + DRAWS)  # all draws show the task's rows
    rows = [np.concatenate([getattr(b, a)[mine].ravel() for b in (tasks.support, tasks.query)])
            for a in "xy"]  # fmt: skip
    ends = rows[0].min(), rows[0].max()
    x = np.linspace(*ends, POINTS)[None, :, None]
    one = Tasks(_draw(tasks.support, draw), Batch(x, np.zeros((1, POINTS, 1))))

    def units(x: Array, y: Array) -> tuple[Array, Array]:
        return (np.ravel(x) * scaling.x_scale[0] + scaling.x_mean[0],
                np.ravel(y) * scaling.y_scale[0] + scaling.y_mean[0])  # fmt: skip

    axes.plot(*units(*rows), "o", color=FAINT, markersize=3, label="its rows")
    for way, (colour, line) in ways.items():
        _, y = part.outcomes[way].candidate(one)
        axes.plot(*units(x, y), line, color=colour, label=way)
    axes.plot(*units(one.support.x, one.support.y), "o", color=INK, label="support")


def _draw(batch: Batch, draw: int) -> Batch:
    return Batch(batch.x[draw : draw + 1], batch.y[draw : draw + 1])


def _scattered(axes: Any, part: Part, draw: int, ways: dict[str, tuple[str, str]]) -> None:
    scaling, mine = part.scaling, slice(draw, draw + DRAWS)
    true = part.held.drawn.query.y[mine].ravel() * scaling.y_scale[0] + scaling.y_mean[0]
    axes.plot([true.min(), true.max()], [true.min(), true.max()], color=INK, linewidth=0.8)
    for way, (colour, _) in ways.items():
        y = part.outcomes[way].predicted[mine].ravel() * scaling.y_scale[0] + scaling.y_mean[0]
        axes.plot(true, y, "o", color=colour, markersize=3, alpha=0.6, label=way)


def reliability(decision: Decision, folder: Path) -> Path:
    """How often a predicted class is right, against the probability that it was given."""
    part, drawn = decision.parts[0], figure(5, 4.5)
    axes, true = drawn.subplots(), part.held.drawn.query.y
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8)
    for way, colour in ((decision.subject, OWN), (decision.best(part.shots), OTHER)):
        p = part.outcomes[way].predicted
        sure, right = p.max(-1).ravel(), (p.argmax(-1) == true).ravel()
        bins = np.minimum((sure * BINS).astype(int), BINS - 1)
        x, y = zip(*((sure[bins == k].mean(), right[bins == k].mean()) for k in np.unique(bins)),
                   strict=True)  # fmt: skip
        axes.plot(x, y, "o-", color=colour, label=way)
    axes.set(xlabel="probability of the class that is predicted", ylabel="share that is right")
    axes.legend(frameon=False, fontsize=8)
    plain(axes)
    return write_figure(drawn, folder / "reliability.png")
