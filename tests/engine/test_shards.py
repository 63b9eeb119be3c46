"""Shards of a meta-batch on executors: the same bits everywhere, right weights, no silence."""

import functools
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

import numaml

from ..cases import build

ROOT = Path(__file__).parents[2]
ROUNDING = 1e-13  # a sum in another order


class Now:
    """An executor that computes at once."""

    def submit(self, function, *arguments):
        future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


class Backwards(Now):
    """An executor whose last shard is done first."""

    def __init__(self, shards):
        self.shards, self.waiting = shards, []

    def submit(self, function, *arguments):
        future = Future()
        self.waiting.append((future, function, arguments))
        if len(self.waiting) == self.shards:
            for late, work, given in self.waiting[::-1]:
                late.set_result(work(*given))
        return future


def case(n_tasks=7, dtype="f8"):
    # Wide enough for factored weights, every axis a size of its own.
    made = build((9, 21, 3), "tanh", "cross_entropy", n_tasks, 2, 4, 0.3, 2, seed=4, norm="batch")
    return made.model, made.theta.astype(dtype), made.tasks, made.alpha, made.steps


def bits(result):
    value, gradient = result
    return np.float64(value).tobytes() + gradient.tobytes()


def serial(shards, arguments):
    return numaml.sharded(Now(), shards)(*arguments)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shards", [1, 3, 7])
def test_the_same_bits_whoever_computes_them(shards, dtype):
    arguments = case(dtype=dtype)
    want = serial(shards, arguments)
    assert want[1].dtype == dtype
    assert bits(numaml.sharded(Backwards(shards), shards)(*arguments)) == bits(want)
    for workers in (1, 2, 5):
        with ThreadPoolExecutor(workers) as executor:
            assert bits(numaml.sharded(executor, shards)(*arguments)) == bits(want)


def test_the_same_bits_from_processes():
    arguments = case()
    with ProcessPoolExecutor(2, get_context("spawn")) as executor:
        assert bits(numaml.sharded(executor, 3)(*arguments)) == bits(serial(3, arguments))


@pytest.mark.parametrize("shards", [1, 2, 3, 5, 7])
def test_unequal_shards_are_weighted(shards):
    model, theta, tasks, alpha, steps = case()
    for gradient in (numaml.meta_gradient, numaml.first_order_meta_gradient):
        value, slope = numaml.sharded(Now(), shards, gradient)(model, theta, tasks, alpha, steps)
        want_value, want = gradient(model, theta, tasks, alpha, steps)
        assert abs(value - want_value) < ROUNDING * abs(want_value)
        assert numaml.check.relative_error(slope, want) < ROUNDING


def test_in_exact_arithmetic_shards_make_no_difference():
    rng = np.random.default_rng(3)
    model = numaml.MLP((2, 3, 1), "relu")

    def fractions(*shape):
        return np.array([Fraction(n, 8) for n in rng.integers(-9, 9, np.prod(shape)).tolist()],
                        object).reshape(shape)  # fmt: skip

    tasks = numaml.Tasks(*(numaml.Batch(fractions(5, n, 2), fractions(5, n, 1)) for n in (2, 3)))
    arguments = model, fractions(model.size), tasks, Fraction(1, 3), 2
    value, gradient = serial(3, arguments)
    want_value, want = numaml.meta_gradient(*arguments)
    assert value == want_value
    assert (gradient == want).all()


def test_training_through_shards_resumes_only_with_as_many(tmp_path):
    model = numaml.MLP((1, 6, 1))
    settings = {"alpha": 0.01, "steps": 1, "folder": tmp_path, "every": 2}

    def train(shards, iterations, **more):
        source, gradient = numaml.Sinusoids(tasks=5), numaml.sharded(Now(), shards)
        start = model.init(0)
        return numaml.train(
            model, start, source, gradient=gradient, iterations=iterations, **settings, **more
        )

    train(2, 2)
    with pytest.raises(ValueError, match=r"meta_gradient over 2 shards.*over 3 shards"):
        train(3, 4, resume=True)
    assert train(2, 4, resume=True).iteration == 4


