"""Learners trained at once: the bits of one after another, and nothing lost however it ends."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from numaml.experiments import at_once, processes
from numaml.experiments.at_once import Job, fit_all
from numaml.experiments.runs import load, read
from numaml.experiments.sinusoid import Sinusoid
from numaml.learning.state import State

LEARNERS = ("exact", "first-order", "pretrained")


def jobs_in(folder, **settings):
    few = {"iterations": 40, "every": 10, "tasks": 2, "shots": 3, "queries": 3, "hidden": (4,)}
    made = []
    for learner in LEARNERS:
        own = folder if learner == "exact" else folder / learner
        made.append(Job(Sinusoid(learner=learner, **(few | settings)), own))
    return made


def silent(count=3):
    return [lambda *told: None] * count


def bits(folder):
    """Of every learner its meta-parameters and meta-values."""
    return {
        name: (one.state.theta.tobytes(), np.array(one.state.values).tobytes())
        for name, one in load(folder).items()
    }


def test_at_once_and_one_after_another_are_the_same_to_the_last_bit(tmp_path, monkeypatch):
    for name, count in (("two", 2), ("one", 1), ("three", 3)):
        monkeypatch.setattr(at_once, "cores", lambda count=count: count)
        heard = [[] for _ in LEARNERS]
        fit_all(jobs_in(tmp_path / name), [one.append for one in map(_first, heard)])
        assert all(one[-1] == 40 for one in heard)
    assert bits(tmp_path / "two") == bits(tmp_path / "one") == bits(tmp_path / "three")
    assert (tmp_path / "two" / "pretrained" / "learner.npz").is_file()


def _first(heard):
    class Append:
        @staticmethod
        def append(iteration, *told):
            heard.append(iteration)

    return Append


def test_the_processes_have_one_blas_thread_and_the_environment_stays(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with processes.one_thread():
        assert {os.environ[name] for name in processes.THREADS} == {"1"}
    assert os.environ["OPENBLAS_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_an_error_of_one_is_the_error_of_all_and_the_others_keep_what_they_have(tmp_path):
    jobs = jobs_in(tmp_path / "run", iterations=100_000)
    bad = dataclasses.replace(jobs[1].experiment, alpha=1e18, iterations=50)
    with pytest.raises(FloatingPointError, match="diverged"):
        fit_all([jobs[0], Job(bad, jobs[1].folder)], silent(2))
    state = State.load(tmp_path / "run")
    assert 0 < state.iteration < 100_000


def test_a_run_is_gone_on_from(tmp_path):
    fit_all(jobs_in(tmp_path / "run")[:1], silent(1))
    fit_all(jobs_in(tmp_path / "run", iterations=60)[:1], silent(1))
    assert read(tmp_path / "run").iterations == 60
    with pytest.raises(ValueError, match="has 60 outer steps already; want --iterations 60"):
        fit_all(jobs_in(tmp_path / "run", iterations=59)[:1], silent(1))


CODE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.experiments.test_at_once import jobs_in, silent
from numaml.experiments.at_once import fit_all
if __name__ == "__main__":
    fit_all(jobs_in(Path(sys.argv[1]), iterations=1_000_000), silent())
"""


def started(tmp_path):
    """A process that trains three learners for ever, after each has reported."""
    script = tmp_path / "script.py"
    script.write_text(CODE)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "run"), root],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root,
    )  # fmt: skip
    until(lambda: (tmp_path / "run" / "checkpoint.npz").is_file())
    until(lambda: State.load(tmp_path / "run").iteration > 0)
    return process


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def free(folder):
    """Whether nobody trains in a folder any more."""
    from numaml.files.lock import locked

    try:
        with locked(folder):
            return True
    except BlockingIOError:
        return False


def test_ctrl_c_loses_no_iteration_of_any(tmp_path):
    process = started(tmp_path)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in said
    assert free(tmp_path / "run")
    done = State.load(tmp_path / "run").iteration
    assert done > 0
    # Interrupted after whole iterations, and resumed, it is the run that was never interrupted.
    more = done + 7
    fit_all(jobs_in(tmp_path / "run", iterations=more)[:1], silent(1))
    fit_all(jobs_in(tmp_path / "whole", iterations=more)[:1], silent(1))
    assert bits(tmp_path / "run")["exact"] == bits(tmp_path / "whole")["exact"]


def test_when_the_parent_is_killed_its_processes_end_and_the_run_can_be_resumed(tmp_path):
    process = started(tmp_path)
    process.kill()
    process.communicate()
    until(lambda: free(tmp_path / "run") and free(tmp_path / "run" / "first-order"), 20)
    done = State.load(tmp_path / "run").iteration
    fit_all(jobs_in(tmp_path / "run", iterations=done + 5)[:1], silent(1))
    assert State.load(tmp_path / "run").iteration == done + 5


def test_it_runs_in_a_thread_too(tmp_path):
    thread = threading.Thread(target=fit_all, args=(jobs_in(tmp_path / "run")[:1], silent(1)))
    thread.start()
    thread.join(60)
    assert State.load(tmp_path / "run").iteration == 40


def test_a_process_that_dies_is_an_error(tmp_path):
    worker = at_once._Worker(jobs_in(tmp_path / "run", iterations=1_000_000)[0], silent(1)[0])
    worker.process.kill()
    worker.process.join()

    def listen():
        while not worker.heard():
            pass

    with pytest.raises(RuntimeError, match="without a word"):
        listen()


def test_a_handler_that_python_did_not_set_is_left_alone(monkeypatch):
    """Of a host that embeds Python: it is None here, and could not be set again."""
    monkeypatch.setattr(signal, "getsignal", lambda _: None)
    monkeypatch.setattr(signal, "signal", lambda *_: pytest.fail("it was taken away"))
    with processes.deaf():
        pass
    monkeypatch.undo()
    before = signal.getsignal(signal.SIGINT)
    with processes.deaf():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is before
