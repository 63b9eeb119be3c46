"""Your own data: a table in a CSV or npz file, whose rows belong to tasks, meta-trained on."""

import dataclasses
import math
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np

from ..data import columns
from ..data.columns import Column
from ..data.examples import KINDS, MISSING, Examples, Reading, examples
from ..data.given import cut, enough, listed
from ..data.grouped import IGNORED, SUPPORTS, Grouped, only, standardise, standardised
from ..data.scaling import Scaling, limits
from ..data.tables import READERS, is_table, read_table
from ..learning.held import (
    DRAWS,
    MOST_CHOOSING,
    STEPS,
    Held,
    Way,
    adapting,
    as_it_is,
    drawn,
    error_after,
    rate_and_steps,
    rates_beside,
)
from ..learning.learner import Learner
from ..network.mlp import MLP
from .comparison import compared
from .decision import Decision, Part, Row
from .decision_figures import errors, held_tasks, reliability
from .experiment import LEARNERS, Array, Experiment, Trained, Validator
from .figures import learning_curve
from .rated import Rated
from .settings import setting
from .ways import baselines

MOST_NUMBERS = 50_000_000  # in the rows that the test draws
FILES = " or ".join(READERS)


@dataclass(frozen=True)
class OwnTable(Rated):
    """Tasks from a table; the columns to predict from and the classes are found in the data."""

    NAME = "table"
    HELP = "your own table; 'train FILE.csv' is short for 'train table --data FILE.csv'"
    DESCRIPTION = (
        "Meta-train on the tasks of a table, beside first-order MAML and one network for all "
        "tasks; print how they and plain baselines do on tasks held out, and a verdict. Each row "
        "belongs to the task that one "
        "column names, and has a target to be predicted from its other columns. Columns are "
        "standardised by the tasks to train on. A CSV file has a header; an npz file has an array "
        "per column."
    )
    BESIDE = ("first-order", "pretrained")

    seed: int = setting(0, "of initialisation, draws, and the choice of tasks held out")
    iterations: int = 5000
    every: int = setting(250, "outer steps between checkpoints, and between validations")
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
    sep: str = setting("", "between columns of a CSV file (default: found)", metavar="CHAR")
    decimal: str = setting("", "of numbers in a CSV file, . or , (default: found)", metavar="CHAR")
    encoding: str = setting("", "of a CSV file (default: UTF-8)", metavar="NAME")
    dates: tuple[str, ...] = setting(
        (), "features that hold dates: days since 1970", metavar="COLUMN"
    )
    missing: str = setting(
        "error",
        "what becomes of empty cells: drop leaves their rows out, mean puts the mean of the tasks "
        "to train on there, and a column beside it that says so",
        choices=MISSING,
    )
    small: str = setting(
        "drop",
        "what becomes of tasks with fewer than shots + queries rows",
        choices=("drop", "error"),
    )
    held: float = setting(
        0.2, "of the tasks held out for the test, one at least", metavar="SHARE", below=1
    )
    folds: int = setting(
        1, "trainings in which every task is held out once (1: some tasks, once)", metavar="K",
        least=1,
    )  # fmt: skip
    support: str = setting(
        "random", "rows of a task to adapt to, in the file's order", choices=SUPPORTS
    )
    tested: tuple[int, ...] = setting(
        (), "support rows at the test (default: --shots)", metavar="N", least=1
    )
    validation: float = setting(0.1, "of the tasks, for validation", metavar="SHARE", below=1)
    norm: str = setting("none", "of the hidden layers", choices=("none", "batch", "layer"))
    # How the features become numbers, as `columns.kept` says it; none where they are such.
    columns: tuple[Any, ...] = ()
    classes: tuple[Any, ...] = ()  # labels, sorted; none in regression
    # CRC-32 of the columns, so that a run is never continued or tested on other data.
    checksum: int = 0
    fold: int = 1  # of the folds

    @classmethod
    def takes(cls, word: str) -> bool:
        """A file that is read as a table."""
        return is_table(word)

    @property
    def model(self) -> MLP:
        """The network that is trained."""
        norm = None if self.norm == "none" else self.norm
        if self.classes:
            sizes = (len(self.inputs), *self.hidden, len(self.classes))
            return MLP(sizes, self.activation, "cross_entropy", norm)
        return MLP((len(self.inputs), *self.hidden, 1), self.activation, norm=norm)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what the network takes."""
        return columns.names(columns.read(self.columns)) if self.columns else self.features

    def prepared(self) -> Self:
        """The settings with what is to be known of the data; errors before any work."""
        enough(None if self.norm == "none" else self.norm, shots=self.shots, queries=self.queries)
        table = self._read()
        found = dataclasses.replace(
            self,
            data=str(Path(self.data).absolute()),
            features=table.features,
            columns=_kept(table.columns),
            classes=tuple(table.classes.tolist()),
        )
        found = dataclasses.replace(found, columns=_kept(found._filled(table)))
        whole = found._whole(table)
        found = dataclasses.replace(found, checksum=_checksum(whole))
        found.parts(whole)
        found = super(OwnTable, found).prepared()
        with TemporaryDirectory() as folder:  # what cannot be kept is told before the training
            found._shipped(found.start(np.random.default_rng(0)), whole).save(
                Path(folder) / "learner.npz"
            )
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

    def _filled(self, rows: Examples) -> list[Column]:
        """The columns, with the mean of the tasks to train on where something is missing."""
        found = columns.read(self.columns)
        if all(one.fill is None for one in found):
            return found
        whole = self._whole(rows)
        return columns.with_means(found, whole.x[self._split(whole)[0]])

    def _read(self) -> Examples:
        if not self.data:
            raise ValueError(f"where is the data? Name a {FILES} file with --data PATH")
        reading = Reading(
            self.task, self.target, self.features, self.kind, self.dates, self.missing
        )
        how = self.sep, self.decimal, self.encoding
        try:
            at = os.stat(self.data)
            return _examples(self.data, (at.st_mtime_ns, at.st_size, at.st_ino), how, reading)
        except FileNotFoundError as error:
            if not self.checksum:
                return examples(read_table(self.data, *how), reading)  # says what is wanted
            raise FileNotFoundError(
                f"{self.data} is not there; if it has moved, name it with --data PATH"
            ) from error

    def _whole(self, rows: Examples) -> Grouped:
        sizes = self.shots, self.queries, self.tasks, self.small, self.support
        x = columns.filled(rows.x, columns.read(self.columns))
        try:
            return Grouped(x, rows.y, rows.groups, *sizes)
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
        """Which rows are to train on, to validate with, and for the test."""
        names = labels(whole)
        count = len(names)
        test = max(1, round(self.held * count)) if self.folds == 1 else -(-count // self.folds)
        validation = min(math.ceil(self.validation * count), max(0, count - test - 1))
        if test + validation >= count or self.folds > count:
            raise ValueError(
                f"column {self.task!r} of {self.data} has {count} task{'s'[: count > 1]} with rows "
                "enough; want one at least to train on and one to test"
                + f", in each of {self.folds} folds"
                * (self.folds > 1)
            )
        shuffled = np.random.default_rng(self.seed).permutation(names)
        if self.folds > 1:
            parts = np.array_split(shuffled, self.folds)
            held = parts.pop(self.fold - 1)
            rest = np.concatenate(parts[self.fold - 1 :] + parts[: self.fold - 1])
            shuffled, test = np.concatenate([rest[validation:], rest[:validation], held]), len(held)
        ends = [count - test - validation, count - test]
        train, second, third = (np.isin(whole.groups, one) for one in np.split(shuffled, ends))
        return train, second, third

    def scaling(self, whole: Grouped) -> Scaling:
        """By the rows of the tasks to train on."""
        train = only(whole, self._split(whole)[0])
        return standardise(train.x, None if self.classes else train.y, len(self.classes))

    def source(self) -> Grouped:
        """The tasks to train on."""
        return self.parts(self.whole())[0]

    def _choosing(self, whole: Grouped, shots: int) -> Held:
        """Draws of the tasks that choices are made on: for validation, else to train on."""
        train, validation, _ = self.parts(whole)
        source = dataclasses.replace(validation or train, shots=shots)
        return drawn(source, [self.seed, 1], MOST_CHOOSING)

    def validator(self) -> Validator | None:
        """Accuracy, or minus the error in the target's units, always on the same draws."""
        whole = self.whole()
        if self.parts(whole)[1] is None:
            return None
        held, unit = self._choosing(whole, self.shots), self.scaling(whole).y_scale[0]
        steps = 0 if self.learner == "pretrained" else self.steps  # each as it is trained

        def score(vector: Array) -> float:
            error = error_after(self.model, *self.parted(vector), steps, held)
            return float(1 - error if self.classes else -unit * error)

        return score

    @property
    def measure(self) -> str:
        """What validation measures."""
        return "accuracy" if self.classes else f"root mean square error of {self.target}"

    def finished(self, theta: Array) -> Learner:
        """The learner with its columns, classes and units, and α and K as validation chose them."""
        whole, (theta, alpha) = self.whole(), self.parted(theta)
        held = self._choosing(whole, self.shots)
        rate, steps = rate_and_steps(self.model, theta, alpha, held)
        return dataclasses.replace(self._shipped(theta, whole), alpha=rate, steps=steps)

    def _shipped(self, theta: Array, whole: Grouped) -> Learner:
        learner, train = Experiment.finished(self, theta), only(whole, self._split(whole)[0])
        about = learner.provenance | {"features": self.inputs, "range": limits(train.x)}
        if not self.columns:
            del about["columns"]
        return dataclasses.replace(
            learner,
            scaling=self.scaling(whole),
            classes=np.array(self.classes) if self.classes else None,
            provenance=about,
        )

    def about(self) -> str:
        """What is learned, and from which tasks."""
        whole, read = self.whole(), self._read()
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
            ignored = [name for name, one in zip(self.inputs, same, strict=True) if one]
            text += f"\nthe same in all rows to train on, and ignored: {listed(ignored)}"
        text += "".join(f"\n{one}" for one in read.choices)
        return text + "".join(f"\ntaken for what it says: {one}" for one in read.odd)

    def others(self) -> dict[str, Self]:
        """The other folds, by their folders."""
        numbers = range(self.fold + 1, self.folds + 1) if self.fold == 1 else ()
        return {f"fold-{k}": dataclasses.replace(self, fold=k) for k in numbers}

    @classmethod
    def results(cls, trained: Mapping[str, Trained[Self]], seed: int) -> Decision:
        """All ways on the same draws of the tasks held out."""
        first = next(iter(trained.values())).experiment
        parts = list[Part]()
        for fold in range(1, first.folds + 1):
            own = [one for one in trained.values() if one.experiment.fold == fold]
            parts += _parts(own, seed)
        subject, other = LEARNERS[first.learner], LEARNERS["first-order"]
        ours = {subject, f"{subject}, before adapting", other}
        ways = tuple(way for way in parts[0].outcomes if way not in ours)
        return Decision(first.target, first.inputs, subject, other, ways, first.support, parts)

    @classmethod
    def table(cls, results: Decision) -> str:
        """The results as text."""
        return results.text()

    @classmethod
    def tables(cls, results: Decision) -> dict[str, list[Row]]:
        """What is written of them."""
        return results.tables()

    @classmethod
    def figures(
        cls, trained: Mapping[str, Trained[Self]], results: Decision, run: Path, seed: int
    ) -> list[Path]:
        """The learning curve of the first fold, errors, and held-out tasks or reliability."""
        first = {name: one for name, one in trained.items() if one.experiment.fold == 1}
        own = reliability if results.parts[0].classes else held_tasks
        return [learning_curve(first, run), errors(results, run), own(results, run)]


