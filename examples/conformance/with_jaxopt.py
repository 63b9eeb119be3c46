"""jaxopt: gradient descent of K steps, whose derivative is implicit by default; minima."""

import jax.numpy as jnp
import jaxopt
from jax_network import loss_of, meta_gradient
from problem import Way, array

PACKAGE, REQUIRES = "jaxopt", ("jax", "jaxopt")
LONG = "maml", "tanh", "tanh-thirty-steps"  # two steps are not accelerated yet


def steps_with(**settings):
    def run(problem):
        loss = loss_of(problem)

        def adapt(theta, xs, ys):
            solver = jaxopt.GradientDescent(
                loss, stepsize=problem.alpha, maxiter=problem.steps, tol=0.0, **settings
            )
            return solver.run(theta, xs, ys).params

        return meta_gradient(problem, adapt)

    return run


def minimum(problem):
    loss, p = loss_of(problem), float(array(problem.vector["pull"]))

    def pulled(phi, theta, xs, ys):
        return loss(phi, xs, ys) + p / 2 * jnp.sum((phi - theta) ** 2)

    def adapt(theta, xs, ys):
        solver = jaxopt.GradientDescent(pulled, stepsize=0.02, maxiter=20000, tol=1e-14)
        return solver.run(theta, theta, xs, ys).params

    return meta_gradient(problem, adapt)


WAYS = [
    Way("GradientDescent(stepsize, maxiter=K), its defaults", steps_with(), vectors=LONG,
        instead="implicit_diff=False and acceleration=False"),
    Way("implicit_diff=False", steps_with(implicit_diff=False), vectors=LONG,
        instead="acceleration=False as well"),
    Way("implicit_diff=False, acceleration=False",
        steps_with(implicit_diff=False, acceleration=False), vectors=LONG),
    Way("GradientDescent to the minimum, implicit", minimum, vectors=("minimum-tanh",)),
]  # fmt: skip
