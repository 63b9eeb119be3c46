"""Tasks from a table: rows of numbers in groups, one group (a patient, a shop, …) one task."""

from __future__ import annotations  # numpy.random is named, not loaded: 8 ms of the import

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..network.settings import as_count, check_name
from . import given
from .fewshot import distinct, split
from .scaling import Scaling
from .tasks import Batch, Tasks

Array = np.ndarray[Any, Any]

CLASSES = 2**64  # integers that are classes are not converted
FIRST = 8  # columns by which rows are put in order, if that is enough
SUPPORTS = ("random", "first")
TINY = 1e-150  # whose square is hardly a number
IGNORED = float(np.finfo(np.float64).max)  # the scale of a column of x that never varied


@dataclass(frozen=True, eq=False)
class Grouped:
    """Source of tasks from rows in groups: called with a Generator, it draws fresh `Tasks`.

    A task is a group: ``shots`` of its rows, drawn without replacement, are the support set and
    ``queries`` others the query set. The groups of one call differ, all being equally likely; only
    where ``tasks`` exceeds the number of groups are they drawn with replacement.

    Parameters
    ----------
    x : (n, n_in) array
        Rows of finite numbers. Those of floating point keep their dtype, but for float16, which
        becomes float32; integers, up to 2^53, become float64.
    y : (n,) or (n, n_out) array
        Numbers, as in x; integers of shape (n,) are classes, for "cross_entropy".
    groups : (n,) array
        The group of each row, as labels of one kind that NumPy can sort. Those that differ, by
        whatever, are different groups.
    shots, queries : int
        Support and query rows per task.
    tasks : int
        Number T of tasks per call.
    small : str
        What becomes of groups with fewer than shots + queries rows: "drop" leaves them out,
        "error" raises.
    support : str
        Which rows are the support: "random", drawn anew for each task, or "first", those that come
        first in the table, as in a time series, while query rows are drawn from the later ones.

    Attributes
    ----------
    dropped : int
        Number of groups left out.

    Raises
    ------
    TypeError, ValueError
        If x, y and groups are not as said, a cell is masked, a label is missing, a number is below
        1, or no group is large enough.

    Notes
    -----
    x, y and groups are kept without the rows of groups left out, sorted by group, then by their
    numbers from the first column on: what is drawn depends on which rows there are, not on their
    order, unless the support is "first": then the rows of a group stay in their order.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> rng = np.random.default_rng(0)
    >>> patients = np.array(["ada", "bob", "cyd", "dan"])[rng.integers(0, 4, 90)]
    >>> x, y = rng.normal(size=(90, 3)), rng.normal(size=90)
    >>> tasks = numaml.Grouped(x, y, patients, shots=5, queries=8, tasks=2)(rng)
    >>> tasks.support.x.shape, tasks.query.y.shape
    ((2, 5, 3), (2, 8, 1))
    """

    x: Array
    y: Array
    groups: Array
    shots: int = 5
    queries: int = 5
    tasks: int = 25
    small: str = "drop"
    support: str = "random"
    dropped: int = field(init=False)
    # Rows of the group number g: starts[g] … starts[g] + counts[g] − 1.
    _starts: Array = field(init=False, repr=False)
    _counts: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("shots", "queries", "tasks"):
            as_count(name, getattr(self, name))
        check_name("small", self.small, ("drop", "error"))
        check_name("support", self.support, SUPPORTS)
        given.same_rows(self.x, y=self.y, groups=self.groups)
        x = _x(self.x)
        y, groups = _y(self.y, len(x)), given.labels(self.groups, "groups")
        if groups.shape != (len(x),):
            raise ValueError(
                f"groups has shape {groups.shape} and x {len(x)} rows; want one label for each"
            )
        labels, numbers = given.numbered(groups, "groups")
        counts = np.bincount(numbers)
        large = self._large(labels, counts)
        rows = np.argsort(numbers, kind="stable")
        if self.support == "random":
            rows = _sorted(numbers, x, y.reshape(len(x), -1))
        rows = rows[large[numbers[rows]]]
        starts = np.cumsum(counts[large]) - counts[large]
        own = {"dropped": int((~large).sum()), "_starts": starts, "_counts": counts[large]}
        own |= {"x": x[rows], "y": y[rows], "groups": groups[rows]}
        for name, value in own.items():
            object.__setattr__(self, name, value)

    def _large(self, labels: Array, counts: Array) -> Array:
        """Which groups have rows enough."""
        wanted, fewest = self.shots + self.queries, counts.argmin()
        large = counts >= wanted
        needs = f"shots = {self.shots} and queries = {self.queries} need {wanted}"
        if not large.any():
            raise ValueError(
                f"groups has {len(labels)} labels with at most {counts.max()} rows each; {needs}: "
                "ask for fewer"
            )
        if self.small == "error" and not large.all():
            raise ValueError(
                f"group {labels[fewest]} has {counts[fewest]} rows; {needs}: ask for fewer, leave "
                'the group out, or let small be "drop"'
            )
        return large

    def __call__(self, rng: np.random.Generator) -> Tasks:
        groups = rng.choice(len(self._counts), self.tasks, replace=self.tasks > len(self._counts))
        counts, starts = self._counts[groups], self._starts[groups][:, None]
        if self.support == "first":
            support = starts + np.arange(self.shots)
            query = starts + self.shots + distinct(rng, counts - self.shots, self.queries)
        else:
            rows = starts + distinct(rng, counts, self.shots + self.queries)
            support, query = np.split(rows, [self.shots], axis=1)
        return Tasks(Batch(self.x[support], self.y[support]), Batch(self.x[query], self.y[query]))


