"""Your own data: a table in a CSV or npz file, whose rows belong to tasks, meta-trained on."""

import dataclasses
import io
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from ..data.csvfile import number, read_csv
from ..data.grouped import IGNORED, Grouped, split_groups, standardise, standardised
from ..data.scaling import Scaling
from ..learners.learner import Learner
from ..network.mlp import MLP
from ..training.evaluation import accuracies, evaluate, mean_and_interval
from . import shared as experiment
from .shared import LEARNERS, Trained, Validator, steps_title

Array = np.ndarray[Any, Any]

STEPS = (0, 1, 2, 3, 5, 10)  # shown; results.csv has all from 0 to 10
DRAWS = 20  # of support and query rows from every task that is tested
KINDS = ("by target", "regression", "classification")


@dataclass(frozen=True)
class Config(experiment.Config):
    """One learner's settings; columns, classes and checksum are filled in from the data.

    Parameters
    ----------
    data : str
        The table, as `read` takes it.
    task, target : str
        Columns: which task a row belongs to, and what is to be predicted.
    features : sequence of str
        Columns to predict from; all others if there are none.
    kind : str
        "regression", "classification", or "by target": classification if it is text.
    small : str
        As for `numaml.Grouped`.
    held, validation : float
        Shares of the tasks that the learner is tested on, and chosen by.
    classes : sequence
        Labels, sorted; none in regression.
    checksum : int
        CRC-32 of the columns, so that a run is never continued or tested on other data.
    """

    NAME: ClassVar[str] = "table"
    BESIDE: ClassVar[tuple[str, ...]] = ("first-order", "pretrained")

    iterations: int = 5000
    shots: int = 5
    queries: int = 5
    alpha: float = 0.05
    steps: int = 3
    decay: bool = True
    data: str = ""
    task: str = ""
    target: str = ""
    features: tuple[str, ...] = ()
    kind: str = "by target"
    small: str = "drop"
    held: float = 0.2
    validation: float = 0.1
    norm: str = "none"
    classes: tuple[Any, ...] = ()
    checksum: int = 0

    def __post_init__(self) -> None:
        # From JSON they come as lists.
        object.__setattr__(self, "features", tuple(self.features))
        object.__setattr__(self, "classes", tuple(self.classes))
        super().__post_init__()
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}; want one of {', '.join(map(repr, KINDS))}")

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
        return super(Config, found).prepared()

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

    def _read(self) -> "Table":
        try:
            return read(self.data, self.task, self.target, self.features, self.kind)
        except FileNotFoundError as error:
            moved = "; if it has moved, name it with --data PATH" if self.checksum else ""
            raise FileNotFoundError(f"{error}{moved}") from error

    def _whole(self, table: "Table") -> Grouped:
        sizes = self.shots, self.queries, self.tasks, self.small
        try:
            return Grouped(table.x, table.y, table.groups, *sizes)
        except ValueError as error:
            raise ValueError(f"{self.data}, tasks by column {self.task!r}: {error}") from error

    def parts(self, whole: Grouped) -> list[Grouped | None]:
        """Sources of tasks in standard units: to train on, to validate with, and for the test."""
        scaling = self.scaling(whole)
        return [
            standardised(only(whole, part), scaling) if part.any() else None
            for part in self._split(whole)
        ]

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
        train = self.parts(self.whole())[0]
        assert train is not None  # noqa: S101 (for the type checker: split_groups sees to it)
        return train

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


class Table(NamedTuple):
    """Columns as the learner takes them."""

    x: Array  # (n, n_in)
    y: Array  # (n,) numbers, or numbers of classes
    groups: Array  # (n,) text
    features: tuple[str, ...]
    classes: Array  # labels, sorted; none in regression


