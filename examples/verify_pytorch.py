"""Is this PyTorch MAML second order? The loop with and without create_graph, and torch.func."""

import numpy as np

from numaml import Sinusoids, check

try:
    import torch
except ImportError:
    print("skipped: PyTorch is not installed (pip install torch)")
    raise SystemExit from None

ALPHA, STEPS = 0.05, 2
torch.manual_seed(0)
NET = torch.nn.Sequential(torch.nn.Linear(1, 20), torch.nn.Tanh(), torch.nn.Linear(20, 1)).double()
SHAPES = {name: tuple(p.shape) for name, p in NET.named_parameters()}

batch = Sinusoids(tasks=3, shots=5, queries=7)(np.random.default_rng(0))
DATA = [
    tuple(torch.from_numpy(a) for a in task)
    for task in zip(batch.support.x, batch.support.y, batch.query.x, batch.query.y, strict=True)
]


def named(vector):
    """The network's parameters as views into one vector."""
    parts = vector.split([int(np.prod(shape)) for shape in SHAPES.values()])
    return {n: part.reshape(s) for (n, s), part in zip(SHAPES.items(), parts, strict=True)}


def loss(vector, x, y):
    return torch.nn.functional.mse_loss(torch.func.functional_call(NET, named(vector), x), y)


def meta_loss(theta, create_graph):
    """MAML as it stands in a hundred repositories; some of them lack create_graph=True."""
    losses = []
    for xs, ys, xq, yq in DATA:
        phi = theta
        for _ in range(STEPS):
            (g,) = torch.autograd.grad(loss(phi, xs, ys), phi, create_graph=create_graph)
            phi = phi - ALPHA * g
        losses.append(loss(phi, xq, yq))
    return torch.stack(losses).mean()


def by_loop(create_graph):
    def gradient(p):
        theta = torch.from_numpy(p).requires_grad_()
        return torch.autograd.grad(meta_loss(theta, create_graph), theta)[0].numpy()

    return gradient


def by_torch_func(p):
    def of_task(theta, xs, ys, xq, yq):
        for _ in range(STEPS):
            theta = theta - ALPHA * torch.func.grad(loss)(theta, xs, ys)
        return loss(theta, xq, yq)

    def mean(theta):
        stacked = [torch.stack(arrays) for arrays in zip(*DATA, strict=True)]
        return torch.func.vmap(of_task, (None, 0, 0, 0, 0))(theta, *stacked).mean()

    return torch.func.grad(mean)(torch.from_numpy(p)).numpy()


def value(p):
    return meta_loss(torch.from_numpy(p).requires_grad_(), create_graph=False).item()


def gradient_of(x, y):
    """The plain gradient of one loss, for numaml to know the mistakes by."""

    def gradient(p):
        phi = torch.from_numpy(p).requires_grad_()
        return torch.autograd.grad(loss(phi, x, y), phi)[0].numpy()

    return gradient


def main():
    theta = torch.nn.utils.parameters_to_vector(NET.parameters()).detach().numpy()
    tasks = [(gradient_of(xs, ys), gradient_of(xq, yq)) for xs, ys, xq, yq in DATA]
    candidates = {
        "create_graph=False": by_loop(create_graph=False),
        "create_graph=True": by_loop(create_graph=True),
        "torch.func": by_torch_func,
    }
    return {
        name: check.meta_gradient(
            value, gradient, theta, tasks=tasks, alpha=ALPHA, steps=STEPS, blocks=SHAPES
        )
        for name, gradient in candidates.items()
    }


if __name__ == "__main__":
    for name, report in main().items():
        print(f"\n--- {name}\n{report}")
