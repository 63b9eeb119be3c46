"""Damaged and hostile files, by a seed: taken, or refused in a line, for little memory and time."""

import io
import os
import random
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from numaml import Grouped, omniglot
from numaml.data.examples import Reading, examples
from numaml.data.tables import read_table

from .test_omniglot import cache, members
from .test_tables import headed, npz

ROWS = [(f"p{row // 12}", row, row % 7, row % 3) for row in range(72)]
CSV = "t,x,z,y\n" + "".join(f"{t},{x},{z},{y}\n" for t, x, z, y in ROWS)
T, V = np.repeat(np.arange(6), 12), np.arange(72.0)
NPZ = npz(t=T, x=np.stack([V, V], 1), z=V % 7, y=V % 3)
JUNK = [b"\0" * 50, b",", b"\n", b'"', b"\xff", b"9" * 400, b"NA", b"\x1b[2J", b"PK\1\2", b"1e999"]
TIMES, AND, SECONDS = 10, 100e6, 5
MORE = int(os.environ.get("NUMAML_FUZZ", "1"))  # times as many files, by hand


def damaged(rng, content):
    """Bytes flipped, cut off, put in or there twice."""
    for _ in range(rng.choice([1, 1, 2, 3])):
        a, b = sorted(rng.randrange(len(content) + 1) for _ in range(2))
        flipped = bytearray(content)
        if content:
            flipped[min(a, len(content) - 1)] ^= rng.randrange(1, 256)
        content = rng.choice(
            [bytes(flipped), content[:b], content[:a] + rng.choice(JUNK) + content[a:],
             content[:b] + content[a:b] + content[b:]]
        )  # fmt: skip
    return content


def hostile_csv(rng):
    n = rng.choice([10, 1000, 20_000])
    return rng.choice([
        ",".join(f"c{k}" for k in range(n)) + ",t,y\n" + ",".join("1" * n) + ",1,2\n",
        "," * n, '"' * n, "t,x,y\n" + "\n" * n, "t,x,y\n" + "a" * n + ",1,2\n" + "b,1,2\n" * 40,
        "t,x,y\n" + "".join(f"{k % 7},{k},{'x' * 900}{k % 3}\n" for k in range(n // 20 + 40)),
        CSV.replace("3", rng.choice(["nan", "9" * 300, "1_0", "", "0x1", "-1e308", "٣"])),
        CSV.replace("p3", rng.choice(["p2 ", "?", "\u202ep", '"a""b"', "\x1b[2J", "=cmd()"])),
    ]).encode()  # fmt: skip


def hostile_npz(rng):
    buffer, most = io.BytesIO(NPZ), rng.choice([10**5, 10**7])
    shape, dtype = rng.choice([(72,), (72, most), (10**18,), (-1,)]), rng.choice(["<f8", "<U9999"])
    header = f"{{'descr': '{dtype}', 'fortran_order': True, 'shape': {shape}}}\n"
    method = rng.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
    content = rng.choice([
        bytes(most), headed(header, bytes(most)), headed(" " * 60_000),
        b"\x93NUMPY\2\0" + b"\xff" * 99,
    ])  # fmt: skip
    with zipfile.ZipFile(buffer, "a", method) as archive:
        archive.writestr(rng.choice(["b.npy", "x0.npy", "readme.txt", "../b.npy"]), content)
    return buffer.getvalue()


def take_table(path):
    table = read_table(str(path))
    examples(table, Reading("t", "y", ("b",) if "b" in table.header else ()))
    rows = examples(table, Reading("t", "y", ("z",)))
    Grouped(rows.x, rows.y, rows.groups, 2, 2, 2)


def take_drawings(path):
    omniglot.load(path.parent)


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members(alphabets={"Latin": 1}).items():
            archive.writestr(name, data)
    return buffer.getvalue()


# The file's name, how many files, one of them, and who takes it.
KINDS = {
    "damaged CSV": ("a.csv", 120, lambda rng: damaged(rng, CSV.encode()), take_table),
    "hostile CSV": ("a.csv", 40, hostile_csv, take_table),
    "damaged npz": ("a.npz", 120, lambda rng: damaged(rng, NPZ), take_table),
    "hostile npz": ("a.npz", 40, hostile_npz, take_table),
    "damaged drawings": (
        "images_background_small1.zip", 60, lambda rng: damaged(rng, ZIP), take_drawings),
    "damaged cache": ("omniglot28.npz", 60, lambda rng: damaged(rng, CACHE), take_drawings),
}  # fmt: skip
ZIP, CACHE = zipped(), cache()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_taken_or_refused_for_what_it_weighs(tmp_path, kind):
    name, count, make, take = KINDS[kind]
    rng, refused = random.Random(kind), 0  # noqa: S311  # no secret
    for _ in range(count * MORE):
        (tmp_path / name).write_bytes(content := make(rng))
        tracemalloc.start()
        start = time.process_time()
        complaint = ""
        try:
            take(tmp_path / name)
        except (ValueError, OSError) as error:
            complaint = str(error)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        refused += bool(complaint)
        assert len(complaint) < 2000
        assert peak < TIMES * len(content) + AND
        assert time.process_time() - start < SECONDS
    assert refused > count * MORE / 4
