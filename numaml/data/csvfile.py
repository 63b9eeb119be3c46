"""CSV files: a header and rows of text, and columns of numbers whose errors name the cell."""

import csv
import gzip
import io
import math
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..files.own import open_given
from .given import WHOLE, cut, listed

Array = np.ndarray[Any, Any]

DIGITS = re.compile(r"[+-]?[0-9]+")
SAFE = 15  # digits of which any number fits into a float
SEPARATORS = (",", ";", "\t", "|")
BY_NAME = {"tab": "\t", "\\t": "\t", "semicolon": ";", "comma": ","}
LOOKED_AT = 100  # rows, to find out what decimals look like
COMMA, POINT = (re.compile(rf"[+-]?[0-9]+{mark}[0-9]+") for mark in (",", r"\."))
GZIP, UTF16 = b"\x1f\x8b", (b"\xff\xfe", b"\xfe\xff")
LEAST_LIMIT, TIMES = 16_000_000, 10  # bytes that an archive may unpack to: a file costs its weight
# What people and programs write where they have nothing to write.
NOTHING = {
    "na", "n/a", "nan", "null", "none", "nil", "nat", "<na>", "#n/a", "#na", "?", "??", "-", "--",
    "---", ".", "..", "*", "missing", "unknown", "undefined", "not available",
}  # fmt: skip


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
    sep: str = ","
    decimal: str = "."
    encoding: str = "utf-8-sig"
    choices: tuple[str, ...] = ()  # that were made in reading it, in words

    @property
    def header(self) -> list[str]:
        """Names of the columns."""
        return list(self.places)

    def __len__(self) -> int:
        return self.count

    @property
    def rows(self) -> Iterator[list[str]]:
        """The rows, one after another, without the blanks around a cell."""
        places = self.places.values()
        return ([cells[place].strip() for place in places] for _, cells in self._records())

    def cell(self, row: int, column: str) -> str:
        """Where a cell is, for an error message; ``row`` counts from 0 in ``rows``."""
        number = next(n for k, (n, _) in enumerate(self._records()) if k == row)
        return self._where(number, column)

    def texts(self, column: str, blanks: bool = False) -> list[str]:
        """One column as it is written, without the blanks around a cell.

        With ``blanks``, what says that there is nothing is an empty text.

        Raises
        ------
        ValueError
            If there is no such column, a cell is empty, or two differ in blanks alone.
        """
        place, spelt, texts = self._place(column), dict[str, tuple[str, str]](), list[str]()
        for number, cells in self._records():
            text = cells[place].strip()
            if blanks and nothing(text):
                texts.append("")
                continue
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

    def floats(self, columns: Sequence[str], blanks: bool = False) -> Array:
        """Columns of numbers, (n, number of columns); with ``blanks``, NaN where there is nothing.

        Raises
        ------
        ValueError
            If there is no such column, or a cell is empty or no finite number.
        """
        places = [self._place(column) for column in columns]
        found = np.empty((self.count, len(places)))
        for row, (line, cells) in enumerate(self._records()):
            found[row] = numbers = [self.number(cells[place]) for place in places]
            if not all(map(math.isfinite, numbers)):
                for column, place, one in zip(columns, places, numbers, strict=True):
                    if not math.isfinite(one) and not (blanks and nothing(cells[place].strip())):
                        where, got = self._where(line, column), cells[place].strip()
                        raise ValueError(f"{where}: {_no_number(got, self.decimal)}")
        return found

    def number(self, text: str) -> float:
        """The number that a cell holds, or NaN."""
        if self.decimal == ",":
            text = "" if "." in text else text.replace(",", ".")
        return number(text)

    def textual(self, columns: Sequence[str]) -> list[str]:
        """Those of the columns that hold text, and no number."""
        places = dict(enumerate(self._place(column) for column in columns))
        texts = set[int]()
        for _, cells in self._records():
            for k, place in list(places.items()):
                if math.isfinite(self.number(cells[place])):
                    del places[k]  # at its first number
                elif not nothing(cells[place].strip()):
                    texts.add(k)
        return [columns[k] for k in places if k in texts]

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
        records = _records(self.path, self.content, self.sep, self.encoding)
        next(records)
        return records


def nothing(text: str) -> bool:
    """Whether a cell says that there is nothing in it."""
    return not text or text.lower() in NOTHING


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


def _no_number(got: str, decimal: str = ".") -> str:
    """What is wrong with a cell that is no number."""
    if not got:
        return "is empty, want a number"
    if DIGITS.fullmatch(got):
        return (
            f"got {cut(got)}, an integer that no float holds; want a number up to {WHOLE}: leave "
            "the column out if it only names things"
        )
    text = f"got {cut(repr(got))}, want a number"
    if re.fullmatch(r"[+-]?[0-9.,]+", got):
        other = "." if decimal == "," else ","
        text += f": take out what parts thousands, or say --decimal {other} if that is the decimal"
    return text


