"""JAX itself: the unrolled loop, its gradient stopped or not, in scan and under remat."""

import jax
from jax_network import loss_of, meta_gradient
from problem import Way

PACKAGE, REQUIRES = "jax", ("jax",)


def unrolled(wrap=lambda f: f, *, stopped=False):
    def run(problem):
        inner = wrap(jax.grad(loss_of(problem)))

        def adapt(theta, xs, ys):
            for _ in range(problem.steps):
                g = inner(theta, xs, ys)
                theta = theta - problem.alpha * (jax.lax.stop_gradient(g) if stopped else g)
            return theta

        return meta_gradient(problem, adapt)

    return run


def scanned(problem):
    inner = jax.grad(loss_of(problem))

    def adapt(theta, xs, ys):
        def step(phi, _):
            return phi - problem.alpha * inner(phi, xs, ys), None

        return jax.lax.scan(step, theta, length=problem.steps)[0]

    return meta_gradient(problem, adapt)


WAYS = [
    Way("jax.grad through a loop", unrolled()),
    Way("jax.grad through jax.jit", unrolled(jax.jit)),
    Way("jax.grad through lax.scan", scanned),
    Way("jax.grad through jax.checkpoint", unrolled(jax.checkpoint)),
    Way("stop_gradient(g)", unrolled(stopped=True), instead="g"),
]
