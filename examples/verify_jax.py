"""Is this JAX MAML second order? With and without stop_gradient, against numaml's own network."""

import numpy as np

from numaml import MLP, Sinusoids, check

try:
    import jax
    import jax.numpy as jnp
    from jax.flatten_util import ravel_pytree
except ImportError:
    print("skipped: JAX is not installed (pip install jax)")
    raise SystemExit from None

ALPHA, STEPS = 0.05, 2
MODEL = MLP((1, 20, 1), "tanh")
TASKS = Sinusoids(tasks=3, shots=5, queries=7)(np.random.default_rng(0))
DATA = TASKS.support.x, TASKS.support.y, TASKS.query.x, TASKS.query.y


def loss(parameters, x, y):
    for W, b in parameters[:-1]:
        x = jnp.tanh(x @ W + b)
    W, b = parameters[-1]
    return jnp.mean((x @ W + b - y) ** 2)


def meta_loss(parameters, data, stopped):
    def of_task(xs, ys, xq, yq):
        phi = parameters
        for _ in range(STEPS):
            g = jax.grad(loss)(phi, xs, ys)
            if stopped:
                g = jax.lax.stop_gradient(g)
            phi = jax.tree.map(lambda p, g: p - ALPHA * g, phi, g)
        return loss(phi, xq, yq)

    return jnp.mean(jax.vmap(of_task)(*data))


def gradient(theta, *, stopped, dtype):
    """The meta-gradient; [(W1, b1), (W2, b2), …] ravels into theta's own layout."""
    parameters = [(W.astype(dtype), b.astype(dtype)) for W, b in MODEL.unpack(theta)]
    data = [a.astype(dtype) for a in DATA]
    tree = jax.jit(jax.grad(meta_loss), static_argnums=2)(parameters, data, stopped)
    return np.asarray(ravel_pytree(tree)[0])


def main():
    theta = MODEL.init(0) + 0.1 * np.random.default_rng(1).normal(size=MODEL.size)
    theta = theta.astype("f4").astype("f8")  # the same point in both precisions
    arguments = MODEL, theta, TASKS, ALPHA, STEPS
    with jax.enable_x64(True):
        return {
            "with stop_gradient": check.against(
                gradient(theta, stopped=True, dtype="f8"), *arguments
            ),
            "as it should be": check.against(
                gradient(theta, stopped=False, dtype="f8"), *arguments
            ),
            "as it should be, in float32": check.against(
                gradient(theta, stopped=False, dtype="f4"), *arguments
            ),
        }


if __name__ == "__main__":
    for name, report in main().items():
        print(f"\n--- {name}\n{report}")
