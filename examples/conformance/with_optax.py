"""optax: its optimisers are differentiable as they stand; SGD, momentum, decay, Adam."""

import jax
import optax
from jax_network import loss_of, meta_gradient
from problem import Way, array

PACKAGE, REQUIRES = "optax", ("jax", "optax")


def run_with(make):
    def run(problem):
        inner, vector = jax.grad(loss_of(problem)), problem.vector
        optimiser = make(vector, problem.alpha)

        def adapt(theta, xs, ys):
            state = optimiser.init(theta)
            for _ in range(problem.steps):
                moves, state = optimiser.update(inner(theta, xs, ys), state, theta)
                theta = optax.apply_updates(theta, moves)
            return theta

        return meta_gradient(problem, adapt)

    return run


def sgd(vector, rate):
    return optax.sgd(rate, momentum=float(array(vector.get("momentum", "0"))))


def decayed(vector, rate):
    decay = optax.add_decayed_weights(float(array(vector["decay"])))
    return optax.chain(decay, optax.sgd(rate))


def adam(vector, rate):
    b1, b2, epsilon = (float(array(vector["adam"][name])) for name in ("b1", "b2", "epsilon"))
    inside = {"eps": 0.0, "eps_root": epsilon}
    return optax.adam(
        rate, b1, b2, **(inside if vector["adam"]["epsilon_inside"] else {"eps": epsilon})
    )


WAYS = [
    Way("sgd", run_with(sgd)),
    Way("sgd(momentum=…)", run_with(sgd), vectors=("momentum",)),
    Way("add_decayed_weights before sgd", run_with(decayed), vectors=("weight-decay",)),
    Way("adam, eps and eps_root", run_with(adam), vectors=("adam", "adam-epsilon-inside")),
    Way("adam where a gradient is 0", run_with(adam), vectors=("adam-zero-gradient",),
        instead="eps_root > 0"),
]  # fmt: skip
