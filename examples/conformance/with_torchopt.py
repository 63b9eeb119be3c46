"""torchopt: a differentiable optimiser, and how the state is put back between tasks."""

import torch
import torchopt
from problem import Way, array
from torch_network import Network, flat, loss_of, tasks_of

PACKAGE, REQUIRES = "torchopt", ("torch", "torchopt")


def run_with(by="reference", *, recover=True, adam=False):
    def run(problem):
        net, loss, vector = Network(problem), loss_of(problem), problem.vector
        theta = list(net.parameters())
        if adam:
            b1, b2, epsilon = (
                float(array(vector["adam"][name])) for name in ("b1", "b2", "epsilon")
            )
            settings = {"betas": (b1, b2), "eps": epsilon, "lr": problem.alpha}
            inner = torchopt.MetaAdam(net, **settings)
        else:
            inner = torchopt.MetaSGD(net, lr=problem.alpha)
        states = [torchopt.extract_state_dict(one, by=by) for one in (net, inner)]
        total = 0.0
        for xs, ys, xq, yq in tasks_of(problem):
            for _ in range(problem.steps):
                inner.step(loss(net(xs), ys))
            total = total + loss(net(xq), yq) / len(problem.tasks)
            for one, state in zip((net, inner) if recover else (), states, strict=False):
                torchopt.recover_state_dict(one, state)
        return flat(torch.autograd.grad(total, theta, allow_unused=True))

    return run


WAYS = [
    Way('MetaSGD, extract_state_dict(by="reference")', run_with()),
    Way('MetaSGD, extract_state_dict(by="deepcopy")', run_with("deepcopy"),
        instead='by="reference": a deep copy is another θ'),
    Way("MetaSGD, no recover_state_dict", run_with(recover=False),
        instead="recover_state_dict after every task"),
    Way('MetaAdam, by="reference"', run_with(adam=True), vectors=("adam",)),
    Way('MetaAdam, by="reference", where a gradient is 0', run_with(adam=True),
        vectors=("adam-zero-gradient",), instead="its option eps_root > 0"),
]  # fmt: skip
