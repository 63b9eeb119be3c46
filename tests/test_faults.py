"""What may go wrong around a run: kills, full disks, a second run, numbers that are none."""

import os
import resource
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import numaml
from numaml.command import main as cli
from numaml.command import report
from numaml.command import train as training
from numaml.experiments import memory, runs, sinusoid
from numaml.experiments.sinusoid import Sinusoid
from numaml.files import lock
from numaml.files.lock import locked
from numaml.files.whole import write_whole
from numaml.learning.outer import train
from numaml.learning.state import State

MODEL = numaml.MLP((1, 6, 1))
SOURCE = numaml.Sinusoids(tasks=3, shots=4, queries=5)
TINY = ["--tasks", "3", "--hidden", "5", "--iterations", "60", "--every", "20", "--alone"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No figures and a short evaluation, but where they are what is tested."""
    monkeypatch.setattr(report, "draw", lambda *_: None)
    monkeypatch.setattr(sinusoid, "TEST_TASKS", 20)


def run(folder=None, iterations=60, **changes):
    arguments = {"alpha": 0.01, "steps": 2, "every": 10, "rng": 1, **changes}
    source = arguments.pop("source", SOURCE)
    theta = arguments.pop("theta", MODEL.init(0))
    return train(MODEL, theta, source, iterations=iterations, folder=folder, **arguments)


def numaml_command(*arguments):
    return cli.main([str(argument) for argument in arguments])


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("kills", "least"), [(("steps", "6"), 8), (("random", "2"), 2), (("interrupts", "7"), 8)]
)
def test_a_run_survives_kills(kills, least):
    """What the end must be and what is lost at most is asserted in killing.py."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.killing", *kills],
        cwd=Path(__file__).parents[1], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[0]) >= least


def wait_for(path):
    until = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_second_command_is_refused_until_the_first_is_dead(tmp_path, capsys):
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "numaml", "train", "sinusoid", "--out", str(folder), *TINY]
    first = subprocess.Popen([*command, "--iterations", str(10**9)], stderr=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL)  # fmt: skip
    try:
        wait_for(folder / "checkpoint.npz")
        for option in (["--resume", folder, "--iterations", 5], ["--out", folder, *TINY]):
            assert numaml_command("train", "sinusoid", *option) == 2
            error = capsys.readouterr().err
            assert f"another run (PID {first.pid}) is training in {folder}; wait for it" in error
    finally:
        first.kill()
        first.wait()
    assert (folder / ".lock").exists()
    stop = str(State.load(folder).iteration + 40)
    resume = ["train", "sinusoid", "--resume", folder, "--alone", "--iterations", stop]
    assert numaml_command(*resume) == 0
    assert not (folder / ".lock").exists()
    alone = tmp_path / "alone"
    assert numaml_command("train", "sinusoid", "--out", alone, *TINY, "--iterations", stop) == 0
    assert content(folder) == content(alone)


def test_of_threads_that_begin_together_in_one_folder_one_trains(tmp_path):
    together, ended = threading.Barrier(6), []

    def begin():
        together.wait()
        try:
            ended.append(run(tmp_path / "run", progress=lambda *_: time.sleep(0.002)))
        except (BlockingIOError, FileExistsError) as error:
            ended.append(error)

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(one, State) for one in ended) == 1
    assert any("another thread of PID" in str(one) for one in ended)
    run(tmp_path / "alone")
    assert content(tmp_path / "run") == content(tmp_path / "alone")


