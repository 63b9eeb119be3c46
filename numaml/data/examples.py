"""Examples from a table: which columns are x, which is y, and which says whose task a row is."""

import math
import re
from collections import Counter
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .columns import Column, encoded, found, names
from .csvfile import NOTHING
from .given import cut, listed
from .tables import Table

Array = np.ndarray[Any, Any]

KINDS = ("by target", "regression", "classification")
MISSING = ("error", "drop", "mean")
LONGEST_LABEL = 1000  # characters, as in a `numaml.Learner`


class Reading(NamedTuple):
    """How a table is read: which of its columns are what, and what becomes of missing cells.

    Parameters
    ----------
    task, target : str
        Columns: which task a row belongs to, and what is to be predicted.
    features : tuple of str
        Columns to predict from; all others if there are none.
    kind : str
        "regression", "classification", or "by target": classification if it is text.
    dates : tuple of str
        Features that hold dates, which become days since 1970.
    missing : str
        What becomes of cells that hold nothing: "error"; "drop" leaves their rows out; "mean" puts
        a number in place of those in features, to be said later, and a column beside it that tells.
    """

    task: str
    target: str
    features: tuple[str, ...] = ()
    kind: str = "by target"
    dates: tuple[str, ...] = ()
    missing: str = "error"


class Examples(NamedTuple):
    """Columns as `numaml.Grouped` takes them."""

    x: Array  # (n, n_in)
    y: Array  # (n,) numbers, or numbers of classes
    groups: Array  # (n,) text, as Python's strings: one that is long does not widen the others
    features: tuple[str, ...]
    classes: Array  # labels, sorted; none in regression
    odd: tuple[str, ...] = ()  # of tasks and classes, labels that look like none
    columns: tuple[Column, ...] = ()  # how the features became x
    choices: tuple[str, ...] = ()  # that were made in reading the table, in words


def examples(table: Table, reading: Reading) -> Examples:
    """Take examples from a table's columns.

    Raises
    ------
    ValueError
        If the table lacks a column or has no rows, or a cell is empty or not what it must be: with
        the row and the column.
    """
    task, target = reading.task, reading.target
    path, features = table.path, _columns(table, reading)
    drops = reading.missing == "drop"
    tasks = table.texts(task, blanks=drops)
    if not tasks:
        raise ValueError(f"{path} has no rows; want a header and a row for each example")
    y, cells = _targets(table, target, _classifies(table, target, reading.kind, drops), drops)
    columns, lost = found(table, features, reading.dates, reading.missing != "error")
    x, said = encoded(table, columns), _one_hot(columns)
    rows = np.arange(len(tasks))
    if drops:
        gone = np.array([not one for one in tasks])
        lost = {task: gone, target: np.isnan(y)} | lost
        x, columns = _without_indicators(x, columns)
        rows = np.flatnonzero(~np.any([*lost.values()], 0))
    said += _counted(lost, len(tasks) - len(rows), reading.missing)
    if not len(rows):
        raise ValueError(f"{path} has no row in which nothing is missing; want some: fill it")
    where = f"{path}, column {cut(repr(task))}"
    tasks, y, classes = [tasks[row] for row in rows], y[rows], np.empty(0)
    odd = _odd("task", tasks, where)
    if cells:
        where, texts = f"{path}, column {cut(repr(target))}", [cells[row] for row in rows]
        y, classes = _labels(texts, where)
        odd += _odd("class", texts, where)
    elif reading.kind == "by target" and np.isin(y, (0, 1)).all():
        said.append(f"{target} is 0 or 1, taken for numbers: --kind classification, if for classes")
    kept, choices = tuple(columns), (*table.choices, *said)
    return Examples(x[rows], y, _objects(tasks), features, classes, odd, kept, choices)


def _objects(texts: list[str]) -> Array:
    """Text as Python's strings."""
    array = np.empty(len(texts), object)
    array[:] = texts
    return array


def _targets(table: Table, target: str, classifies: bool, blanks: bool) -> tuple[Array, list[str]]:
    """Numbers, NaN where there is none; or of classes zeros, and their labels as text."""
    if not classifies:
        return table.floats([target], blanks=blanks)[:, 0], []
    cells = table.texts(target, blanks=blanks)
    return np.array([0.0 if text else np.nan for text in cells]), cells


