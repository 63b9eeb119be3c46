"""The passes compute and keep: an array that was made is never written into."""

import dataclasses
import inspect

import numpy as np
import pytest

import numaml
from numaml import maml
from numaml.learning.outer import adam
from numaml.learning.state import Moments
from numaml.network.activations import ACTIVATIONS
from numaml.network.inputs import Lifted
from numaml.network.losses import LOSSES, OF_POLICIES
from numaml.network.normalisation import NORMS, Normalised
from numaml.network.passes import Plain, forward
from numaml.weights import factored

from ..cases import build

pytestmark = pytest.mark.usefixtures("plain")


class Kept(np.ndarray):
    """An array that, like all that is computed from it, cannot be written into."""

    made = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        return kept(getattr(ufunc, method)(*shed(inputs), **shed(options)))

    def __array_function__(self, function, types, args, options):
        return kept(function(*shed(args), **shed(options)))

    def astype(self, *options, **more):
        return kept(shed(self).astype(*options, **more))

    def copy(self, order="C"):
        return kept(shed(self).copy(order))

    def mean(self, axis):
        return kept(shed(self).mean(axis))  # NumPy divides its sum in place


def kept(array):
    """The array as one that is never to be written into, nor any view of it."""
    if not isinstance(array, np.ndarray):
        return array
    Kept.made += 1
    array.flags.writeable = False
    return array.view(Kept)


def shed(given):
    """The same arrays as NumPy's own; those that were kept stay read-only."""
    if isinstance(given, dict):
        return {name: shed(one) for name, one in given.items()}
    if isinstance(given, list | tuple):
        return type(given)(shed(one) for one in given)
    return given.view(np.ndarray) if isinstance(given, Kept) else given


@pytest.fixture(params=["flat", "factored", "multiplied out", "by the rule"])
def form(request, monkeypatch):
    if request.param != "flat":
        monkeypatch.setattr(factored, "layered", lambda *_: True)
    if request.param in ("factored", "multiplied out"):
        monkeypatch.setattr(factored, "pays", lambda *_: request.param == "factored")


def everything(case, dtype):
    """Every way into the core, from arrays that may not be written into."""
    model, alpha, steps = case.model, case.alpha, case.steps
    theta = kept(case.theta.astype(dtype))
    support, query = (
        Lifted(kept(b.x.astype(dtype)), kept(b.y if b.y.dtype.kind == "i" else b.y.astype(dtype)))
        for b in (case.tasks.support, case.tasks.query)
    )
    yield maml.exact(model, theta, support, query, alpha, steps)
    yield maml.first_order(model, theta, support, query, alpha, steps)
    yield (maml.adapted(model, theta, support, alpha, steps),)
    yield (maml.value_after(model, theta, support, query, alpha, steps),)
    for start in (theta, model.lift(theta, support)[0]):
        value, gradient, hvp = model.linearize(start, support)
        along = [np.asarray(hvp(v)) for v in (gradient, start, gradient)]
        assert np.array_equal(along[0], along[2])
        yield value, np.asarray(gradient), model.value(start, query)
    yield (model.predict(model.lift(theta, support)[0], support.x),)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("loss", sorted(LOSSES.keys() - OF_POLICIES))
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nothing_that_was_made_is_written_into(form, activation, loss, norm):
    case = build((5, 7, 6, 3), activation, loss, 3, 2, 4, 0.01, 2, 0, norm)
    before = Kept.made
    for results in everything(case, np.float64):
        assert all(np.isfinite(result).all() for result in results)
    assert Kept.made - before > 300  # what is made of what is kept is kept


@pytest.mark.parametrize("loss", sorted(OF_POLICIES))
def test_nor_by_losses_of_policies(form, loss):
    case = build((5, 7, 6, 8), "tanh", loss, 3, 2, 4, 1e-9, 2, 0)
    for results in everything(case._replace(theta=case.theta / 4), np.float64):
        assert all(np.isfinite(result).all() for result in results)