def read_csv(
    path: str | os.PathLike[str], sep: str = "", decimal: str = "", encoding: str = ""
) -> Csv:
    """Read a CSV file with a header, packed with gzip or not; blank lines are left out.

    Blanks around a cell are dropped, and so is a first column without a name, as pandas and R
    write an index.

    Parameters
    ----------
    path : path
    sep : str
        What stands between columns; found by the header and the first row if it is not said: a
        comma, a semicolon, a tab or a bar.
    decimal : str
        "." or ","; a comma if it is not said, columns are parted by something else, and numbers
        are written with commas alone.
    encoding : str
        UTF-8 if it is not said, or UTF-16 if the file begins as that does.

    Raises
    ------
    FileNotFoundError, ValueError
        If it is not there, not in the encoding, has no header, a column twice or without a name,
        quotes that do not match, or a row that is longer or shorter than the header.
    """
    path = Path(path)
    with open_given(path, "a CSV file with a header") as file:
        content, choices = _unpacked(path, file.read())
    encoding, found = _encoding(path, content, encoding)
    choices += found
    sep, found = _separator(path, content, BY_NAME.get(sep, sep), encoding)
    choices += found
    records = _records(path, content, sep, encoding)
    _, header = next(records, (0, None))
    if header is None:
        raise ValueError(f"{path} is empty; want a header with the names of the columns")
    places, found = _header(path, header)
    choices, count = choices + found, 0
    for count, (number, record) in enumerate(records, 1):  # noqa: B007  # the last one counts
        if len(record) != len(header):
            raise ValueError(
                f"{path}, row {number}: got {len(record)} cells, want the header's {len(header)}"
                + f"; columns are parted by {sep!r}: say another with --sep" * (len(record) == 1)
            )
    decimal, found = _decimal(path, content, sep, decimal, encoding)
    return Csv(path, places, content, count, sep, decimal, encoding, choices + found)


Chosen = tuple[str, tuple[str, ...]]  # what, and in which words it is said


def _unpacked(path: Path, content: bytes) -> tuple[bytes, tuple[str, ...]]:
    """What is in an archive of gzip's; a file that is none, as it is."""
    if not content.startswith(GZIP):
        return content, ()
    most = max(LEAST_LIMIT, TIMES * len(content))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
            content = packed.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a readable gzip file: {error}; copy it again") from error
    if len(content) > most:
        raise ValueError(f"{path} unpacks to more than {most} bytes; unpack it first, with gunzip")
    return content, ()


def _encoding(path: Path, content: bytes, said: str) -> Chosen:
    if said:
        try:
            "".encode(said)
        except LookupError as error:
            raise ValueError(
                f"encoding is {said!r:.80}; want one of Python's, e.g. utf-8, latin-1, cp1252"
            ) from error
        return said, ()
    if content.startswith(UTF16):
        return "utf-16", ("read as UTF-16, as which it begins",)
    if b"\0" in content:
        raise ValueError(f"{path} is not a CSV file in UTF-8: it holds zero bytes; save it as one")
    return "utf-8-sig", ()


def _separator(path: Path, content: bytes, said: str, encoding: str) -> Chosen:
    """What parts the most columns of the header, and as many of the first row."""
    if said:
        if len(said) != 1 or said in '"\r\n':
            raise ValueError(f"sep is {said!r:.80}; want one character, or tab")
        return said, ()
    counts = dict.fromkeys(SEPARATORS, 0)
    for sep in SEPARATORS:
        try:
            widths = [len(cells) for _, cells in islice(_records(path, content, sep, encoding), 2)]
        except ValueError:
            continue
        counts[sep] = widths[0] if len(set(widths)) == 1 else 0
    best = max(SEPARATORS, key=counts.__getitem__)
    best = best if counts[best] > 1 else ","
    return best, (f"columns are parted by {best!r}",) * (best != ",")


def _decimal(path: Path, content: bytes, sep: str, said: str, encoding: str) -> Chosen:
    if said not in ("", ".", ","):
        raise ValueError(f"decimal is {said!r:.80}; want . or ,")
    if said or sep == ",":
        return said or ".", ()
    rows = islice(_records(path, content, sep, encoding), 1, LOOKED_AT)
    cells = [cell.strip() for _, row in rows for cell in row]
    if any(map(COMMA.fullmatch, cells)) and not any(map(POINT.fullmatch, cells)):
        return ",", ("numbers have decimal commas",)
    return ".", ()


def _records(
    path: Path, content: bytes, sep: str, encoding: str
) -> Iterator[tuple[int, list[str]]]:
    """(number, cells) of every record, the header's first; none of blank lines."""
    reader = csv.reader(
        io.TextIOWrapper(io.BytesIO(content), encoding=encoding, newline=""),
        strict=True, delimiter=sep,
    )  # fmt: skip
    try:
        for number, record in enumerate(reader, 1):
            if len(record) > 1 or (record and record[0].strip()):
                yield number, record
    except UnicodeError as error:
        what = "UTF-8" if encoding == "utf-8-sig" else encoding
        raise ValueError(
            f"{path} is not a CSV file in {what}: {error}; save it as one, or say which it is "
            "with --encoding, e.g. latin-1 or cp1252"
        ) from error
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}, is not CSV: {error}") from error


def _header(path: Path, header: list[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """The place of each column."""
    places, left_out = dict[str, int](), tuple[str, ...]()
    for place, name in enumerate(map(str.strip, header)):
        if not name and place == 0 and len(header) > 1:
            left_out = (
                "its first column has no name, as an index that was written, and is left out",
            )
            continue
        if not name:
            raise ValueError(f"{path}: column {place + 1} has no name; name it in the header")
        if places.setdefault(name, place) != place:
            raise ValueError(f"{path}: column {cut(repr(name))} is there twice; rename one of them")
    return places, left_out
