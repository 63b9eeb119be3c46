"""``numaml adapt``: adapt a learner to the examples of tasks in a file, and predict others."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..data import columns
from ..data.csvfile import Csv, read_csv
from ..data.given import cut, differing, listed
from ..experiments import runs
from ..experiments.experiment import Experiment
from ..experiments.settings import settings
from ..files.own import check_own
from ..files.whole import write_table
from ..learning.learner import Adapted, Learner
from .options import reader
from .say import say

Array = np.ndarray[Any, Any]
SHOWN = 20  # tasks whose errors are printed


def add(commands: Any) -> None:
    """Its options."""
    parser = commands.add_parser(
        "adapt",
        help="adapt a learner to tasks of yours and predict",
        description="Adapt a run's learner to the examples of a task, or with --task of many, and "
        "predict others. Files are CSV with a header. Columns are found by the names the learner "
        "was trained with; if it was trained without, the support has those of x, then y. The "
        "query needs no y; where it has one, its errors are printed. With batch normalisation a "
        "prediction depends on the other rows of the query.",
    )
    add = parser.add_argument
    add("run_or_file", type=Path, metavar="RUN", help="a folder that train wrote, or a learner.npz")
    add("--support", type=Path, metavar="CSV", required=True, help="examples to adapt to")
    add("--query", type=Path, metavar="CSV", required=True, help="rows to predict")
    add("--task", metavar="COLUMN", help="in both files, which task a row belongs to, if of many")
    steps = reader(settings(Experiment)["steps"])
    add("--steps", type=steps, metavar="K", help="inner steps (default: the learner's)")
    add("--sep", default="", metavar="CHAR", help="between columns (default: found)")
    add("--decimal", default="", metavar="CHAR", help="of numbers, . or , (default: found)")
    add("--encoding", default="", metavar="NAME", help="of the files (default: UTF-8)")
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
    learner = _learner(options.run_or_file)
    if options.out.exists():
        raise FileExistsError(f"{options.out} is there already; name another file with --out")
    if not options.out.parent.is_dir():
        raise FileNotFoundError(f"{options.out.parent} is not there; make the folder first")
    how = options.sep, options.decimal, options.encoding
    support, query = (read_csv(path, *how) for path in (options.support, options.query))
    header, rows, said = predictions(learner, support, query, options.steps, options.task)
    write_table(options.out, header, rows)
    for file in (support, query):
        for choice in file.choices:
            say(f"{file.path}: {choice}")
    for line in said:
        say(line)
    say(f"predictions: {options.out}, {len(query)} row{'s'[: len(query) != 1]}")
    return 0


def _learner(path: Path) -> Learner:
    file = path / runs.LEARNER if path.is_dir() else path
    if path.is_dir() and not file.exists() and runs.is_run(path):
        raise FileNotFoundError(f"{file} is not there yet; {runs.how_to_finish(path)}")
    if path.is_dir():
        check_own(file)  # a name in a folder that others may have prepared is not followed
    return Learner.load(file)


class _Task(NamedTuple):
    """The rows of one task in both files."""

    name: str
    support: Array
    query: Array


class _Data(NamedTuple):
    """What both files hold."""

    x: Array
    y: Array
    x_query: Array
    true: Array | None  # of the query, where it is known
    targets: list[str]


def predictions(
    learner: Learner, support: Csv, query: Csv, steps: int | None = None, task: str | None = None
) -> tuple[list[str], Iterator[list[str]], list[str]]:
    """The query's rows with the predictions beside them: a header, rows, and what is to be said.

    Columns are found by the names in the learner's provenance, ``"features"`` and ``"target"`` (or
    several ``"targets"``). Where the latter are not known, they are what else the support has, but
    for the task; where neither are, the support has the columns of x and behind them those of y,
    and the query those of x under the same names. Other columns of the query are not read.

    Raises
    ------
    ValueError
        If a column is missing, a cell is not what it must be, there is more than one task and no
        ``task``, a task of the query has no support, or with batch normalisation no two rows of the
        support, or of the query, differ.
    FloatingPointError
        If the steps run away.
    """
    features, targets = _columns(learner, support, task)
    tasks = _tasks(learner, support, query, task)
    if not len(support):
        raise ValueError(f"{support.path} has no rows; want one example at least to adapt to")
    data = _Data(
        _x(learner, support, features), _y(learner, support, targets),
        _x(learner, query, features), _true(learner, query, targets), targets,
    )  # fmt: skip
    said = [f"α {cut(str(learner.alpha))}, {learner.steps if steps is None else steps} inner steps"]
    said += _outside(learner, support.path, data.x) + _outside(learner, query.path, data.x_query)
    found: dict[str, Array] = {}
    for number, one in enumerate(tasks):
        adapted, new = _adapted(learner, data, one, support, query, steps)
        for name, values in new.items():
            found.setdefault(name, np.empty(len(query), values.dtype))[one.query] = values
        if number < SHOWN:
            said.append(_fit(adapted, one, data) + _query_error(new, one, data))
    said += [f"… {len(tasks)} tasks in all"] * (len(tasks) > SHOWN)
    for name in found:
        if name in query.header:
            raise ValueError(f"{query.path} has a column {cut(repr(name))} already; rename it")
    rows = ([*row, *map(str, new)] for row, *new in zip(query.rows, *found.values(), strict=True))
    return [*query.header, *found], rows, said


def _adapted(
    learner: Learner, data: _Data, task: _Task, support: Csv, query: Csv, steps: int | None
) -> tuple[Adapted, dict[str, Array]]:
    """The learner after its steps on one task, and the new columns for its query rows."""
    x, x_query = data.x[task.support], data.x_query[task.query]
    for file, rows in ((support, x), (query, x_query)):
        differing(rows, learner.model.norm, str(file.path))
    with _naming(support):
        adapted = learner.adapt(x, data.y[task.support], steps)
    with _naming(query):
        return adapted, _predicted(adapted, x_query, data.targets)


def _x(learner: Learner, file: Csv, features: list[str]) -> Array:
    said = learner.provenance.get("columns")
    return file.floats(features) if said is None else columns.encoded(file, columns.read(said))


def _true(learner: Learner, query: Csv, targets: list[str]) -> Array | None:
    """The query's own target, NaN or "" where there is none; None where it has no such column."""
    if len(targets) != 1 or targets[0] not in query.header:
        return None
    if _classifies(learner):
        return np.array(query.texts(targets[0], blanks=True), object)
    return query.floats(targets, blanks=True)[:, 0]


