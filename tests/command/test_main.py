"""The command: what a user types, sees, and finds in the folder afterwards."""

import builtins
import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from numaml import Batch, Learner, __version__, adapt
from numaml.command import main as cli
from numaml.command import progress, train
from numaml.experiments import runs
from numaml.learning.state import State

pytestmark = pytest.mark.usefixtures("in_turn")

SHORT = ["--iterations", "120", "--tasks", "4", "--hidden", "8"]


def numaml(*arguments):
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert numaml("train", "sinusoid", "--out", folder, *SHORT) == 0
    return folder


def test_a_run_folder_has_everything(trained):
    assert {path.name for path in trained.iterdir()} == {
        "config.json", "checkpoint.npz", "learner.npz", "metrics.csv", "results.csv",
        "learning_curve.png", "adaptation.png", "first-order", "pretrained",
    }  # fmt: skip
    for beside in ("first-order", "pretrained"):
        names = {path.name for path in (trained / beside).iterdir()}
        assert names == {"config.json", "checkpoint.npz", "learner.npz", "metrics.csv"}
        assert json.loads((trained / beside / "config.json").read_text())["learner"] == beside
        assert State.load(trained / beside).iteration == 120
    config = json.loads((trained / "config.json").read_text())
    assert config["experiment"] == "sinusoid"
    assert (config["learner"], config["iterations"], config["hidden"]) == ("exact", 120, [8])
    for figure in ("learning_curve.png", "adaptation.png"):
        assert (trained / figure).read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((trained / "results.csv").read_text().splitlines()))
    assert len(rows) == 2 * 3 * 4
    assert {row["steps"] for row in rows} == {"0", "1", "5", "10"}


def test_the_learners_are_trained_alike_but_for_their_gradient(trained):
    states = [State.load(trained / name) for name in ("", "first-order", "pretrained")]
    assert len({state.rng.bit_generator.state["state"]["state"] for state in states}) == 1
    assert len({state.theta.tobytes() for state in states}) == 3
    assert states[1].settings["gradient"] == "first_order_meta_gradient"
    assert states[2].settings["steps"] == 0


def test_evaluate_prints_the_same_table_again(trained, capsys):
    assert numaml("evaluate", trained) == 0
    first = capsys.readouterr().out
    assert numaml("evaluate", trained) == 0
    assert capsys.readouterr().out == first
    for text in ("5-shot", "10-shot", "MAML, exact", "first-order MAML", "pretrained", "1 step "):
        assert text in first
    for figure in ("0.67", "0.38", "0.35", "2.41", "2.23", "2.19"):
        assert figure in first
    assert numaml("evaluate", trained, "--seed", 7) == 0
    assert capsys.readouterr().out != first


def test_a_run_is_adapted_to_a_task_of_ones_own(trained, tmp_path, capsys):
    (tmp_path / "s.csv").write_text("x,y\n-1,2.5\n0.5,1\n2,-0.25\n")
    (tmp_path / "q.csv").write_text("x\n0.25\n-3\n")
    files = ["--support", tmp_path / "s.csv", "--query", tmp_path / "q.csv"]
    assert numaml("adapt", trained, *files, "--out", tmp_path / "p.csv") == 0
    assert "p.csv, 2 rows" in capsys.readouterr().out
    one = runs.load(trained)["exact"]
    support = Batch(np.array([[-1.0], [0.5], [2.0]]), np.array([[2.5], [1.0], [-0.25]]))
    phi = adapt(
        one.experiment.model, one.theta, support, one.experiment.alpha, one.experiment.steps
    )
    u = one.experiment.model.predict(phi, np.array([[0.25], [-3.0]], np.float32))
    wanted = f"x,predicted y\n0.25,{u[0, 0]!s}\n-3,{u[1, 0]!s}\n"
    assert (tmp_path / "p.csv").read_text() == wanted
    assert numaml("adapt", trained / "learner.npz", *files, "--out", tmp_path / "p.csv") == 2
    assert "p.csv is there already" in capsys.readouterr().err
    assert (tmp_path / "p.csv").read_text() == wanted
    about = Learner.load(trained / "learner.npz").provenance
    assert (about["experiment"], about["seed"], about["iterations"]) == ("sinusoid", 0, 120)
    assert about["numaml"] == __version__


