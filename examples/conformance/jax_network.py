"""The vectors' networks and losses in JAX, in double precision."""

import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)
ACTIVATIONS = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
    "square": jnp.square,
    "identity": lambda z: z,
}


def loss_of(problem):
    """The loss as a function of (θ, x, y)."""
    L = len(problem.sizes) - 1

    def loss(theta, x, y):
        tensors = problem.split(theta)
        for l in range(1, L + 1):
            x = x @ tensors[f"W{l}"] + tensors[f"b{l}"]
            x = ACTIVATIONS[problem.activation](x) if l < L else x
        if problem.classes:
            return -jnp.mean(jax.nn.log_softmax(x)[jnp.arange(len(y)), y])
        return jnp.mean((x - y) ** 2)

    return loss


def meta_gradient(problem, adapt):
    """Of the mean over tasks of L_Q(adapt(θ, xs, ys)): JAX differentiates whatever adapt does."""
    loss = loss_of(problem)

    def meta_value(theta):
        losses = [loss(adapt(theta, xs, ys), xq, yq) for xs, ys, xq, yq in problem.tasks]
        return sum(losses) / len(losses)

    return jax.grad(meta_value)(jnp.asarray(problem.theta))
