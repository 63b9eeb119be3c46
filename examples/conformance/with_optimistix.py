"""optimistix: gradient descent of K steps, whose derivative is implicit by default; minima."""

import jax.numpy as jnp
import optimistix as optx
from jax_network import loss_of, meta_gradient
from problem import Way, array

PACKAGE, REQUIRES = "optimistix", ("jax", "optimistix")


def steps_with(more=0, **settings):
    def run(problem):
        loss = loss_of(problem)

        def adapt(theta, xs, ys):
            solver = optx.GradientDescent(problem.alpha, rtol=0.0, atol=0.0)
            fitted = optx.minimise(
                lambda phi, data: loss(phi, *data), solver, theta, (xs, ys),
                max_steps=problem.steps + more, throw=False, **settings,
            )  # fmt: skip
            return fitted.value

        return meta_gradient(problem, adapt)

    return run


def minimum(problem):
    loss, p = loss_of(problem), float(array(problem.vector["pull"]))

    def pulled(phi, given):
        theta, xs, ys = given
        return loss(phi, xs, ys) + p / 2 * jnp.sum((phi - theta) ** 2)

    def adapt(theta, xs, ys):
        solver = optx.BFGS(rtol=1e-14, atol=1e-14)
        return optx.minimise(pulled, solver, theta, (theta, xs, ys), max_steps=2000).value

    return meta_gradient(problem, adapt)


WAYS = [
    Way("minimise(…, GradientDescent, max_steps=K), its defaults", steps_with(),
        instead="adjoint=RecursiveCheckpointAdjoint()"),
    Way("adjoint=RecursiveCheckpointAdjoint()",
        steps_with(adjoint=optx.RecursiveCheckpointAdjoint()),
        instead="max_steps=K + 1"),
    Way("adjoint=RecursiveCheckpointAdjoint(), max_steps=K + 1",
        steps_with(1, adjoint=optx.RecursiveCheckpointAdjoint())),
    Way("BFGS to the minimum, implicit", minimum, vectors=("minimum-tanh",)),
]  # fmt: skip
