"""A resumed run is the same run, or it is refused: what a checkpoint remembers of it."""

import functools
import os
import re
import subprocess
import sys
import warnings
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import numaml
from numaml.learning import conditions as conditions_module
from numaml.learning import outer
from numaml.learning.conditions import changes, conditions
from numaml.learning.generators import recorded, restored
from numaml.learning.state import State

MODEL = numaml.MLP((1, 6, 1))
BITS = ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"]


def sines(rng):
    return numaml.Sinusoids(tasks=2, shots=3, queries=4)(rng)


def run(folder=None, iterations=20, **changes):
    settings = {"alpha": 0.01, "steps": 1, "every": 5, "rng": 1, "model": MODEL, "source": sines}
    settings |= changes
    model, source = settings.pop("model"), settings.pop("source")
    theta = settings.pop("theta", MODEL.init(0))
    return numaml.train(model, theta, source, iterations=iterations, folder=folder, **settings)


def bits(state):
    vectors = [state.theta, *state.moments[:2], np.array(state.values), np.array(state.scores)]
    return [one.tobytes() for one in vectors] + [recorded(state.rng)["seeds"]]


def in_two(folder, **settings):
    """The run whole, and the one that was resumed in the middle."""
    whole = run(folder / "whole", **settings)
    run(folder / "parts", 10, **settings)
    parts = run(folder / "parts", resume=True, **settings)
    files = [(folder / name / "checkpoint.npz").read_bytes() for name in ("whole", "parts")]
    assert files[0] == files[1]
    return whole, parts


SPAWNING = {
    "a child each time": lambda rng: sines(rng.spawn(1)[0]),
    "children, now and then": lambda rng: sines(rng.spawn(3)[2] if rng.random() < 0.5 else rng),
    "of the bit generator": lambda rng: sines(np.random.default_rng(rng.bit_generator.spawn(1)[0])),
    "of the seed sequence": lambda rng: sines(
        np.random.default_rng(rng.bit_generator.seed_seq.spawn(2)[1])
    ),
    "a grandchild": lambda rng: sines(rng.spawn(1)[0].spawn(1)[0]),
}
SEEDS = {
    "a number": 7,
    "many bits": 2**200 + 1,
    "numbers": [3, 2**40, 0],
    "numbers in lists": [[1, 2], [3]],
    "an array": np.arange(5, dtype=np.uint32),
    "an array of int64": np.arange(5),
    "a tuple of NumPy's": (np.int64(4), np.uint8(5)),
    "none": None,
}


@pytest.mark.parametrize("how", SPAWNING)
@pytest.mark.parametrize("kind", BITS)
def test_a_source_that_spawns_generators_is_resumed(tmp_path, kind, how):
    def rng():
        return np.random.Generator(getattr(np.random, kind)(np.random.SeedSequence(5)))

    whole = run(rng=rng(), source=SPAWNING[how])
    run(tmp_path, 10, rng=rng(), source=SPAWNING[how])
    parts = run(tmp_path, rng=99, source=SPAWNING[how], resume=True)
    assert bits(whole) == bits(parts)
    assert bits(State.load(tmp_path)) == bits(whole)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_seed_is_remembered(tmp_path, seed):
    sequence = np.random.SeedSequence(
        SEEDS[seed], spawn_key=(3, np.int64(1)), pool_size=8, n_children_spawned=4
    )
    rng = np.random.default_rng(sequence)
    rng.spawn(2)
    again = restored(recorded(rng))
    assert again.bit_generator.seed_seq.state == {
        **sequence.state, "entropy": recorded(rng)["seeds"]["entropy"], "spawn_key": (3, 1)
    }  # fmt: skip
    for one, other in zip(rng.spawn(2), again.spawn(2), strict=True):
        assert one.random(3).tolist() == other.random(3).tolist()
    run(tmp_path, 5, rng=np.random.default_rng(sequence))
    loaded = State.load(tmp_path).rng
    assert loaded.spawn(1)[0].random() == np.random.default_rng(sequence).spawn(1)[0].random()


def test_a_generator_of_a_random_state_draws_on_and_spawns_nothing(tmp_path):
    def rng():
        return np.random.Generator(np.random.RandomState(3)._bit_generator)  # an old program's

    whole = run(rng=rng())
    run(tmp_path, 10, rng=rng())
    assert bits(run(tmp_path, resume=True)) == bits(whole)
    with pytest.raises(TypeError, match="does not implement spawning"):
        State.load(tmp_path).rng.spawn(1)


class Foreign(np.random.PCG64):
    """A bit generator that is none of NumPy's."""


