"""Columns of a table as numbers: categories, dates, missing cells, files of other formats."""

import csv

import numpy as np
import pytest

from numaml.data import columns
from numaml.data.columns import Column
from numaml.data.examples import Reading, examples
from numaml.data.tables import is_table, read_table

HEADER = ("who", "sex", "age", "day", "y")


def rows():
    """Twelve rows of three people; in the third one age, in the sixth one sex is not known."""
    found = [
        [f"p{k % 3}", "fm"[k % 2], 20.0 + k, f"2026-01-{k + 1:02}", k * 1.5] for k in range(12)
    ]
    found[2][2] = found[5][1] = ""
    return found


@pytest.fixture
def table(tmp_path):
    def written(lines, **how):
        with (tmp_path / "t.csv").open("w", newline="") as file:
            csv.writer(file).writerows([HEADER, *lines])
        return read_table(str(tmp_path / "t.csv"), **how)

    return written


def test_categories_dates_and_means(table):
    reading = Reading("who", "y", dates=("day",), missing="mean")
    found = examples(table(rows()), reading)
    names = ["sex = f", "sex = m", "age", "age is missing", "day"]
    assert list(columns.names(found.columns)) == names
    assert found.x[0].tolist() == [1, 0, 20, 0, 20454]  # days from 1970-01-01 to 2026-01-01
    assert found.x[2].tolist() == [1, 0, 0, 1, 20456]
    assert found.x[5].tolist() == [0, 0, 25, 0, 20459]
    assert found.choices == (
        "text, a column for each category: sex (f, m)",
        "dates, as days since 1970: day",
        "missing: age in 1 rows, sex in 1 rows; the mean of the tasks to train on in their place, "
        "and a column that says so",
    )
    with_means = columns.with_means(found.columns, found.x[:4])
    assert with_means[1] == Column("age", fill=(20 + 21 + 23) / 3)
    assert columns.filled(found.x, with_means)[2, 2] == (20 + 21 + 23) / 3
    assert columns.read(columns.kept(with_means)) == with_means
    assert (columns.encoded(table(rows()), with_means) == columns.filled(found.x, with_means)).all()


def test_rows_with_something_missing_are_left_out_and_counted(table):
    lines = rows()
    lines[7][0], lines[8][4] = "NA", "?"
    found = examples(table(lines), Reading("who", "y", dates=("day",), missing="drop"))
    assert found.x.shape == (8, 4)
    assert found.y.tolist() == [1.5 * k for k in range(12) if k not in (2, 5, 7, 8)]
    assert found.choices[-1].endswith("; 4 rows left out")
    for part in ("who in 1 rows", "y in 1 rows", "age in 1 rows", "sex in 1 rows"):
        assert part in found.choices[-1]
    assert all(one.fill is None for one in found.columns)
    classes = examples(table(lines), Reading("who", "sex", ("age",), missing="drop"))
    assert (len(classes.y), classes.classes.tolist()) == (9, ["f", "m"])


REFUSED = {
    "a cell without --missing": ({}, (2, 2, ""), "row 4, column 'age': is empty, want a number"),
    "a category without --missing": ({}, (5, 1, ""), "row 7, column 'sex': is empty"),
    "no target to fill": ({"missing": "mean"}, (3, 4, ""), "row 5, column 'y': is empty"),
    "no date": ({}, (4, 3, "26.1.2026"), "column 'day': got '26.1.2026', want a date or time such"),
    "a typing error": ({}, (4, 2, "3o"), "row 6, column 'age': got '3o', want a number"),
    "dates that are no features": ({"dates": ("y",)}, (0, 0, "p0"), "dates has y; want features"),
    "dates that are not there": ({"dates": ("z",)}, (0, 0, "p0"), "has no column 'z'"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_is_refused(table, how):
    changes, (row, column, cell), match = REFUSED[how]
    lines = rows()
    lines[2][2], lines[5][1], lines[row][column] = 22.0, "f", cell
    reading = {"dates": ("day",)} | changes
    with pytest.raises(ValueError, match=match):
        examples(table(lines), Reading("who", "y", **reading))


def test_text_that_hardly_repeats_is_no_category(table):
    with pytest.raises(ValueError, match=r"'day' has 12 different texts in 12 rows, e.g. '2026"):
        examples(table(rows()), Reading("who", "y", missing="drop"))


def test_a_target_of_noughts_and_ones_is_named(table):
    lines = [[*line[:4], k % 2] for k, line in enumerate(rows())]
    found = examples(table(lines), Reading("who", "y", ("age",), missing="drop"))
    assert found.choices[-1] == (
        "y is 0 or 1, taken for numbers: --kind classification, if for classes"
    )
    said = examples(table(lines), Reading("who", "y", ("age",), "regression", missing="drop"))
    assert "taken for" not in said.choices[-1]


def test_times_with_zones_are_times():
    class Cells:
        def texts(self, name, blanks):
            return ["2026-01-01T12:00", "2026-01-01T12:00+06:00", ""]

        def floats(self, columns, blanks):
            return np.empty((3, 0))

    one = Column("at", "date", fill=7.0)
    assert columns.encoded(Cells(), [one]).tolist() == [[20454.5, 0], [20454.25, 0], [7, 1]]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_parquet_is_read_as_csv_is(table, tmp_path, library):
    pytest.importorskip("pyarrow")
    frames = pytest.importorskip(library)
    plain = table(rows())
    said = dict(zip(HEADER, zip(*rows(), strict=True), strict=True))
    said["age"] = [None if one == "" else one for one in said["age"]]
    said["sex"] = [one or None for one in said["sex"]]
    frame, path = frames.DataFrame(said), tmp_path / "t.parquet"
    frame.to_parquet(path) if library == "pandas" else frame.write_parquet(path)
    reading = Reading("who", "y", dates=("day",), missing="mean")
    one, other = examples(plain, reading), examples(read_table(str(path)), reading)
    assert (one.x == other.x).all()
    assert (one.y == other.y).all()
    assert one.groups.tolist() == other.groups.tolist()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="is not a readable Parquet file"):
        read_table(str(path))


def test_names_of_files_say_how_they_are_read(tmp_path):
    assert all(map(is_table, ("a.csv", "a.TSV", "a.csv.gz", "a.parquet", "a.npz", "a.tsv.gz")))
    assert not any(map(is_table, ("a.gz", "a.txt", "csv")))
    np.savez(tmp_path / "t.npz", a=np.arange(3))
    with pytest.raises(ValueError, match="--sep is for CSV; leave it out"):
        read_table(str(tmp_path / "t.npz"), sep=";")