def split_groups(groups: Any, train: int, validation: int, seed: int) -> tuple[Array, Array, Array]:
    """Split the rows of a table by group: no group has rows in two parts.

    Parameters
    ----------
    groups : (n,) array
        The group of each row, as labels of any dtype that NumPy can sort. Which group goes where
        depends on which labels there are, not on the order or number of rows.
    train, validation : int or float
        Number of groups for training, at least 1, and for validation, or their shares of all
        groups, rounded, such as 0.6 and 0.2; the others are the test's.
    seed : int
        Of the split.

    Returns
    -------
    train, validation, test : (n,) bool arrays
        Each row is in one of them.

    Raises
    ------
    TypeError, ValueError
        If labels are missing or cannot be sorted, or no group is left for the test.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> groups = np.array(["ada", "bob", "cyd", "dan", "eve", "bob", "ada"])
    >>> train, validation, test = numaml.split_groups(groups, train=3, validation=1, seed=0)
    >>> len(set(groups[train])), len(set(groups[validation])), len(set(groups[test]))
    (3, 1, 1)
    """
    groups = given.labels(groups, "groups")
    known, numbers = given.numbered(groups, "groups")
    parts = split(np.arange(len(known)), train, validation, seed, ("group", "groups"))
    first, second, third = (np.isin(numbers, part) for part in parts)
    return first, second, third


def standardise(x: Array, y: Array | None = None, n_out: int = 1) -> Scaling:
    """Mean and standard deviation of every column, for a `Learner`; of training rows, that is.

    Parameters
    ----------
    x : (n, n_in) array
    y : (n, n_out) array, optional
        Left out for classes: then means are 0 and scales 1.
    n_out : int
        Number of classes, where y is left out.

    Returns
    -------
    scaling : Scaling
        The scale of a column that is the same everywhere is 1 in y. In x it is the largest float:
        in standard units the column is 0 whatever it holds, since nothing was learned of it.

    Raises
    ------
    ValueError
        If the numbers of a column are too large to be squared.

    Examples
    --------
    >>> import numpy as np
    >>> from numaml.data.grouped import standardise
    >>> standardise(np.array([[1.0, 7.0], [3.0, 7.0]])).x_scale
    array([1.00000000e+000, 1.79769313e+308])
    """
    y_mean, y_scale = (np.zeros(n_out), np.ones(n_out)) if y is None else _moments(y, "y")
    return Scaling(*_moments(x, "x", IGNORED), y_mean, y_scale)


def standardised(source: Grouped, scaling: Scaling | None, dtype: Any = np.float64) -> Grouped:
    """The same rows in standard units, numbers y too, as the network takes them."""
    x, y = source.x, source.y
    with np.errstate(under="ignore"):  # a number too small to matter
        if scaling is not None:
            x = (x - scaling.x_mean) / scaling.x_scale
            y = y if y.ndim == 1 else (y - scaling.y_mean) / scaling.y_scale
        return replace(source, x=x.astype(dtype), y=y if y.ndim == 1 else y.astype(dtype))


def only(source: Grouped, rows: Array, **changes: Any) -> Grouped:
    """A source of the tasks in some of its rows."""
    x, y, groups = source.x[rows], source.y[rows], source.groups[rows]
    return replace(source, x=x, y=y, groups=groups, **changes)


def _moments(columns: Array, name: str, constant: float = 1.0) -> tuple[Array, Array]:
    columns = columns.astype(np.float64)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        mean, scale = columns.mean(0), columns.std(0)
    if not np.isfinite(mean + scale).all():
        column = int(np.argmin(np.isfinite(mean + scale)))
        raise ValueError(
            f"column {column} of {name} has numbers up to {abs(columns[:, column]).max():.3g}; "
            "want smaller ones: use another unit"
        )
    # The deviation of equal numbers may be their mean's rounding; squares of tiny ones are 0.
    varies = columns.min(0) < columns.max(0)
    if (tiny := varies & (scale < TINY)).any():
        with np.errstate(under="ignore"):
            away = columns[:, tiny] - mean[tiny]
            unit = abs(away).max(0)
            scale[tiny] = unit * (away / unit).std(0)
        varies &= scale > 0
    return mean, np.where(varies, scale, constant)


def _sorted(numbers: Array, x: Array, y: Array) -> Array:
    """The order by group, then by the columns of x and y from the first on.

    Where the first FIRST columns tell all rows apart, the others are not looked at.
    """
    first = x[:, :FIRST]
    rows = np.lexsort([*first.T[::-1], numbers])
    same = (first[rows[1:]] == first[rows[:-1]]).all(1) & (numbers[rows[1:]] == numbers[rows[:-1]])
    return np.lexsort([*y.T[::-1], *x.T[::-1], numbers]) if same.any() else rows


def _y(y: Any, n: int) -> Array:
    """Classes (n,), or numbers (n, n_out)."""
    y = given.numbers(y, "y", whole=CLASSES)
    if y.ndim not in (1, 2) or len(y) != n or 0 in y.shape:
        raise ValueError(f"y has shape {y.shape} and x {n} rows; want (n,), or (n, n_out)")
    if y.ndim == 1:
        return y if y.dtype.kind in "iu" else y[:, None] * 1.0
    return _floats(given.numbers(y, "y"))


def _x(x: Any) -> Array:
    x = given.numbers(x, "x")
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(
            f"x has shape {x.shape}; want (n, n_in), e.g. x[:, None]: rows are examples"
        )
    return _floats(x)


def _floats(array: Array) -> Array:
    return array if array.dtype.kind == "f" else array.astype(np.float64)
