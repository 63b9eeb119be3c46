"""Ctrl-C: whoever handles it, whatever it cuts, no completed iteration is lost."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import numaml
from numaml.learning.generators import recorded
from numaml.learning.state import State

MODEL = numaml.MLP((1, 6, 1))
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(numaml.__file__).parents[1])}


def sines(rng):
    return numaml.Sinusoids(tasks=4, shots=3, queries=4)(rng.spawn(1)[0])


def meta_gradient(*arguments):
    return numaml.meta_gradient(*arguments)


def height(theta):
    return float(theta[0])


def nothing(*_):
    pass


def run(folder=None, iterations=20, source=sines, **changes):
    settings = {
        "alpha": 0.01, "steps": 1, "every": 6, "rng": 1, "gradient": meta_gradient,
        "validate": height, "progress": nothing,
    } | changes  # fmt: skip
    return numaml.train(
        MODEL, MODEL.init(0), source, iterations=iterations, folder=folder, **settings
    )


def bits(state):
    vectors = [state.theta, *state.moments[:2], state.best, np.array(state.values)]
    return [one.tobytes() for one in vectors], state.scores, repr(recorded(state.rng))


@pytest.fixture(autouse=True)
def defaults():
    """The handler that Python has, and it is there afterwards too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def cutting(function, call, error=KeyboardInterrupt, before=True):
    """The function, but one call of it ends in an error, before or after its work."""
    calls = 0

    def cut(*arguments):
        nonlocal calls
        calls += 1
        if calls == call and before:
            raise error
        result = function(*arguments)
        if calls == call:
            raise error
        return result

    cut.__name__, cut.__qualname__, cut.__module__ = (
        function.__name__, function.__qualname__, function.__module__,
    )  # fmt: skip
    return cut


PLACES = {
    "source": (sines, 9, 8),
    "gradient": (meta_gradient, 9, 8),
    "progress": (nothing, 9, 9),
    "validate": (height, 2, 12),
}


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_what_was_complete_is_kept_wherever_the_interrupt_comes(tmp_path, place, before):
    function, call, complete = PLACES[place]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, **{place: cutting(function, call, before=before)})
    assert State.load(tmp_path).iteration == complete
    assert bits(run(tmp_path, resume=True)) == bits(run())


@pytest.mark.parametrize("place", ["source", "gradient"])
def test_another_error_leaves_the_folder_as_it_is(tmp_path, place):
    function, call, _ = PLACES[place]
    for error in (RuntimeError, SystemExit):
        folder = tmp_path / error.__name__
        with pytest.raises(error):
            run(folder, **{place: cutting(function, call, error)})
        assert State.load(folder).iteration == 6
        assert bits(run(folder, resume=True)) == bits(run())


@pytest.mark.parametrize("place", ["source", "gradient", "validate"])
def test_what_fails_because_of_ctrl_c_is_ctrl_c(tmp_path, place):
    """Its workers have got it too, and may fail with anything."""
    function, call, complete = PLACES[place]

    def failing(*arguments):
        signal.raise_signal(signal.SIGINT)
        raise RuntimeError("a process of the pool died")

    def then(*arguments):
        then.calls += 1
        return (failing if then.calls == call else function)(*arguments)

    then.calls = 0
    then.__name__, then.__qualname__ = function.__name__, function.__qualname__
    with pytest.raises(KeyboardInterrupt) as caught:
        run(tmp_path, **{place: then})
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert State.load(tmp_path).iteration == complete
    assert bits(run(tmp_path, resume=True)) == bits(run())


def test_ctrl_c_twice_cuts_the_iteration_and_loses_none_before(tmp_path):
    def impatient(*arguments):
        impatient.calls += 1
        if impatient.calls == 9:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError
        return meta_gradient(*arguments)

    impatient.calls = 0
    impatient.__qualname__, impatient.__name__ = meta_gradient.__qualname__, "meta_gradient"
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, gradient=impatient)
    assert State.load(tmp_path).iteration == 8
    assert bits(run(tmp_path, resume=True)) == bits(run())


def test_ctrl_c_once_completes_the_iteration(tmp_path):
    def asked(iteration, _value):
        if iteration == 9:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=asked)
    assert State.load(tmp_path).iteration == 9
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert bits(run(tmp_path, resume=True)) == bits(run())


# Hosts.


def ask(iteration, _value):
    if iteration == 9:
        signal.raise_signal(signal.SIGINT)


def test_a_host_that_handles_ctrl_c_goes_on_doing_so(tmp_path):
    asked = []

    def hosts(*_):
        asked.append(1)

    signal.signal(signal.SIGINT, hosts)
    assert bits(run(tmp_path, progress=ask)) == bits(run())
    assert asked == [1]
    assert signal.getsignal(signal.SIGINT) is hosts