class ForeignSeeds(np.random.bit_generator.ISpawnableSeedSequence):
    def generate_state(self, n_words, dtype=np.uint32):
        return np.arange(n_words, dtype=dtype)

    def spawn(self, n_children):
        return [self] * n_children


@pytest.mark.parametrize(
    "rng",
    [lambda: np.random.Generator(Foreign(0)), lambda: np.random.default_rng(ForeignSeeds()),
     lambda: np.random.default_rng(np.random.SeedSequence(0, pool_size=65))],
)  # fmt: skip
def test_a_generator_that_cannot_be_remembered_is_refused_with_a_folder_only(tmp_path, rng):
    with pytest.raises(TypeError, match=r"^rng (draws from|was seeded by) .*; want "):
        run(tmp_path, rng=rng())
    assert not list(tmp_path.iterdir())
    assert run(rng=rng()).iteration == 20


# What may not change, before and after.


def score(theta):
    return float(theta @ theta)


def another_score(theta):
    return -float(theta @ theta)


def own_gradient(*arguments):
    return numaml.meta_gradient(*arguments)


class Own:
    """A model whose repr is Python's own."""

    def __init__(self, model):
        self.value, self.linearize = model.value, model.linearize


class Another(Own):
    pass


class Spoken(Own):
    def __repr__(self):
        return f"Spoken({self.settings})"

    def __init__(self, model, settings):
        super().__init__(model)
        self.settings = settings


@dataclass(frozen=True)
class Drawn:
    """A source whose settings are told, data too."""

    data: np.ndarray
    scale: float = 1.0

    def __call__(self, rng):
        return sines(rng)


OTHER = {
    "an activation": ("model", MODEL, numaml.MLP((1, 6, 1), "tanh")),
    "a norm": ("model", MODEL, numaml.MLP((1, 6, 1), norm="layer")),
    "a loss": (
        "model", numaml.MLP((1, 6, 1)), numaml.MLP((1, 6, 1), loss="cross_entropy")),
    "an activation of one's own": (
        "model", numaml.MLP((1, 6, 1), (np.sin, np.cos, np.negative)), MODEL),
    "a model of another type": ("model", Own(MODEL), Another(MODEL)),
    "a model that says so": ("model", Spoken(MODEL, 1), Spoken(MODEL, 2)),
    "first order": ("gradient", numaml.meta_gradient, numaml.first_order_meta_gradient),
    "a gradient of one's own": ("gradient", numaml.meta_gradient, own_gradient),
    "more steps": ("steps", 1, 2),
    "alpha": ("alpha", 0.01, 0.02),
    "beta": ("beta", 1e-3, 2e-3),
    "decay": ("decay", False, True),
    "rarer checkpoints": ("every", 5, 10),
    "no validation": ("validate", score, None),
    "a validation": ("validate", None, score),
    "another validation": ("validate", score, another_score),
    "more tasks": ("source", numaml.Sinusoids(tasks=2), numaml.Sinusoids(tasks=3)),
    "fewer queries": (
        "source", numaml.Sinusoids(tasks=2, queries=5), numaml.Sinusoids(tasks=2, queries=4)),
    "other data": ("source", Drawn(np.arange(5000.0)), Drawn(np.arange(5000.0)[::-1].copy())),
}  # fmt: skip


@pytest.mark.parametrize("what", OTHER)
def test_another_run_is_refused(tmp_path, what):
    name, was, wanted = OTHER[what]
    first = MODEL if what == "a loss" else was
    run(tmp_path, 10, **{name: first})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=f"was trained with {name} = .*, not .*; resume it as it"):
        run(tmp_path, resume=True, **{name: wanted})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert run(tmp_path, resume=True, **{name: first}).iteration == 20


def test_another_start_of_the_same_size_is_not_used(tmp_path):
    whole = run()
    run(tmp_path, 10)
    assert bits(run(tmp_path, resume=True, theta=MODEL.init(5))) == bits(whole)
    with pytest.raises(ValueError, match="was trained with dtype = 'float64', not 'float32'"):
        run(tmp_path, resume=True, theta=MODEL.init(0, np.float32))
    with pytest.raises(ValueError, match=r"was trained with (size|model) = "):
        run(tmp_path, resume=True, model=numaml.MLP((1, 7, 1)), theta=np.zeros(22))


def test_a_source_that_is_code_may_be_mended(tmp_path):
    run(tmp_path, 10, source=lambda rng: sines(rng))
    run(tmp_path, 15, source=numaml.Sinusoids(tasks=2, shots=3, queries=4), resume=True)
    assert bits(run(tmp_path, source=sines, resume=True)) == bits(run())


