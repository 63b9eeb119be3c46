"""The readers in other languages meet the rational vectors, and without a term they do not."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PORTS, VECTORS = ROOT / "examples" / "ports", ROOT / "numaml" / "check" / "vectors"
ANSWERS = 6 * len(json.loads((VECTORS / "rational.json").read_text())["vectors"])
# tool -> (file, the bent term of (R3) and what is put in its place)
READERS = {
    "node": ("maml.mjs", "plus(bend, times(", "plus(each(() => zero, bend), times("),
    "gcc": ("maml.c", "s2(t.z[l - 1][i]) * r.z", "0 * s2(t.z[l - 1][i]) * r.z"),
}


def run(tool, source, folder):
    path = folder / READERS[tool][0]
    path.write_text(source)
    program = [tool, str(path)]
    if tool == "gcc":
        build = ["gcc", "-Wall", "-Wextra", "-Werror", "-O1", str(path), "-o", str(folder / "maml")]
        subprocess.run(build, check=True)
        program = [str(folder / "maml")]
    done = subprocess.run(
        [*program, str(VECTORS / "rational.json")], capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize("tool", READERS)
def test_a_reader_passes_every_rational_vector(tool, tmp_path):
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")
    name, term, other = READERS[tool]
    source = (PORTS / name).read_text()
    assert run(tool, source, tmp_path) == (0, [f"{ANSWERS} right, 0 wrong"])
    assert source.count(term) == 1
    status, lines = run(tool, source.replace(term, other), tmp_path)
    assert status == 1
    told = {line.split()[1] for line in lines[:-1]}
    assert told == {"hvp", "meta_gradient"}
    assert "square-two-steps meta_gradient WRONG" in lines
