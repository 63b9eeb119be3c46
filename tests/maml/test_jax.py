"""The outside oracle: JAX's grad through the unrolled inner loop, in float64."""

import itertools
from contextlib import contextmanager

import numpy as np
import pytest

import numaml
from numaml import engine, maml
from numaml.check import relative_error
from numaml.weights import factored

from ..cases import build

jax = pytest.importorskip("jax", reason="the outside oracle runs where JAX is installed")
jnp = jax.numpy

CONFIGURATIONS = 100
PROMISED = 1e-12  # worst norm-wise relative error over all configurations
ACTIVATIONS = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "softplus": jax.nn.softplus,
    "sigmoid": jax.nn.sigmoid,
    "identity": lambda z: z,
    "square": jnp.square,
}


@pytest.fixture(autouse=True, scope="module")
def double_precision_and_quick_compilation():
    # Unoptimised programs compile twice as fast and compute the same.
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    with jax.enable_x64(True):
        yield
    jax.config.update("jax_disable_most_optimizations", before)


def draw(seed):
    """A random configuration, every one with another seed; sizes 1 and equal sizes do occur."""
    rng = np.random.default_rng(seed)
    activation = str(rng.choice(list(ACTIVATIONS)))
    depth = rng.integers(0, 2 if activation == "square" else 4)
    loss = str(rng.choice(["squared_error", "cross_entropy"]))
    sizes = (*rng.integers(1, 9, depth + 1), rng.integers(2 if loss == "cross_entropy" else 1, 6))
    n_tasks = None if rng.random() < 0.2 else int(rng.integers(1, 6))
    norm = [None, "batch", "layer"][rng.integers(3)]
    shots, queries = rng.integers(2 if norm == "batch" else 1, 8, 2)
    alpha = float(rng.choice([0.0, 0.003, 0.03, 0.1])) / (10 if activation == "square" else 1)
    steps = rng.integers(0, 5)
    return build(sizes, activation, loss, n_tasks, shots, queries, alpha, steps, rng, norm)


def losses(case):
    """The same model in JAX, written from the definitions."""
    sizes, s = case.model.sizes, ACTIVATIONS[case.model.activation]
    axis = {None: None, "batch": 0, "layer": 1}[case.model.norm]

    def output(theta, x):
        start = 0
        for l, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
            W = theta[start : start + n_in * n_out].reshape(n_in, n_out)
            b = theta[start + n_in * n_out : start + (n_in + 1) * n_out]
            a = (s(x) if l else x) @ W
            if axis is not None and l < len(sizes) - 2:
                a = (a - a.mean(axis, keepdims=True)) / jnp.sqrt(a.var(axis, keepdims=True) + 1e-5)
            x = a + b
            start += (n_in + 1) * n_out
        return x

    def loss(theta, x, y):
        u = output(theta, x)
        if case.model.loss == "cross_entropy":
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(u), y[:, None], 1))
        return jnp.mean((u - y) ** 2)

    def adapted(theta, x, y):
        def step(phi, _):
            return phi - case.alpha * jax.grad(loss)(phi, x, y), None

        return jax.lax.scan(step, theta, length=case.steps)[0]

    def meta(theta, xs, ys, xq, yq):
        return loss(adapted(theta, xs, ys), xq, yq)

    return loss, adapted, meta


@pytest.mark.parametrize("seed", range(CONFIGURATIONS))
def test_against_jax(seed, monkeypatch):
    case = draw(seed)
    loss, adapted, meta = losses(case)
    support, query = case.tasks.support, case.tasks.query
    data = [support.x, support.y, query.x, query.y]
    if support.x.ndim == 2:
        data = [a[None] for a in data]

    @jax.jit
    def oracle(theta, v, xs, ys, xq, yq):
        def mean_meta(theta):
            return jnp.mean(jax.vmap(meta, (None, 0, 0, 0, 0))(theta, xs, ys, xq, yq))

        phi = jax.vmap(adapted, (None, 0, 0))(theta, xs, ys)
        first_order = jnp.mean(jax.vmap(jax.grad(loss))(phi, xq, yq), axis=0)
        inner = jax.vmap(jax.grad(loss), (None, 0, 0))
        _, Hv = jax.jvp(lambda p: inner(p, xs, ys), (theta,), (v,))
        return (*jax.value_and_grad(mean_meta)(theta), first_order, phi, Hv)

    value, exact, first_order, phi, Hv = map(np.asarray, oracle(case.theta, case.v, *data))
    # Vectors flat or layer by layer, factors never multiplied out or always, whatever the rules
    # say; and every call as the program stands, or from the third on replayed.
    layered, pays = (bool(flip) for flip in np.random.default_rng((seed, 1)).integers(2, size=2))
    monkeypatch.setattr(factored, "layered", lambda *_: layered)
    monkeypatch.setattr(factored, "pays", lambda *_: pays)
    with replayed(seed % 2 == 0) as calls:
        for _ in range(calls):
            got_value, got = numaml.meta_gradient(*case.arguments)
            assert relative_error(got_value, value) < PROMISED
            assert relative_error(got, exact) < PROMISED
            got = numaml.first_order_meta_gradient(*case.arguments)[1]
            assert relative_error(got, first_order) < PROMISED
            got = numaml.adapt(case.model, case.theta, support, case.alpha, case.steps)
            assert relative_error(np.atleast_2d(got), phi) < PROMISED
    got = case.model.linearize(case.theta, support)[2](case.v)
    assert relative_error(np.atleast_2d(got), Hv) < PROMISED
    monkeypatch.setattr(factored, "layered", lambda *_: True)
    for pays in (True, False):
        monkeypatch.setattr(factored, "pays", lambda *_, pays=pays: pays)
        assert relative_error(maml_gradient(case), exact) < PROMISED


@contextmanager
def replayed(on):
    """Calls that are replayed, and how many of them it takes; or one that is not."""
    before = engine.replaying(on)
    yield 3 if on else 1
    if on:
        assert any(seen.steps for seen in engine.recordings())
    engine.replaying(before)


def maml_gradient(case):
    """The exact meta-gradient as the program stands."""
    batches = case.model.checked(case.theta, case.tasks.support, case.tasks.query)
    return maml.exact(case.model, *batches, case.alpha, case.steps)[1]
