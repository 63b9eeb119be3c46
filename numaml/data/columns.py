"""Columns of a table as columns of numbers: as they are, one for each category, dates as days."""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .given import cut, listed
from .tables import Table

Array = np.ndarray[Any, Any]

KINDS = ("number", "category", "date")
MOST_TEXTS, MOST_CATEGORIES = 200, 100  # columns of text; categories of one, a column each
EPOCH = datetime.datetime(1970, 1, 1)  # of times without a zone


@dataclass(frozen=True)
class Column:
    """How a column of a table becomes columns of x.

    Parameters
    ----------
    name : str
    kind : str
        "number"; "category", which becomes a column for each of its categories, 1 in rows of it
        and 0 in others; "date", which becomes days since 1970.
    categories : tuple of str
    fill : float, optional
        What stands where there is no number or date; then a column that says so is added. Without
        it there must be one.
    """

    name: str
    kind: str = "number"
    categories: tuple[str, ...] = ()
    fill: float | None = None

    @property
    def names(self) -> list[str]:
        """Names of the columns of x."""
        if self.kind == "category":
            return [f"{self.name} = {one}" for one in self.categories]
        return [self.name] + [f"{self.name} is missing"] * (self.fill is not None)

    def encoded(self, table: Table, values: Array | None = None) -> Array:
        """The columns of x, (n, width); ``values`` are the numbers of the column, if known."""
        if self.kind == "category":
            return self._categories(table)
        if values is None:
            values = table.floats([self.name], blanks=True)[:, 0]
        lost = np.isnan(values)
        if self.fill is not None:
            return np.stack([np.where(lost, self.fill, values), lost], 1)
        if lost.any():
            where = table.cell(int(np.argmax(lost)), self.name)
            raise ValueError(f"{where}: is empty, want a number; in training none was missing")
        return values[:, None]

    def _categories(self, table: Table) -> Array:
        texts = table.texts(self.name, blanks=self.fill is not None)
        for row, text in enumerate(texts):
            if text not in self.categories and text:
                raise ValueError(
                    f"{table.cell(row, self.name)}: got {cut(repr(text))}, want one of "
                    f"{listed(self.categories)}, which training knew"
                )
        known = np.array(texts, object)[:, None] == np.array(self.categories, object)
        return np.asarray(known, float)


def plain(columns: Sequence[Column]) -> bool:
    """Whether all are numbers as they are."""
    return all(one == Column(one.name) for one in columns)


def names(columns: Sequence[Column]) -> tuple[str, ...]:
    """Names of the columns of x."""
    return tuple(name for one in columns for name in one.names)


def encoded(table: Table, columns: Sequence[Column]) -> Array:
    """x, (n, width), of columns as in training.

    Raises
    ------
    ValueError
        If a cell is not what it must be: with its place.
    """
    if plain(columns):
        return table.floats([one.name for one in columns])
    values = _values(table, columns)
    return np.concatenate([one.encoded(table, values.get(one.name)) for one in columns], 1)


def _values(table: Table, columns: Sequence[Column]) -> dict[str, Array]:
    """Numbers and days by column, NaN where there is nothing; the file is looked through once."""
    numbers = [one.name for one in columns if one.kind == "number"]
    values = dict(zip(numbers, table.floats(numbers, blanks=True).T, strict=False))
    for one in columns:
        if one.kind == "date":
            cells = enumerate(table.texts(one.name, blanks=True))
            values[one.name] = np.array([_days(text, row, one.name, table) for row, text in cells])
    return values


