"""learn2learn: clone and adapt; what becomes of it without the clone; Meta-SGD's learned rates."""

import importlib.util
import sys
import types
from importlib.metadata import distribution
from pathlib import Path

import torch
from problem import Way
from torch_network import Network, flat, loss_of, tasks_of

PACKAGE, REQUIRES = "learn2learn", ("torch", "learn2learn")


def loaded():
    """The package, or, where its compiled parts were not built, its algorithms alone."""
    folder = Path(distribution("learn2learn").locate_file("learn2learn"))
    for name in ("learn2learn", "learn2learn.algorithms"):
        module = types.ModuleType(name)
        module.__path__ = [str(folder.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = module
    spec = importlib.util.spec_from_file_location("learn2learn.utils", folder / "utils/__init__.py")
    sys.modules["learn2learn.utils"] = utils = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(utils)
    for name in ("clone_module", "update_module", "clone_parameters"):
        setattr(sys.modules["learn2learn"], name, getattr(utils, name))
    from learn2learn.algorithms import maml, meta_sgd

    return maml.MAML, meta_sgd.MetaSGD


MAML, MetaSGD = loaded()


def run_with(*, clone=True, **settings):
    def run(problem):
        loss = loss_of(problem)
        learner = MAML(Network(problem), lr=problem.alpha, **settings)
        total = 0.0
        for xs, ys, xq, yq in tasks_of(problem):
            fast = learner.clone() if clone else learner
            for _ in range(problem.steps):
                fast.adapt(loss(fast(xs), ys))
            total = total + loss(fast(xq), yq) / len(problem.tasks)
        total.backward()
        return flat([p.grad for p in learner.parameters()])

    return run


def without_clone(problem):
    """Every task goes on from where the last one left the module; θ is what it first was."""
    loss, net = loss_of(problem), Network(problem)
    first = list(net.parameters())
    learner = MAML(net, lr=problem.alpha)
    total = 0.0
    for xs, ys, xq, yq in tasks_of(problem):
        for _ in range(problem.steps):
            learner.adapt(loss(learner(xs), ys))
        total = total + loss(learner(xq), yq) / len(problem.tasks)
    return flat(torch.autograd.grad(total, first, allow_unused=True))


def meta_sgd(problem):
    loss, net = loss_of(problem), Network(problem)
    rates = [
        torch.nn.Parameter(a.clone()) for a in problem.split(torch.tensor(problem.alpha)).values()
    ]
    learner = MetaSGD(net, lrs=rates)
    total = 0.0
    for xs, ys, xq, yq in tasks_of(problem):
        fast = learner.clone()
        for _ in range(problem.steps):
            fast.adapt(loss(fast(xs), ys))
        total = total + loss(fast(xq), yq) / len(problem.tasks)
    gradients = torch.autograd.grad(total, [*net.parameters(), *rates], allow_unused=True)
    half = len(rates)
    return {"meta_gradient": flat(gradients[:half]), "rate_gradient": flat(gradients[half:])}


WAYS = [
    Way("MAML(…).clone(), adapt", run_with()),
    Way(
        "first_order=True", run_with(first_order=True), instead="its default, where exact is meant"
    ),
    Way("adapt without clone()", without_clone, instead="clone() for every task"),
    Way("MetaSGD, rates per parameter", meta_sgd, vectors=("rates-per-parameter",)),
]