def _fit(adapted: Adapted, task: _Task, data: _Data) -> str:
    """How well the support is met before and after."""
    learner, rows = adapted.learner, task.support
    before = Adapted(learner, learner.theta, adapted.flat)
    errors = [_error(one.predict(data.x[rows]), data.y[rows]) for one in (before, adapted)]
    what = "right" if _classifies(learner) else "root mean square error"
    return f"{task.name}: {what} on {len(rows)} support rows {errors[0]} before, {errors[1]} after"


def _query_error(new: dict[str, Array], task: _Task, data: _Data) -> str:
    """How well the query is met, where its target is known."""
    if data.true is None:
        return ""
    values, predicted = data.true[task.query], new[f"predicted {data.targets[0]}"]
    there = values != "" if values.dtype.kind == "O" else ~np.isnan(values)
    if not there.any():
        return ""
    predicted = predicted.astype(str) if values.dtype.kind == "O" else predicted
    return f"; on {there.sum()} query rows {_error(predicted[there], values[there])}"


def _error(predicted: Array, true: Array) -> str:
    """The share that is right in %, or the root mean square error."""
    if true.dtype.kind in "fc":
        return f"{np.sqrt(np.mean((predicted - true) ** 2)):.4g}"
    return f"{100 * np.mean(predicted == true):.1f} %"


def _outside(learner: Learner, path: Path, x: Array) -> list[str]:
    """Warnings of numbers beyond those of training."""
    said, names = learner.provenance.get("range"), learner.provenance.get("features")
    try:
        least, most = (np.asarray(said[end], np.float64) for end in ("least", "most"))  # type: ignore[index]  # whatever stands there
    except (TypeError, ValueError, KeyError):
        return []
    if least.shape != x.shape[1:] or most.shape != x.shape[1:] or not isinstance(names, list):
        return []
    counts = ((x < least) | (x > most)).sum(0)
    some = [
        f"{cut(str(names[k]))} ({counts[k]} rows, training had {least[k]:g} … {most[k]:g})"
        for k in np.flatnonzero(counts)
        if k < len(names)
    ]
    return [f"warning: {path} goes beyond training: {listed(some)}"] * bool(some)


def _tasks(learner: Learner, support: Csv, query: Csv, task: str | None) -> list[_Task]:
    """One task, or those that the column names in both files, sorted."""
    if task is None:
        _check_one_task(learner.provenance.get("task"), support, query)
        return [_Task("support", np.arange(len(support)), np.arange(len(query)))]
    known, wanted = (np.array(file.texts(task), object) for file in (support, query))
    if strange := sorted(set(wanted) - set(known)):
        raise ValueError(
            f"{query.path} has rows of {listed(strange)}, of which {support.path} has none; want "
            "examples of every task: add some, or leave these rows out"
        )
    return [_Task(name, np.flatnonzero(known == name), np.flatnonzero(wanted == name))
            for name in sorted(set(known))]  # fmt: skip


def _classifies(learner: Learner) -> bool:
    return learner.model.loss == "cross_entropy"


def _columns(learner: Learner, support: Csv, task: str | None) -> tuple[list[str], list[str]]:
    """Names of the columns of x, and of y."""
    n_in, n_out = learner.model.sizes[0], learner.model.sizes[-1]
    n_y = 1 if _classifies(learner) else n_out
    features, targets = _names(learner, "features"), _names(learner, "target")
    header = [name for name in support.header if name != task]
    if features is None:
        if len(header) != n_in + n_y:
            raise ValueError(
                f"{support.path} has {len(header)} columns; want {n_in} of x, then {n_y} of y"
            )
        return header[:n_in], header[n_in:]
    if targets is None:
        known = {*features, learner.provenance.get("task")}
        targets = [name for name in header if name not in known]
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
            f"take the rows of one task, or adapt to each with --task {cut(column)}"
        )


@contextmanager
def _naming(file: Csv) -> Iterator[None]:
    """Errors that name the file."""
    try:
        yield
    except (ValueError, FloatingPointError) as error:
        raise type(error)(f"{file.path}: {error}") from error