@pytest.mark.parametrize("module", [lock.fcntl, None])
def test_the_lock_holds_off_another_thread_and_not_its_own(tmp_path, module, monkeypatch):
    monkeypatch.setattr(lock, "fcntl", module)
    refused = []

    def other():
        with pytest.raises(BlockingIOError) as caught, locked(tmp_path / "." / "run"):
            pass
        refused.append(caught)

    with locked(tmp_path / "run"), locked(tmp_path / "run"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert refused
    with locked(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").read_text() == str(os.getpid())
    assert not list((tmp_path / "run").iterdir())


def test_a_lock_on_a_file_that_is_gone_is_no_lock(tmp_path, monkeypatch):
    """Its holder removes it at the end, perhaps just between another's opening and locking it."""
    taken, calls = lock._taken, []

    def too_late(file):
        calls.append(1)
        if len(calls) == 1:
            (tmp_path / ".lock").unlink()
        return taken(file)

    monkeypatch.setattr(lock, "_taken", too_late)
    with locked(tmp_path):
        assert (tmp_path / ".lock").exists()
        assert len(calls) == 2


def test_a_file_system_without_locks_is_no_error(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "flock", none)
    assert run(tmp_path).iteration == 60


def test_what_a_killed_run_left_unfinished_is_removed(tmp_path):
    for name in (".checkpoint.npz.0badf00d.unfinished", ".results.csv.12345678.unfinished"):
        (tmp_path / name).write_bytes(b"half")
    run(tmp_path)
    assert set(content(tmp_path)) == {"checkpoint.npz", "metrics.csv"}


@pytest.mark.parametrize("left", [(), ("config.json",)])
def test_a_folder_left_before_the_first_checkpoint_can_be_used(tmp_path, left, capsys):
    runs.write(Sinusoid(iterations=60, every=20, tasks=3, hidden=(5,)), tmp_path)
    for path in tmp_path.iterdir():
        if path.name not in left:
            path.unlink()
    where = ["--resume", tmp_path, "--alone"] if left else ["--out", tmp_path, *TINY]
    assert numaml_command("train", "sinusoid", *where) == 0
    assert State.load(tmp_path).iteration == 60


def test_resuming_makes_the_tables_anew(tmp_path):
    """As a kill between checkpoint and tables leaves them."""
    run(tmp_path, 100)
    whole = (tmp_path / "metrics.csv").read_bytes()
    (tmp_path / "metrics.csv").unlink()
    found = []
    run(tmp_path, 105, resume=True,
        progress=lambda *_: found.append((tmp_path / "metrics.csv").read_bytes()))  # fmt: skip
    assert found == [whole] * 5


@contextmanager
def no_file_above(bytes_):
    """The kernel refuses to let a file grow beyond so many bytes, as it does on a full disk.

    No longer than that: pytest's own output may be a file, and larger.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_leaves_the_last_checkpoint(tmp_path):
    run(tmp_path / "run", 20)
    before, seen = content(tmp_path / "run"), []
    refused = (r"checkpoint.npz cannot be written: File too large; last good checkpoint: "
               r"iteration 30 .*make room, then resume it")  # fmt: skip
    size = len(before["checkpoint.npz"])
    with no_file_above(size + 100), pytest.raises(OSError, match=refused):
        run(tmp_path / "run", resume=True, progress=lambda i, _: seen.append(i))
    assert seen[-1] == 40
    assert set(content(tmp_path / "run")) == set(before)
    with no_file_above(size - 100), pytest.raises(OSError, match="iteration 30 in"):
        run(tmp_path / "run", resume=True, progress=lambda *_: pytest.fail("too late"))
    run(tmp_path / "run", resume=True)
    run(tmp_path / "whole")
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def test_a_disk_that_is_full_is_found_out_before_the_first_iteration(tmp_path):
    refused = "cannot be written: File too large; no checkpoint in"
    with no_file_above(0), pytest.raises(OSError, match=refused):
        run(tmp_path, progress=lambda *_: pytest.fail("too late"))
    assert not content(tmp_path)


def test_a_full_disk_is_one_line_of_the_command(tmp_path, capsys):
    with no_file_above(1000):
        assert numaml_command("train", "sinusoid", "--out", tmp_path / "run", *TINY) == 2
    assert "run/checkpoint.npz cannot be written: File too large" in capsys.readouterr().err
    assert set(content(tmp_path / "run")) == {"config.json"}
    assert numaml_command("train", "sinusoid", "--resume", tmp_path / "run", "--alone") == 0
    capsys.readouterr()
    with no_file_above(10):
        assert numaml_command("evaluate", tmp_path / "run", "--out", tmp_path / "new") == 2
    printed = capsys.readouterr()
    assert "results.csv cannot be written" in printed.err
    assert "MAML, exact" in printed.out


@pytest.mark.parametrize("inside", ["", "deeper"])
def test_a_place_where_no_folder_can_be(tmp_path, inside, capsys):
    (tmp_path / "file").write_text("mine")
    assert numaml_command("train", "sinusoid", "--out", tmp_path / "file" / inside, *TINY) == 2
    error = capsys.readouterr().err
    assert f"nothing can be written in {tmp_path / 'file' / inside}: " in error
    assert "choose another folder" in error
    assert (tmp_path / "file").read_text() == "mine"


def test_a_file_is_written_whole_by_threads_at_once(tmp_path):
    contents = [bytes([number]) * 200_000 for number in range(8)]
    threads = [
        threading.Thread(target=write_whole, args=(tmp_path / "file", one)) for one in contents
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert content(tmp_path)["file"] in contents
    assert len(content(tmp_path)) == 1


class Poisoned:
    """Sinusoids, but for one call of them."""

    def __init__(self, call, poison):
        self.call, self.poison, self.calls = call, poison, 0

    def __call__(self, rng):
        self.calls += 1
        tasks = SOURCE(rng)
        return self.poison(tasks) if self.calls == self.call else tasks


class Loose:
    """Tasks that nobody has checked."""

    def __init__(self, support, query):
        self.support, self.query = support, query


def with_nan(batch):
    return numaml.Batch(batch.x, np.where(batch.y == batch.y.max(), np.nan, batch.y))


def unchecked(batch):
    object.__setattr__(batch, "y", np.full_like(batch.y, np.inf))
    return batch


def gradient_times(factor, value=None):
    def gradient(*arguments):
        gradient.calls += 1
        exact, slope = numaml.meta_gradient(*arguments)
        if gradient.calls < 25:
            return exact, slope
        return (exact if value is None else value), slope * slope.dtype.type(factor)

    gradient.calls, gradient.__name__ = 0, "a gradient with something wrong in it"
    return gradient


DIVERGED = {
    "NaN in a batch": (
        {"source": Poisoned(25, lambda t: numaml.Tasks(t.support, with_nan(t.query)))},
        ValueError, r"no tasks for iteration 25: y\[\d, \d, 0\] is nan; want finite numbers; ",
        "mend the source"),
    "NaN in tasks of one's own": (
        {"source": Poisoned(25, lambda t: Loose(unchecked(t.support), t.query))},
        FloatingPointError, "iteration 25: the support set holds NaN or infinity", "mend the sour"),
    "alpha": (
        {"source": Poisoned(25, lambda t: Loose(numaml.Batch(1e90 * t.support.x, t.support.y),
                                                t.query)), "steps": 3},
        FloatingPointError, "iteration 25: the inner loop overflowed at step 2 of 3",
        "try a smaller alpha, or fewer steps"),
    "meta-value": (
        {"gradient": gradient_times(1, np.inf)}, FloatingPointError,
        "iteration 25: the meta-value is inf", "try a smaller alpha or beta"),
    "meta-gradient": (
        {"gradient": gradient_times(np.inf)}, FloatingPointError,
        "iteration 25: the meta-gradient is not finite", "try a smaller alpha or beta"),
    "Adam": (
        {"gradient": gradient_times(1e30), "theta": MODEL.init(0, np.float32)}, FloatingPointError,
        "iteration 25: Adam's step overflowed float32", "try a smaller beta, or a wider dtype"),
    "validation": (
        {"validate": lambda theta: np.nan if validated.append(1) or len(validated) == 3 else 1.0},
        FloatingPointError, "validation at iteration 30 gave nan", "try a smaller alpha or beta"),
}  # fmt: skip
validated = []


@pytest.mark.parametrize("cause", DIVERGED)
def test_divergence_says_cause_iteration_and_what_to_do(tmp_path, cause):
    changes, error, finding, advice = DIVERGED[cause]
    with pytest.raises(error, match=finding) as caught:
        run(tmp_path, **changes)
    assert f"last good checkpoint: iteration 20 in {tmp_path}" in str(caught.value)
    assert advice in str(caught.value)
    if error is FloatingPointError:
        assert "(alpha = 0.01, beta = 0.001, steps = " in str(caught.value)
    state = State.load(tmp_path)
    assert state.iteration == 20
    assert np.isfinite(state.theta).all()
    assert set(content(tmp_path)) <= {"checkpoint.npz", "metrics.csv", "validation.csv"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"theta": np.where(np.arange(MODEL.size) == 5, np.nan, 0.0)}, r"theta\[5\] is nan; want"),
        ({"alpha": -0.1}, r"alpha is -0.1; want a finite number >= 0"),
        ({"alpha": np.nan}, "alpha is nan"),
        ({"steps": -1}, "steps is -1; want an integer >= 0"),
        ({"beta": np.inf}, "beta is inf"),
    ],
)
def test_bad_numbers_are_refused_before_anything_is_written(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_a_source_of_something_else_is_named():
    with pytest.raises(TypeError, match=r"the source gave list; want numaml.Tasks\(support, query"):
        run(source=lambda _: [(1, 2)])


def test_numbers_of_numpy_are_numbers(tmp_path):
    state = run(tmp_path, 20, alpha=np.float32(0.5), steps=np.int64(2), beta=np.float32(0.25))
    assert state.settings == State.load(tmp_path).settings
    assert np.array_equal(state.theta, run(iterations=20, alpha=0.5, beta=0.25).theta)


TOO_MUCH = {
    "widths": ["--hidden", "1000000000000"],
    "tasks": ["--tasks", "10000000000"],
    "steps": ["--steps", "100000000000"],
    "zero beta": ["--beta", "0"],
    "more than 64 bits": ["--iterations", "9" * 400],
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_what_no_machine_can_do_is_refused_before_anything_is_written(tmp_path, what, capsys):
    out = ["--out", tmp_path / "run"]
    try:
        status = numaml_command("train", "sinusoid", *out, *TINY, *TOO_MUCH[what])
    except SystemExit as stop:  # refused with the option, not with the machine
        status = stop.code
    assert status == 2
    wanted = {"zero beta": "beta is 0.0; want a number > 0", "more than 64 bits": "below 2^63"}
    assert wanted.get(what, "this needs at least") in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_memory_asked_for_is_one_tasks_traces_and_all_inputs(monkeypatch):
    monkeypatch.setattr(memory, "machines_memory", lambda: 1e7)
    Sinusoid(tasks=10_000).prepared()  # exact MAML takes them in blocks
    with pytest.raises(ValueError, match="this needs at least"):
        Sinusoid(tasks=10_000, learner="first-order").prepared()
    with pytest.raises(ValueError, match="this needs at least"):
        Sinusoid(tasks=1_000_000).prepared()


def test_memory_that_is_not_there_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(memory, "machines_memory", lambda: float("inf"))
    out = ["--out", tmp_path / "run"]
    assert numaml_command("train", "sinusoid", *out, *TINY, "--hidden", 10**14) == 2
    assert "numaml: not enough memory. Unable to allocate" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.*"))


DRAW = report.draw


def test_a_learner_that_diverges_at_test_warns_of_nothing(tmp_path, capsys, monkeypatch):
    """Warnings are errors here; the picture is drawn of what there is."""
    monkeypatch.setattr(report, "draw", DRAW)
    out = ["--out", tmp_path / "run"]
    assert numaml_command("train", "sinusoid", *out, *TINY, "--alpha", "0.3") == 0
    assert "diverged" in capsys.readouterr().out
    assert (tmp_path / "run" / "adaptation.png").exists()


def test_a_figure_is_whole_or_not_there(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report, "draw", DRAW)
    with no_file_above(20_000):
        assert numaml_command("train", "sinusoid", "--out", tmp_path / "run", *TINY) == 2
    assert "learning_curve.png cannot be written: File too large" in capsys.readouterr().err
    assert not list((tmp_path / "run").glob("*.png"))


def test_ctrl_c_before_there_is_a_run_says_so(tmp_path, capsys, monkeypatch):
    def interrupted(_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "_started", interrupted)
    assert numaml_command("train", "sinusoid", "--out", tmp_path / "run", *TINY) == 130
    assert "run it again" in capsys.readouterr().err
    runs.write(Sinusoid(), tmp_path / "run")
    assert numaml_command("train", "sinusoid", "--out", tmp_path / "run", *TINY) == 130
    assert f"continue with numaml train sinusoid --resume {tmp_path / 'run'}" in (
        capsys.readouterr().err
    )


SHELL = {
    "reader gone": ("| true", ""),
    "full": ("> /dev/full", "numaml: the output cannot be written: No space left on device\n"),
    "closed": (">&-", ""),
    "no letters": ("> ascii.txt", ""),
}


@pytest.mark.parametrize("case", SHELL)
def test_output_that_cannot_be_written_is_no_traceback(tmp_path, case):
    where, message = SHELL[case]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m numaml check {where}; exit ${{PIPESTATUS[0]}}"],
        cwd=tmp_path, capture_output=True, text=True,
        env={**environment, "PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert done.stderr == message
    assert done.returncode == (2 if case in ("reader gone", "full") else 0)
