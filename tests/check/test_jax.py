"""Planted faults in JAX closures get the right diagnosis; right ones pass in both precisions."""

import functools

import numpy as np
import pytest

from numaml import check

from ..planted import ALPHA, BLOCKS, FAULTS, K, assert_told, bent, problem

jax = pytest.importorskip("jax", reason="runs where JAX is installed")
jnp = jax.numpy


@pytest.fixture(autouse=True, scope="module")
def double_precision():
    with jax.enable_x64(True):
        yield


def loss(theta, x, y):
    ends = np.cumsum([int(np.prod(shape)) for shape in BLOCKS.values()])[:-1]
    blocks = zip(jnp.split(theta, ends), BLOCKS.values(), strict=True)
    W1, b1, W2, b2 = (block.reshape(shape) for block, shape in blocks)
    return jnp.mean((jnp.tanh(x @ W1 + b1) @ W2 + b2 - y) ** 2)


def meta_loss(theta, data, fault):
    """The usual loop; its inner gradient may be stopped, or its Hessian stale."""
    stop = jax.lax.stop_gradient

    def of_task(xs, ys, xq, yq):
        phi = theta
        stale = jax.hessian(loss)(stop(theta), xs, ys) if fault == "stale" else None
        for _ in range(K):
            g = jax.grad(loss)(phi, xs, ys)
            if fault == "first-order":
                g = stop(g)
            if fault == "stale":
                g = stop(g) + stale @ (phi - stop(phi))
            phi = phi - ALPHA * g
        return loss(phi, xq, yq)

    return jnp.mean(jax.vmap(of_task)(*data))


@functools.cache
def compiled(fault):
    return jax.jit(jax.grad(functools.partial(meta_loss, fault=fault)))


value_of = jax.jit(functools.partial(meta_loss, fault="exact"))
inner = jax.jit(jax.grad(loss))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults(fault, dtype):
    case = problem(dtype)
    known = fault if fault in ("first-order", "stale") else "exact"

    def gradient(x, y):
        return lambda p: np.asarray(inner(p, x, y))

    report = check.meta_gradient(
        lambda p: float(value_of(p, case[1:])),
        lambda p: bent(fault, np.asarray(compiled(known)(p, case[1:]))),
        case.theta,
        tasks=[
            (gradient(xs, ys), gradient(xq, yq)) for xs, ys, xq, yq in zip(*case[1:], strict=True)
        ],
        alpha=ALPHA,
        steps=K,
        blocks=BLOCKS,
    )
    assert_told(report, fault)
