"""CSV files: a header and rows of text, and columns of numbers whose errors name the cell."""

import csv
import io
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..files.own import open_given
from .given import WHOLE, cut, listed

Array = np.ndarray[Any, Any]

DIGITS = re.compile(r"[+-]?[0-9]+")
SAFE = 15  # digits of which any number fits into a float


@dataclass(frozen=True, eq=False)
class Csv:
    """A CSV file as `read_csv` found it.

    It is kept as the bytes that it is, and every look at a column goes through them: a table takes
    no more memory than its file and the columns asked for.
    """

    path: Path
    places: dict[str, int]  # of the columns, by their names
    content: bytes
    count: int  # of the rows

    @property
    def header(self) -> list[str]:
        """Names of the columns."""
        return list(self.places)

    def __len__(self) -> int:
        return self.count

    @property
    def rows(self) -> Iterator[list[str]]:
        """The rows, one after another, without the blanks around a cell."""
        return ([cell.strip() for cell in cells] for _, cells in self._records())

    def cell(self, row: int, column: str) -> str:
        """Where a cell is, for an error message; ``row`` counts from 0 in ``rows``."""
        number = next(n for k, (n, _) in enumerate(self._records()) if k == row)
        return self._where(number, column)

    def texts(self, column: str) -> list[str]:
        """One column as it is written, without the blanks around a cell.

        Raises
        ------
        ValueError
            If there is no such column, a cell is empty, or two differ in blanks alone.
        """
        place, spelt, texts = self._place(column), dict[str, tuple[str, str]](), list[str]()
        for number, cells in self._records():
            text = cells[place].strip()
            if not text:
                where = self._where(number, column)
                raise ValueError(f"{where}: is empty; fill it or leave the row out")
            text, raw = spelt.setdefault(text, (text, cells[place]))
            if raw != cells[place]:
                raise ValueError(
                    f"{self._where(number, column)}: got {cut(repr(cells[place]))}, and above "
                    f"{cut(repr(raw))}, which differ in blanks alone; write them alike"
                )
            texts.append(text)
        return texts

    def floats(self, columns: Sequence[str]) -> Array:
        """Columns of numbers, (n, number of columns).

        Raises
        ------
        ValueError
            If there is no such column, or a cell is empty or no finite number.
        """
        places = [self._place(column) for column in columns]
        found = np.empty((self.count, len(places)))
        for row, (line, cells) in enumerate(self._records()):
            found[row] = numbers = [number(cells[place]) for place in places]
            if not all(map(math.isfinite, numbers)):
                wrong = [math.isfinite(one) for one in numbers].index(False)
                where, got = self._where(line, columns[wrong]), cells[places[wrong]].strip()
                raise ValueError(f"{where}: {_no_number(got)}")
        return found

    def _place(self, column: str) -> int:
        if column not in self.places:
            raise ValueError(
                f"{self.path} has no column {cut(repr(column))}; it has {listed(self.places)}"
            )
        return self.places[column]

    def _where(self, number: int, column: str) -> str:
        return f"{self.path}, row {number}, column {cut(repr(column))}"

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """(number as a spreadsheet counts, cells) of every row."""
        records = _records(self.path, self.content)
        next(records)
        return records


def number(text: str) -> float:
    """The number that a cell holds, or NaN if it holds none that a float can be."""
    try:
        value = float(text) if "_" not in text else math.nan
    except ValueError:
        return math.nan
    return math.nan if len(text) > SAFE and _loses(text.strip(), value) else value


def _loses(text: str, value: float) -> bool:
    """Whether it is an integer that becomes another one as a float."""
    if not math.isfinite(value) or not DIGITS.fullmatch(text):
        return False
    return abs(value) >= WHOLE and int(text) != int(value)


def _no_number(got: str) -> str:
    """What is wrong with a cell that is no number."""
    if not got:
        return "is empty, want a number"
    if DIGITS.fullmatch(got):
        return (
            f"got {cut(got)}, an integer that no float holds; want a number up to {WHOLE}: leave "
            "the column out if it only names things"
        )
    return f"got {cut(repr(got))}, want a number"


def read_csv(path: str | os.PathLike[str]) -> Csv:
    """Read a CSV file with a header: UTF-8, commas, quotes where needed; blank lines are left out.

    Blanks around a cell are dropped.

    Raises
    ------
    FileNotFoundError, ValueError
        If it is not there, not UTF-8, has no header, a column twice or without a name, quotes that
        do not match, or a row that is longer or shorter than the header.
    """
    path = Path(path)
    with open_given(path, "a CSV file with a header") as file:
        content = file.read()
    if b"\0" in content:
        raise ValueError(f"{path} is not a CSV file in UTF-8: it holds zero bytes; save it as one")
    records = _records(path, content)
    _, header = next(records, (0, None))
    if header is None:
        raise ValueError(f"{path} is empty; want a header with the names of the columns")
    places, count = _header(path, header), 0
    for count, (number, record) in enumerate(records, 1):  # noqa: B007  # the last one counts
        if len(record) != len(places):
            raise ValueError(
                f"{path}, row {number}: got {len(record)} cells, want the header's {len(places)}"
            )
    return Csv(path, places, content, count)


def _records(path: Path, content: bytes) -> Iterator[tuple[int, list[str]]]:
    """(number, cells) of every record, the header's first; none of blank lines."""
    reader = csv.reader(
        io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline=""), strict=True
    )
    try:
        for number, record in enumerate(reader, 1):
            if len(record) > 1 or (record and record[0].strip()):
                yield number, record
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a CSV file in UTF-8: {error}; save it as one") from error
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}, is not CSV: {error}") from error


def _header(path: Path, header: list[str]) -> dict[str, int]:
    """The place of each column."""
    if len(header) == 1 and {";", "\t"} & set(header[0].strip()):
        raise ValueError(
            f"{path} has one column, {cut(repr(header[0]))}; want commas between the columns"
        )
    places = dict[str, int]()
    for place, name in enumerate(map(str.strip, header)):
        if not name:
            raise ValueError(
                f"{path}: column {place + 1} has no name; name it in the header"
                + "; if pandas wrote it there, leave it out: to_csv(…, index=False)" * (place == 0)
            )
        if places.setdefault(name, place) != place:
            raise ValueError(f"{path}: column {cut(repr(name))} is there twice; rename one of them")
    return places
