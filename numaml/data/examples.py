"""Examples from a table: which columns are x, which is y, and which says whose task a row is."""

import math
import re
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from .csvfile import number
from .given import cut, listed
from .tables import Table

Array = np.ndarray[Any, Any]

KINDS = ("by target", "regression", "classification")
# What people and programs write where they have nothing to write.
NOTHING = {
    "na", "n/a", "nan", "null", "none", "nil", "nat", "<na>", "#n/a", "#na", "?", "??", "-", "--",
    "---", ".", "..", "*", "missing", "unknown", "undefined", "not available",
}  # fmt: skip
LONGEST_LABEL = 1000  # characters, as in a `numaml.Learner`


class Examples(NamedTuple):
    """Columns as `numaml.Grouped` takes them."""

    x: Array  # (n, n_in)
    y: Array  # (n,) numbers, or numbers of classes
    groups: Array  # (n,) text, as Python's strings: one that is long does not widen the others
    features: tuple[str, ...]
    classes: Array  # labels, sorted; none in regression
    odd: tuple[str, ...] = ()  # of tasks and classes, labels that look like none


def examples(
    table: Table, task: str, target: str, features: tuple[str, ...] = (), kind: str = "by target"
) -> Examples:
    """Take examples from a table's columns.

    Parameters
    ----------
    table : Table
    task, target : str
        Columns: which task a row belongs to, and what is to be predicted.
    features : tuple of str
        Columns to predict from; all others if there are none.
    kind : str
        "regression", "classification", or "by target": classification if it is text.

    Raises
    ------
    ValueError
        If the table lacks a column or has no rows, or a cell is empty or not what it must be: with
        the row and the column.
    """
    path, features = table.path, _columns(table, task, target, features)
    tasks = table.texts(task)
    if not tasks:
        raise ValueError(f"{path} has no rows; want a header and a row for each example")
    odd = _odd("task", tasks, f"{path}, column {cut(repr(task))}")
    if _classifies(table, target, kind):
        where, texts = f"{path}, column {cut(repr(target))}", table.texts(target)
        y, classes = _labels(texts, where)
        odd += _odd("class", texts, where)
    else:
        y, classes = table.floats([target])[:, 0], np.empty(0)
    groups = np.empty(len(tasks), object)
    groups[:] = tasks
    return Examples(table.floats(features), y, groups, features, classes, odd)


def _columns(table: Table, task: str, target: str, features: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the columns to predict from."""
    path, header = table.path, table.header
    for option, name in (("task", task), ("target", target)):
        if not name:
            raise ValueError(f"no {option}; name its column with --{option}: {listed(header)}")
    there = set(header)
    for name in (task, target, *features):
        if name not in there:
            raise ValueError(f"{path} has no column {cut(repr(name))}; it has {listed(header)}")
    features = features or tuple(name for name in header if name not in (task, target))
    if not features or len({task, target, *features}) < 2 + len(features):
        raise ValueError(
            f"task is {cut(repr(task))}, target {cut(repr(target))} and the features are "
            f"{listed(features)}; want three kinds of columns, each column once"
        )
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


def _classifies(table: Table, target: str, kind: str) -> bool:
    """Whether the target is classes: by kind, or if no cell of it is a number."""
    if kind != "by target":
        return kind == "classification"
    texts = table.texts(target)
    numbers = [math.isfinite(number(text)) for text in texts]
    if any(numbers) and not all(numbers):
        row = numbers.index(False)
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
