"""The table of libraries: the vectors judge the answers, and the page is made of the numbers."""

import importlib
import json
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

import numaml

FOLDER = Path(__file__).parents[1] / "examples" / "conformance"


@pytest.fixture
def conformance(monkeypatch):
    """The command, with an adaptor of numaml's own beside the others."""
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    run, problem = (importlib.import_module(name) for name in ("run", "problem"))
    yield run, problem
    for name in ("run", "problem", "with_numaml"):
        sys.modules.pop(name, None)


ADAPTOR = """
import numpy as np, numaml
from problem import Way

PACKAGE = "numpy"

def by(function):
    def run(problem):
        model = numaml.MLP(problem.sizes, problem.activation, problem.loss)
        pairs = [numaml.Tasks(numaml.Batch(*t[:2]), numaml.Batch(*t[2:])) for t in problem.tasks]
        found = [function(model, problem.theta, t, problem.alpha, problem.steps)[1] for t in pairs]
        return np.mean(found, axis=0)
    return run

def broken(problem):
    raise RuntimeError("no such \\n thing")

WAYS = [
    Way("exact", by(numaml.meta_gradient)),
    Way("first order", by(numaml.first_order_meta_gradient), instead="the exact one"),
    Way("zeros", lambda problem: 0 * problem.theta, vectors=("tanh",)),
    Way("nothing", lambda problem: None, vectors=("tanh",)),
    Way("NaN", lambda problem: np.nan * problem.theta, vectors=("tanh",)),
    Way("an error", broken, vectors=("tanh",)),
]
"""


def test_ways_are_judged_and_tabled(conformance, tmp_path, monkeypatch):
    run, _ = conformance
    (tmp_path / "with_numaml.py").write_text(ADAPTOR)
    monkeypatch.syspath_prepend(tmp_path)
    found = run.of_library("with_numaml")
    assert found["version"] == np.__version__
    said = {way["way"]: run.said(way) for way in found["ways"]}
    assert said["exact"][0] == "right"
    assert float(said["exact"][1]) < 1e-13
    assert said["exact"][2] == "maml, maml-classification, tanh"
    assert said["first order"][0].startswith("first")
    assert said["first order"][1].endswith(" %")
    words = [said[name][0] for name in ("zeros", "nothing", "NaN", "an error")]
    assert words == ["all zero", "no gradient at all (None)", "NaN", "RuntimeError: no such thing"]
    found |= {"adaptor": "with_numaml", "date": "2000-01-02"}
    missing = {"package": "absent", "missing": "not there"}
    table = run.table({"date": "2000-01-03", "libraries": [found, missing]})
    assert "| `exact` | **right** |" in table
    assert "| the exact one |" in table
    assert "absent was left out: not there" in table
    assert "The lines of numpy are of 2000-01-02." in table


def test_the_page_is_made_of_the_numbers(conformance):
    run, _ = conformance
    found = json.loads((FOLDER / "conformance.json").read_text())
    page = (FOLDER / "conformance.md").read_text()
    assert page.endswith(run.table(found))
    assert found["date"] in page
    assert [one["adaptor"] for one in found["libraries"]] == run.adaptors()


def test_some_run_again_and_the_others_keep_their_lines(conformance, tmp_path, monkeypatch):
    run, _ = conformance
    old = {"version": "1", "date": "2000-01-02", "ways": []}
    before = [{"adaptor": "with_gone"}]  # its file is there no more; and one file is new
    before += [{"adaptor": name, **old} for name in run.adaptors() if name != "with_jax"]
    (tmp_path / "conformance.json").write_text(json.dumps({"libraries": before}))
    monkeypatch.setattr(run, "table", lambda found: "table")
    monkeypatch.setattr(run, "elsewhere", lambda name, python: {"adaptor": name, "date": "now"})
    assert run.main(["--only", "with_torch", "with_jax", "--out", str(tmp_path)]) == 0
    libraries = json.loads((tmp_path / "conformance.json").read_text())["libraries"]
    assert [one["adaptor"] for one in libraries] == run.adaptors()
    for one in libraries:
        again = one["adaptor"] in ("with_torch", "with_jax")
        assert one["date"] == ("now" if again else "2000-01-02")
    with pytest.raises(SystemExit):
        run.main(["--only", "with_nothing", "--out", str(tmp_path)])


def test_an_environment_is_made_of_what_the_adaptors_say(conformance, tmp_path, monkeypatch):
    run, _ = conformance
    called = []

    class Done:
        returncode, stdout = 0, ""

    def pip(command, **_):
        called.append(command[-1])
        Done.returncode = int(command[-1] == "learn2learn" and "download" not in command)
        Done.stdout = str(tmp_path / "site")
        if "download" in command:
            source = tmp_path / "learn2learn-1" / "learn2learn"
            source.mkdir(parents=True)
            (source / "__init__.py").write_text("x = 1\n")
            with tarfile.open(Path(command[-2]) / "learn2learn-1.tar.gz", "w:gz") as files:
                files.add(tmp_path / "learn2learn-1", "learn2learn-1")
        return Done

    monkeypatch.setattr(run.subprocess, "run", pip)
    monkeypatch.setattr(run.venv, "create", lambda folder, with_pip: None)
    run.environment(tmp_path / "there", ["with_learn2learn", "with_torch", "with_optax"])
    assert called[0].endswith("[check]")
    assert [one for one in called[1:] if "sysconfig" not in one] == [
        "torch", "learn2learn", "learn2learn", "jax", "optax",
    ]  # fmt: skip
    assert (tmp_path / "site" / "learn2learn" / "__init__.py").read_text() == "x = 1\n"
    for name in run.adaptors():
        assert run.packages(name)[0] in run.packages(name)[1]


def test_what_is_not_installed_is_left_out_with_a_word(conformance, tmp_path, monkeypatch):
    run, _ = conformance
    (tmp_path / "run.py").write_text("import stranger_to_everybody\n")
    (tmp_path / "with_stranger.py").write_text('PACKAGE, REQUIRES = "stranger", ("odd", "one")\n')
    monkeypatch.setattr(run, "__file__", str(tmp_path / "run.py"))
    monkeypatch.setattr(run, "HERE", tmp_path)
    found = run.elsewhere("with_stranger")
    assert found["package"] == "stranger"
    assert "No module named 'stranger_to_everybody' (pip install odd one)" in found["missing"]


def test_problems_are_the_vectors(conformance):
    _, problem = conformance
    (one,) = problem.problems(["rates-per-parameter"])
    tensors = one.split(one.theta)
    model = numaml.MLP(one.sizes, one.activation, one.loss)
    for name, (W, b) in zip("12", model.unpack(one.theta), strict=True):
        assert np.array_equal(tensors[f"W{name}"], W)
        assert np.array_equal(tensors[f"b{name}"], b)
    assert one.alpha.shape == one.theta.shape