def test_resume_extends_a_run_to_the_bits_of_a_longer_one(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    assert numaml("train", "sinusoid", "--resume", tmp_path / "run", "--iterations", 150) == 0
    longer = ["--out", tmp_path / "longer", *SHORT, "--iterations", 150]
    assert numaml("train", "sinusoid", *longer) == 0
    for name in ("", "first-order", "pretrained"):
        a, b = State.load(tmp_path / "run" / name), State.load(tmp_path / "longer" / name)
        assert np.array_equal(a.theta, b.theta)
        assert a.values == b.values
        for file in ("config.json", "learner.npz"):
            files = [(tmp_path / run / name / file).read_bytes() for run in ("run", "longer")]
            assert files[0] == files[1], file


def test_ctrl_c_and_resume(tmp_path):
    command = [sys.executable, "-m", "numaml", "train", "sinusoid", "--alone", "--every", "50"]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "run")], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.readline()
    while (
        not (tmp_path / "run" / "checkpoint.npz").exists()
        or State.load(tmp_path / "run").iteration == 0
    ):  # training is under way
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"numaml train sinusoid --resume" in errors
    assert b"Traceback" not in errors
    done = State.load(tmp_path / "run").iteration
    assert done > 0
    assert numaml("train", "sinusoid", "--alone", "--resume", tmp_path / "run",
                  "--iterations", done + 20) == 0  # fmt: skip
    assert State.load(tmp_path / "run").iteration == done + 20


def test_first_order_alone(tmp_path, capsys):
    out = ["--out", tmp_path / "run"]
    assert numaml("train", "sinusoid", "--first-order", "--alone", *out, *SHORT) == 0
    assert not (tmp_path / "run" / "pretrained").exists()
    assert State.load(tmp_path / "run").settings["gradient"] == "first_order_meta_gradient"
    table = capsys.readouterr().out
    assert "first-order MAML" in table
    assert "MAML, exact" not in table


def test_without_matplotlib_and_tqdm_everything_else_works(tmp_path, capsys, monkeypatch):
    import_module = builtins.__import__

    def without(name, *rest, **more):
        if name.split(".")[0] in ("matplotlib", "tqdm"):
            raise ImportError(name)
        return import_module(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert numaml("train", "sinusoid", "--alone", "--out", tmp_path / "run", *SHORT) == 0
    printed = capsys.readouterr()
    assert "pip install 'numaml[plot]'" in printed.out
    assert "pip install 'numaml[progress]'" in printed.err
    assert "step 120 of 120, meta-value" in printed.err
    assert not list((tmp_path / "run").glob("*.png"))


def test_where_nobody_looks_a_line_for_each_learner_and_none_when_quiet(tmp_path, capsys):
    short = [*SHORT, "--iterations", "30"]
    assert numaml("train", "sinusoid", "--out", tmp_path / "run", *short) == 0
    said = capsys.readouterr()
    assert [line.split(", meta-value")[0] for line in sorted(said.err.splitlines())] == [
        f"{name}: step 30 of 30"
        for name in ("MAML, exact", "first-order MAML", "pretrained on all tasks")
    ]
    assert re.search(r"^trained in \d+ s$", said.out, re.MULTILINE)
    assert numaml("train", "sinusoid", "--out", tmp_path / "two", *short, "--quiet") == 0
    quiet = capsys.readouterr()
    assert quiet.err == ""
    assert quiet.out.strip().startswith("5-shot test error")
    table = quiet.out.split("written")[0].strip()
    assert table in said.out


def test_check_prints_a_table_and_succeeds(capsys):
    assert numaml("check") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["formula", "checked", "by", "error", "allowed", "verdict"]
    assert any(line.startswith("(M3)") and line.endswith("ok") for line in lines)
    assert lines[-1] == "every formula holds"


@pytest.mark.parametrize("arguments", [(), ("train",), ("train", "sinusoid"), ("evaluate",)])
def test_help(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        numaml(*arguments, "--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "usage: numaml" in text
    assert "None" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "sinusoid", "--resume", "nowhere"], "nowhere/config.json is not there"),
        (["evaluate", "nowhere"], "want the folder of a training run"),
    ],
)
def test_errors_are_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert numaml(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("numaml: ")
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"], ["train", "cosine"], ["train", "sinusoid", "--tasks", "0"],
        ["train", "sinusoid", "--alpha", "-1"], ["train", "sinusoid", "--alpha", "nan"],
        ["train", "sinusoid", "--activation", "swish"], ["train", "sinusoid", "--steps", "x"],
    ],
)  # fmt: skip
def test_misspelt_commands_are_refused_with_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        numaml(*arguments)
    assert stop.value.code == 2
    assert "usage: numaml" in capsys.readouterr().err


def test_a_resumed_run_keeps_its_settings(trained, capsys):
    for change in (["--alpha", "0.02"], ["--first-order"]):
        assert numaml("train", "sinusoid", "--resume", trained, *change) == 2
        assert f"{change[0]} cannot change in a resumed run" in capsys.readouterr().err


