"""The whole meta-training on sinusoids: sampling, meta-gradient and Adam, iteration by iteration.

numaml as its users run it, and the same loop compiled by JAX into one program, `lax.scan` over the
iterations. A call makes all iterations of its configuration, from the same θ, on fresh tasks; or,
so that two of them can be compared, always on the tasks of the problem.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

from .peers import (
    FIRST_ORDER,
    NUMAML,
    PLAIN,
    Builder,
    Configuration,
    Implementation,
    Problem,
    arguments,
    flat,
    jax_in_turn,
    jax_vmap,
)

BETA = 1e-3


def numaml_builder(p: Problem, name: str, fixed: bool) -> Implementation:
    """`numaml.train`; what is read is the way that θ has gone."""
    import numaml

    c, (model, theta, tasks, alpha, steps) = p.configuration, arguments(p)
    numaml.engine.replaying(name != PLAIN)
    gradient = numaml.first_order_meta_gradient if name == FIRST_ORDER else numaml.meta_gradient
    source = (lambda rng: tasks) if fixed else numaml.Sinusoids(c.tasks, c.support, c.query)

    def run() -> Any:
        return numaml.train(
            model, theta, source, alpha=alpha, steps=steps, iterations=c.iterations, beta=BETA,
            gradient=gradient,
        )  # fmt: skip

    return Implementation(run, lambda state: state.theta - theta)


def _drawn(c: Configuration, key: Any) -> Any:
    """Support and query sets of fresh sinusoids, as `numaml.Sinusoids` draws them."""
    import jax
    import jax.numpy as jnp

    of_amplitude, of_phase, of_x = jax.random.split(key, 3)
    amplitude = jax.random.uniform(of_amplitude, (c.tasks, 1, 1), minval=0.1, maxval=5)
    phase = jax.random.uniform(of_phase, (c.tasks, 1, 1), maxval=jnp.pi)
    x = jax.random.uniform(of_x, (c.tasks, c.support + c.query, 1), minval=-5, maxval=5)
    y = amplitude * jnp.sin(x - phase)
    n = c.support
    return (x[:, :n], y[:, :n]), (x[:, n:], y[:, n:])


def _adam(theta: Any, gradient: Any, first: Any, second: Any, t: Any) -> Any:
    """numaml's Adam, in JAX."""
    import jax
    import jax.numpy as jnp

    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)
    rate = BETA * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    theta = jax.tree.map(lambda a, m, v: a - rate * m / (jnp.sqrt(v) + 1e-8), theta, first, second)
    return theta, first, second


def jax_builder(p: Problem, meta: Callable[..., Any], fixed: bool, **options: bool) -> Any:
    """One compiled program for all iterations."""
    import jax
    import jax.numpy as jnp

    c, gradient = p.configuration, meta(p.configuration, **options)

    def iteration(carry: Any, numbered: Any) -> Any:
        theta, first, second = carry
        t, key = numbered
        support, query = (p.support, p.query) if fixed else _drawn(c, key)
        value, slope = gradient(theta, support, query)
        return _adam(theta, slope, first, second, t), value

    def train(theta: Any, key: Any) -> Any:
        zeros = jax.tree.map(jnp.zeros_like, theta)
        numbers = jnp.arange(1, c.iterations + 1, dtype=jnp.float32)
        keys = jax.random.split(key, c.iterations)
        (theta, _, _), values = jax.lax.scan(iteration, (theta, zeros, zeros), (numbers, keys))
        return theta, values

    compiled = jax.jit(train)
    inputs = jax.block_until_ready(jax.device_put((p.layers, jax.random.key(0))))
    return Implementation(
        lambda: jax.block_until_ready(compiled(*inputs)),
        lambda out: flat(out[0]) - flat(p.layers),
    )


TRAININGS: dict[str, dict[str, Any]] = {
    "JAX scan": {
        "vmap, mean_first=True": partial(jax_builder, meta=jax_vmap, scan=False, mean_first=True),
        "vmap, mean_first=False": partial(jax_builder, meta=jax_vmap, scan=False, mean_first=False),
        "in turn": partial(jax_builder, meta=jax_in_turn, scan=False),
    }
}


def builders(name: str, c: Configuration, fixed: bool = False) -> dict[str, Builder]:
    """The ways to write ``name``, on fresh tasks or always on the problem's."""
    if name in (NUMAML, PLAIN, FIRST_ORDER):
        return {"": partial(numaml_builder, name=name, fixed=fixed)}
    return {way: partial(one, fixed=fixed) for way, one in TRAININGS[name].items()}


def peers_here() -> list[str]:
    """The names of those that can run here."""
    return list(TRAININGS) if importlib.util.find_spec("jax") else []
