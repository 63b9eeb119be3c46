"""What a comparison comes to: a table and a verdict to decide by, and rows for files."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..data.scaling import Scaling
from ..learning.held import DRAWS, Held
from .comparison import Difference, Outcome, difference, rows_of, verdict

Array = np.ndarray[Any, Any]
Row = dict[str, Any]
MOST_COLUMNS = 50  # features that stand beside a prediction
# Above the columns, beside the names of the ways: for numbers, and for classes.
TITLES = {False: ("error", "R²"), True: ("accuracy", "log loss")}


# Where nothing is settled; by whether every task was held out in turn.
ADVICE = {
    False: "hold out more tasks (--held), or every task in turn (--folds)",
    True: "every task was held out: it takes more tasks to tell",
}


class Part(NamedTuple):
    """The comparison of one fold, for one number of support rows."""

    shots: int
    fold: int
    held: Held
    outcomes: dict[str, Outcome]
    scaling: Scaling
    classes: tuple[Any, ...]
    choosing: str  # which tasks choices were made on

    @property
    def unit(self) -> float:
        """What an error is multiplied by, for the target's own units; for classes 1."""
        return float(self.scaling.y_scale[0])


class Decision(NamedTuple):
    """All parts, and what is asked: whether ``subject`` is better than the ``baselines``."""

    target: str
    features: tuple[str, ...]
    subject: str
    other: str  # meta-learning as well, and so no baseline
    baselines: tuple[str, ...]
    support: str  # "random" or "first"
    parts: list[Part]

    def shots(self) -> list[int]:
        """The numbers of support rows."""
        return sorted({part.shots for part in self.parts})

    def errors(self, shots: int, measure: str | None = None) -> dict[str, Array]:
        """Of every way and task: what decides (in the target's units), or another measure."""
        found: dict[str, list[Array]] = {}
        for part in (one for one in self.parts if one.shots == shots):
            for way, outcome in part.outcomes.items():
                first = next(iter(outcome.measures))
                unit = part.unit if measure is None else 1.0
                found.setdefault(way, []).append(unit * outcome.measures[measure or first])
        return {way: np.concatenate(each) for way, each in found.items()}

    def best(self, shots: int) -> str:
        """The baseline with the smallest mean error."""
        errors = self.errors(shots)
        return min(self.baselines, key=lambda way: float(errors[way].mean()))

    def text(self) -> str:
        """The tables, one for each number of support rows, and their verdicts."""
        return "\n".join(map(self._text, self.shots()))

    def _text(self, shots: int) -> str:
        errors, own = self.errors(shots), [one for one in self.parts if one.shots == shots]
        count, classes = len(errors[self.subject]), bool(own[0].classes)
        lines = [self._title(shots, count, own[0]), _header(*TITLES[classes])]
        second = self.errors(shots, "log loss" if classes else "square")
        shown = _percent if classes else _decimals(errors)
        for way, each in errors.items():
            words = {one.outcomes[way].chosen for one in own} - {""}
            name = f"{way} ({_together(words)})" if words else way
            gain = None if way == self.subject else difference(errors[self.subject], each)
            other = second[way].mean() if classes else 1 - second[way].mean() / _nothing(own)
            lines.append(_line(name, each, float(other), gain, shown, classes))
        unit = " of accuracy" if classes else ""
        said = verdict(self.subject, errors, self.baselines, unit, ADVICE[self._in_folds()])
        lines.append(f"verdict: {said}")
        if self.other in errors:
            gain = difference(errors[self.subject], errors[self.other])
            if gain.settled and gain.mean < 0:
                lines[-1] += f"; {self.other} is better still, by {-gain.mean:.3g}{unit}"
        return "\n".join(lines) + "\n"

    def _in_folds(self) -> bool:
        return len({part.fold for part in self.parts}) > 1

    def _title(self, shots: int, count: int, part: Part) -> str:
        measure = (
            f"accuracy in % for {self.target}"
            if part.classes
            else f"root mean square error, in the units of {self.target}"
        )
        held = f"{DRAWS} draws from each of {count} task{'s'[: count > 1]} held out"
        rows = f"support: {'the first ' * (self.support == 'first')}{shots} row{'s'[: shots > 1]}"
        over = "± 95 % over tasks" if count > 1 else "one task: no interval"
        return f"{measure}; {rows}; {held}; {over}; choices made on {part.choosing}"

    def tables(self) -> dict[str, list[Row]]:
        """What is written: a row for each way, each of its tasks, each prediction."""
        return {
            "results.csv": [row for shots in self.shots() for row in self.rows_of(shots)],
            "tasks.csv": [
                {"shots": part.shots, "fold": part.fold, **_in_units(row, part.unit)}
                for part in self.parts
                for row in rows_of(part.held, part.outcomes)
            ],
            "predictions.csv": [row for part in self.parts for row in _predictions(self, part)],
        }

    def rows_of(self, shots: int) -> list[Row]:
        """A row for each way, for one number of support rows."""
        errors, rows = self.errors(shots), []
        for way, each in errors.items():
            gain = difference(errors[self.subject], each)
            rows.append(
                {"way": way, "shots": shots, "tasks": len(each), "draws": DRAWS,
                 "error": each.mean(), "ci95": _interval(each), "gain_of": self.subject,
                 "gain": gain.mean, "gain_ci95": gain.interval, "wins": gain.wins}
            )  # fmt: skip
        return rows


