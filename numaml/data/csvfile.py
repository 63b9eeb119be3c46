"""CSV files: a header and rows of text, and columns of numbers whose errors name the cell."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class Csv(NamedTuple):
    """A CSV file as `read_csv` found it."""

    path: Path
    header: list[str]
    rows: list[list[str]]
    numbers: list[int]  # of the rows as a spreadsheet counts them: the header's is 1

    def cell(self, row: int, column: str) -> str:
        """Where a cell is, for an error message; ``row`` counts from 0 in ``rows``."""
        return f"{self.path}, row {self.numbers[row]}, column {column!r}"

    def texts(self, column: str) -> list[str]:
        """One column as it is written.

        Raises
        ------
        ValueError
            If there is no such column, or a cell is empty.
        """
        place = self._place(column)
        for row, cells in enumerate(self.rows):
            if not cells[place]:
                raise ValueError(
                    f"{self.cell(row, column)}: is empty; fill it or leave the row out"
                )
        return [cells[place] for cells in self.rows]

    def floats(self, columns: Sequence[str]) -> Array:
        """Columns of numbers, (n, number of columns).

        Raises
        ------
        ValueError
            If there is no such column, or a cell is empty or no finite number.
        """
        places = [self._place(column) for column in columns]
        found = np.empty((len(self.rows), len(places)))
        for row, cells in enumerate(self.rows):
            for k, place in enumerate(places):
                found[row, k] = number(cells[place])
        if not np.isfinite(found).all():
            row, k = (int(index) for index in np.argwhere(~np.isfinite(found))[0])
            got = self.rows[row][places[k]]
            raise ValueError(
                f"{self.cell(row, columns[k])}: got {got!r}, want a number"
                if got
                else f"{self.cell(row, columns[k])}: is empty, want a number"
            )
        return found

    def _place(self, column: str) -> int:
        if column not in self.header:
            raise ValueError(
                f"{self.path} has no column {column!r}; it has {', '.join(self.header)}"
            )
        return self.header.index(column)


def number(text: str) -> float:
    """The number that a cell holds, or NaN if it holds none."""
    try:
        return float(text) if "_" not in text else math.nan
    except ValueError:
        return math.nan


def read_csv(path: str | os.PathLike[str]) -> Csv:
    """Read a CSV file with a header: UTF-8, commas, quotes where needed; blank lines are left out.

    Blanks around a cell are dropped.

    Raises
    ------
    FileNotFoundError, ValueError
        If it is not there, not UTF-8, has no header, a column twice or without a name, quotes that
        do not match, or a row that is longer or shorter than the header.
    """
    import csv

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; want a CSV file with a header")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            records = [[cell.strip() for cell in record] for record in reader]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a CSV file in UTF-8: {error}; save it as one") from error
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}, is not CSV: {error}") from error
    numbered = [(n, record) for n, record in enumerate(records, 1) if record not in ([], [""])]
    if not numbered:
        raise ValueError(f"{path} is empty; want a header with the names of the columns")
    (_, header), *rows = numbered
    if len(header) == 1 and {";", "\t"} & set(header[0]):
        raise ValueError(f"{path} has one column, {header[0]!r}; want commas between the columns")
    _check_header(path, header)
    for number, record in rows:
        if len(record) != len(header):
            raise ValueError(
                f"{path}, row {number}: got {len(record)} cells, want the header's {len(header)}"
            )
    return Csv(path, header, [record for _, record in rows], [number for number, _ in rows])


def _check_header(path: Path, header: list[str]) -> None:
    for place, name in enumerate(header):
        if not name:
            raise ValueError(f"{path}: column {place + 1} has no name; name it in the header")
        if name in header[:place]:
            raise ValueError(f"{path}: column {name!r} is there twice; rename one of them")
