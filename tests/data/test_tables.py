"""Tables in files: what the readers give, which file is read by whom, and what is refused."""

import numpy as np
import pytest

from numaml.data import tables
from numaml.data.examples import examples
from numaml.data.tables import Columns, is_table, read_table

ROWS = [("p0", 1.5, 1, 26.25), ("p0", 1.5, 2, 33.5), ("p1", 1.25, 1, 24.0)]


def test_an_npz_file_says_what_a_csv_file_says(tmp_path):
    lines = [",".join(map(str, row)) for row in [("pig", "feed", "week", "weight"), *ROWS]]
    (tmp_path / "pigs.csv").write_text("\n".join(lines))
    arrays = {
        "pig": np.array([row[0] for row in ROWS]),
        "x": np.array([row[1:3] for row in ROWS]),
        "weight": np.array([row[3] for row in ROWS]),
    }
    np.savez(tmp_path / "pigs.npz", **arrays)
    from_npz, from_csv = (
        examples(read_table(str(tmp_path / f"pigs.{suffix}")), "pig", "weight")
        for suffix in ("npz", "csv")
    )
    assert (from_npz.features, from_csv.features) == (("x0", "x1"), ("feed", "week"))
    for one in (from_npz, from_csv):
        assert one.x.tolist() == [[1.5, 1], [1.5, 2], [1.25, 1]]
        assert one.y.tolist() == [26.25, 33.5, 24]
        assert one.groups.tolist() == ["p0", "p0", "p1"]
        assert one.classes.size == 0


def test_the_end_of_a_name_says_who_reads_it(tmp_path, monkeypatch):
    def read(path):
        return Columns(path, {"a": np.ones(3)})

    monkeypatch.setitem(tables.READERS, ".one", read)
    assert [is_table(name) for name in ("x.one", "b.c/X.ONE", "x.NPZ", "x.csv")] == [True] * 4
    assert not any(is_table(name) for name in ("x.two", "one", "x", "", ".", "x.csv/y"))
    assert read_table("x.One").floats(["a"]).tolist() == [[1], [1], [1]]
    (tmp_path / "x.txt").write_text("a\n2\n")
    assert read_table(str(tmp_path / "x.txt")).floats(["a"]).tolist() == [[2]]  # CSV, or nothing


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"t": np.arange(3), "y": np.ones(3), "x": np.array([1.0, np.nan, 2.0])},
         r"'x', row 1 \(counted from 0\): is nan"),
        ({"t": np.arange(3), "y": np.ones(3), "x": np.ones(4)}, "arrays with a row for each"),
        ({"t": np.arange(3), "y": np.ones(3), "x": np.ones((3, 2, 2))}, r"shape \(3, 2, 2\)"),
        ({"t": np.arange(3), "y": np.ones(3), "x": np.array([None, 1, 2])}, "not a readable npz"),
        ({"t": np.arange(3), "y": np.ones(3), "x": np.array(["a", "b", "c"])}, "want numbers"),
        ({}, "holds nothing"),
    ],
)  # fmt: skip
def test_a_bad_npz_is_named(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        examples(read_table(str(tmp_path / "bad.npz")), "t", "y")


def test_one_class_and_no_rows(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("t,x,y\n")
    with pytest.raises(ValueError, match="has no rows"):
        examples(read_table(str(path)), "t", "y")
    path.write_text("t,x,y\na,1,cat\nb,2,cat\n")
    with pytest.raises(ValueError, match="column 'y' has one class, cat"):
        examples(read_table(str(path)), "t", "y")
