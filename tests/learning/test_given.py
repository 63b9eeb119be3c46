"""What the outer loop gives to others cannot be written to, and what they give back is checked."""

import numpy as np
import pytest

import numaml
from numaml.learning.outer import adam
from numaml.learning.state import Moments, State

from ..engine.test_shards import Now

MODEL = numaml.MLP((1, 5, 1))
SOURCE = numaml.Sinusoids(tasks=3, shots=4, queries=4)
SETTINGS = {"alpha": 0.01, "steps": 1, "iterations": 6, "every": 2}


def train(dtype=np.float64, source=SOURCE, **changes):
    return numaml.train(MODEL, MODEL.init(0, dtype), source, **SETTINGS | changes)


def writing(theta):
    theta -= 0.1 * theta
    return 0.0


def writing_gradient(model, theta, *rest):
    writing(theta)
    return numaml.meta_gradient(model, theta, *rest)


class Keeping:
    """A gradient that keeps theta, and a source and a validation that write to it later."""

    def __call__(self, model, theta, *rest):
        self.theta = theta
        return numaml.meta_gradient(model, theta, *rest)

    def source(self, rng):
        if hasattr(self, "theta"):
            writing(self.theta)
        return SOURCE(rng)


WRITERS = {
    "gradient": lambda: {"gradient": writing_gradient},
    "validate": lambda: {"validate": writing},
    "source": lambda: (lambda keeping: {"gradient": keeping, "source": keeping.source})(Keeping()),
    "a function in shards": lambda: {"gradient": numaml.sharded(Now(), 2, writing_gradient)},
}


@pytest.mark.parametrize("who", WRITERS)
@pytest.mark.parametrize("iterations", [1, 4])
def test_nobody_writes_to_theta(who, iterations):
    if (who, iterations) == ("source", 1):
        return  # it is asked before there is a theta to keep
    with pytest.raises((ValueError, RuntimeError), match="read-only"):
        train(**WRITERS[who](), iterations=iterations, every=1)


@pytest.mark.parametrize("who", ["gradient", "a function in shards"])
def test_nobody_writes_to_a_theta_that_was_resumed(tmp_path, who):
    gradient = WRITERS[who]()["gradient"]
    train(folder=tmp_path, gradient=same_name(gradient), iterations=2)
    before = (tmp_path / "checkpoint.npz").read_bytes()
    with pytest.raises((ValueError, RuntimeError), match="read-only"):
        train(folder=tmp_path, gradient=gradient, iterations=3, resume=True)
    assert (tmp_path / "checkpoint.npz").read_bytes() == before


def same_name(function):
    def gradient(*arguments):
        return numaml.meta_gradient(*arguments)

    gradient.__name__, gradient.__qualname__ = function.__name__, function.__qualname__
    return gradient


def test_the_trained_theta_is_the_callers_own(tmp_path):
    state = train(folder=tmp_path, validate=lambda theta: float(theta[0]))
    before = (tmp_path / "checkpoint.npz").read_bytes()
    for theta in (state.theta, state.best):
        theta += 1
    assert (tmp_path / "checkpoint.npz").read_bytes() == before
    again = State.load(tmp_path)
    assert np.array_equal(again.theta + 1, state.theta)


GIVEN = {
    "float64 for float32": (lambda v, g: (v, g.astype(float)), r"float64 \(16,\); want float32"),
    "a column": (lambda v, g: (v, g[:, None]), r"float32 \(16, 1\); want float32 \(16,\)"),
    "one number": (lambda v, g: (v, np.float32(1)), r"float32 \(\); want float32 \(16,\)"),
    "one too few": (lambda v, g: (v, g[1:]), r"float32 \(15,\)"),
    "a row for each task": (lambda v, g: (v, np.stack([g, g])), r"float32 \(2, 16\)"),
    "integers": (lambda v, g: (v, g.astype(int)), "int64"),
    "complex": (lambda v, g: (v, g + 0j), "complex64"),
    "a list": (lambda v, g: (v, g.tolist()), "float64"),
    "nothing": (lambda v, g: (v, None), r"object \(\)"),
    "a masked array": (lambda v, g: (v, np.ma.masked_less(g, 0)), "is a masked array"),
    "no value": (lambda v, g: g, r"gradient gave ndarray; want \(value, gradient\)"),
    "three": (lambda v, g: (v, g, g), r"gradient gave tuple; want \(value, gradient\)"),
    "a value for each task": (lambda v, g: (np.array([v, v]), g), "want one real number"),
    "a value in an array": (lambda v, g: (np.array([v]), g), "want one real number"),
    "a complex value": (lambda v, g: (v + 1j, g), "want one real number"),
    "a value of text": (lambda v, g: ("1", g), "want one real number"),
    "True": (lambda v, g: (True, g), "want one real number"),
}