@pytest.mark.parametrize("iterations", [0, 19])
def test_fewer_iterations_than_done_are_refused(tmp_path, iterations):
    run(tmp_path)
    before = (tmp_path / "checkpoint.npz").read_bytes()
    with pytest.raises(
        ValueError, match=f"has 20 iterations already, and iterations is {iterations};"
    ):
        run(tmp_path, iterations, resume=True)
    assert (tmp_path / "checkpoint.npz").read_bytes() == before
    assert bits(run(tmp_path, 20, resume=True)) == bits(run())


UNNAMED = {
    "lambda": lambda: lambda *arguments: numaml.meta_gradient(*arguments),
    "partial": lambda: functools.partial(own_gradient),
    "local": lambda: local(),
    "object": lambda: Callable(),
    "method": lambda: Callable().__call__,
    "shards": lambda: numaml.sharded(None, 2, lambda *arguments: None),
}


class Callable:
    def __call__(self, *arguments):
        return numaml.meta_gradient(*arguments)


def local():
    def gradient(*arguments):
        return numaml.meta_gradient(*arguments)

    return gradient


@pytest.mark.parametrize("what", UNNAMED)
def test_a_gradient_without_a_name_is_refused_where_there_is_a_folder(tmp_path, what):
    wanted = r"gradient is .*<.*define it with def at the top of a module, or give it a name that "
    with pytest.raises(ValueError, match=wanted) as caught:
        run(tmp_path / "run", gradient=UNNAMED[what]())
    assert "0x" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    if what != "shards":
        assert run(gradient=UNNAMED[what]()).iteration == 20


@pytest.mark.parametrize("what", ["lambda", "partial", "local", "object"])
def test_a_name_that_was_given_tells_them_apart(tmp_path, what):
    def named(name):
        gradient = UNNAMED[what]()
        gradient.__name__ = name
        return gradient

    run(tmp_path, 10, gradient=named("mine"))
    with pytest.raises(ValueError, match="gradient = 'mine', not 'mine, other'"):
        run(tmp_path, resume=True, gradient=named("mine, other"))
    assert bits(run(tmp_path, resume=True, gradient=named("mine"))) == bits(run())


