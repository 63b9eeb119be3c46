"""PyTorch itself: the loop over create_graph, with and without torch.compile, and torch.func."""

import torch
from problem import Way
from torch_network import functional, loss_of, tasks_of

PACKAGE, REQUIRES = "torch", ("torch",)


def by_loop(*, create_graph=True, detach=False, compiled=None):
    def run(problem):
        loss = loss_of(problem)

        def inner(phi, xs, ys):
            value = loss(functional(problem, problem.split(phi), xs), ys)
            (g,) = torch.autograd.grad(value, phi, create_graph=create_graph)
            return phi - problem.alpha * (g.detach() if detach else g)

        step = torch.compile(inner, backend=compiled) if compiled else inner
        theta = torch.tensor(problem.theta, requires_grad=True)
        total = 0.0
        for xs, ys, xq, yq in tasks_of(problem):
            phi = theta
            for _ in range(problem.steps):
                phi = step(phi, xs, ys)
            total = total + loss(functional(problem, problem.split(phi), xq), yq)
        (gradient,) = torch.autograd.grad(total / len(problem.tasks), theta)
        return gradient.numpy()

    return run


def by_func(*, inside=True, compiled=None):
    def run(problem):
        loss = loss_of(problem)

        def value(theta, x, y):
            return loss(functional(problem, problem.split(theta), x), y)

        def meta_value(theta):
            total = 0.0
            for xs, ys, xq, yq in tasks_of(problem):
                phi = theta
                for _ in range(problem.steps):
                    g = torch.func.grad(value)(phi if inside else phi.detach(), xs, ys)
                    phi = phi - problem.alpha * g
                total = total + value(phi, xq, yq)
            return total / len(problem.tasks)

        gradient = torch.func.grad(meta_value)
        gradient = torch.compile(gradient, backend=compiled) if compiled else gradient
        return gradient(torch.tensor(problem.theta)).numpy()

    return run


WAYS = [
    Way("autograd.grad(…, create_graph=True)", by_loop()),
    Way("autograd.grad(…), no create_graph", by_loop(create_graph=False),
        instead="create_graph=True"),
    Way("p − α g.detach()", by_loop(detach=True), instead="p − α g"),
    Way("create_graph=True, inner step in torch.compile (aot_eager)", by_loop(compiled="aot_eager"),
        instead="torch.func.grad inside, or leave the step uncompiled"),
    Way("create_graph=True, inner step in torch.compile (eager)", by_loop(compiled="eager"),
        instead="torch.func.grad inside, or leave the step uncompiled"),
    Way("torch.func.grad in torch.func.grad", by_func()),
    Way("torch.func.grad at detached parameters", by_func(inside=False),
        instead="hand in the parameters themselves"),
    Way("torch.func.grad in torch.func.grad, torch.compile (aot_eager)",
        by_func(compiled="aot_eager")),
]  # fmt: skip
