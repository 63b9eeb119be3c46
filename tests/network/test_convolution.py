"""Convolutions: what they compute, exactly, by every road that a network goes."""

import copy
import dataclasses
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest

import numaml
from numaml.check import Mod, complex_step, dual_gradient, relative_error
from numaml.engine import parts
from numaml.network.convolution import Patches, readers, reads

from ..cases import NORMS
from ..engine.test_parts import peak

# Complex steps are exact to rounding; a normalisation over few numbers magnifies it.
PROMISED = 1e-12
IMAGE, LAYERS = (6, 5, 2), ((3, 3, 2), (4, 2, 1), (5, 3, 2))  # kernels odd and even


def net(activation="tanh", loss="cross_entropy", norm=None, layers=LAYERS):
    return numaml.ConvNet(IMAGE, layers, 7, activation, loss, norm)


def tasks_for(model, lead=(4,), n=3, m=8, seed=1, dtype=float):
    rng = np.random.default_rng(seed)

    def batch(n):
        x = rng.normal(size=(*lead, n, model.sizes[0])).astype(dtype)
        if model.loss == "cross_entropy":
            return numaml.Batch(x, rng.integers(0, model.n_out, (*lead, n)))
        return numaml.Batch(x, rng.normal(size=(*lead, n, model.n_out)).astype(dtype))

    return numaml.Tasks(batch(n), batch(m))


def direction(model, seed=2):
    v = np.random.default_rng(seed).normal(size=model.size)
    return v / np.linalg.norm(v)


def test_windows():
    model = numaml.ConvNet((16, 24, 2), LAYERS[:2], 7, pool=2)
    assert model.sizes == (768, 96 * 3, 24 * 4, 7)
    assert [G.out for G in model.patches] == [(8, 12), (4, 6)]
    assert dataclasses.replace(model, pool=1).sizes == (768, 96 * 3, 96 * 4, 7)
    assert hash(model) != hash(dataclasses.replace(model, pool=1))
    with pytest.raises(ValueError, match=r"layers\[1\] has 4 × 7 positions, and pool is 2; want"):
        numaml.ConvNet((16, 28, 2), LAYERS[:2], 7, pool=2)
    with pytest.raises(ValueError, match="pool is 0"):
        numaml.ConvNet((16, 24, 2), LAYERS[:2], 7, pool=0)
    learner = numaml.Learner(numaml.ConvNet((4, 4, 1), ((2, 3, 1),), 2, pool=2), np.zeros(26), 1, 1)
    assert learner.model.pool == 2