@pytest.mark.parametrize("what", GIVEN)
def test_a_gradient_that_gives_something_else_is_refused(tmp_path, what):
    change, message = GIVEN[what]

    def gradient(*arguments):
        gradient.calls += 1
        result = numaml.meta_gradient(*arguments)
        return change(*result) if gradient.calls == 4 else result

    gradient.calls, gradient.__name__ = 0, "mine"
    with pytest.raises(TypeError, match=message):
        train(np.float32, gradient=gradient, folder=tmp_path)
    assert State.load(tmp_path).iteration == 2


@pytest.mark.parametrize(
    "change", [lambda v, g: (np.float32(v), g), lambda v, g: [np.array(v), g], lambda v, g: (3, g)]
)
def test_values_of_other_kinds_are_taken(change):
    state = train(gradient=lambda *arguments: change(*numaml.meta_gradient(*arguments)))
    assert all(type(value) is float for value in state.values)


def test_a_gradient_may_give_the_same_memory_each_time():
    memory = np.empty(MODEL.size)

    def gradient(*arguments):
        value, memory[...] = numaml.meta_gradient(*arguments)
        return value, memory

    assert np.array_equal(train(gradient=gradient).theta, train().theta)


ZEROS = Moments(np.zeros(3), np.zeros(3), 0)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((np.ones((2, 3)), np.ones((2, 3)), ZEROS, 0.1), ValueError),
        ((np.ones(3), np.ones(2), ZEROS, 0.1), TypeError),
        ((np.ones(3), np.ones(3, np.float32), ZEROS, 0.1), TypeError),
        ((np.ones(3, np.float32), np.ones(3), ZEROS, 0.1), TypeError),
        ((np.ones(3), 1.0, ZEROS, 0.1), TypeError),
        ((np.ones(3), np.ones(3), Moments(np.zeros(1), np.zeros(3), 0), 0.1), ValueError),
        ((np.ones(3), np.ones(3), Moments(np.zeros(3), np.zeros((3, 1)), 0), 0.1), ValueError),
        ((np.ones(3), np.ones(3), ZEROS, -0.1), ValueError),
        ((np.ones(3), np.ones(3), ZEROS, 0), ValueError),
        ((np.ones(3), np.ones(3), ZEROS, np.nan), ValueError),
        ((np.ones(3), np.ones(3), ZEROS, True), TypeError),
        ((np.ones(3), np.ones(3), ZEROS, 0.1j), TypeError),
        ((np.ones(3), np.ones(3), ZEROS, np.ones(3)), TypeError),
    ],
)
def test_adam_takes_what_fits(arguments, error):
    with pytest.raises(error):
        adam(*arguments)


def test_adam_keeps_the_dtype_whatever_the_rate():
    theta = np.ones(3, np.float32)
    zeros = Moments(np.zeros_like(theta), np.zeros_like(theta), 0)
    for beta in (0.1, np.float64(0.1), 1):
        assert adam(theta, theta, zeros, beta)[0].dtype == np.float32


def test_underflow_is_no_error_whatever_numpy_was_told(tmp_path):
    """Squares of small gradients, moments that fade, a score's own arithmetic."""

    def fading(model, theta, *_):
        return 1e-300, np.full_like(theta, 1e-200)

    fading.__name__ = "a gradient that fades"
    kept = []
    for errors in ("ignore", "raise"):
        with np.errstate(all=errors):
            state = train(
                gradient=fading,
                iterations=30,
                folder=tmp_path / errors,
                validate=lambda theta: float(np.exp(np.float64(-800)) + theta[0]),
            )
            theta, moments = adam(np.ones(3), np.full(3, 1e-170), ZEROS, 1e-3)
            theta, moments = adam(theta, np.full(3, 5e-324), moments, 1e-3)
            kept.append([state.theta.tobytes(), theta.tobytes(), moments.second.tobytes()])
    assert kept[0] == kept[1]
