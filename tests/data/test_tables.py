"""Tables in files: what the readers give, which file is read by whom, and what is refused."""

import io
import struct
import warnings
import zipfile

import numpy as np
import pytest

from numaml.data import tables, zipped
from numaml.data.examples import Reading, examples
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
        examples(read_table(str(tmp_path / f"pigs.{suffix}")), Reading("pig", "weight"))
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
        ({"t": np.arange(3), "y": np.ones(3), "x": np.array([None, 1, 2])}, "dtype object; want"),
        ({"t": np.arange(3), "y": np.ones(3), "x": np.array(["a", "b", "c"])}, "want numbers"),
        ({}, "holds nothing"),
    ],
)  # fmt: skip
def test_a_bad_npz_is_named(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        examples(read_table(str(tmp_path / "bad.npz")), Reading("t", "y"))


def test_one_class_and_no_rows(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("t,x,y\n")
    with pytest.raises(ValueError, match="has no rows"):
        examples(read_table(str(path)), Reading("t", "y"))
    path.write_text("t,x,y\na,1,cat\nb,2,cat\n")
    with pytest.raises(ValueError, match="column 'y' has one class, cat"):
        examples(read_table(str(path)), Reading("t", "y"))


T, V = np.repeat(np.arange(4), 10), np.arange(40.0)


def with_member(content, name, more, compression=zipfile.ZIP_STORED):
    """An archive with one member more."""
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a", compression) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there already
        file.writestr(name, more)
    return buffer.getvalue()


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def headed(header, data=b"", version=(1, 0)):
    """An array with a header of one's own."""
    long = struct.pack("<H" if version == (1, 0) else "<I", len(header))
    return b"\x93NUMPY" + bytes(version) + long + header.encode() + data


TWO = {"x": np.stack([V, V], 1), "t": T, "v": V}
FILES = {
    "names that collide": (lambda: npz(**TWO, x0=V), "'x' and 'x0' both give a column 'x0'"),
    "names that collide, turned": (lambda: npz(x1=V, **TWO), "both give a column 'x1'"),
    "a text": (lambda: with_member(npz(**TWO), "readme.txt", "hi"), "'readme.txt', which is no"),
    "a folder": (lambda: with_member(npz(**TWO), "a/", b""), "'a/', which is no array"),
    "bytes that are no array": (lambda: with_member(npz(**TWO), "a.npy", "hi"), "a is no array"),
    "a newer format": (
        lambda: with_member(npz(**TWO), "a.npy", headed("{}", version=(3, 0))), "a is no array"),
    "a name twice": (lambda: with_member(npz(**TWO), "v.npy", npy(-V)), "'v.npy' is there twice"),
    "another packing": (
        lambda: with_member(npz(**TWO), "a.npy", npy(V), zipfile.ZIP_LZMA), "packed by method 14"),
    "bzip2": (
        lambda: with_member(npz(**TWO), "a.npy", npy(V), zipfile.ZIP_BZIP2), "packed by method 12"),
    "many columns": (lambda: npz(**TWO, z=np.zeros((1, 200_000), "i1")), "has 200004 columns"),
    "negative": (lambda: with_member(npz(t=T), "a.npy", headed(
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}\n")), "a is no array"),
    "no numbers": (lambda: npz(**TWO, z=np.zeros(40, "M8[s]")), "dtype datetime64"),
    "no width": (lambda: npz(**TWO, z=np.zeros(40, "U0").view("U1")[:0]), r"shape \(0,\)"),
    "objects": (lambda: npz(**TWO, z=np.array([None] * 40)), "dtype object; want"),
}  # fmt: skip


@pytest.mark.parametrize("how", FILES)
def test_an_npz_is_taken_whole_or_not_at_all(tmp_path, how):
    make, match = FILES[how]
    path = tmp_path / "t.npz"
    path.write_bytes(make())
    with pytest.raises(ValueError, match=match):
        read_table(str(path))


def bomb(array, name="a"):
    """A small file of one array that unpacks to a large one."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **TWO, **{name: array})
    return buffer.getvalue()


def claims(shape, dtype="<f8"):
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n"
    return with_member(npz(**TWO), "a.npy", headed(header, bytes(320)))


LARGE = {
    "zeros": lambda: bomb(np.zeros((40, 200_000), "f8").reshape(40, -1)[:, :90_000]),
    "bytes that become floats": lambda: bomb(np.zeros((40, 90_000), "i1")),
    "a claim": lambda: claims((40, 80_000)),
    "a claim beyond memory": lambda: claims((40, 2), "<U100000000"),
}


@pytest.mark.parametrize("how", LARGE)
def test_what_is_not_asked_for_is_not_read_and_what_is_has_a_limit(tmp_path, how):
    path = tmp_path / "t.npz"
    path.write_bytes(LARGE[how]())
    table = read_table(str(path))
    assert table.floats(["x1"]).tolist() == V[:, None].tolist()
    with pytest.raises(ValueError, match=r"t.npz: 'a' (unpacks to|has shape).* want at most 16"):
        table.texts("a0") if "U" in how else table.floats(["a0"])


def test_an_array_is_read_once_for_all_its_columns(tmp_path, monkeypatch):
    path, read = tmp_path / "t.npz", []
    path.write_bytes(npz(**TWO))
    whole = zipped.Arrays.__getitem__
    monkeypatch.setattr(
        zipped.Arrays, "__getitem__", lambda self, name: read.append(name) or whole(self, name)
    )
    found = examples(read_table(str(path)), Reading("t", "v"))
    assert (found.features, sorted(read)) == (("x0", "x1"), ["t", "v", "x"])


def read_all(path):
    table = read_table(str(path))
    return [table.floats([name]) for name in table.header]


def test_an_array_that_is_not_as_it_claims(tmp_path):
    path = tmp_path / "t.npz"
    for content, match in (
        (claims((41,)), "want arrays with a row for each"),
        (claims((40, 2)), "a has 3[0-9]+ bytes, and needs"),
        (npz(**TWO).replace(V.tobytes(), (V + 1).tobytes(), 1), "Bad CRC-32"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=match):
            read_all(path)


@pytest.mark.parametrize("dtype", [">f8", ">f4", "f2", ">i8", "<u2", "?"])
@pytest.mark.parametrize("order", "CF")
def test_arrays_of_any_dtype_and_order_are_read_as_they_are(tmp_path, dtype, order):
    x = np.asarray(np.random.default_rng(0).normal(0, 9, (40, 3)).astype(dtype), order=order)
    np.savez_compressed(tmp_path / "t.npz", x=x, t=T, v=V.astype(">f8"))
    found = examples(read_table(str(tmp_path / "t.npz")), Reading("t", "v"))
    assert np.array_equal(found.x, x.astype(float))
    assert np.array_equal(found.y, V)


COLUMNS = {
    "NaN for a task": ({"t": np.where(T == 2, np.nan, T)}, r"t\[20\] is nan; want a label"),
    "nothing for a task": ({"t": np.where(T == 2, "", "a")}, r"t\[20\] is ''; want a label"),
    "blanks around a task": ({"t": np.where(T == 2, "a ", "a")}, "'t': has labels that differ in"),
    "tasks as floats beyond 2^53": ({"t": 2.0**53 + 2 * T}, "floats do not tell whole numbers"),
    "an integer beyond 2^53": (
        {"x": 2**53 + np.arange(40)}, r"'x', row 1 \(counted from 0\): is 9007199254740993, and"),
    "a negative one": ({"x": -(2**53) - np.arange(40)}, "'x', row 1 .*is -9007199254740993"),
}  # fmt: skip


@pytest.mark.parametrize("how", COLUMNS)
def test_a_column_is_refused_with_its_row(tmp_path, how):
    changes, match = COLUMNS[how]
    np.savez(tmp_path / "t.npz", **({"t": T, "v": V, "x": V} | changes))
    with pytest.raises(ValueError, match=match):
        examples(read_table(str(tmp_path / "t.npz")), Reading("t", "v"))
    if changes.keys() == {"t"}:  # the same for a target that is classes
        np.savez(tmp_path / "t.npz", t=T, v=changes["t"], x=V)
        with pytest.raises(ValueError, match=match.replace("t\\[", "v\\[").replace("'t'", "'v'")):
            examples(read_table(str(tmp_path / "t.npz")), Reading("t", "v", kind="classification"))


def labelled(tmp_path, *labels):
    rows = [f"{row % 4},{row / 10},{labels[row % len(labels)]}" for row in range(40)]
    (tmp_path / "t.csv").write_text("t,x,y\n" + "\n".join(rows))
    return examples(read_table(str(tmp_path / "t.csv")), Reading("t", "y", kind="classification"))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (("01", "1"), ["01", "1"]), (("1", "2", "10"), [1, 2, 10]), (("-1", "0"), [-1, 0]),
        (("+1", "1"), ["+1", "1"]), (("-0", "0"), ["-0", "0"]), (("1", "1.0"), ["1", "1.0"]),
        (("9" * 18, "9" * 17 + "8"), [int("9" * 17 + "8"), int("9" * 18)]),
        (("9" * 19, "9" * 18 + "8"), ["9" * 18 + "8", "9" * 19]), (("yes", "1"), ["1", "yes"]),
        (("٣", "3"), ["3", "٣"]),
    ],
)  # fmt: skip
def test_classes_are_integers_only_where_they_are_written_so(tmp_path, labels, classes):
    found = labelled(tmp_path, *labels)
    assert found.classes.tolist() == classes
    assert [str(found.classes[number]) for number in found.y[: len(labels)]] == list(labels)


def test_labels_that_look_like_none_are_told(tmp_path):
    assert labelled(tmp_path, "a", "b").odd == ()
    assert labelled(tmp_path, "a", "NA", "?").odd == (
        "'?' as a class (13 rows)", "'NA' as a class (13 rows)",
    )  # fmt: skip
    (tmp_path / "t.csv").write_text("t,x,y\nnull,1,2\nb,2,3\n")
    found = examples(read_table(str(tmp_path / "t.csv")), Reading("t", "y"))
    assert found.odd == ("'null' as a task (1 row)",)


def test_a_long_label_widens_nothing(tmp_path):
    with pytest.raises(ValueError, match="has 1001 characters; want at most 1000 in the name of a"):
        labelled(tmp_path, "a", "x" * 1001)
    found = labelled(tmp_path, "a", "x" * 1000)
    assert found.groups.dtype == object
