"""``numaml adapt``: adapt a learner to the examples of one task in a file, and predict others."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..data.csvfile import Csv, read_csv
from ..data.given import cut, differing, listed
from ..experiments.experiment import Experiment
from ..experiments.runs import LEARNER
from ..experiments.settings import settings
from ..files.whole import write_table
from ..learners.learner import Adapted, Learner
from .options import reader
from .say import say

Array = np.ndarray[Any, Any]


def add(commands: Any) -> None:
    """Its options."""
    parser = commands.add_parser(
        "adapt",
        help="adapt a learner to a task of yours and predict",
        description="Adapt a run's learner to the examples of one task and predict others of it. "
        "Files are CSV with a header. Columns are found by the names the learner was trained with; "
        "if it was trained without, the support has those of x, then y. The query needs no y. "
        "With batch normalisation a prediction depends on the other rows of the query.",
    )
    add = parser.add_argument
    add("run_or_file", type=Path, metavar="RUN", help="a folder that train wrote, or a learner.npz")
    add("--support", type=Path, metavar="CSV", required=True, help="examples to adapt to")
    add("--query", type=Path, metavar="CSV", required=True, help="rows to predict")
    steps = reader(settings(Experiment)["steps"])
    add("--steps", type=steps, metavar="K", help="inner steps (default: the learner's)")
    add(
        "--out",
        type=Path,
        metavar="CSV",
        default=Path("predictions.csv"),
        help="file to write: the query's columns and the predictions (default: predictions.csv)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the predictions."""
    path = options.run_or_file
    learner = Learner.load(path / LEARNER if path.is_dir() else path)
    if options.out.exists():
        raise FileExistsError(f"{options.out} is there already; name another file with --out")
    if not options.out.parent.is_dir():
        raise FileNotFoundError(f"{options.out.parent} is not there; make the folder first")
    support, query = read_csv(options.support), read_csv(options.query)
    header, rows = predictions(learner, support, query, options.steps)
    write_table(options.out, header, rows)
    say(f"predictions: {options.out}, {len(query)} row{'s'[: len(query) != 1]}")
    return 0


def predictions(
    learner: Learner, support: Csv, query: Csv, steps: int | None = None
) -> tuple[list[str], Iterator[list[str]]]:
    """The query's rows, in order, with the predictions beside them, as a header and rows.

    Columns are found by the names in the learner's provenance, ``"features"`` and ``"target"`` (or
    several ``"targets"``). Where the latter are not known, they are what else the support has, but
    for the task; where neither are, the support has the columns of x and behind them those of y,
    and the query those of x under the same names. Other columns of the query are not read.

    Raises
    ------
    ValueError
        If a column is missing, a cell is not what it must be, there is more than one task, or with
        batch normalisation no two rows of the support, or of the query, differ.
    FloatingPointError
        If the steps run away.
    """
    _check_one_task(learner.provenance.get("task"), support, query)
    features, targets = _columns(learner, support)
    if not len(support):
        raise ValueError(f"{support.path} has no rows; want one example at least to adapt to")
    x, y, x_query = support.floats(features), _y(learner, support, targets), query.floats(features)
    for file, rows in ((support, x), (query, x_query)):
        differing(rows, learner.model.norm, str(file.path))
    with _naming(support):
        adapted = learner.adapt(x, y, steps)
    with _naming(query):
        predicted = _predicted(adapted, x_query, targets)
    for name in predicted:
        if name in query.header:
            raise ValueError(f"{query.path} has a column {cut(repr(name))} already; rename it")
    cells = (
        [*row, *map(str, new)] for row, *new in zip(query.rows, *predicted.values(), strict=True)
    )
    return [*query.header, *predicted], cells


def _classifies(learner: Learner) -> bool:
    return learner.model.loss == "cross_entropy"


def _columns(learner: Learner, support: Csv) -> tuple[list[str], list[str]]:
    """Names of the columns of x, and of y."""
    n_in, n_out = learner.model.sizes[0], learner.model.sizes[-1]
    n_y = 1 if _classifies(learner) else n_out
    features, targets = _names(learner, "features"), _names(learner, "target")
    if features is None:
        if len(support.header) != n_in + n_y:
            raise ValueError(
                f"{support.path} has {len(support.header)} columns; want {n_in} of x, then {n_y} "
                "of y"
            )
        return support.header[:n_in], support.header[n_in:]
    if targets is None:
        known = {*features, learner.provenance.get("task")}
        targets = [name for name in support.header if name not in known]
    if (len(features), len(targets)) != (n_in, n_y):
        raise ValueError(
            f"the learner names {len(features)} features, and of {support.path} {len(targets)} "
            f"columns ({listed(targets)}) are left for y; want {n_in} and {n_y}"
        )
    return features, targets


def _names(learner: Learner, what: str) -> list[str] | None:
    """Names of columns in the learner's provenance: a list, or several under one of them."""
    said = learner.provenance.get(what)
    said = learner.provenance.get(f"{what}s") if said is None else said
    said = [said] if isinstance(said, str) else said
    if not isinstance(said, list) or not all(isinstance(name, str) for name in said):
        return None
    return said


def _y(learner: Learner, support: Csv, targets: list[str]) -> Array:
    """Numbers (n,) or (n, n_out), or the learner's own labels (n,)."""
    if not _classifies(learner):
        y = support.floats(targets)
        return y[:, 0] if len(targets) == 1 else y
    labels = _labels(learner)
    texts = support.texts(targets[0])
    for row, text in enumerate(texts):
        if text not in labels:
            where = support.cell(row, targets[0])
            raise ValueError(f"{where}: got {cut(repr(text))}, want one of {listed(labels)}")
    return np.array([labels[text] for text in texts])


def _labels(learner: Learner) -> dict[str, Any]:
    """A classifier's labels by what they are in a file."""
    classes = learner.classes
    known = range(learner.model.sizes[-1]) if classes is None else classes.tolist()
    return {str(label): label for label in known}


def _predicted(adapted: Adapted, x: Array, targets: list[str]) -> dict[str, Array]:
    """New columns by name."""
    y = adapted.predict(x)
    columns = y.reshape(len(x), len(targets)).T
    predicted = {f"predicted {name}": y for name, y in zip(targets, columns, strict=True)}
    if _classifies(adapted.learner):
        p = adapted.predict_proba(x).T
        names = [f"probability of {label}" for label in _labels(adapted.learner)]
        predicted |= dict(zip(names, p, strict=True))
    return predicted


def _check_one_task(column: Any, *files: Csv) -> None:
    named = [file for file in files if isinstance(column, str) and column in file.header]
    tasks = sorted({text for file in named for text in file.texts(column)})
    if len(tasks) > 1:
        some = ", ".join(map(cut, tasks[:3])) + ", …" * (len(tasks) > 3)
        paths = " and ".join(str(file.path) for file in named)
        raise ValueError(
            f"in column {cut(repr(column))} of {paths} are {len(tasks)} tasks ({some}); want one: "
            "take the rows of one task"
        )


@contextmanager
def _naming(file: Csv) -> Iterator[None]:
    """Errors that name the file."""
    try:
        yield
    except (ValueError, FloatingPointError) as error:
        raise type(error)(f"{file.path}: {error}") from error
