"""A lock ends with its process, whatever that has forked, and keeps out whatever it has forked."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress

import pytest

from numaml.files import lock
from numaml.files.lock import locked

fcntl = pytest.importorskip("fcntl", reason="there are no locks on files")

# A process that holds the lock and a child of it; each says how it went, then waits.
FORKS = {
    "os.fork": """
if os.fork() == 0:
    child(folder)
""",
    "multiprocessing": """
multiprocessing.get_context("fork").Process(target=child, args=(folder,)).start()
""",
    "a pool": """
from concurrent.futures import ProcessPoolExecutor
pool = ProcessPoolExecutor(1, multiprocessing.get_context("fork"))
pool.submit(child, folder)
""",
    "a thread's fork": """
import threading
def fork():
    if os.fork() == 0:
        child(folder)
thread = threading.Thread(target=fork)
thread.start()
thread.join()
""",
}
BEGIN = """
import multiprocessing, os, sys, time
from numaml.files.lock import locked
folder = sys.argv[1]

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def child(folder):
    try:
        with locked(folder):
            say("in", os.getpid())
    except BlockingIOError as error:
        say("out", os.getpid(), error)
    time.sleep(60)

with locked(folder):
"""


@contextmanager
def holder(folder, code):
    """A process that runs this inside of the lock, and what its child said; both end with us."""
    program = BEGIN + "".join(f"    {line}\n" for line in code.splitlines()) + "    time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program, str(folder)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    word, pid, *rest = process.stdout.readline().split(" ", 2)
    try:
        yield process, word, "".join(rest)
    finally:
        process.kill()
        process.wait()
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
        process.stdout.close()


@pytest.mark.parametrize("how", FORKS)
def test_a_forked_child_neither_holds_the_lock_nor_is_let_in(tmp_path, how):
    with holder(tmp_path, FORKS[how]) as (process, word, said):
        assert word == "out"
        assert f"another run (PID {process.pid}) is training in" in said
        with pytest.raises(BlockingIOError, match=rf"PID {process.pid}\) .*\(it is running\)"):
            locked(tmp_path).__enter__()
        process.kill()
        process.wait()
        with locked(tmp_path):  # the child lives and keeps nobody out
            assert (tmp_path / ".lock").read_text() == str(os.getpid())


def test_a_child_that_leaves_the_block_leaves_the_lock_to_its_parent(tmp_path):
    leaving = """
pid = os.fork()
if pid == 0:
    raise SystemExit  # through the end of the block
status = os.waitpid(pid, 0)[1]
say("left", os.getpid(), status, os.path.exists(os.path.join(folder, ".lock")))
"""
    with holder(tmp_path, leaving) as (process, word, said):
        assert (word, said) == ("left", "0 True\n")
        with pytest.raises(BlockingIOError, match=f"PID {process.pid}"):
            locked(tmp_path).__enter__()


# Where the lock is held though the process named in it is none of the living here.
HELD = """
import fcntl, sys, time
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_EX)
file.write(sys.argv[2])
file.flush()
print("held", flush=True)
time.sleep(60)
"""


def ended():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (ended, "it is not running here any more: look for a process that it left behind"),
        (lambda: 1, "(it is running)"),
        (lambda: "", "PID unknown"),
        (lambda: "0", "PID unknown"),
        (lambda: "9" * 19, "PID unknown"),
        (lambda: "-1", "PID unknown"),
        (lambda: "hello", "PID unknown"),
    ],
)
def test_the_message_says_whether_the_holder_lives(tmp_path, written, said):
    number = str(written())
    process = subprocess.Popen([sys.executable, "-c", HELD, str(tmp_path / ".lock"), number],
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError) as caught:
            locked(tmp_path).__enter__()
    finally:
        process.kill()
        process.communicate()
    assert said in str(caught.value)
    assert (number if number.isdigit() and 0 < int(number) < 2**31 else "unknown") in str(
        caught.value
    )
    with locked(tmp_path) if number.isdigit() or not number else refused(tmp_path):
        pass


@contextmanager
def refused(folder):
    with pytest.raises(OSError, match="is no lock of numaml's"):
        locked(folder).__enter__()
    yield


@pytest.mark.parametrize("content", ["{}", "a" * 100, "12 34", "12\n34", "1" * 19 + "x"])
def test_another_programs_file_of_that_name_stays(tmp_path, content):
    """Numbers of up to 19 digits are ours, left by a run that was killed."""
    (tmp_path / ".lock").write_text(content)
    with refused(tmp_path):
        assert (tmp_path / ".lock").read_text() == content
    (tmp_path / ".lock").write_text("12345")
    with locked(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())
    assert not (tmp_path / ".lock").exists()


def test_a_file_put_in_the_place_of_the_lock_is_not_removed(tmp_path):
    with locked(tmp_path):
        (tmp_path / ".lock").unlink()
        (tmp_path / ".lock").write_text("another's")
    assert (tmp_path / ".lock").read_text() == "another's"


def test_what_is_locked_is_free_again_after_any_end(tmp_path):
    for error in (ValueError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error), locked(tmp_path):
            raise error
        assert not lock._holders
        assert not list(tmp_path.iterdir())


def test_forking_and_locking_in_threads_at_once_ends(tmp_path):
    """Neither waits for the other for ever."""
    failed, stop = [], threading.Event()

    def work(number):
        while not stop.is_set():
            with locked(tmp_path / str(number)):
                pass

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        pid = os.fork()
        if pid == 0:
            os._exit(bool(lock._holders) or not lock._forking.acquire(timeout=5))
        failed.append(os.waitpid(pid, 0)[1])
    stop.set()
    for thread in threads:
        thread.join(10)
    assert not any(failed)
