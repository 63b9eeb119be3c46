"""Your own data: a table in a CSV or npz file, whose rows belong to tasks, meta-trained on."""

import dataclasses
import math
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np

from ..data.examples import KINDS, Examples, examples
from ..data.given import cut, enough, listed
from ..data.grouped import IGNORED, Grouped, split_groups, standardise, standardised
from ..data.scaling import Scaling
from ..data.tables import READERS, is_table, read_table
from ..learners.learner import Learner
from ..network.mlp import MLP
from ..training.evaluation import accuracies, evaluate, mean_and_interval
from .experiment import LEARNERS, Array, Experiment, Row, Trained, Validator, steps_title
from .figures import learning_curve
from .settings import setting

STEPS = (0, 1, 2, 3, 5, 10)  # shown; results.csv has all from 0 to 10
DRAWS = 20  # of support and query rows from every task that is tested
FILES = " or ".join(READERS)


@dataclass(frozen=True)
class OwnTable(Experiment):
    """Tasks from a table; the columns to predict from and the classes are found in the data."""

    NAME = "table"
    HELP = "your own table; 'train FILE.csv' is short for 'train table --data FILE.csv'"
    DESCRIPTION = (
        "Meta-train on the tasks of a table, beside first-order MAML and a network pretrained on "
        "all tasks; print how they do on tasks held out. Each row belongs to the task that one "
        "column names, and has a target to be predicted from its other columns. Columns are "
        "standardised by the tasks to train on. A CSV file has a header; an npz file has an array "
        "per column."
    )
    BESIDE = ("first-order", "pretrained")

    seed: int = setting(0, "of initialisation, draws, and the choice of tasks held out")
    iterations: int = 5000
    every: int = setting(1000, "outer steps between checkpoints, and between validations")
    shots: int = 5
    queries: int = 5
    alpha: float = 0.05
    steps: int = 3
    decay: bool = True
    data: str = setting("", f"{FILES} file with the table", metavar="PATH")
    task: str = setting("", "which task a row belongs to", metavar="COLUMN")
    target: str = setting("", "what is to be predicted", metavar="COLUMN")
    features: tuple[str, ...] = setting(
        (), "what to predict it from (default: all other columns)", metavar="COLUMN"
    )
    kind: str = setting("by target", "of the target; classification if it is text", choices=KINDS)
    small: str = setting(
        "drop",
        "what becomes of tasks with fewer than shots + queries rows",
        choices=("drop", "error"),
    )
    held: float = setting(
        0.2, "of the tasks held out for the test, one at least", metavar="SHARE", below=1
    )
    validation: float = setting(0.1, "of the tasks, for validation", metavar="SHARE", below=1)
    norm: str = setting("none", "of the hidden layers", choices=("none", "batch", "layer"))
    classes: tuple[Any, ...] = ()  # labels, sorted; none in regression
    # CRC-32 of the columns, so that a run is never continued or tested on other data.
    checksum: int = 0

    @classmethod
    def takes(cls, word: str) -> bool:
        """A file that is read as a table."""
        return is_table(word)

    @property
    def model(self) -> MLP:
        """The network that is trained."""
        norm = None if self.norm == "none" else self.norm
        if self.classes:
            sizes = (len(self.features), *self.hidden, len(self.classes))
            return MLP(sizes, self.activation, "cross_entropy", norm)
        return MLP((len(self.features), *self.hidden, 1), self.activation, norm=norm)

    def prepared(self) -> Self:
        """The settings with what is to be known of the data; errors before any work."""
        enough(None if self.norm == "none" else self.norm, shots=self.shots, queries=self.queries)
        table = self._read()
        found = dataclasses.replace(
            self,
            data=str(Path(self.data).absolute()),
            features=table.features,
            classes=tuple(table.classes.tolist()),
        )
        whole = found._whole(table)
        found = dataclasses.replace(found, checksum=_checksum(whole))
        found.parts(whole)
        found = super(OwnTable, found).prepared()
        with TemporaryDirectory() as folder:  # what cannot be kept is told before the training
            found.finished(found.start(np.random.default_rng(0))).save(Path(folder) / "learner.npz")
        return found

    def whole(self) -> Grouped:
        """All tasks that have rows enough, in the table's units.

        Raises
        ------
        ValueError
            If it is not the data that the run was trained on.
        """
        whole = self._whole(self._read())
        if _checksum(whole) != self.checksum:
            raise ValueError(
                f"{self.data} does not hold the rows this run was trained on; name the same data "
                "with --data PATH"
            )
        return whole

    def _read(self) -> Examples:
        if not self.data:
            raise ValueError(f"where is the data? Name a {FILES} file with --data PATH")
        columns = self.task, self.target, self.features, self.kind
        try:
            at = os.stat(self.data)
            return _examples(self.data, (at.st_mtime_ns, at.st_size, at.st_ino), *columns)
        except FileNotFoundError as error:
            if not self.checksum:
                return examples(read_table(self.data), *columns)  # says what is wanted
            raise FileNotFoundError(
                f"{self.data} is not there; if it has moved, name it with --data PATH"
            ) from error

    def _whole(self, rows: Examples) -> Grouped:
        sizes = self.shots, self.queries, self.tasks, self.small
        try:
            return Grouped(rows.x, rows.y, rows.groups, *sizes)
        except ValueError as error:
            raise ValueError(f"{self.data}, tasks by column {self.task!r}: {error}") from error

    def parts(self, whole: Grouped) -> tuple[Grouped, Grouped | None, Grouped]:
        """Sources of tasks in standard units: to train on, to validate with, and for the test."""
        scaling = self.scaling(whole)

        def part(rows: Array) -> Grouped:
            return standardised(only(whole, rows), scaling)

        train, validation, test = self._split(whole)
        return part(train), part(validation) if validation.any() else None, part(test)

    def _split(self, whole: Grouped) -> tuple[Array, Array, Array]:
        count = len(labels(whole))
        test = max(1, round(self.held * count))
        validation = min(math.ceil(self.validation * count), max(0, count - test - 1))
        if test + validation >= count:
            raise ValueError(
                f"column {self.task!r} of {self.data} has {count} task{'s'[: count > 1]} with rows "
                "enough; want one at least to train on and one to test"
            )
        return split_groups(whole.groups, count - test - validation, validation, self.seed)

    def scaling(self, whole: Grouped) -> Scaling:
        """By the rows of the tasks to train on."""
        train = only(whole, self._split(whole)[0])
        return standardise(train.x, None if self.classes else train.y, len(self.classes))

    def source(self) -> Grouped:
        """The tasks to train on."""
        return self.parts(self.whole())[0]

    def validator(self) -> Validator | None:
        """Accuracy, or minus the squared error in standard units, always on the same draws."""
        source = self.parts(self.whole())[1]
        if source is None:
            return None
        tasks = dataclasses.replace(source, tasks=len(labels(source)) * DRAWS)(
            np.random.default_rng([self.seed, 1])
        )
        measure, sign = (accuracies, 1) if self.classes else (evaluate, -1)
        steps = 0 if self.learner == "pretrained" else self.steps  # each as it is trained

        def score(theta: Array) -> float:
            return sign * float(measure(self.model, theta, tasks, self.alpha, steps)[-1].mean())

        return score

    def finished(self, theta: Array) -> Learner:
        """The learner with its columns, classes and units."""
        learner = super().finished(theta)
        classes = np.array(self.classes) if self.classes else None
        return dataclasses.replace(learner, scaling=self.scaling(self.whole()), classes=classes)

    def about(self) -> str:
        """What is learned, and from which tasks."""
        whole, odd = self.whole(), self._read().odd
        train, validation, test = (len(labels(part)) if part else 0 for part in self.parts(whole))
        text = f"regression of {self.target}"
        if self.classes:
            some = ", ".join(cut(str(one)) for one in self.classes[:5])
            some += ", …" * (len(self.classes) > 5)
            text = f"classification of {self.target}, {len(self.classes)} classes ({some})"
        text += f"; tasks: {train} to train on, {validation} to validate with"
        text += f", {test} held out for the test"
        text += f", {whole.dropped} dropped with too few rows" if whole.dropped else ""
        if (same := self.scaling(whole).x_scale == IGNORED).any():
            ignored = [name for name, one in zip(self.features, same, strict=True) if one]
            text += f"\nthe same in all rows to train on, and ignored: {listed(ignored)}"
        return text + "".join(f"\ntaken for what it says: {one}" for one in odd)

    @classmethod
    def results(cls, trained: Mapping[str, Trained[Self]], seed: int) -> list[Row]:
        """One row per learner and steps: the mean over held-out tasks and its 95 % interval."""
        rows = []
        for learner, one in trained.items():
            name = "accuracy" if one.experiment.classes else "mse"
            with np.errstate(over="ignore", invalid="ignore"):  # who diverges shows inf or nan
                errors = errors_on_held_tasks(one, seed)
                mean, interval = mean_and_interval(errors)
            shots, tasks = one.experiment.shots, errors.shape[1]
            rows += [
                {"learner": learner, "shots": shots, "tasks": tasks, "steps": k, name: mean[k],
                 "ci95": interval[k]}
                for k in range(len(mean))
            ]  # fmt: skip
        return rows

    @classmethod
    def table(cls, rows: list[Row]) -> str:
        """The results as text."""
        measure = "accuracy" if "accuracy" in rows[0] else "mse"
        named = {"mse": "mean squared error, in the target's units"}.get(measure, measure)
        shots, tasks = rows[0]["shots"], rows[0]["tasks"]
        lines = [
            f"{named}; support rows: {shots}; {_held_out(tasks)}",
            " " * 26 + "".join(f"{steps_title(k):>20}" for k in STEPS),
        ]
        for learner, name in LEARNERS.items():
            cells = [
                _cell(row[measure], row["ci95"])
                for row in rows
                if row["learner"] == learner and row["steps"] in STEPS
            ]
            if cells:
                lines.append(f"{name:26}" + "".join(f"{cell:>20}" for cell in cells))
        return "\n".join([*lines, ""])

    @classmethod
    def figures(
        cls, trained: Mapping[str, Trained[Self]], rows: list[Row], run: Path, seed: int
    ) -> list[Path]:
        """The learning curve."""
        return [learning_curve(trained, run)]


