"""higher: its recipe, with its defaults and as it has to be; SGD, momentum and Adam."""

import higher
import torch
from problem import Way, array
from torch_network import Network, flat, loss_of, tasks_of

PACKAGE, REQUIRES = "higher", ("torch", "higher")


def run_with(optimiser=torch.optim.SGD, **settings):
    def run(problem):
        net, loss, vector = Network(problem), loss_of(problem), problem.vector
        more = {}
        if optimiser is torch.optim.Adam:
            b1, b2, epsilon = (
                float(array(vector["adam"][name])) for name in ("b1", "b2", "epsilon")
            )
            more = {"betas": (b1, b2), "eps": epsilon}
        elif "momentum" in vector:
            more = {
                "momentum": float(array(vector["momentum"])),
                "weight_decay": float(array(vector["decay"])),
            }
        inner = optimiser(net.parameters(), lr=problem.alpha, **more)
        for xs, ys, xq, yq in tasks_of(problem):
            with higher.innerloop_ctx(net, inner, **settings) as (fast, differentiable):
                for _ in range(problem.steps):
                    differentiable.step(loss(fast(xs), ys))
                (loss(fast(xq), yq) / len(problem.tasks)).backward()
        return flat([p.grad for p in net.parameters()])

    return run


THROUGH = {"copy_initial_weights": False}
WAYS = [
    Way("innerloop_ctx, its defaults", run_with(), instead="copy_initial_weights=False"),
    Way("copy_initial_weights=False", run_with(**THROUGH)),
    Way("copy_initial_weights=False, track_higher_grads=False",
        run_with(**THROUGH, track_higher_grads=False),
        instead="track_higher_grads=True, its default"),
    Way("copy_initial_weights=False, SGD with momentum or decay", run_with(**THROUGH),
        vectors=("momentum", "weight-decay")),
    Way("copy_initial_weights=False, Adam", run_with(torch.optim.Adam, **THROUGH),
        vectors=("adam", "adam-zero-gradient"),
        instead="nothing where epsilon is as small as 1e-8; it is 1/100 and 1/2 here"),
]  # fmt: skip
