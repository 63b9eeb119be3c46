"""Inside another program: with NumPy alone, as a copied folder, without leaving anything behind."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

import numaml
from numaml import MLP, Learner

PACKAGE = Path(numaml.__file__).parent
EXAMPLES = Path(__file__).parents[1] / "examples"

# Whatever is neither NumPy, nor the standard library, nor named here cannot be imported.
BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in {"numpy", *sys.stdlib_module_names, *ALLOWED}:
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Block())
"""
USE = """
model = kit.MLP((2, 8, 1))
learner = kit.Learner(model, model.init(0), 0.05, 3, provenance={"a": 1})
learner.save("learner.npz")
learner = kit.Learner.load("learner.npz")
x = np.arange(10.0).reshape(5, 2) / 10
print(learner.adapt(x, x[:, 0]).predict(x)[2])
"""


def run(code, folder, *paths):
    """What a program prints that finds packages in these folders, and those installed."""
    (folder / "program.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    return subprocess.run(
        [sys.executable, "program.py"], cwd=folder, env=environment,
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


def expected():
    model = MLP((2, 8, 1))
    x = np.arange(10.0).reshape(5, 2) / 10
    return str(Learner(model, model.init(0), 0.05, 3).adapt(x, x[:, 0]).predict(x)[2])


def test_it_adapts_saves_and_loads_with_numpy_and_nothing_else(tmp_path):
    (tmp_path / "s.csv").write_text("a,b,y\n1,2,3\n4,5,6\n")
    (tmp_path / "q.csv").write_text("a,b\n1,2\n")
    begin = "ALLOWED = {'numaml'}" + BLOCK + "import numpy as np, numaml as kit\n"
    command = (
        "from numaml.command import main as cli\n"
        "print(cli.main('adapt learner.npz --support s.csv --query q.csv'.split()))\n"
        "for name in ('scipy', 'matplotlib', 'tqdm', 'PIL', 'hypothesis'):\n"
        "    try: __import__(name)\n"
        "    except ImportError: continue\n"
        "    print(name, 'is there')\n"
    )
    printed = run(begin + USE + command, tmp_path, PACKAGE.parent)
    first, steps, fit, *rest = printed.splitlines()
    assert first == expected()
    assert steps.startswith("α ")
    assert fit.startswith("support: root mean square error on 2 support rows ")
    assert rest == ["predictions: predictions.csv, 1 row", "0"]


def test_a_copy_of_the_folder_works_under_another_name(tmp_path):
    kept = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "app" / "vendor_numaml", ignore=kept)
    begin = "ALLOWED = {'app'}" + BLOCK + "import numpy as np, app.vendor_numaml as kit\n"
    rest = """
from app.vendor_numaml.check import answers as judge, audit
from app.vendor_numaml.command import main as cli
from app.vendor_numaml.experiments import found
batch = kit.Batch(x, x[:, :1])
tasks = kit.Tasks(batch, batch)
kit.train(model, model.init(0), lambda rng: tasks, alpha=0.1, steps=1, iterations=3)
kit.check.complex_step, kit.omniglot.load
print(len(judge.vectors()), cli.main(["check", "--vectors"]))
"""
    *_, first, where, last = run(begin + USE + rest, tmp_path).splitlines()
    assert first == expected()
    assert str(Path("app", "vendor_numaml", "check", "vectors")) in where
    assert last.endswith(" 0")
    assert int(last.split()[0]) > 0


def test_what_adapting_does_not_need_is_not_loaded(tmp_path):
    code = """
import sys
import numpy
before = set(sys.modules)
import numaml
print(sorted(set(sys.modules) - before & set(sys.modules)))
"""
    loaded = run(code, tmp_path, PACKAGE.parent)
    rare = (
        "numpy.random", "zipfile", "json", "csv", "signal", "threading", "shutil",
        "numaml.learning.outer", "numaml.check", "numaml.data.omniglot", "numaml.data.csvfile",
        "numaml.command.main", "numaml.experiments", "numaml.data.tables", "numaml.data.sinusoids",
        "numaml.data.fewshot", "numaml.engine.shards",
    )  # fmt: skip
    assert not [name for name in rare if repr(name) in loaded]
    assert "'numaml.learning.learner'" in loaded


def test_names_that_are_loaded_late_are_there_all_the_same():
    assert set(numaml.__all__) <= set(dir(numaml))
    assert all(getattr(numaml, name) is not None for name in numaml.__all__)
    assert not hasattr(numaml, "trian")
    assert numaml.train is numaml.learning.outer.train


def test_adapting_leaves_no_memory_and_no_cycles_behind(tmp_path):
    """In a process of its own: other tests' garbage would be counted."""
    code = """
import gc, tracemalloc
import numpy as np, numaml
model = numaml.MLP((1, 8, 1))
learner = numaml.Learner(model, model.init(0, np.float32), 0.01, 10)
x = np.linspace(-5, 5, 5, dtype=np.float32)[:, None]

def adapt(times):
    for _ in range(times):
        learner.adapt(x, np.sin(x)).predict(x)

adapt(3)  # the second is recorded, and the recorder's own objects are garbage
gc.collect()
gc.disable()
adapt(300)  # CPython keeps the first 2000 tuples of each length that are freed
tracemalloc.start()
adapt(1)
settled = tracemalloc.get_traced_memory()[0]
adapt(200)
print(tracemalloc.get_traced_memory()[0] - settled < 200 * 16 / 2, gc.collect())  # 16: an object
"""
    assert run(code, tmp_path, PACKAGE.parent).split() == ["True", "0"]


def test_the_costs_are_measured(tmp_path):
    out = tmp_path / "embed.md"
    command = [sys.executable, str(EXAMPLES / "embed.py"), "--quick", "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert out.read_text() == done.stdout
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len({len(row) for row in rows}) == 1
    head, _, *cases = rows
    assert len(head) == 8
    for name, *cells in cases:
        assert "K = " in name
        assert all(float(cell.split()[0]) > 0 for cell in cells[:4])
    assert "`import numaml` after NumPy: " in done.stdout