def _interval(errors: Array) -> float:
    return difference(np.zeros(len(errors)), errors).interval


def _nothing(parts: Sequence[Part]) -> float:
    """The mean square error, in standard units, of the mean of all rows trained on."""
    squares = [part.held.per_task(part.held.drawn.query.y**2) for part in parts]
    return float(np.concatenate(squares).mean())


def _together(words: set[str]) -> str:
    return words.copy().pop() if len(words) == 1 else "chosen in each fold"


def _header(first: str, second: str) -> str:
    return f"{'':60}{first:>19}{second:>10}{'MAML better by':>21}{'on tasks':>12}"


def _decimals(errors: Mapping[str, Array]) -> Any:
    """One format for all: three digits of the smallest error."""
    least = min(float(one.mean()) for one in errors.values())
    digits = 2 - math.floor(math.log10(least)) if 0 < least < math.inf else 2
    return lambda value: f"{value:.{max(0, digits)}f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _line(
    name: str, errors: Array, other: float, gain: Difference | None, shown: Any, classes: bool
) -> str:
    mean = 1 - errors.mean() if classes else errors.mean()
    cell = "diverged" if not math.isfinite(mean) else _with_interval(mean, _interval(errors), shown)
    cells = f"{name:60}{cell:>19}{other:>10.3f}" if math.isfinite(other) else f"{name:60}{cell:>19}"
    if gain is None:
        return cells
    by = _with_interval(gain.mean, gain.interval, shown) if math.isfinite(gain.mean) else ""
    return f"{cells:89}{by:>21}{f'{gain.wins} of {len(errors)}':>12}"


def _with_interval(value: float, interval: float, shown: Any) -> str:
    return shown(value) + (f" ± {shown(interval)}" if math.isfinite(interval) else "")


def _in_units(row: Row, unit: float) -> Row:
    units = {"error": unit, "square": unit**2}
    return {name: units[name] * one if name in units else one for name, one in row.items()}


def _predictions(decision: Decision, part: Part) -> list[Row]:
    """A row for each query row of each draw, with what each way says of it."""
    batch, scaling = part.held.drawn.query, part.scaling
    x = np.where(scaling.x_scale < 1e300, batch.x * scaling.x_scale + scaling.x_mean, np.nan)
    rows = []
    for draw, k in np.ndindex(*batch.y.shape[:2]):
        cells = [f"{one:.10g}" for one in x[draw, k, :MOST_COLUMNS]]
        row = {"shots": part.shots, "task": part.held.names[draw // DRAWS], "draw": draw % DRAWS}
        row |= dict(zip(decision.features, cells, strict=False))
        row[decision.target] = _said(part, batch.y[draw, k])
        for way, one in part.outcomes.items():
            row[f"{way} says"] = _said(part, one.predicted[draw, k])
        rows.append(row)
    return rows


def _said(part: Part, value: Array) -> Any:
    """A target or a prediction in the user's own units, or a label."""
    if part.classes:
        return part.classes[int(value if np.ndim(value) == 0 else np.argmax(value))]
    return f"{np.ravel(value)[0] * part.unit + part.scaling.y_mean[0]:.10g}"