def test_it_is_known_again_in_another_process(tmp_path):
    """No address, and no hash, in what is compared."""
    program = """
import sys
import numpy as np, numaml

class Own:
    def __init__(self, model):
        self.value, self.linearize = model.value, model.linearize

def gradient(*arguments):
    return numaml.meta_gradient(*arguments)

numaml.train(
    Own(numaml.MLP((1, 6, 1), (np.tanh, lambda z: 1 - np.tanh(z)**2, lambda z: z))), np.zeros(19),
    lambda rng: numaml.Sinusoids(2)(rng.spawn(1)[0]), alpha=0.1, steps=1, gradient=gradient,
    validate=lambda theta: 0.0, iterations=int(sys.argv[2]), folder=sys.argv[1], resume=True,
)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(numaml.__file__).parents[1])}
    for iterations in ("3", "6"):
        done = subprocess.run([sys.executable, "-c", program, str(tmp_path), iterations],
                              env=environment, capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert State.load(tmp_path).iteration == 6


# Numbers of every kind, with a folder as without.

NUMBERS = {
    "fractions": {"alpha": Fraction(1, 3), "beta": Fraction(1, 700)},
    "NumPy's": {"alpha": np.float64(0.3), "beta": np.float64(1e-3), "steps": np.int64(2),
                "every": np.int32(5), "iterations": np.int64(20)},
    "narrow ones": {"alpha": np.float32(0.3), "beta": np.float32(1e-3), "steps": np.uint8(2)},
    "integers": {"alpha": 1, "beta": 1, "steps": 0},
    "zero": {"alpha": 0},
    "decay": {"decay": True, "iterations": np.int64(20)},
    "NumPy's decay": {"decay": np.True_, "iterations": np.uint8(20)},
}  # fmt: skip


@pytest.mark.parametrize("what", NUMBERS)
def test_training_with_a_folder_takes_what_training_without_one_takes(tmp_path, what):
    without, with_one = run(**NUMBERS[what]), run(tmp_path, **NUMBERS[what])
    assert bits(without) == bits(with_one) == bits(State.load(tmp_path))
    assert without.settings == with_one.settings == State.load(tmp_path).settings
    assert bits(run(tmp_path, resume=True, **NUMBERS[what])) == bits(without)
    plain = {
        name: number if isinstance(number, bool | np.bool_) else float(number)
        for name, number in NUMBERS[what].items()
    }
    plain = {name: int(n) if name in ("steps", "every", "iterations") else n
             for name, n in plain.items()}  # fmt: skip
    assert bits(run(**plain)) == bits(without)


def test_a_theta_of_another_byte_order_is_trained_like_any(tmp_path):
    swapped = MODEL.init(0).astype(">f8")
    run(tmp_path, 10, theta=swapped)
    assert bits(run(tmp_path, theta=swapped, resume=True)) == bits(run())


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"theta": np.zeros((2, 19))}, ValueError, r"theta has shape \(2, 19\)"),
        ({"theta": MODEL.init(0, complex)}, TypeError, "dtype complex128; want float32 or float64"),
        ({"theta": MODEL.init(0).astype(np.float16)}, TypeError, "float16"),
        ({"theta": MODEL.init(0).astype(np.longdouble)}, TypeError, "longdouble|float128"),
        ({"theta": np.zeros(19, int)}, TypeError, "dtype int64"),
        ({"theta": np.full(19, np.inf)}, ValueError, "theta"),
        ({"alpha": 0.1 + 0j}, TypeError, r"alpha is \(0.1\+0j\)"),
        ({"alpha": np.array([0.1, 0.2])}, ValueError, "alpha has shape"),
        ({"alpha": -0.1}, ValueError, "alpha is -0.1"),
        ({"alpha": "0.1"}, TypeError, "alpha is '0.1'"),
        ({"steps": True}, TypeError, "steps is True"),
        ({"steps": 1.0}, TypeError, "steps is 1.0"),
        ({"steps": np.array(1.0)}, TypeError, "steps|integer"),
        ({"beta": np.array([0.1])}, TypeError, "beta is array"),
        ({"every": True}, TypeError, "every is True"),
        ({"every": np.array([5])}, TypeError, "every is array"),
        ({"iterations": "5"}, TypeError, "iterations is '5'"),
        ({"decay": 5}, TypeError, "decay is 5; want True or False"),
        ({"decay": "no"}, TypeError, "decay is 'no'; want True or False"),
        ({"resume": "no"}, TypeError, "resume is 'no'; want True or False"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kept", [False, True])
def test_what_is_no_number_is_refused_with_and_without_a_folder(
    tmp_path, changes, error, message, kept
):
    with pytest.raises(error, match=message):
        run(tmp_path / "run" if kept else None, **changes)
    assert not (tmp_path / "run").exists()


# The conditions of "the same bits".


def test_the_conditions_are_recorded_and_are_said_when_they_changed(tmp_path, monkeypatch):
    run(tmp_path, 10)
    assert State.load(tmp_path).conditions == conditions()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(tmp_path, 12, resume=True)
    other = {**conditions(), "NumPy": "0.9", "BLAS threads": "77"}
    monkeypatch.setattr(outer, "conditions", lambda: other)
    said = (
        f"{tmp_path} was trained on other conditions (NumPy {np.__version__}, now 0.9, BLAS "
        f"threads {conditions()['BLAS threads']}, now 77): the last bits may not be those"
    )
    with pytest.warns(UserWarning, match=re.escape(said)) as caught:
        run(tmp_path, 15, resume=True)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert State.load(tmp_path).conditions == other
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(tmp_path, 20, resume=True)


def test_the_conditions_are_those_of_the_process(tmp_path):
    program = "from numaml.learning.conditions import conditions; print(conditions())"
    said = []
    for threads in ("1", "2"):
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "MKL_NUM_THREADS": threads,
                       "PYTHONPATH": str(Path(numaml.__file__).parents[1])}  # fmt: skip
        done = subprocess.run([sys.executable, "-c", program], env=environment, check=True,
                              capture_output=True, text=True)  # fmt: skip
        said.append(done.stdout)
    assert "'BLAS threads': '1'" in said[0]
    assert said[1] == said[0].replace("'BLAS threads': '1'", "'BLAS threads': '2'") or (
        os.cpu_count() == 1
    )


def test_where_the_library_says_nothing_what_it_was_told_counts(monkeypatch):
    monkeypatch.setattr(conditions_module, "THREADS", ("no_such_function",))
    monkeypatch.setattr(conditions_module, "KERNELS", ())
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    assert conditions()["BLAS threads"] == "3"
    assert "BLAS for" not in conditions()["processor"]
    for name in conditions_module.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert conditions()["BLAS threads"] == str(os.cpu_count())


def test_what_changed_is_named_and_nothing_else():
    assert changes({"a": "1", "b": "2"}, {"a": "1", "b": "3"}) == "b 2, now 3"
    assert changes({"a": "1"}, {"a": "1", "c": "3"}) == "c None, now 3"
    assert not changes({"a": "1"}, {"a": "1"})