def _parts(own: Sequence[Trained[OwnTable]], seed: int) -> Iterator[Part]:
    """The comparison of the learners of one fold, for each number of support rows."""
    one = own[0].experiment
    whole = one.whole()
    train, validation, test = one.parts(whole)
    ways = _ways(own) | baselines(train, one.model, one.seed)
    choosing = f"{min(MOST_CHOOSING, len(labels(validation or train)))} tasks "
    choosing += "for validation" if validation else "that were trained on"
    for shots in one.tested or (one.shots,):
        source = dataclasses.replace(test, shots=shots)
        count = len(labels(source))
        most = max(1, MOST_NUMBERS // (DRAWS * (shots + one.queries) * len(one.inputs)))
        held = drawn(source, [seed, 2], most)
        some = f"; tested are {most} of {count} tasks, as many as memory is for" * (count > most)
        outcomes = compared(ways, one._choosing(whole, shots), held)
        scaling = one.scaling(whole)
        yield Part(shots, one.fold, held, outcomes, scaling, one.classes, choosing + some)


def _ways(own: Sequence[Trained[OwnTable]]) -> dict[str, Way]:
    """The learners as ways to predict."""
    found = dict[str, Way]()
    for number, one in enumerate(own):
        model, theta, name = one.experiment.model, one.theta, LEARNERS[one.experiment.learner]
        adapts = adapting(model, theta, rates_beside(one.alpha), STEPS)
        if one.experiment.learner == "pretrained":
            found["one network for all"] = as_it_is(model, theta)
            name = "one network for all, fine-tuned"
        found[name] = adapts
        if number == 0 and one.experiment.learner != "pretrained":
            found[f"{name}, before adapting"] = as_it_is(model, theta)
    return found


@lru_cache(maxsize=1)  # a run comes back to its table time and again
def _examples(
    path: str, written: tuple[int, ...], how: tuple[str, ...], reading: Reading
) -> Examples:
    """The examples of a file as it was ``written``: its time, size and number."""
    return examples(read_table(path, *how), reading)


def _kept(found: Sequence[Column]) -> tuple[Any, ...]:
    """How columns become numbers, if they are none."""
    return () if columns.plain(found) else tuple(columns.kept(found))


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
