"""Names in a folder that others prepared: no link is followed, no pipe waited for."""

import os
import socket
import stat
import time
from pathlib import Path

import numpy as np
import pytest

import numaml
from numaml.files.own import check_own, folder_inside, open_given, open_own
from numaml.files.whole import remove_unfinished, write_table, write_whole
from numaml.learning.state import State

MODEL = numaml.MLP((1, 3, 1))
PRECIOUS = b"precious"


def train(folder, **more):
    settings = {"alpha": 0.01, "steps": 1, "iterations": 4, "every": 2, "validate": np.sum}
    source = numaml.Sinusoids(tasks=2, shots=3, queries=4)
    return numaml.train(MODEL, MODEL.init(0), source, folder=folder, **settings, **more)


def link(path, victim):
    path.symlink_to(victim)


def dangling_link(path, victim):
    path.symlink_to(victim.with_name("elsewhere"))


def link_to_folder(path, victim):
    path.symlink_to(victim.parent)


def hard_link(path, victim):
    os.link(victim, path)


def pipe(path, _victim):
    os.mkfifo(path)


def folder(path, _victim):
    path.mkdir()


def unix_socket(path, _victim):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def device(path, _victim):
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))  # as /dev/null
    except PermissionError:
        pytest.skip("only root makes devices")


SAID = {
    link: "is a link",
    dangling_link: "is a link",
    link_to_folder: "is a link",
    hard_link: r"is one of 2 names of a file \(hard links\)",
    pipe: "is a pipe",
    folder: "is a folder",
    unix_socket: "is a socket",
    device: "is a device",
}
KINDS = pytest.mark.parametrize("kind", SAID, ids=[kind.__name__ for kind in SAID])


@pytest.fixture
def victim(tmp_path):
    """A file that nobody may touch."""
    path = tmp_path / "outside" / "victim"
    path.parent.mkdir()
    path.write_bytes(PRECIOUS)
    yield path
    assert path.read_bytes() == PRECIOUS
    assert [*path.parent.iterdir()] == [path]


def names(where):
    return {path.name: (path.lstat().st_mode, path.lstat().st_ino) for path in where.iterdir()}


@KINDS
@pytest.mark.parametrize("name", [".lock", "checkpoint.npz", "metrics.csv", "validation.csv"])
@pytest.mark.parametrize("resume", [False, True])
def test_a_run_follows_no_name_in_its_folder(tmp_path, victim, kind, name, resume):
    run = tmp_path / "run"
    if resume:
        train(run)
        (run / name).unlink(missing_ok=True)
    run.mkdir(exist_ok=True)
    kind(run / name, victim)
    before, began = names(run), time.monotonic()
    with pytest.raises(OSError, match=SAID[kind]) as caught:
        train(run, resume=resume)
    assert str(run) in str(caught.value)
    assert names(run) == before
    assert time.monotonic() - began < 5


@KINDS
def test_a_checkpoint_is_no_other_file(tmp_path, victim, kind):
    train(tmp_path / "run")
    content = (tmp_path / "run" / "checkpoint.npz").read_bytes()
    (tmp_path / "run" / "checkpoint.npz").unlink()
    kind(tmp_path / "run" / "checkpoint.npz", victim)
    with pytest.raises(OSError, match=SAID[kind]):
        State.load(tmp_path / "run")
    with pytest.raises(OSError, match=SAID[kind]):
        State(MODEL.init(0), np.random.default_rng(0)).save(tmp_path / "run")
    if kind not in (folder,):
        (tmp_path / "run" / "checkpoint.npz").unlink()
        (tmp_path / "run" / "checkpoint.npz").write_bytes(content)
        assert State.load(tmp_path / "run").iteration == 4


WRITERS = {
    "write_whole": lambda path: write_whole(path, b"new"),
    "write_table": lambda path: write_table(path, ["a"], [[1]]),
    "Learner.save": lambda path: numaml.Learner(MODEL, MODEL.init(0), 0.1, 1).save(path),
}


