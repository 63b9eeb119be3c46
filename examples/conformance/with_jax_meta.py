"""jax-meta: its MAML's own adapt, with its optimiser from optax."""

import jax.numpy as jnp
from jax_meta.metalearners.maml import MAML
from jax_network import loss_of, meta_gradient
from problem import Way

PACKAGE, REQUIRES = "jax-meta", ("jax", "jax-meta", "dm-haiku")


def adapt_of(problem):
    """MAML.adapt over this network; its loss takes (params, state, inputs, targets)."""
    loss = loss_of(problem)
    learner = MAML(model=None, num_steps=problem.steps, alpha=problem.alpha)
    learner.loss = lambda params, state, x, y, *_: (loss(params, x, y), (state, {}))
    return learner


def run(problem):
    learner = adapt_of(problem)

    def adapt(theta, xs, ys):
        return learner.adapt(theta, {}, jnp.asarray(xs), jnp.asarray(ys), None)[0]

    return meta_gradient(problem, adapt)


WAYS = [Way("MAML.adapt", run)]