def read(
    path: str, task: str, target: str, features: tuple[str, ...] = (), kind: str = "by target"
) -> Table:
    """Read a table from a CSV file with a header, or from an npz file with an array per column.

    An array (n, k) of an npz file is k columns, whose names have the numbers 0 … k − 1 appended.

    Raises
    ------
    FileNotFoundError, ValueError
        If it is not there, is damaged, lacks a column, or a cell is empty or not what it must be:
        with the row and the column.
    """
    if not path:
        raise ValueError("where is the data? Name a CSV or npz file with --data PATH")
    file = _npz(Path(path)) if path.lower().endswith(".npz") else read_csv(path)
    header = list(file.header)
    for option, name in (("task", task), ("target", target)):
        if not name:
            raise ValueError(f"no {option}; name its column with --{option}: {', '.join(header)}")
    for name in (task, target, *features):
        if name not in header:
            raise ValueError(f"{path} has no column {name!r}; it has {', '.join(header)}")
    features = features or tuple(name for name in header if name not in (task, target))
    if not features or len({task, target, *features}) < 2 + len(features):
        raise ValueError(
            f"task is {task!r}, target {target!r} and the features are {', '.join(features)}; want "
            "three kinds of columns, each column once"
        )
    groups = np.array(file.texts(task), str)
    if not len(groups):
        raise ValueError(f"{path} has no rows; want a header and a row for each example")
    if _classifies(file, target, kind):
        y, classes = _labels(file.texts(target), f"{path}, column {target!r}")
    else:
        y, classes = file.floats([target])[:, 0], np.empty(0)
    return Table(file.floats(features), y, groups, features, classes)


def _classifies(file: Any, target: str, kind: str) -> bool:
    """Whether the target is classes: by kind, or if no cell of it is a number."""
    if kind != "by target":
        return kind == "classification"
    texts = file.texts(target)
    numbers = [math.isfinite(number(text)) for text in texts]
    if any(numbers) and not all(numbers):
        row = numbers.index(False)
        raise ValueError(
            f"{file.cell(row, target)}: got {texts[row]!r}, and {sum(numbers)} of {len(texts)} "
            "cells are numbers; mend it, or say --kind classification"
        )
    return not any(numbers)


def _labels(texts: list[str], where: str) -> tuple[Array, Array]:
    """Numbers of the classes, and their labels: integers if all are, else text."""
    cells = np.array(texts, str)
    if all(re.fullmatch(r"[+-]?[0-9]{1,18}", text) for text in texts):
        cells = cells.astype(int)
    classes, y = np.unique(cells, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"{where} has one class, {classes[0]}; want two or more")
    if 2 * len(classes) > len(texts):
        raise ValueError(
            f"{where} has {len(classes)} different labels in {len(texts)} rows, e.g. {texts[0]!r}; "
            "want classes with several rows each, or numbers, with a decimal point"
        )
    return y, classes


class Npz(NamedTuple):
    """The columns of an npz file, with what `numaml.data.csvfile.Csv` has."""

    path: Path
    columns: dict[str, Array]

    @property
    def header(self) -> list[str]:
        """Names of the columns."""
        return list(self.columns)

    def texts(self, column: str) -> list[str]:
        """One column as text."""
        return [str(cell) for cell in self.columns[column].tolist()]

    def cell(self, row: int, column: str) -> str:
        """Where a cell is, for an error message."""
        return f"{self.path}, {column!r}, row {row} (counted from 0)"

    def floats(self, columns: Sequence[str]) -> Array:
        """Columns of numbers, (n, number of columns)."""
        for name in columns:
            array = self.columns[name]
            if array.dtype.kind == "U":
                raise ValueError(f"{self.path}, {name!r}: has dtype {array.dtype}; want numbers")
            if not np.isfinite(array).all():
                row = int(np.argmin(np.isfinite(array)))
                raise ValueError(
                    f"{self.cell(row, name)}: is {array[row]}, want a number: fill it or leave the "
                    "row out"
                )
        return np.column_stack([self.columns[name] for name in columns]).astype(float)


