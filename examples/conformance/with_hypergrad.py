"""hypergrad: implicit gradients at a minimum that is handed in."""

import torch
from hypergrad.approx_hypergrad import conjugate_gradient, neumann
from problem import Way, array
from torch_network import functional, loss_of, tasks_of

PACKAGE, REQUIRES = "hypergrad", ("torch", "hypergrad")


def squared_error(u, y):
    """The loss spelt out: hypergrad takes derivatives forwards."""
    return ((u - y) ** 2).mean()


def run_with(solve, loss=squared_error, **settings):
    def run(problem):
        loss_, p = loss or loss_of(problem), float(array(problem.vector["pull"]))
        names, total = list(problem.shapes), 0.0

        def tensors(vector):
            return tuple(problem.split(torch.tensor(vector)).values())

        minima, theta = array(problem.vector["right"]["phi"]), tensors(problem.theta)
        for phi, (xs, ys, xq, yq) in zip(minima, tasks_of(problem), strict=True):

            def inner(i, o, xs=xs, ys=ys):
                fit = loss_(functional(problem, dict(zip(names, i, strict=True)), xs), ys)
                return fit + p / 2 * sum(((a - b) ** 2).sum() for a, b in zip(i, o, strict=True))

            def outer(i, o, xq=xq, yq=yq):
                fit = loss_(functional(problem, dict(zip(names, i, strict=True)), xq), yq)
                return fit + 0 * sum(b.sum() for b in o)

            found = solve(inner, outer, tensors(phi), theta, **settings)
            total = total + torch.cat([part.ravel() for part in found]) / len(minima)
        return total.detach().numpy()

    return run


MINIMA = ("minimum-linear", "minimum-tanh")
WAYS = [
    Way("neumann, 800 terms, lr 0.1", run_with(neumann, num_iters=800, lr=0.1), vectors=MINIMA),
    Way("neumann with torch's mse_loss", run_with(neumann, None, num_iters=800, lr=0.1),
        vectors=MINIMA, instead="((u - y)**2).mean()"),
    Way("conjugate_gradient, 1 step", run_with(conjugate_gradient, num_iters=1, lr=1.0),
        vectors=MINIMA, instead="neumann"),
    Way("conjugate_gradient, 20 steps", run_with(conjugate_gradient, num_iters=20, lr=1.0),
        vectors=MINIMA, instead="neumann"),
]  # fmt: skip