@KINDS
@pytest.mark.parametrize("writer", WRITERS)
def test_nothing_is_written_but_onto_a_file(tmp_path, victim, kind, writer):
    kind(tmp_path / "file", victim)
    before = names(tmp_path)
    with pytest.raises(OSError, match=SAID[kind] + ".*; want a .*file"):
        WRITERS[writer](tmp_path / "file")
    assert names(tmp_path) == before


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("path", ["/dev/null", "/dev/stdout", "."])
def test_nothing_is_written_onto_what_the_system_has(writer, path):
    with pytest.raises(OSError, match=r"is a (device|link|folder|pipe)"):
        WRITERS[writer](Path(path))


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755])
def test_who_may_read_and_write_a_file_stays_so(tmp_path, writer, mode):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "file").chmod(mode)
    before = os.umask(0o077)
    try:
        WRITERS[writer](tmp_path / "file")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode
    assert (tmp_path / "file").read_bytes() != b"old"


@pytest.mark.parametrize("umask", [0o077, 0o022, 0o007])
def test_new_files_are_as_the_umask_says(tmp_path, umask):
    before = os.umask(umask)
    try:
        for name, writer in WRITERS.items():
            writer(tmp_path / name)
        train(tmp_path / "run", progress=lambda *_: modes.add(mode(tmp_path / "run" / ".lock")))
    finally:
        os.umask(before)
    for path in (*map(tmp_path.joinpath, WRITERS), *(tmp_path / "run").iterdir()):
        assert mode(path) == 0o666 & ~umask, path
    assert 0o666 & ~umask in modes


modes = set()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_only_what_we_left_unfinished_is_removed(tmp_path, victim):
    ours = ".checkpoint.npz.0badf00d.unfinished"
    kept = [".notes.unfinished", "a.0badf00d.unfinished", ".a.0badf00d.unfinished.txt"]
    for name in (ours, *kept):
        (tmp_path / name).write_text("half")
    (tmp_path / ".b.0badf00d.unfinished").mkdir()
    (tmp_path / ".c.0badf00d.unfinished").symlink_to(victim)
    before = names(tmp_path)
    remove_unfinished(tmp_path)
    del before[ours]
    assert names(tmp_path) == before


@KINDS
def test_a_folder_inside_is_a_folder(tmp_path, victim, kind):
    if kind is not hard_link:
        (tmp_path / "there").mkdir()
        assert folder_inside(tmp_path, "there") == tmp_path / "there"
        assert folder_inside(tmp_path, "new") == tmp_path / "new"
    if kind is folder:
        return
    kind(tmp_path / "first-order", victim)
    with pytest.raises(NotADirectoryError, match="; want a folder: "):
        folder_inside(tmp_path, "first-order")


def test_what_the_user_names_may_be_a_link_but_no_pipe(tmp_path, victim):
    link(tmp_path / "link", victim)
    with open_given(tmp_path / "link", "a file") as file:
        assert file.read() == PRECIOUS
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), tmp_path / "none"):
        with pytest.raises(FileNotFoundError, match="is not there; want a file"):
            open_given(path, "a file")
        with pytest.raises(FileNotFoundError, match="is not there; want a file that"):
            numaml.Learner.load(path)


@pytest.mark.parametrize("kind", [link, hard_link, pipe])
def test_a_file_exchanged_while_it_is_opened_is_not_taken(tmp_path, victim, monkeypatch, kind):
    """The name is looked at, and then the file that was opened."""
    path, real = tmp_path / "file", os.lstat
    path.write_text("mine")

    def exchanged(name):
        status = real(name)
        path.unlink()
        kind(path, victim)
        return status

    monkeypatch.setattr(os, "lstat", exchanged)
    with pytest.raises(OSError, match=r"is one of 2|is a pipe|symbolic links"):
        open_own(path, os.O_RDWR)


def test_a_name_that_leads_nowhere_is_free(tmp_path):
    assert check_own(tmp_path / "none") is None
    with pytest.raises(FileNotFoundError):
        open_own(tmp_path / "none")
