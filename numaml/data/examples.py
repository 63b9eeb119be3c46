"""Examples from a table: which columns are x, which is y, and which says whose task a row is."""

import math
import re
from typing import Any, NamedTuple

import numpy as np

from .csvfile import number
from .tables import Table

Array = np.ndarray[Any, Any]

KINDS = ("by target", "regression", "classification")


class Examples(NamedTuple):
    """Columns as `numaml.Grouped` takes them."""

    x: Array  # (n, n_in)
    y: Array  # (n,) numbers, or numbers of classes
    groups: Array  # (n,) text
    features: tuple[str, ...]
    classes: Array  # labels, sorted; none in regression


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
    path, header = table.path, table.header
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
    groups = np.array(table.texts(task), str)
    if not len(groups):
        raise ValueError(f"{path} has no rows; want a header and a row for each example")
    if _classifies(table, target, kind):
        y, classes = _labels(table.texts(target), f"{path}, column {target!r}")
    else:
        y, classes = table.floats([target])[:, 0], np.empty(0)
    return Examples(table.floats(features), y, groups, features, classes)


def _classifies(table: Table, target: str, kind: str) -> bool:
    """Whether the target is classes: by kind, or if no cell of it is a number."""
    if kind != "by target":
        return kind == "classification"
    texts = table.texts(target)
    numbers = [math.isfinite(number(text)) for text in texts]
    if any(numbers) and not all(numbers):
        row = numbers.index(False)
        raise ValueError(
            f"{table.cell(row, target)}: got {texts[row]!r}, and {sum(numbers)} of {len(texts)} "
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
