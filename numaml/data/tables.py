"""Tables in files, and which reader reads which file: a new format is a reader and its line here.

A reader takes a path and returns a `Table`. What holds an array for each column is a `Columns`,
what holds text in rows a `csvfile.Csv`; another format may give either of them, or its own.
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..files.own import open_given
from .csvfile import read_csv
from .given import WHOLE, beyond, cut, labels, listed
from .zipped import Arrays

Array = np.ndarray[Any, Any]

# Bytes that an array may take, as numbers of 64 bits: a file costs what it weighs.
LEAST_LIMIT, TIMES = 16_000_000, 10
MOST_COLUMNS = 100_000  # of an npz file, where a column may take no byte


class Table(Protocol):
    """Named columns, with a row for each example."""

    @property
    def path(self) -> Path:
        """The file they are from, for error messages."""

    @property
    def header(self) -> list[str]:
        """Names of the columns, each there once."""

    def texts(self, column: str) -> list[str]:
        """One column as text, none of it empty."""

    def floats(self, columns: Sequence[str]) -> Array:
        """Columns of finite numbers, (n, number of columns); errors name the cell."""

    def cell(self, row: int, column: str) -> str:
        """Where a cell is, for an error message; ``row`` counts from 0."""


class Columns(NamedTuple):
    """A `Table` of arrays: numbers (n,), or text (n,)."""

    path: Path
    columns: Mapping[str, Array]

    @property
    def header(self) -> list[str]:
        """Names of the columns."""
        return list(self.columns)

    def texts(self, column: str) -> list[str]:
        """One column as text.

        Raises
        ------
        ValueError
            If a cell is missing, or labels that differ would be one as text.
        """
        try:
            cells = labels(self.columns[column], cut(column)).tolist()
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.path}, {error} (rows are counted from 0)") from error
        spelt = {cell: str(cell).strip() for cell in cells}
        if len(set(spelt.values())) < len(spelt):
            raise ValueError(
                f"{self.path}, {cut(repr(column))}: has labels that differ in blanks alone; write "
                "them alike"
            )
        return [spelt[cell] for cell in cells]

    def cell(self, row: int, column: str) -> str:
        """Where a cell is, for an error message."""
        return f"{self.path}, {cut(repr(column))}, row {row} (counted from 0)"

    def floats(self, columns: Sequence[str]) -> Array:
        """Columns of numbers, (n, number of columns).

        Raises
        ------
        ValueError
            If a column is text, or one of its numbers is not finite or no float can be it.
        """
        found: Array | None = None
        for k, name in enumerate(columns):
            array = self.columns[name]
            self._check(name, array)
            if found is None:
                found = np.empty((len(array), len(columns)))
            found[:, k] = array
        return np.empty((0, 0)) if found is None else found

    def _check(self, name: str, array: Array) -> None:
        """Refuse what is no column of numbers."""
        if array.dtype.kind not in "biuf":
            raise ValueError(
                f"{self.path}, {cut(repr(name))}: has dtype {array.dtype}; want numbers"
            )
        if not np.isfinite(array).all():
            row = int(np.argmin(np.isfinite(array)))
            raise ValueError(
                f"{self.cell(row, name)}: is {array[row]}, want a number: fill it or leave the "
                "row out"
            )
        if beyond(array, WHOLE):
            row = int(np.argmax((array > WHOLE) | (array < -WHOLE)))
            raise ValueError(
                f"{self.cell(row, name)}: is {array[row]}, and floats tell integers up to {WHOLE} "
                "apart; leave the column out if it only names things"
            )


class _Members(Mapping[str, Array]):
    """The columns of an ``.npz`` file by name; an array is read when one of its is asked for."""

    def __init__(self, path: Path, arrays: Arrays, most: int) -> None:
        self._path, self._arrays, self._most = path, arrays, most
        self._places: dict[str, tuple[str, int | None]] = {}
        self._last: tuple[str, Array] | None = None
        for name in arrays:
            shape = arrays.layout(name).shape
            own = {name: None} if len(shape) == 1 else {f"{name}{k}": k for k in range(shape[1])}
            for column, k in own.items():
                if column in self._places:
                    other = self._places[column][0]
                    raise ValueError(
                        f"{path}: {cut(repr(other))} and {cut(repr(name))} both give a "
                        f"column {cut(repr(column))}; rename one of them"
                    )
                self._places[column] = name, k

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, column: str) -> Array:
        name, k = self._places[column]
        if self._last is None or self._last[0] != name:  # columns of one array follow each other
            try:
                self._last = name, self._read(name)
            except ValueError as error:
                raise ValueError(f"{self._path}: {error}") from error
        return self._last[1] if k is None else self._last[1][:, k]

    def _read(self, name: str) -> Array:
        shape = self._arrays.layout(name).shape
        if 8 * math.prod(shape) > self._most:
            raise ValueError(
                f"{cut(repr(name))} has shape {cut(str(shape))}, {8 * math.prod(shape)} bytes as "
                f"numbers of 64 bits; want at most {self._most} from a file of this size: save it "
                "with numpy.savez, uncompressed"
            )
        return self._arrays[name]


def read_npz(path: str | os.PathLike[str]) -> Columns:
    """Read an npz file with an array per column; an array that no one asks for is not read.

    An array (n, k) is k columns, whose names have the numbers 0 … k − 1 appended.

    Raises
    ------
    FileNotFoundError, ValueError
        If it is not there, is damaged, holds anything but arrays, its arrays are not columns of one
        length, or two columns have one name.
    """
    path = Path(path)
    with open_given(path, "an npz file with an array per column") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        most = max(LEAST_LIMIT, TIMES * size)
        try:
            arrays = Arrays(file, most)
        except ValueError as error:
            raise ValueError(f"{path} is not a readable npz file: {error}") from error
    layouts = {name: arrays.layout(name) for name in arrays}
    count = sum(one.shape[1] if len(one.shape) == 2 else 1 for one in layouts.values())
    if count > MOST_COLUMNS:
        raise ValueError(f"{path} has {cut(str(count))} columns; want at most {MOST_COLUMNS}")
    for name, (shape, dtype, *_) in layouts.items():
        if len(shape) not in (1, 2) or dtype.kind not in "biufU" or 0 in (*shape, dtype.itemsize):
            raise ValueError(
                f"{path}, {cut(repr(name))}: has shape {cut(str(shape))} and dtype {dtype}; want "
                "(n,) or (n, k) numbers, or (n,) text"
            )
    if len({shape[0] for shape, *_ in layouts.values()}) != 1:
        shapes = listed(f"{name} {one.shape}" for name, one in layouts.items()) or "nothing"
        raise ValueError(f"{path} holds {shapes}; want arrays with a row for each example")
    return Columns(path, _Members(path, arrays, most))


READERS: dict[str, Callable[[str], Table]] = {".csv": read_csv, ".npz": read_npz}


def is_table(path: str) -> bool:
    """Whether a file's name ends as that of a table does."""
    return Path(path).suffix.lower() in READERS


def read_table(path: str) -> Table:
    """Read a table by the reader that `READERS` has for the end of its name, or else as CSV.

    Raises
    ------
    FileNotFoundError, ValueError
        If it is not there, or not what its name says.
    """
    return READERS.get(Path(path).suffix.lower(), read_csv)(path)