def test_a_host_that_raises_on_ctrl_c_loses_nothing(tmp_path):
    def hosts(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, hosts)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, gradient=raising_at_nine())
    assert State.load(tmp_path).iteration == 8
    assert bits(run(tmp_path, resume=True)) == bits(run())


def raising_at_nine():
    def gradient(*arguments):
        gradient.calls += 1
        if gradient.calls == 9:
            signal.raise_signal(signal.SIGINT)
        return meta_gradient(*arguments)

    gradient.calls, gradient.__qualname__ = 0, "meta_gradient"
    gradient.__name__ = "meta_gradient"
    return gradient


def test_a_host_that_ignores_ctrl_c_is_not_interrupted(tmp_path):
    """As a shell's "&" and nohup do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert run(tmp_path, progress=ask).iteration == 20
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_handler_that_is_not_pythons_stays(tmp_path, monkeypatch):
    """Where a program in C has set one, Python knows None of it, and cannot put it back."""

    def refuse(*_):
        raise TypeError("signal handler must be signal.SIG_IGN, signal.SIG_DFL, or a callable")

    monkeypatch.setattr(signal, "getsignal", lambda _: None)
    monkeypatch.setattr(signal, "signal", refuse)
    assert run(tmp_path).iteration == 20


def test_where_no_handler_can_be_set_there_is_none(tmp_path, monkeypatch):
    """In a subinterpreter, whose main thread is none to the module signal."""

    def refuse(*_):
        raise ValueError("signal only works in main thread of the main interpreter")

    with monkeypatch.context() as patch:
        patch.setattr(signal, "signal", refuse)
        assert run(tmp_path).iteration == 20


def test_a_handler_set_while_training_stays(tmp_path):
    def hosts(*_):
        pass

    run(tmp_path, progress=lambda *_: signal.signal(signal.SIGINT, hosts))
    assert signal.getsignal(signal.SIGINT) is hosts


def test_a_thread_that_is_not_the_main_one_trains(tmp_path):
    ended = []
    thread = threading.Thread(target=lambda: ended.append(run(tmp_path)))
    thread.start()
    thread.join()
    assert bits(ended[0]) == bits(run())


SUBINTERPRETER = """
import sys
try:
    import _interpreters as interpreters
    made = interpreters.create("legacy")
except ImportError:
    import _xxsubinterpreters as interpreters
    made = interpreters.create(isolated=False)
interpreters.run_string(made, '''
import warnings
warnings.simplefilter("ignore")  # NumPy's own, of subinterpreters
import numaml
model = numaml.MLP((1, 3, 1))
numaml.train(
    model, model.init(0), numaml.Sinusoids(2, 2, 2), alpha=0.01, steps=1, iterations=3, folder=%r
)
print("trained", flush=True)
''' % sys.argv[1])
"""


def test_a_subinterpreter_trains(tmp_path):
    """Its main thread is no main thread to the module signal."""
    done = subprocess.run([sys.executable, "-c", SUBINTERPRETER, str(tmp_path)], env=ENVIRONMENT,
                          capture_output=True, text=True)  # fmt: skip
    if "No module named '_xxsub" in done.stderr:
        pytest.skip("there are no subinterpreters")
    assert done.stdout == "trained\n", done.stderr
    assert State.load(tmp_path).iteration == 3


WORKERS = """
import sys
from concurrent.futures import ProcessPoolExecutor
import numaml
from tests.learning.test_interrupts import MODEL, height, sines

if __name__ == "__main__":
    folder, iterations = sys.argv[1], int(sys.argv[2])
    with ProcessPoolExecutor(2) as executor:
        numaml.train(
            MODEL, MODEL.init(0), sines, alpha=0.01, steps=1, every=10**6, rng=1, resume=True,
            gradient=numaml.sharded(executor, 2), validate=height, iterations=iterations,
            folder=folder, progress=lambda iteration, value: print(iteration, flush=True),
        )
"""


def test_ctrl_c_at_a_terminal_reaches_the_workers_and_loses_nothing(tmp_path):
    """It goes to all processes of the terminal."""
    script = tmp_path / "script.py"
    script.write_text(WORKERS)
    environment = {**ENVIRONMENT, "PYTHONPATH": str(Path(__file__).parents[2])}

    def start(folder, iterations):
        return subprocess.Popen(
            [sys.executable, str(script), str(folder), str(iterations)], env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    process = start(tmp_path / "run", 10**6)
    seen = [int(process.stdout.readline()) for _ in range(12)]
    os.killpg(process.pid, signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    last = [*seen, *map(int, rest.split())][-1]
    assert State.load(tmp_path / "run").iteration == last >= 12
    for folder in ("run", "alone"):
        resumed = start(tmp_path / folder, last + 5)
        assert resumed.communicate(timeout=60)[0].split()[-1] == str(last + 5)
        assert resumed.returncode == 0
    files = [tmp_path / folder / "checkpoint.npz" for folder in ("run", "alone")]
    assert files[0].read_bytes() == files[1].read_bytes()
