"""Run folders: what is remembered, and that what was changed since is not believed."""

import dataclasses
import json
import os
import shutil

import pytest

from numaml.command import main as cli
from numaml.command import report
from numaml.experiments import runs, sinusoid
from numaml.experiments.sinusoid import Sinusoid

TINY = ["--tasks", "2", "--hidden", "3", "--iterations", "4", "--every", "2"]


def numaml(*arguments):
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(report, "draw", lambda *_: None)
    monkeypatch.setattr(sinusoid, "TEST_TASKS", 4)


@pytest.fixture
def trained(tmp_path):
    assert numaml("train", "sinusoid", "--alone", "--out", tmp_path / "run", *TINY) == 0
    return tmp_path / "run"


def beside(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def test_what_was_trained_alone_is_resumed_alone(trained, capsys):
    assert numaml("train", "--resume", trained, "--iterations", 6) == 0
    assert beside(trained) == []
    assert "first-order" not in capsys.readouterr().out
    assert "alone" not in runs.read(trained).finished(runs.load(trained)["exact"].theta).provenance
    assert numaml("train", "--resume", trained, "--iterations", 6, "--no-alone") == 0
    assert beside(trained) == ["first-order", "pretrained"]
    assert numaml("train", "--resume", trained, "--iterations", 7) == 0
    assert "pretrained on all tasks" in capsys.readouterr().out


def test_evaluating_writes_where_it_is_told_to_alone(trained, tmp_path, capsys):
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    assert numaml("evaluate", trained, "--seed", 5, "--out", tmp_path / "five") == 0
    assert f"written: {tmp_path / 'five' / 'results.csv'}" in capsys.readouterr().out
    assert numaml("evaluate", trained, "--out", tmp_path / "again") == 0
    assert numaml("evaluate", trained) == 0
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before
    own = before[trained / "results.csv"]
    assert (tmp_path / "again" / "results.csv").read_bytes() == own
    assert (tmp_path / "five" / "results.csv").read_bytes() != own


# Settings of another run, as somebody might copy them here.
OTHER = {
    "alpha": 0.03, "steps": 2, "beta": 0.5, "activation": "tanh", "every": 3, "dtype": "float64",
    "learner": "first-order", "decay": True, "iterations": 3,
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER)
def test_settings_of_another_run_are_not_believed(trained, capsys, name):
    runs.write(dataclasses.replace(runs.read(trained), **{name: OTHER[name]}), trained)
    assert numaml("evaluate", trained) == 2
    error = capsys.readouterr().err
    assert "config.json says" in error
    assert "want both of one run" in error


CHANGES = {
    "a number": lambda text: text.replace('"alpha": 0.01', '"alpha": 0.03'),
    "a seed": lambda text: text.replace('"seed": 0', '"seed": 1'),
    "blanks": lambda text: text.replace(": ", ":  ", 1),
    "the order": lambda text: json.dumps(dict(sorted(json.loads(text).items())), indent=2) + "\n",
    "twice": lambda text: text.replace('"seed": 0,', '"seed": 1, "seed": 0,'),
    "without its checksum": lambda text: json.dumps(
        {name: one for name, one in json.loads(text).items() if name != "crc32"}, indent=2) + "\n",
    "no end": lambda text: text[:-1],
}  # fmt: skip


@pytest.mark.parametrize("how", CHANGES)
def test_a_configuration_is_taken_whole_or_not_at_all(trained, capsys, how):
    path = trained / "config.json"
    changed = CHANGES[how](path.read_text())
    assert changed != path.read_text()
    path.write_text(changed)
    for command in (["evaluate", trained], ["train", "--resume", trained, "--iterations", 9]):
        assert numaml(*command) == 2
        assert "config.json is not a run's configuration: it was changed" in capsys.readouterr().err


def test_no_single_flip_of_a_configuration_is_taken(tmp_path):
    runs.write(Sinusoid(), tmp_path)
    path = tmp_path / "config.json"
    content = path.read_bytes()
    assert runs.read(tmp_path) == Sinusoid()
    for place in range(len(content)):
        for bit in (0, 3, 5, 7):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            with pytest.raises(ValueError, match="is not a run's configuration"):
                runs.read(tmp_path)


def test_a_configuration_that_is_no_file_of_its_own(trained, tmp_path, capsys):
    path, kept = trained / "config.json", tmp_path / "elsewhere"
    shutil.copy(path, kept)
    for make, what in (
        (lambda: path.symlink_to(kept), "is a link"),
        (lambda: path.symlink_to("/dev/zero"), "is a link"),
        (lambda: os.mkfifo(path), "is a pipe"),
        (lambda: path.mkdir(), "is a folder"),
    ):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        make()
        assert numaml("evaluate", trained) == 2
        assert f"config.json {what}; want a regular file" in capsys.readouterr().err


@pytest.mark.parametrize("learner", ["first-order", "pretrained"])
def test_a_folder_inside_that_leads_elsewhere_is_not_followed(trained, tmp_path, capsys, learner):
    outside = tmp_path / "outside"
    shutil.copytree(trained, outside)
    before = {path.name: path.read_bytes() for path in outside.iterdir()}
    (trained / learner).symlink_to(outside)
    more = ["--resume", trained, "--iterations", 9, "--no-alone"]
    for command in (["evaluate", trained], ["train", *more],
                    ["train", "sinusoid", "--out", trained, *TINY]):  # fmt: skip
        assert numaml(*command) == 2
        assert f"{trained / learner} is a link; want a folder" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == before
    assert runs.read(trained).iterations == 4


def test_a_configuration_beyond_its_limit_is_neither_read_nor_written(tmp_path):
    with pytest.raises(ValueError, match=r"the settings take .* bytes; want at most 1000000"):
        runs.write(Sinusoid(hidden=(7,) * 200_000), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "config.json").write_bytes(b"[" * (runs.LARGEST_CONFIG + 1))
    with pytest.raises(ValueError, match="it has more than 1000000 bytes"):
        runs.read(tmp_path)