def _without_indicators(x: Array, columns: list[Column]) -> tuple[Array, list[Column]]:
    """Without the columns that say that something is missing, and may be missing no more."""
    kept = [replace(one, fill=None) for one in columns]
    there = [name in names(kept) for name in names(columns)]
    return x[:, there], kept


def _one_hot(columns: list[Column]) -> list[str]:
    """What is said of text and dates among the features."""
    said = {"category": [], "date": []}  # type: dict[str, list[str]]
    for one in columns:
        if one.kind in said:
            said[one.kind].append(f"{one.name} ({listed(one.categories)})" if one.categories
                                  else one.name)  # fmt: skip
    return [f"text, a column for each category: {listed(said['category'])}"] * bool(
        said["category"]
    ) + [f"dates, as days since 1970: {listed(said['date'])}"] * bool(said["date"])


def _counted(lost: dict[str, Array], rows: int, missing: str) -> list[str]:
    """What is said of missing cells."""
    counts = [f"{name} in {one.sum()} rows" for name, one in lost.items() if one.any()]
    if not counts:
        return []
    then = f"{rows} rows left out" if missing == "drop" else (
        "the mean of the tasks to train on in their place, and a column that says so"
    )  # fmt: skip
    return [f"missing: {listed(counts)}; {then}"]


def _columns(table: Table, reading: Reading) -> tuple[str, ...]:
    """Names of the columns to predict from."""
    task, target, features, *_ = reading
    path, header = table.path, table.header
    for option, name in (("task", task), ("target", target)):
        if not name:
            raise ValueError(f"no {option}; name its column with --{option}: {listed(header)}")
    there = set(header)
    for name in (task, target, *features, *reading.dates):
        if name not in there:
            raise ValueError(f"{path} has no column {cut(repr(name))}; it has {listed(header)}")
    features = features or tuple(name for name in header if name not in (task, target))
    if not features or len({task, target, *features}) < 2 + len(features):
        raise ValueError(
            f"task is {cut(repr(task))}, target {cut(repr(target))} and the features are "
            f"{listed(features)}; want three kinds of columns, each column once"
        )
    if strange := set(reading.dates) - set(features):
        raise ValueError(f"dates has {listed(sorted(strange))}; want features: {listed(features)}")
    return features


def _odd(what: str, texts: list[str], where: str) -> tuple[str, ...]:
    """What is to be said of labels that look as if there were none; too long ones are refused."""
    counts = Counter(texts)
    longest = max(counts, key=len)
    if len(longest) > LONGEST_LABEL:
        raise ValueError(
            f"{where}: {cut(repr(longest))} has {len(longest)} characters; want at most "
            f"{LONGEST_LABEL} in the name of a {what}"
        )
    return tuple(
        f"{text!r} as a {what} ({counts[text]} row{'s'[: counts[text] > 1]})"
        for text in sorted(counts)
        if text.lower() in NOTHING
    )


def _classifies(table: Table, target: str, kind: str, blanks: bool) -> bool:
    """Whether the target is classes: by kind, or if no cell of it is a number."""
    if kind != "by target":
        return kind == "classification"
    texts = table.texts(target, blanks=blanks)
    numbers = [math.isfinite(table.number(text)) for text in texts]
    wrong = [not one and bool(text) for one, text in zip(numbers, texts, strict=True)]
    if any(numbers) and any(wrong):
        row = wrong.index(True)
        raise ValueError(
            f"{table.cell(row, target)}: got {cut(repr(texts[row]))}, and {sum(numbers)} of "
            f"{len(texts)} cells are numbers; mend it, or say --kind classification"
        )
    return not any(numbers)


def _labels(texts: list[str], where: str) -> tuple[Array, Array]:
    """Numbers of the classes, and their labels: integers if all are written as such, else text."""
    known = set(texts)
    if len(known) < 2:
        raise ValueError(f"{where} has one class, {cut(texts[0])}; want two or more")
    if 2 * len(known) > len(texts):
        raise ValueError(
            f"{where} has {len(known)} different labels in {len(texts)} rows, e.g. "
            f"{cut(repr(texts[0]))}; want classes with several rows each, or numbers, with a "
            "decimal point"
        )
    whole = all(re.fullmatch(r"-?[0-9]{1,18}", text) and str(int(text)) == text for text in known)
    classes = sorted(map(int, known) if whole else known)
    numbers = {str(label): number for number, label in enumerate(classes)}
    return np.array([numbers[text] for text in texts]), np.array(classes)