def test_a_run_does_not_go_back(trained, capsys):
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    assert numaml("train", "sinusoid", "--resume", trained, "--iterations", 1) == 2
    assert "outer steps already; want --iterations" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before


def test_a_run_to_resume_says_what_it_is(trained, tmp_path, capsys):
    assert numaml("train", "--resume", trained, "--alpha", "0.02") == 2
    assert "--alpha cannot change in a resumed run" in capsys.readouterr().err
    assert numaml("train", "--resume", tmp_path) == 2
    assert "want the folder of a training run" in capsys.readouterr().err


@pytest.mark.parametrize(("score", "text"), [(0.5, "50.0%"), (0.0, "0.0%"), (-2.25, "2.25")])
def test_progress_shows_an_accuracy_or_an_error(score, text):
    assert progress.text_of(1.0, score) == f"meta-value 1.000, validation {text}"


def test_a_run_is_not_overwritten(trained, capsys):
    before = (trained / "checkpoint.npz").read_bytes(), (trained / "config.json").read_bytes()
    assert numaml("train", "sinusoid", "--out", trained, "--seed", 3, *SHORT) == 2
    assert "holds a run already; continue it with --resume" in capsys.readouterr().err
    after = (trained / "checkpoint.npz").read_bytes(), (trained / "config.json").read_bytes()
    assert after == before


@pytest.mark.parametrize(
    ("inside", "says"),
    [
        ("config.json", "holds a run already; continue it with --resume"),
        ("checkpoint.npz", "holds a checkpoint already, and no config.json"),
        ("first-order/config.json", "first-order holds a run already"),
    ],
)
def test_a_run_does_not_begin_over_a_part_of_another(trained, tmp_path, capsys, inside, says):
    """Found before anything is written, so that what is there can be looked at as it was."""
    folder = tmp_path / "run"
    (folder / inside).parent.mkdir(parents=True)
    shutil.copy(trained / inside, folder / inside)
    assert numaml("train", "sinusoid", "--out", folder, *SHORT) == 2
    assert says in capsys.readouterr().err
    assert [path for path in folder.rglob("*") if path.is_file()] == [folder / inside]


def begun(jobs, _):
    """Two learners were begun, and a third was not, when the power went."""
    for job in jobs[1:]:
        runs.write(*job)
    raise KeyboardInterrupt


def stopped(jobs, _):
    """Not one was begun."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("happened", [begun, stopped])
def test_a_run_killed_while_its_learners_begin_can_be_resumed(
    trained, tmp_path, monkeypatch, happened
):
    with monkeypatch.context() as patch:
        patch.setattr(train, "fit_all", happened)
        assert numaml("train", "sinusoid", "--out", tmp_path / "run", *SHORT) == 130
    assert numaml("train", "--resume", tmp_path / "run") == 0
    assert contents(tmp_path / "run") == contents(trained)


def test_a_learner_that_outlives_a_killed_run_does_not_stop_its_resumption(
    trained, tmp_path, monkeypatch
):
    """What it writes, it writes after the resumed run has looked which learners there are."""
    with monkeypatch.context() as patch:
        patch.setattr(train, "fit_all", stopped)
        assert numaml("train", "sinusoid", "--out", tmp_path / "run", *SHORT) == 130
    whole = train.fit_all

    def late(jobs, progress):
        for job in jobs[1:]:
            runs.write(*job)
        whole(jobs, progress)

    monkeypatch.setattr(train, "fit_all", late)
    assert numaml("train", "--resume", tmp_path / "run") == 0
    assert contents(tmp_path / "run") == contents(trained)


def contents(run):
    """Every file but the lock, whose number is of a process."""
    paths = [path for path in run.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(run)): path.read_bytes() for path in paths}


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{}", '{"experiment": "chess"}', '{"experiment": "sinusoid", "hidden": 3}',
        '{"experiment": "sinusoid", "hidden": [8], "wings": 2}',
    ],
)  # fmt: skip
def test_a_damaged_configuration_is_an_error(trained, tmp_path, content, capsys):
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text(content)
    assert numaml("evaluate", tmp_path / "run") == 2
    assert "is not a run's configuration" in capsys.readouterr().err


def test_divergence_is_an_error_message(tmp_path, capsys):
    too_large = ["--alpha", "1e6", "--steps", "9", "--alone"]
    assert numaml("train", "sinusoid", "--out", tmp_path / "run", *SHORT, *too_large) == 2
    assert "training diverged at iteration" in capsys.readouterr().err
    assert State.load(tmp_path / "run").iteration == 0


def test_the_installed_command():
    done = subprocess.run([sys.executable, "-m", "numaml", "--version"], capture_output=True)
    assert done.returncode == 0
    assert done.stdout.startswith(b"numaml ")