def found(
    table: Table, features: Sequence[str], dates: Sequence[str], blanks: bool
) -> tuple[list[Column], dict[str, Array]]:
    """The kinds of the columns; and which cells hold nothing, (n,) each, where some may.

    Such columns have a fill, of 0.

    Raises
    ------
    ValueError
        If a column of text has more categories than could be told apart by rows.
    """
    texts = [name for name in table.textual(features) if name not in dates]
    if len(texts) + len(dates) > MOST_TEXTS:
        raise ValueError(
            f"{table.path} has {len(texts)} columns of text, {listed(texts)}; want at most "
            f"{MOST_TEXTS}, dates included: name the features (--features)"
        )
    kinds = dict.fromkeys(features, "number") | dict.fromkeys(texts, "category")
    kinds |= dict.fromkeys(dates, "date")
    columns, lost = [Column(name, kinds[name]) for name in features], dict[str, Array]()
    if blanks:
        lost = {name: np.isnan(one) for name, one in _values(table, columns).items()}
    for k, one in enumerate(columns):
        if one.kind == "category":
            cells = table.texts(one.name, blanks=blanks)
            columns[k] = Column(one.name, one.kind, _known(table, one.name, cells))
            lost[one.name] = np.array([not text for text in cells])
    lost = {name: one for name, one in lost.items() if one.any()}
    return [replace(one, fill=0.0) if one.name in lost else one for one in columns], lost


def _known(table: Table, name: str, cells: list[str]) -> tuple[str, ...]:
    """The categories of a column."""
    texts = [text for text in cells if text]
    known = sorted(set(texts))
    if len(known) > MOST_CATEGORIES or 2 * len(known) > len(texts):
        raise ValueError(
            f"{table.path}, column {cut(repr(name))} has {len(known)} different texts in "
            f"{len(texts)} rows, e.g. {cut(repr(texts[0]))}; want numbers, or at most "
            f"{MOST_CATEGORIES} categories with several rows each: name the features without it "
            "(--features), or with --dates if it holds dates"
        )
    return tuple(known)


def _days(text: str, row: int, name: str, table: Table) -> float:
    if not text:
        return np.nan
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(
            f"{table.cell(row, name)}: got {cut(repr(text))}, want a date or time such as "
            "2026-11-26 or 2026-11-26T08:30"
        ) from error
    if time.tzinfo is not None:
        time = time.astimezone(datetime.UTC).replace(tzinfo=None)
    return (time - EPOCH) / datetime.timedelta(days=1)


def filled(x: Array, columns: Sequence[Column]) -> Array:
    """x with the columns' fills where something is missing."""
    x = x.copy()
    for one, place in _may_be_missing(columns):
        x[x[:, place + 1] == 1, place] = one.fill
    return x


def with_means(columns: Sequence[Column], x: Array) -> list[Column]:
    """The columns with the means of their numbers in x, rows to train on, as fills."""
    fills = {}
    for one, place in _may_be_missing(columns):
        known = x[x[:, place + 1] == 0, place]
        fills[one.name] = float(known.mean()) if len(known) else 0.0
    return [replace(one, fill=fills.get(one.name, one.fill)) for one in columns]


def _may_be_missing(columns: Sequence[Column]) -> Iterator[tuple[Column, int]]:
    """Numbers and dates with a fill, and their places in x; the next one says what is missing."""
    place = 0
    for one in columns:
        if one.kind != "category" and one.fill is not None:
            yield one, place
        place += len(one.names)


def kept(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """As JSON can hold them."""
    return [{"name": one.name, "kind": one.kind, "categories": list(one.categories),
             "fill": one.fill} for one in columns]  # fmt: skip


def read(said: Any) -> list[Column]:
    """What `kept` gave.

    Raises
    ------
    ValueError
        If it is nothing that `kept` gives.
    """
    try:
        columns = [_read(one) for one in said]
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"the columns are {cut(str(said))}, which are none") from error
    many = sum(one.kind != "number" for one in columns) > MOST_TEXTS
    if many or len({one.name for one in columns}) < len(columns):
        raise ValueError(f"the columns are {listed(one.name for one in columns)}; want each once")
    return columns


def _read(said: Mapping[str, Any]) -> Column:
    fill = said["fill"] if said["fill"] is None else float(said["fill"])
    one = Column(str(said["name"]), said["kind"], tuple(map(str, said["categories"])), fill)
    if one.kind not in KINDS or bool(one.categories) != (one.kind == "category"):
        raise KeyError(one.kind)
    return one