@pytest.mark.parametrize("tasks", [None, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_nor_in_another_precision_or_without_a_task_axis(form, dtype, tasks):
    case = build((5, 7, 3), "softplus", "cross_entropy", tasks, 2, 4, 0.01, 2, 0, "batch")
    assert len(list(everything(case, dtype))) == 7


def test_the_core_gives_the_same_numbers_from_such_arrays(form):
    case = build((5, 7, 6, 3), "tanh", "cross_entropy", 3, 2, 4, 0.01, 2, 0, "layer")
    value, gradient = next(everything(case, np.float64))
    want_value, want = numaml.meta_gradient(*case.arguments)
    assert value == want_value
    assert np.array_equal(gradient, want)


def test_an_outer_step_writes_into_nothing():
    arrays = [kept(np.random.default_rng(0).normal(size=4)) for _ in range(4)]
    theta, gradient, first, second = arrays
    after, moments = adam(theta, gradient, Moments(first, second**2, 3), 0.01)
    assert not np.array_equal(after, theta)
    assert moments.steps == 4


def test_who_writes_into_what_is_kept_is_caught():
    a = kept(np.ones((2, 3)))
    b = a @ np.ones((3, 2))
    for write in (
        lambda: a.__iadd__(1),
        lambda: b.__imul__(2),
        lambda: np.add(a, 1, out=b),
        lambda: np.matmul(np.ones((2, 2)), np.ones((2, 2)), out=b),
        lambda: np.add.reduce(a, 0, out=b[0]),
        lambda: np.copyto(b, 1),
        lambda: np.concatenate([a, a], out=kept(np.ones((4, 3)))),
        lambda: a.__setitem__(0, 1),
        lambda: np.asarray(b).__setitem__(0, 1),
        lambda: b.T.__setitem__(0, 1),
        lambda: (a > 0).astype(float).__setitem__(0, 1),
        lambda: a.copy().__setitem__(0, 1),
        lambda: np.zeros_like(a).__setitem__(0, 1),
    ):
        with pytest.raises(ValueError, match=r"read-only|not writeable"):
            write()


# What a pass keeps


@pytest.mark.parametrize("norm", NORMS)
def test_hidden_layers_are_normalised_and_the_last_is_not(norm):
    rng = np.random.default_rng(1)
    W = [None, *(rng.normal(size=shape) for shape in ((3, 4), (4, 5), (5, 2)))]
    b = [None, *(rng.normal(size=(1, n)) for n in (4, 5, 2))]
    h, n, z = forward(W, b, rng.normal(size=(6, 3)), np.tanh, NORMS[norm])
    assert [len(one) for one in (h, n, z)] == [3, 4, 4]  # inputs of three layers; 0 and three
    kinds = [type(one) for one in n[1:]]
    hidden = Plain if norm is None else Normalised
    assert kinds == [hidden, hidden, Plain]
    assert n[0] is z[0] is None
    np.testing.assert_allclose(z[3], np.tanh(z[2]) @ W[3] + b[3], rtol=1e-14)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_what_a_norm_keeps_stays_as_it_is(norm):
    kept = NORMS[norm](np.ones((2, 3)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        kept.count = 1


@pytest.mark.parametrize(
    ("activation", "kept"), [("relu", False), ("identity", False), ("tanh", True), ("square", True)]
)
def test_what_only_a_second_derivative_asks_for_is_not_kept(activation, kept):
    """Of a piecewise linear activation a product holds no z and no e, and without norm no q."""
    case = build((3, 4, 5, 2), activation, "squared_error", 6, 7, 8, 0.1, 1, 0)
    hvp = case.model.linearize(*case.model.lift(case.theta, case.tasks.support))[2]
    trace = inspect.getclosurevars(hvp).nonlocals["trace"]
    assert (len(trace.z), len(trace.e)) == ((4, 4) if kept else (0, 0))
    assert [one.q for one in trace.N] == [None] * 4