def test_bad_input():
    arguments = case()
    for shards, error in ((2.0, TypeError), (True, TypeError), (0, ValueError)):
        with pytest.raises(error, match=r"shards is .*want an integer >= 1"):
            numaml.sharded(Now(), shards)
    with pytest.raises(ValueError, match="got 7 tasks for 8 shards"):
        serial(8, arguments)
    one = numaml.Tasks(*(numaml.Batch(b.x[0], b.y[0]) for b in vars(arguments[2]).values()))
    with pytest.raises(ValueError, match=r"shape \(2, 9\); want a task axis"):
        serial(1, (*arguments[:2], one, *arguments[3:]))


# Workers that fail. These functions are sent to other processes by name.


def fails_for_five(model, theta, tasks, alpha, steps):
    if len(tasks.support.x) == 2:
        raise FloatingPointError("phi is not finite")
    return numaml.meta_gradient(model, theta, tasks, alpha, steps)


def dies_once(marker, *arguments):
    """Kill the process that is first to come here; later ones compute."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return numaml.meta_gradient(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_an_error_names_the_shard_and_nothing_is_averaged():
    message = r"shard 1 of 3 \(tasks 0 to 1\) failed: FloatingPointError: phi is not finite; noth"
    with pytest.raises(RuntimeError, match=message) as caught:
        numaml.sharded(Now(), 3, fails_for_five)(*case())
    assert isinstance(caught.value.__cause__, FloatingPointError)


def test_shards_not_begun_are_cancelled():
    class Never(Now):
        def __init__(self):
            self.futures = []

        def submit(self, function, *arguments):
            self.futures.append(Future() if self.futures else super().submit(function, *arguments))
            return self.futures[-1]

    executor = Never()
    with pytest.raises(RuntimeError):
        numaml.sharded(executor, 3, fails_for_five)(*case())
    assert [future.cancelled() for future in executor.futures] == [False, True, True]


def test_an_executor_that_refuses_is_reported_like_a_shard_that_fails():
    class Broken(Now):
        def __init__(self):
            self.futures = []

        def submit(self, function, *arguments):
            if self.futures:
                raise BrokenExecutor("a process died")
            self.futures.append(Future())
            return self.futures[0]

    executor = Broken()
    with pytest.raises(RuntimeError, match=r"shard 2 of 3 \(tasks 2 to 3\) failed: BrokenExecutor"):
        numaml.sharded(executor, 3)(*case())
    assert executor.futures[0].cancelled()


def test_a_process_that_dies_is_reported(tmp_path):
    gradient = functools.partial(dies_once, tmp_path / "died")
    with (
        ProcessPoolExecutor(2, get_context("spawn")) as executor,
        pytest.raises(RuntimeError, match=r"shard \d of 3 \(tasks .*BrokenProcessPool.*nothing"),
    ):
        numaml.sharded(executor, 3, gradient)(*case())


def wrong(change):
    """A gradient that gives something else for the shard of two tasks, which is the first of 3."""

    def gradient(model, theta, tasks, alpha, steps):
        result = numaml.meta_gradient(model, theta, tasks, alpha, steps)
        return change(*result) if len(tasks.support.x) == 2 else result

    return gradient


def at_place(value):
    return lambda v, g: (v, np.where(np.arange(len(g)) == 7, value, g))


GIVEN = {
    "one number": (lambda v, g: (v, 1.0), r"a gradient float64 \(\), want .* float64 \(276,\)"),
    "a column": (lambda v, g: (v, g[:, None]), r"float64 \(276, 1\)"),
    "one too many": (lambda v, g: (v, np.append(g, 0)), r"float64 \(277,\)"),
    "another dtype": (lambda v, g: (v, g.astype("f4")), r"float32 \(276,\)"),
    "integers": (lambda v, g: (v, g.astype(int)), r"int64"),
    "complex numbers": (lambda v, g: (v, g + 0j), r"complex128"),
    "nothing": (lambda v, g: None, r"got NoneType, want \(value, gradient\)"),
    "no value": (lambda v, g: g, r"got ndarray, want \(value, gradient\)"),
    "a value for each task": (lambda v, g: ([v, v], g), r"a value of shape \(2,\)"),
    "a value that is text": (lambda v, g: ("a", g), r"TypeError"),
    "NaN as value": (lambda v, g: (np.nan, g), r"not finite"),
    "an infinite value": (lambda v, g: (-np.inf, g), r"not finite"),
    "NaN": (at_place(np.nan), r"not finite"),
    "infinity": (at_place(np.inf), r"not finite"),
}


@pytest.mark.parametrize("what", GIVEN)
@pytest.mark.parametrize("executor", [Now, lambda: Backwards(3)], ids=["now", "backwards"])
def test_a_shard_that_gives_something_else_is_named(what, executor):
    change, message = GIVEN[what]
    said = r"shard 1 of 3 \(tasks 0 to 1\) failed: .*" + message + ".*; nothing was averaged"
    with pytest.raises(RuntimeError, match=said):
        numaml.sharded(executor(), 3, wrong(change))(*case())


@pytest.mark.parametrize("dtype", ["f4", "f8", "c16"])
def test_a_shards_dtype_is_thetas(dtype):
    arguments = case(dtype=dtype)
    assert numaml.sharded(Now(), 3, wrong(lambda v, g: (v, g)))(*arguments)[1].dtype == dtype
    with pytest.raises(RuntimeError, match=r"shard 1 of 3"):
        numaml.sharded(Now(), 3, wrong(lambda v, g: (v, g.astype("c8"))))(*arguments)


def leaves(*_):
    sys.exit(3)


def leaves_at_once(*_):
    os._exit(3)


class Odd(BaseException):
    """No Exception."""


def raises_odd(*_):
    raise Odd("odd")


LEAVING = {leaves: "SystemExit: 3", leaves_at_once: "BrokenProcessPool", raises_odd: "Odd: odd"}


@pytest.mark.parametrize("gradient", LEAVING)
def test_a_worker_that_leaves_does_not_end_the_program(gradient):
    message = r"shard \d of 3 \(tasks \d to \d\) failed: " + LEAVING[gradient]
    executors = [ProcessPoolExecutor(2, get_context("fork"))]
    if gradient is not leaves_at_once:
        executors += [ThreadPoolExecutor(2), Straight()]
    for executor in executors:
        with executor, pytest.raises(RuntimeError, match=message):
            numaml.sharded(executor, 3, gradient)(*case())


class Straight(Executor):
    """An executor that lets everything through as it is submitted."""

    def submit(self, function, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future


def interrupted(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("executor", [Straight, lambda: ThreadPoolExecutor(2)])
def test_ctrl_c_in_a_worker_is_ctrl_c(executor):
    with pytest.raises(KeyboardInterrupt):
        numaml.sharded(executor(), 3, interrupted)(*case())


# Dask's teardown leaves sockets to the garbage collector and says so.
@pytest.mark.filterwarnings("default")
def test_dask_does_the_work_of_a_killed_worker_again(tmp_path):
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    arguments = case()
    cluster = distributed.LocalCluster(
        n_workers=3, threads_per_worker=1, dashboard_address=None, silence_logs=50
    )
    with cluster, distributed.Client(cluster) as client:
        executor = client.get_executor()
        assert bits(numaml.sharded(executor, 3)(*arguments)) == bits(serial(3, arguments))
        gradient = functools.partial(dies_once, str(tmp_path / "died"))
        again = numaml.sharded(executor, 3, gradient)(*arguments)
        assert (tmp_path / "died").exists()
        assert bits(again) == bits(serial(3, arguments))


MPI = """
import sys
from mpi4py.futures import MPIPoolExecutor
import numaml
from tests.engine.test_shards import bits, case

if __name__ == "__main__":
    with MPIPoolExecutor() as executor:
        print(executor.num_workers, bits(numaml.sharded(executor, 3)(*case())).hex())
"""


def test_mpi(tmp_path):
    pytest.importorskip("mpi4py", reason="mpi4py is not installed")
    beside = Path(sys.executable).with_name("mpiexec")
    mpiexec = str(beside) if beside.exists() else shutil.which("mpiexec")
    if mpiexec is None:
        pytest.skip("there is no mpiexec")
    script = tmp_path / "script.py"
    script.write_text(MPI)
    # For Open MPI, which otherwise refuses root, and more processes than cores.
    lenient = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    done = subprocess.run(
        [mpiexec, "-n", "3", sys.executable, "-m", "mpi4py.futures", str(script)],
        capture_output=True, text=True, timeout=120, env={**os.environ, **lenient}, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    workers, result = done.stdout.split()
    assert workers == "2"
    assert bytes.fromhex(result) == bits(serial(3, case()))
