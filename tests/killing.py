"""Kill trainings with SIGKILL, resume them until they are done, and compare every byte.

    python -m tests.killing random 500      500 kills at random moments
    python -m tests.killing steps [EACH]    a kill at every step of the file work, or every EACH-th
    python -m tests.killing interrupts [EACH]    the same with Ctrl-C, which must end in status 130

A forked process is as real as any, and needs no 0.3 s to import NumPy. With --figures figures are
drawn too. Prints the number of kills; an assertion fails where a file is unreadable, more than
one checkpoint interval is lost, litter piles up, or the end is not that of a run left alone.
"""

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from numaml import Learner
from numaml.command import main as cli
from numaml.command import progress
from numaml.experiments import runs, sinusoid
from numaml.experiments.experiment import LEARNERS
from numaml.files.lock import locked
from numaml.learning.state import State

EVERY = 7
TINY = [
    "train", "sinusoid", "--tasks", "3", "--shots", "2", "--queries", "4", "--hidden", "5",
    "--every", str(EVERY),
]  # fmt: skip
# What is done to files, as Python's audit events name it; os.fsync, which has none, is replaced.
FILE_WORK = ("open", "os.rename", "os.remove", "os.mkdir", "os.truncate", "fcntl.flock")


def start(arguments, folder, log, at=0, kill=signal.SIGKILL):
    """Fork a process that runs the command, and is killed at that step of its file work."""
    pid = os.fork()
    if pid:
        return pid
    steps = 0

    def step(*_):
        nonlocal steps
        steps += 1
        if steps == at:
            signal.raise_signal(kill)

    def audit(event, details):
        if event in FILE_WORK and (event == "fcntl.flock" or str(folder) in str(details[0])):
            step()

    @contextmanager
    def reporting(title, *_):
        folder = title.encode()
        yield lambda i, *_: os.write(report, b"%s,%d\n" % (folder, i))

    status = 99
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" has it ignored
        report = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        os.dup2(os.open(f"{log}.out", os.O_CREAT | os.O_TRUNC | os.O_WRONLY), 1)
        os.dup2(1, 2)
        progress.shown = reporting
        os.fsync = step  # a kill is no power cut: what the kernel has been given, stays
        if at:
            sys.addaudithook(audit)
        status = cli.main([*arguments])
    finally:
        os._exit(status)


def command(arguments, folder):
    """How one goes on: resume what has settings, or start again."""
    if (folder / "config.json").exists():
        return [*arguments[:2], "--resume", str(folder), *(["--alone"] * ("--alone" in arguments))]
    return [*arguments, "--out", str(folder)]


def finish(pid):
    """The exit status of a process; -9 if it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def let_go(folder, seconds=20):
    """Wait for the learners' processes, which the kernel ends a moment after the command."""
    end = time.monotonic() + seconds
    for run in [folder, *(path for path in folder.glob("*") if path.is_dir())]:
        while True:
            try:
                with locked(run):
                    break
            except BlockingIOError:
                assert time.monotonic() < end, run
                time.sleep(0.01)


def check(folder, log):
    """Everything readable, at most one interval lost, at most one unfinished file a folder."""
    reached = {}
    for line in log.read_text().splitlines() if log.exists() else []:
        learner, iteration = line.rsplit(",", 1)
        reached[learner] = int(iteration)
    for run in [folder, *(path for path in folder.glob("*") if path.is_dir())]:
        for path in run.iterdir() if run.exists() else []:
            readable(path)
        assert len(list(run.glob(".*.unfinished"))) <= 1
        if (run / "config.json").exists():
            learner = LEARNERS[runs.read(run).learner]
            if learner in reached:
                assert State.load(run).iteration >= reached[learner] - EVERY


def readable(path):
    content = path.read_bytes() if path.is_file() else b""
    if path.name == "config.json":
        assert isinstance(runs.read(path.parent), sinusoid.Sinusoid)
    elif path.name == "checkpoint.npz":
        State.load(path.parent)
    elif path.name == "learner.npz":
        Learner.load(path)
    elif path.suffix == ".csv":
        lines = content.decode().split("\n")
        assert lines.pop() == ""
        assert len({line.count(",") for line in lines}) == 1
    elif path.suffix == ".png":
        assert content.startswith(b"\x89PNG")
        assert content.endswith(b"IEND\xaeB`\x82")
    else:
        assert path.is_dir() or path.name == ".lock" or path.name.endswith(".unfinished"), path


def files(folder):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def at_random(kills, arguments, rng, base):
    """That many kills, each after a random part of the time that a run takes."""
    began = time.perf_counter()
    assert finish(start([*arguments, "--out", str(base / "whole")], base, base / "log")) == 0
    duration, whole, done = time.perf_counter() - began, files(base / "whole"), 0
    while done < kills:
        folder, log = base / "killed", base / "log"
        shutil.rmtree(folder, ignore_errors=True)
        while True:
            log.unlink(missing_ok=True)
            pid = start(command(arguments, folder), folder, log)
            if done < kills:
                time.sleep(rng.uniform(0, duration / 2))
                os.kill(pid, signal.SIGKILL)
            if (status := finish(pid)) != -signal.SIGKILL:
                break
            done += 1
            let_go(folder)
            check(folder, log)
        assert status == 0, Path(f"{log}.out").read_text()
        assert files(folder) == whole
    return done


def at_steps(arguments, base, each, kill=signal.SIGKILL, ended=-signal.SIGKILL):
    """A kill at the first step of the file work, then EACH steps later, until none is left."""
    log, folder = base / "log", base / "killed"
    assert finish(start([*arguments, "--out", str(base / "whole")], base, log)) == 0
    whole, kills, step, status = files(base / "whole"), 0, 1, ended
    while status == ended:
        shutil.rmtree(folder, ignore_errors=True)
        status = finish(start([*arguments, "--out", str(folder)], folder, log, step, kill))
        if status == ended:
            kills, step = kills + 1, step + each
            check(folder, log)
            assert "Traceback" not in Path(f"{log}.out").read_text()
            resumed = finish(start(command(arguments, folder), folder, log))
            assert resumed == 0, Path(f"{log}.out").read_text()
        assert files(folder) == whole, step
    assert status == 0, Path(f"{log}.out").read_text()
    return kills


def main(mode, *rest):
    sinusoid.TEST_TASKS = 20  # evaluation is not what takes part in this
    if "--figures" not in rest:
        sys.modules["matplotlib"] = None
    short, long = ([*TINY, "--iterations", number] for number in ("20", "100"))
    with tempfile.TemporaryDirectory() as base:
        if mode in ("steps", "interrupts"):
            how = (signal.SIGINT, 130) if mode == "interrupts" else ()
            return at_steps([*short, "--alone"], Path(base), int((*rest, "1")[0]), *how)
        seed = random.SystemRandom().randrange(10**6) if len(rest) < 2 else int(rest[1])
        rng = random.Random(seed)  # noqa: S311  # no secrets here
        return at_random(int(rest[0]), long, rng, Path(base))


if __name__ == "__main__":
    sys.stdout.write(f"{main(*sys.argv[1:])} kills survived\n")
