"""CSV files: what is read, what is refused with its place, and what it costs."""

import gzip
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
    "no name at all": ("\n \n,\n1,2\n", "column 2 has no name; name it in the header"),
    "a damaged archive": (b"\x1f\x8b\x08", "is not a readable gzip file"),
    "another column without a name": ("t,,v\n0,1,2\n", "column 2 has no name; name it in the head"),
    "a name twice": ("t,v, t\n0,1,2\n", "column 't' is there twice"),
    "zero bytes": (b"t,v\na\0,1\na,2\n", "holds zero bytes"),
    "UTF-16 without its mark": ("t,v\na,1\n".encode("utf-16-le"), "it holds zero bytes"),
    "half of UTF-16": ("t,v\na,1\n".encode("utf-16")[:-1], "is not a CSV file in utf-16"),
    "Latin-1 behind": (
        b"t,v\na,1\n" * 5000 + b"\xe9,1\n",
        "not a CSV file in UTF-8.*--encoding",
    ),
    "a huge cell": ("t,v\n" + "x" * 200_000 + ",1\n", "line 2, is not CSV: field larger than"),
    "long and wild names": ("\x1b[31m" + "x" * 5000 + ",b,\n", "column 3 has no name"),
    "bars in names": ("a|b,c|d,e\n1,2\n", "row 2: got 2 cells, want the header's 3"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_is_refused(csv, how):
    content, match = REFUSED[how]
    with pytest.raises(ValueError, match=match) as caught:
        csv(content)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def rewritten(sep=",", decimal=".", encoding="utf-8", index=False):
    rows = [("größe", "day", "v"), ("a b", "2026-11-26", "1.5"), ("ü", "2026-11-27", "-20")]
    lines = [sep.join(row).replace(".", decimal) for row in rows]
    if index:
        lines = [f"{k or ''}{sep}{line}" for k, line in enumerate(lines)]
    return ("\n".join(lines) + "\n").encode(encoding)


WRITTEN = {
    "semicolons and commas": (rewritten(";", ","), {}, ["parted by ';'", "decimal commas"]),
    "tabs": (rewritten("\t"), {}, [r"parted by '\t'"]),
    "bars": (rewritten("|"), {}, ["parted by '|'"]),
    "said": (rewritten("#", ","), {"sep": "#", "decimal": ","}, []),
    "tabs, said": (rewritten("\t"), {"sep": "tab"}, []),
    "Latin-1": (rewritten(encoding="latin-1"), {"encoding": "latin-1"}, []),
    "UTF-16": (rewritten(";", encoding="utf-16"), {}, ["UTF-16", "parted by ';'"]),
    "an index": (rewritten(index=True), {}, ["first column has no name"]),
    "packed": (gzip.compress(rewritten(";", ",")), {}, ["parted by ';'", "decimal commas"]),
}


@pytest.mark.parametrize("how", WRITTEN)
def test_one_table_written_in_many_ways(tmp_path, how):
    content, said, choices = WRITTEN[how]
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    table = read_csv(path, **said)
    assert table.header == ["größe", "day", "v"]
    assert table.texts("größe") == ["a b", "ü"]
    assert table.floats(["v"]).tolist() == [[1.5], [-20]]
    assert [len(row) for row in table.rows] == [3, 3]
    assert len(table.choices) == len(choices)
    for one, found in zip(choices, table.choices, strict=True):
        assert one in found


@pytest.mark.parametrize(("content", "said", "match"), [
    ("a,b\n1,2\n", {"sep": ";;"}, "sep is ';;'; want one character, or tab"),
    ("a,b\n1,2\n", {"decimal": "·"}, "decimal is '·'; want . or ,"),
    ("a,b\n1,2\n", {"encoding": "klingon"}, "encoding is 'klingon'; want one of Python's"),
    ('a,b\n"1,023",2\n', {}, "got '1,023', want a number: take out what parts thousands, or say "
                             "--decimal , if that"),
    ("a;b\n1.023,5;2\n", {}, "got '1.023,5', want a number: take out what parts thousands"),
    ("a,b\n1;2\n", {"sep": ","}, "row 2: got 1 cells, want the header's 2.*another with --sep"),
])  # fmt: skip
def test_wrong_turns_are_named(tmp_path, content, said, match):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(ValueError, match=match):
        read_csv(tmp_path / "t.csv", **said).floats(["a"])


def test_an_archive_does_not_unpack_to_any_size(tmp_path):
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 5_000_000))
    with pytest.raises(ValueError, match=r"unpacks to more than 16000000 bytes; unpack it first"):
        read_csv(tmp_path / "t.csv.gz")


def test_nothing_is_read_as_nothing_where_it_may_be(csv):
    table = csv("n,t\n1,a\nNA,\n,?\n2,b\n")
    assert table.texts("t", blanks=True) == ["a", "", "", "b"]
    found = table.floats(["n"], blanks=True)[:, 0]
    assert np.isnan(found).tolist() == [False, True, True, False]
    assert table.textual(["n", "t"]) == ["t"]
    with pytest.raises(ValueError, match="row 2, column 't': got 'a', want a number"):
        table.floats(["t"], blanks=True)


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
