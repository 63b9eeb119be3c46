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
from .csvfile import LEAST_LIMIT, TIMES, number, read_csv
from .given import WHOLE, beyond, cut, labels, listed, missing
from .zipped import Arrays

Array = np.ndarray[Any, Any]

MOST_COLUMNS = 100_000  # of an npz file, where a column may take no byte


class Table(Protocol):
    """Named columns, with a row for each example."""

    @property
    def path(self) -> Path:
        """The file they are from, for error messages."""

    @property
    def header(self) -> list[str]:
        """Names of the columns, each there once."""

    @property
    def choices(self) -> tuple[str, ...]:
        """What was found out about the file in reading it, in words."""

    def texts(self, column: str, blanks: bool = False) -> list[str]:
        """One column as text, none of it empty; with ``blanks``, empty where there is nothing."""

    def floats(self, columns: Sequence[str], blanks: bool = False) -> Array:
        """Columns of finite numbers, (n, number of columns); errors name the cell.

        With ``blanks``, NaN where there is nothing.
        """

    def number(self, text: str) -> float:
        """The number that a text is, or NaN."""

    def textual(self, columns: Sequence[str]) -> list[str]:
        """Those of the columns that hold text, and no number."""

    def cell(self, row: int, column: str) -> str:
        """Where a cell is, for an error message; ``row`` counts from 0."""


class Columns(NamedTuple):
    """A `Table` of arrays: numbers (n,), or text (n,)."""

    path: Path
    columns: Mapping[str, Array]
    choices: tuple[str, ...] = ()

    @property
    def header(self) -> list[str]:
        """Names of the columns."""
        return list(self.columns)

    def number(self, text: str) -> float:
        """The number that a text is, or NaN."""
        return number(text)

    def textual(self, columns: Sequence[str]) -> list[str]:
        """Those of the columns that are text."""
        return [name for name in columns if self.columns[name].dtype.kind in "UO"]

    def texts(self, column: str, blanks: bool = False) -> list[str]:
        """One column as text.

        Raises
        ------
        ValueError
            If a cell is missing, or labels that differ would be one as text.
        """
        array = self.columns[column]
        if blanks and array.dtype.kind in "UOf":
            return ["" if missing(cell) else str(cell).strip() for cell in array.tolist()]
        try:
            cells = labels(array, cut(column)).tolist()
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

    def floats(self, columns: Sequence[str], blanks: bool = False) -> Array:
        """Columns of numbers, (n, number of columns); with ``blanks``, NaN stays what it is.

        Raises
        ------
        ValueError
            If a column is text, or one of its numbers is not finite or no float can be it.
        """
        found: Array | None = None
        for k, name in enumerate(columns):
            array = self.columns[name]
            self._check(name, array, blanks)
            if found is None:
                found = np.empty((len(array), len(columns)))
            found[:, k] = array
        return np.empty((0, 0)) if found is None else found

    def _check(self, name: str, array: Array, blanks: bool) -> None:
        """Refuse what is no column of numbers."""
        if array.dtype.kind not in "biuf":
            raise ValueError(
                f"{self.path}, {cut(repr(name))}: has dtype {array.dtype}; want numbers"
            )
        good = np.isfinite(array) | (np.isnan(array) if blanks else False)
        if not good.all():
            row = int(np.argmin(good))
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


def read_parquet(path: str | os.PathLike[str]) -> Columns:
    """Read a Parquet file with pyarrow; dates become text.

    Raises
    ------
    FileNotFoundError, ValueError
        If it is not there, is damaged, or would take far more memory than the file.
    ImportError
        If there is no pyarrow.
    """
    path = Path(path)
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            f"{path}: a Parquet file is read with pyarrow; pip install 'numaml[table]', or save "
            "the table as CSV"
        ) from error
    with open_given(path, "a Parquet file") as file:
        size = file.seek(0, os.SEEK_END)
        try:
            opened = parquet.ParquetFile(file)
            about, most = opened.metadata, max(LEAST_LIMIT, TIMES * size)
            if 8 * about.num_rows * about.num_columns > most:
                raise ValueError(f"it has more than {most} bytes as numbers; save it as CSV")
            table = opened.read()
        except Exception as error:  # whatever pyarrow finds in a damaged file
            raise ValueError(f"{path} is not a readable Parquet file: {error!s:.300}") from error
        found = {name: _plain(table.column(name)) for name in dict.fromkeys(table.column_names)}
    return Columns(path, found)


def _plain(column: Any) -> Array:
    """A column of pyarrow's as numbers, NaN where there is none, or as text."""
    array = np.asarray(column.to_numpy(zero_copy_only=False))
    if array.dtype.kind in "biuf":
        return array
    texts = np.empty(len(array), object)
    texts[:] = ["" if missing(one) else str(one) for one in array.tolist()]
    if array.dtype.kind == "M":
        texts[:] = ["" if missing(one) else np.datetime_as_string(one) for one in array]
    return texts


READERS: dict[str, Callable[[str], Table]] = {
    ".csv": read_csv, ".npz": read_npz, ".tsv": read_csv, ".parquet": read_parquet,
}  # fmt: skip


def _ending(path: str) -> str:
    """The end of a file's name, before that of a packed file."""
    name = Path(path).name.lower()
    return Path(name.removesuffix(".gz")).suffix


def is_table(path: str) -> bool:
    """Whether a file's name ends as that of a table does."""
    return _ending(path) in READERS


def read_table(path: str, sep: str = "", decimal: str = "", encoding: str = "") -> Table:
    """Read a table by the reader that `READERS` has for the end of its name, or else as CSV.

    ``sep``, ``decimal`` and ``encoding`` are for CSV, as `read_csv` takes them.

    Raises
    ------
    FileNotFoundError, ValueError
        If it is not there, or not what its name says.
    """
    reader = READERS.get(_ending(path), read_csv)
    if reader is read_csv:
        return read_csv(path, sep, decimal, encoding)
    for name, said in (("sep", sep), ("decimal", decimal), ("encoding", encoding)):
        if said:
            raise ValueError(f"{path}: --{name} is for CSV; leave it out")
    return reader(path)