@lru_cache(maxsize=1)  # a run comes back to its table time and again
def _examples(path: str, written: tuple[int, ...], *columns: Any) -> Examples:
    """The examples of a file as it was ``written``: its time, size and number."""
    return examples(read_table(path), *columns)


def _checksum(whole: Grouped) -> int:
    total = 0
    for part in (whole.x, whole.y):
        total = zlib.crc32(np.ascontiguousarray(part).data, total)
    for group in whole.groups:
        total = zlib.crc32(group.encode(errors="surrogatepass") + b"\0", total)
    return total


def labels(source: Grouped) -> Array:
    """The tasks that a source draws from."""
    return np.unique(source.groups)


def only(source: Grouped, rows: Array, **changes: Any) -> Grouped:
    """A source of the tasks in some of its rows."""
    x, y, groups = source.x[rows], source.y[rows], source.groups[rows]
    return dataclasses.replace(source, x=x, y=y, groups=groups, **changes)


def errors_on_held_tasks(one: Trained[OwnTable], seed: int) -> Array:
    """Accuracy, or squared error in the target's units, after 0 … 10 steps: (11, held-out tasks).

    Each is a mean over 20 draws of the task's rows.
    """
    experiment = one.experiment
    whole = experiment.whole()
    test, unit = experiment.parts(whole)[2], experiment.scaling(whole).y_scale[0] ** 2
    columns: list[Array] = []
    for group in labels(test):
        source = only(test, test.groups == group, tasks=DRAWS)
        tasks = source(np.random.default_rng([seed, 2, len(columns)]))
        arguments = experiment.model, one.theta, tasks, experiment.alpha, max(STEPS)
        columns.append(
            accuracies(*arguments) if experiment.classes else unit * evaluate(*arguments)
        )
    return np.array(columns).mean(-1).T


def _held_out(tasks: int) -> str:
    return f"{tasks} tasks held out, ± 95 %" if tasks > 1 else "one task held out: no interval"


def _cell(mean: float, interval: float) -> str:
    if not math.isfinite(mean):
        return "diverged"
    return f"{mean:.4g}" + (f" ± {interval:.2g}" if math.isfinite(interval) else "")