def test_layout():
    model = net()
    assert model.sizes == (60, 9 * 3, 9 * 4, 4 * 5, 7)
    assert model.shapes == ((18, 3), (12, 4), (36, 5), (5, 7))
    assert model.size == 19 * 3 + 13 * 4 + 37 * 5 + 6 * 7
    assert model.rows(8) == (72, 72, 32, 8)
    theta = model.init(0)
    assert np.array_equal(model.pack(model.unpack(theta)), theta)
    again = copy.deepcopy(model)
    assert again == model
    assert hash(again) == hash(model)
    assert dataclasses.replace(model, n_out=3).sizes[-1] == 3
    assert numaml.ConvNet(list(IMAGE), [list(one) for one in LAYERS], 7).sizes == model.sizes


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "first", "last"),
    [
        (28, 3, 2, [0, 1, 2], [26, 27, 28]),  # the one row of zeros is behind
        (7, 3, 2, [-1, 0, 1], [5, 6, 7]),
        (5, 4, 1, [-1, 0, 1, 2], [3, 4, 5, 6]),  # one before, two behind
        (5, 1, 3, [0], [3]),  # pixels between are seen by nobody
        (2, 5, 1, [-2, -1, 0, 1, 2], [-1, 0, 1, 2, 3]),
    ],
)
def test_zeros_lie_around_the_edges_as_tensorflow_has_them(size, kernel, stride, first, last):
    seen = reads(Patches(size, 1, 1, kernel, stride)).reshape(-1, kernel, kernel)
    column = seen[:, :, (kernel - 1) // 2]  # of the kernel the one that stands on the image
    for got, want in ((column[0], first), (column[-1], last)):
        assert got.tolist() == [row if 0 <= row < size else size for row in want]


def test_every_spot_is_read_back_once():
    for patches in (Patches(6, 5, 2, 3, 2), Patches(5, 7, 1, 2, 3), Patches(4, 4, 3, 4, 1)):
        seen, back = reads(patches), readers(patches)
        spots = back[back < len(seen)]
        assert sorted(spots) == np.flatnonzero(seen < patches.height * patches.width).tolist()
        assert all((seen[column[column < len(seen)]] == i).all() for i, column in enumerate(back.T))
        assert not seen.flags.writeable
        assert not back.flags.writeable


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
def test_complex_steps(handled, norm, loss):
    model = net("softplus", loss, norm)
    theta, tasks, v = model.init(0), tasks_for(model), direction(model)
    _, gradient, hvp = model.linearize(theta, tasks.query)
    want = complex_step(lambda p: model.linearize(p, tasks.query)[1], theta, v)
    assert relative_error(hvp(v), want) < PROMISED
    assert relative_error(hvp(np.stack([v] * 4)), want) < PROMISED
    want = complex_step(lambda p: model.value(p, tasks.query), theta, v)
    assert relative_error(gradient @ v, want) < PROMISED
    value, gradient = numaml.meta_gradient(model, theta, tasks, 0.3, 3)
    assert value == pytest.approx(numaml.meta_value(model, theta, tasks, 0.3, 3), rel=1e-14)
    want = complex_step(lambda p: numaml.meta_value(model, p, tasks, 0.3, 3), theta, v)
    assert abs(gradient @ v - want) < PROMISED * np.linalg.norm(gradient)
    first_order = numaml.first_order_meta_gradient(model, theta, tasks, 0.3, 3)[1]
    assert abs(first_order @ v - want) > 1e6 * PROMISED * np.linalg.norm(gradient)


@pytest.mark.parametrize(
    "alpha", [[0.5, 0.1], (0.4, None, 0.2, (None, 0.1)), [0.3, (None, None, 0.2, 0.1)]]
)
def test_rates_of_any_structure(handled, alpha):
    """For each step, for each layer, and layers that no step moves."""
    model = net(norm="batch")
    theta, tasks, v = model.init(0), tasks_for(model), direction(model)
    gradient = numaml.meta_gradient(model, theta, tasks, alpha, 2)[1]
    want = complex_step(lambda p: numaml.meta_value(model, p, tasks, alpha, 2), theta, v)
    assert abs(gradient @ v - want) < PROMISED * np.linalg.norm(gradient)
    one = numaml.meta_gradient(model, theta, tasks, 0.3, 2)[1]
    assert abs(one @ v - want) > 1e6 * PROMISED * np.linalg.norm(gradient)


def elements(rng, *shape):
    flat = [Mod(n) for n in rng.integers(Mod.p, size=int(np.prod(shape))).tolist()]
    return np.array(flat, object).reshape(shape)


def fractions(rng, *shape):
    flat = [Fraction(n, 7) for n in rng.integers(-9, 10, int(np.prod(shape))).tolist()]
    return np.array(flat, object).reshape(shape)


@pytest.mark.parametrize(
    ("activation", "draw", "pool"),
    [("square", elements, 1), ("relu", fractions, 1), ("relu", fractions, 2)],
)
def test_exact_arithmetic(activation, draw, pool):
    """Two steps, against dual numbers through the value alone: equal or not."""
    image, layers = (3, 2, 1), ((2, 2, 2), (1, 2, 1))
    if pool == 2:
        image, layers = (4, 2, 1), ((2, 2, 1),)
    model = numaml.ConvNet(image, layers, 1, activation, pool=pool)
    rng = np.random.default_rng(3)
    theta, alpha = draw(rng, model.size), draw(rng, 1)[0]
    S, Q = (numaml.Batch(draw(rng, n, model.sizes[0]), draw(rng, n, 1)) for n in (1, 2))

    def value(theta):
        phi = theta
        for _ in range(2):
            phi = phi - alpha * dual_gradient(lambda p: model.value(p, S), phi)
        return model.value(phi, Q)

    got = numaml.meta_gradient(model, theta, numaml.Tasks(S, Q), alpha, 2)
    assert got[0] == value(theta)
    assert np.array_equal(got[1], dual_gradient(value, theta))
    assert got[1].any()


def test_a_stack_of_tasks_is_the_tasks_one_by_one(handled):
    model = net(norm="batch")
    theta, tasks = model.init(0), tasks_for(model)
    phi = numaml.adapt(model, theta, tasks.support, 0.3, 2)
    whole = numaml.meta_gradient(model, theta, tasks, 0.3, 2)
    each = [numaml.Tasks(*(numaml.Batch(b.x[t], b.y[t]) for b in (tasks.support, tasks.query)))
            for t in range(4)]  # fmt: skip
    for t, one in enumerate(each):
        alone = numaml.adapt(model, theta, one.support, 0.3, 2)
        assert relative_error(phi[t], alone) < PROMISED
        u = model.predict(phi, tasks.query.x)[t]
        assert relative_error(u, model.predict(alone, one.query.x)) < PROMISED
    gradients = [numaml.meta_gradient(model, theta, one, 0.3, 2)[1] for one in each]
    assert relative_error(whole[1], np.mean(gradients, 0)) < PROMISED


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_calls_are_replayed_to_the_same_bits(norm, dtype):
    model = net("relu", norm=norm)
    theta, tasks = model.init(0, dtype), tasks_for(model, dtype=dtype)
    calls = {
        "meta_gradient": lambda: numaml.meta_gradient(model, theta, tasks, 0.3, 2),
        "adapt": lambda: (numaml.adapt(model, theta, tasks.support, 0.3, 2),),
        "accuracies": lambda: (numaml.accuracies(model, theta, tasks, 0.3, 2),),
    }
    for name, call in calls.items():
        before = numaml.engine.replaying(False)
        want = call()
        numaml.engine.replaying(True)
        for _ in range(3):
            got = call()
        seen = numaml.engine.recordings()[-1]
        numaml.engine.replaying(before)
        assert (seen.steps > 0, seen.reason) == (True, ""), name
        assert all(np.array_equal(a, b) for a, b in zip(got, want, strict=True)), name
        assert np.asarray(got[-1]).dtype == (float if name == "accuracies" else dtype)


def test_patches_are_gathered_once_in_a_recording():
    """What `gathered` does for a product, for its tangent and for two gradients is one step."""
    model, rng = net("relu", layers=LAYERS[:2]), np.random.default_rng(0)
    x, y = rng.normal(size=(1, 5, 60)), rng.integers(0, 7, (1, 5))
    tasks = numaml.Tasks(numaml.Batch(x, y), numaml.Batch(x[:, ::-1], y))
    before = numaml.engine.replaying(True)
    for _ in range(3):
        numaml.meta_gradient(model, model.init(0), tasks, 0.3, 1)
    store = numaml.engine.replayed.STORE
    (recording,) = [one.recording for one in store._entries.values()]
    numaml.engine.replaying(before)
    names = [getattr(function, "__name__", "") for function, _ in recording.steps]
    # Patches of x and h of two sets, and of one h_dot; e of two sets and e_dot twice, of which
    # each pixel adds up as many as patches there are that see it.
    assert names.count("taken") == 5 + 4 * len(readers(model.patches[1]))


@pytest.mark.parametrize(("layers", "n", "m", "steps"), [
    (((16, 3, 2),) * 3, 5, 10, 1), (((8, 3, 1), (8, 3, 2)), 5, 5, 4), (((12, 2, 2),) * 2, 20, 5, 2),
])  # fmt: skip
@pytest.mark.parametrize("norm", [None, "batch"])
def test_the_memory_of_traces_is_foreseen(layers, n, m, steps, norm, plain):
    model = numaml.ConvNet((28, 28, 1), layers, 7, "relu", "cross_entropy", norm)
    arguments = model, model.init(0), tasks_for(model, (3,), n, m), 0.1, steps
    foreseen = 8 * 3 * model.trace_size(n, m, steps)
    assert 0.5 < peak(lambda: numaml.meta_gradient(*arguments)) / foreseen < 2


def test_large_tasks_are_taken_one_by_one():
    model = numaml.ConvNet((28, 28, 1), ((64, 3, 2),) * 4, 5, "relu", "cross_entropy", "batch")
    x, y = np.zeros((32, 5, 784), "f4"), np.zeros((32, 5), int)
    query = numaml.Batch(np.zeros((32, 25, 784), "f4"), np.zeros((32, 25), int))
    plan = numaml.engine.plan(
        model, model.init(0, "f4"), numaml.Tasks(numaml.Batch(x, y), query), 0.1, 1
    )
    assert plan.parts == (1,) * 32
    assert plan.forms == (("flat", "flat"),) * 5


def test_what_else_takes_a_model_takes_this_one():
    model = numaml.ConvNet((4, 3, 1), ((5, 3, 2),), 3, "tanh", "cross_entropy", "batch")
    rng = np.random.default_rng(0)
    shapes = rng.normal(size=(6, 1, 12))  # a class is a picture, its examples that and noise
    x = (shapes + 0.3 * rng.normal(size=(6, 9, 12))).reshape(-1, 12)
    source = numaml.FewShot(x, np.repeat(np.arange(6), 9), ways=3, shots=2, queries=3, tasks=4)
    state = numaml.train(model, model.init(0), source, alpha=0.5, steps=1, iterations=60, beta=0.01)
    assert np.mean(state.values[-10:]) < 0.7 * np.mean(state.values[:10])
    tasks = source(rng)
    with ThreadPoolExecutor(2) as executor:
        got = numaml.sharded(executor, 3)(model, state.theta, tasks, 0.5, 2)
    want = numaml.meta_gradient(model, state.theta, tasks, 0.5, 2)
    assert relative_error(got[1], want[1]) < PROMISED
    report = numaml.check.gradient(
        lambda p: float(model.value(p, tasks.query).mean()),
        lambda p: model.linearize(p, tasks.query)[1].mean(0),
        state.theta,
    )
    assert report.verdict == "right", report


def test_batches_that_are_checked_and_not_lifted_are_taken_too():
    model = net(norm="batch")
    theta, tasks = model.init(0), tasks_for(model)
    _, rows = model.checked(theta, tasks.query)
    assert np.array_equal(model.value(theta, rows), model.value(theta, tasks.query))
    want = model.linearize(theta, tasks.query)[1]
    assert np.array_equal(model.linearize(theta, rows)[1], want)
    lifted, once = model.lift(theta, rows)
    assert np.array_equal(model.linearize(lifted, once)[1], want)
    assert np.array_equal(numaml.adapt(model, theta, tasks.support, 0.1, 0), [theta] * 4)


def test_evaluations_are_taken_in_parts(monkeypatch):
    model = net(norm="batch")
    arguments = model, model.init(0), tasks_for(model, (7,)), 0.3, 2
    want = [numaml.evaluate(*arguments), numaml.accuracies(*arguments)]
    monkeypatch.setattr(parts, "KEPT", 1)
    monkeypatch.setattr(parts, "PART", 3 * 8 * model.trace_size(3, 8, 0))
    monkeypatch.setattr(parts, "THETAS", 0)
    monkeypatch.setattr(parts, "ROWS", 1)
    sets = arguments[2].support, arguments[2].query
    sizes = [size for size, _ in parts.in_parts(*arguments[:2], *sets, 0)]
    assert sizes == [2, 2, 3]
    got = [numaml.evaluate(*arguments), numaml.accuracies(*arguments)]
    assert relative_error(got[0], want[0]) < PROMISED
    assert np.array_equal(got[1], want[1])


def test_an_image_alone_is_refused_where_it_would_be_normalised_away():
    x = np.ones((1, 60))
    for layers, alone in ((LAYERS, False), ((*LAYERS, (2, 2, 2)), True)):
        model = net(norm="batch", layers=layers)
        if alone:  # the last convolution has one position
            with pytest.raises(ValueError, match="one row, and norm='batch'"):
                model.predict(model.init(0), x)
        else:
            assert model.predict(model.init(0), x).shape == (1, 7)


def test_jax():
    """Convolutions of JAX's own and the largest of windows, differentiated twice by JAX."""
    jax = pytest.importorskip("jax", reason="the outside oracle runs where JAX is installed")
    jnp = jax.numpy
    image, alpha, steps = (16, 24, 2), 0.3, 2
    layers = ((3, 3, 2), (4, 2, 1))
    model = numaml.ConvNet(image, layers, 7, "relu", "cross_entropy", "batch", pool=2)
    theta, tasks = model.init(0), tasks_for(model)

    def loss(theta, x, y):
        h, start = x.reshape(-1, *image), 0
        for filters, k, stride in model.layers:
            kernel = (k, k, h.shape[3], filters)
            stop = start + np.prod(kernel)
            W, b = theta[start:stop].reshape(kernel), theta[stop : stop + filters]
            h = jax.lax.conv_general_dilated(
                h, W, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            h = (h - h.mean((0, 1, 2))) / jnp.sqrt(h.var((0, 1, 2)) + 1e-5)
            h, start = jax.nn.relu(h + b), stop + filters
            window = (1, 2, 2, 1)
            h = jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, window, window, "VALID")
        W, b = theta[start:-7].reshape(-1, 7), theta[-7:]
        u = h.mean((1, 2)) @ W + b
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(u), y[:, None], 1))

    def meta(theta, xs, ys, xq, yq):
        phi = theta
        for _ in range(steps):
            phi = phi - alpha * jax.grad(loss)(phi, xs, ys)
        return loss(phi, xq, yq)

    data = tasks.support.x, tasks.support.y, tasks.query.x, tasks.query.y
    before = jax.config.read("jax_disable_most_optimizations")  # compiles in half the time
    jax.config.update("jax_disable_most_optimizations", True)
    with jax.enable_x64(True):
        mean = lambda p: jnp.mean(jax.vmap(meta, (None, 0, 0, 0, 0))(p, *data))  # noqa: E731
        want = [np.asarray(one) for one in jax.jit(jax.value_and_grad(mean))(theta)]
    jax.config.update("jax_disable_most_optimizations", before)
    got = numaml.meta_gradient(model, theta, tasks, alpha, steps)
    assert relative_error(got[0], want[0]) < PROMISED
    assert relative_error(got[1], want[1]) < PROMISED
