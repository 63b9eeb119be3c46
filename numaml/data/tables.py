"""Tables in files, and which reader reads which file: a new format is a reader and its line here.

A reader takes a path and returns a `Table`. What holds an array for each column is a `Columns`,
what holds text in rows a `csvfile.Csv`; another format may give either of them, or its own.
"""

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from .csvfile import read_csv

Array = np.ndarray[Any, Any]


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
    columns: dict[str, Array]

    @property
    def header(self) -> list[str]:
        """Names of the columns."""
        return list(self.columns)

    def texts(self, column: str) -> list[str]:
        """One column as text."""
        return [str(cell) for cell in self.columns[column].tolist()]

    def cell(self, row: int, column: str) -> str:
        """Where a cell is, for an error message."""
        return f"{self.path}, {column!r}, row {row} (counted from 0)"

    def floats(self, columns: Sequence[str]) -> Array:
        """Columns of numbers, (n, number of columns).

        Raises
        ------
        ValueError
            If a column is text, or one of its numbers is not finite.
        """
        for name in columns:
            array = self.columns[name]
            if array.dtype.kind == "U":
                raise ValueError(f"{self.path}, {name!r}: has dtype {array.dtype}; want numbers")
            if not np.isfinite(array).all():
                row = int(np.argmin(np.isfinite(array)))
                raise ValueError(
                    f"{self.cell(row, name)}: is {array[row]}, want a number: fill it or leave the "
                    "row out"
                )
        return np.column_stack([self.columns[name] for name in columns]).astype(float)


def read_npz(path: str | os.PathLike[str]) -> Columns:
    """Read an npz file with an array per column.

    An array (n, k) is k columns, whose names have the numbers 0 … k − 1 appended.

    Raises
    ------
    FileNotFoundError, ValueError
        If it is not there, is damaged, or its arrays are not columns of one length.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; want an npz file with an array per column")
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # zipfile and NumPy raise a dozen kinds on damaged bytes
        raise ValueError(f"{path} is not a readable npz file: {error}") from error
    columns = dict[str, Array]()
    for name, array in arrays.items():
        if array.ndim not in (1, 2) or array.dtype.kind not in "biufU" or not array.size:
            raise ValueError(
                f"{path}, {name!r}: has shape {array.shape} and dtype {array.dtype}; want (n,) or "
                "(n, k) numbers, or (n,) text"
            )
        if array.ndim == 1:
            columns[name] = array
        else:
            columns |= {f"{name}{k}": column for k, column in enumerate(array.T)}
    if len({len(column) for column in columns.values()}) != 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"
        raise ValueError(f"{path} holds {shapes}; want arrays with a row for each example")
    return Columns(path, columns)


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