def _npz(path: Path) -> Npz:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; want an npz file with an array per column")
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # zipfile and NumPy raise a dozen kinds on damaged bytes
        raise ValueError(f"{path} is not a readable npz file: {error}") from error
    columns = dict[str, Array]()
    for name, array in arrays.items():
        if array.ndim not in (1, 2) or array.dtype.kind not in "biufU" or not array.size:
            raise ValueError(
                f"{path}, {name!r}: has shape {array.shape} and dtype {array.dtype}; want (n,) or "
                "(n, k) numbers, or (n,) text"
            )
        if array.ndim == 1:
            columns[name] = array
        else:
            columns |= {f"{name}{k}": column for k, column in enumerate(array.T)}
    if len({len(column) for column in columns.values()}) != 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"
        raise ValueError(f"{path} holds {shapes}; want arrays with a row for each example")
    return Npz(path, columns)


def _checksum(whole: Grouped) -> int:
    total = 0
    for part in (whole.x, whole.y, np.char.encode(whole.groups, "utf-8")):
        total = zlib.crc32(np.ascontiguousarray(part).data, total)
    return total


def labels(source: Grouped) -> Array:
    """The tasks that a source draws from."""
    return np.unique(source.groups)


def only(source: Grouped, rows: Array, **changes: Any) -> Grouped:
    """A source of the tasks in some of its rows."""
    x, y, groups = source.x[rows], source.y[rows], source.groups[rows]
    return dataclasses.replace(source, x=x, y=y, groups=groups, **changes)


def about(config: Config) -> str:
    """What is learned, and from which tasks."""
    whole = config.whole()
    counts = [len(labels(part)) if part else 0 for part in config.parts(whole)]
    text = f"regression of {config.target}"
    if config.classes:
        some = ", ".join(map(str, config.classes[:5])) + ", …" * (len(config.classes) > 5)
        text = f"classification of {config.target}, {len(config.classes)} classes ({some})"
    text += "; tasks: {} to train on, {} to validate with, {} held out for the test".format(*counts)
    text += f", {whole.dropped} dropped with too few rows" if whole.dropped else ""
    same = config.scaling(whole).x_scale == IGNORED
    ignored = ", ".join(np.array(config.features)[same])
    return text + (f"\nthe same in all rows to train on, and ignored: {ignored}" if ignored else "")


def errors_on_held_tasks(one: Trained, seed: int) -> Array:
    """Accuracy, or squared error in the target's units, after 0 … 10 steps: (11, held-out tasks).

    Each is a mean over 20 draws of the task's rows.
    """
    config = one.config
    whole = config.whole()
    test, unit = config.parts(whole)[2], config.scaling(whole).y_scale[0] ** 2
    columns: list[Array] = []
    for group in labels(test):
        source = only(test, test.groups == group, tasks=DRAWS)
        tasks = source(np.random.default_rng([seed, 2, len(columns)]))
        arguments = config.model, one.theta, tasks, config.alpha, max(STEPS)
        columns.append(accuracies(*arguments) if config.classes else unit * evaluate(*arguments))
    return np.array(columns).mean(-1).T


def results(trained: dict[str, Trained], seed: int) -> list[dict[str, Any]]:
    """One row per learner and steps: the mean over held-out tasks and its 95 % interval."""
    rows = []
    for learner, one in trained.items():
        name = "accuracy" if one.config.classes else "mse"
        with np.errstate(over="ignore", invalid="ignore"):  # who diverges at test shows inf or nan
            errors = errors_on_held_tasks(one, seed)
            mean, interval = mean_and_interval(errors)
        shots, tasks = one.config.shots, errors.shape[1]
        rows += [
            {"learner": learner, "shots": shots, "tasks": tasks, "steps": k, name: mean[k],
             "ci95": interval[k]}
            for k in range(len(mean))
        ]  # fmt: skip
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The results as text."""
    measure = "accuracy" if "accuracy" in rows[0] else "mse"
    named = {"accuracy": "accuracy", "mse": "mean squared error, in the target's units"}[measure]
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


def _held_out(tasks: int) -> str:
    return f"{tasks} tasks held out, ± 95 %" if tasks > 1 else "one task held out: no interval"


def _cell(mean: float, interval: float) -> str:
    if not math.isfinite(mean):
        return "diverged"
    return f"{mean:.4g}" + (f" ± {interval:.2g}" if math.isfinite(interval) else "")
