"""CSV files: what is read, what is refused with its place, and what it costs."""

import subprocess
import sys
import time

import numpy as np
import pytest

from numaml.data.csvfile import number, read_csv


@pytest.fixture
def csv(tmp_path):
    def written(content):
        path = tmp_path / "t.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_csv(path)

    return written


def test_what_is_read(csv):
    table = csv('a, b ,"c,\n"\n1, x ,"y\n"\n\n 2.5,x,z\n')
    assert (table.header, len(table)) == (["a", "b", "c,"], 2)
    assert list(table.rows) == [["1", "x", "y"], ["2.5", "x", "z"]]
    assert list(table.rows) == list(table.rows)
    assert table.floats(["a"]).tolist() == [[1], [2.5]]
    assert table.cell(1, "a").endswith("t.csv, row 4, column 'a'")


REFUSED = {
    "pandas' index": (",t,v\n0,1,2\n", r"column 1 has no name.*to_csv\(…, index=False\)"),
    "another column without a name": ("t,,v\n0,1,2\n", "column 2 has no name; name it in the head"),
    "a name twice": ("t,v, t\n0,1,2\n", "column 't' is there twice"),
    "zero bytes": (b"t,v\na\0,1\na,2\n", "holds zero bytes"),
    "UTF-16": ("t,v\na,1\n".encode("utf-16"), "is not a CSV file in UTF-8"),
    "Latin-1 behind": (b"t,v\na,1\n" * 5000 + b"\xe9,1\n", "is not a CSV file in UTF-8"),
    "a huge cell": ("t,v\n" + "x" * 200_000 + ",1\n", "line 2, is not CSV: field larger than"),
    "long and wild names": ("\x1b[31m" + "x" * 5000 + ";b\n", "has one column"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_is_refused(csv, how):
    content, match = REFUSED[how]
    with pytest.raises(ValueError, match=match) as caught:
        csv(content)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


CELLS = {
    "empty": ("", "texts", "row 3, column 't': is empty; fill it or leave the row out"),
    "blanks": (" \t", "texts", "row 3, column 't': is empty"),
    "blanks around": ("a ", "texts", "row 3, column 't': got 'a ', and above 'a', which differ in"),
    "no number": ("abc", "floats", "row 3, column 't': got 'abc', want a number"),
    "nothing": ("", "floats", "row 3, column 't': is empty, want a number"),
    "infinite": ("1e999", "floats", "row 3, column 't': got '1e999', want a number"),
    "an integer too long": ("9007199254740993", "floats", "an integer that no float holds; want a"),
    "a negative one": ("-9007199254740993 ", "floats", "an integer that no float holds"),
    "a very long one": ("1" * 300, "floats", "an integer that no float holds"),
}


@pytest.mark.parametrize("how", CELLS)
def test_a_cell_is_named(csv, how):
    cell, kind, match = CELLS[how]
    first = "a" if kind == "texts" else "1"
    table = csv(f"t,v\n{first},1\n{cell},2\n{first},3\n")
    with pytest.raises(ValueError, match=match):
        table.texts("t") if kind == "texts" else table.floats(["t"])


def test_numbers_are_those_that_floats_hold():
    assert [number(text) for text in ("9007199254740994", "-18446744073709551616", " 12 ")] == [
        9007199254740994, -18446744073709551616, 12,
    ]  # fmt: skip
    assert np.isnan([number(text) for text in ("1_0", "", "x", "9007199254740993")]).all()


def cost(code, *arguments):
    """Seconds and bytes at most that code took, in a process of its own; above those of nothing."""
    prelude = "import sys, resource\nfrom numaml.data.csvfile import read_csv\n"
    memory = "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
    found = []
    for body in ("", code):
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", f"{prelude}{body}\n{memory}", *map(str, arguments)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        found.append((time.monotonic() - start, int(done.stdout.split()[-1])))
    (before, least), (after, most) = found
    return after - before, most - least


# Columns and rows, and how many bytes more than TIMES the file's: names are looked up by a hash.
SHAPES = {
    "wide": (40_000, 20, 20e6), "long": (2, 400_000, 20e6),
    "one row": (800_000, 1, 100e6), "header alone": (10**6, 0, 100e6),
}  # fmt: skip
# Both are far from what is measured (0.1 to 1 s; 1 to 5 times the file) and from what was before.
SECONDS, TIMES = 5, 10


@pytest.mark.parametrize("shape", SHAPES)
def test_a_table_costs_what_it_weighs(tmp_path, shape):
    columns, rows, more = SHAPES[shape]
    header = ",".join(f"c{k}" for k in range(columns))
    path = tmp_path / "t.csv"
    path.write_text(header + "\n" + (",".join(["12"] * columns) + "\n") * rows)
    code = (
        "table = read_csv(sys.argv[1])\n"
        "print(table.floats(['c1']).sum(), len(table.texts('c0')))\n"
        "try: table.floats(['nowhere'])\n"
        "except ValueError as error: assert len(str(error)) < 500"
    )
    seconds, memory = cost(code, path)
    assert seconds < SECONDS
    assert memory < TIMES * path.stat().st_size + more
