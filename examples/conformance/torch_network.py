"""The vectors' networks in PyTorch, their losses, and θ as one vector."""

import torch

ACTIVATIONS = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "softplus": torch.nn.functional.softplus,
    "square": torch.square,
    "identity": lambda z: z,
}


def functional(problem, tensors, x):
    """u of the tensors W1, b1, W2, …"""
    L = len(problem.sizes) - 1
    for l in range(1, L + 1):
        x = x @ tensors[f"W{l}"] + tensors[f"b{l}"]
        x = ACTIVATIONS[problem.activation](x) if l < L else x
    return x


class Network(torch.nn.Module):
    """The network as a module, whose parameters are W1, b1, …"""

    def __init__(self, problem, theta=None):
        super().__init__()
        self.problem = problem
        theta = problem.theta if theta is None else theta
        for name, part in problem.split(torch.tensor(theta)).items():
            self.register_parameter(name, torch.nn.Parameter(part.clone()))

    def forward(self, x, **_):
        return functional(self.problem, dict(self.named_parameters()), x)


def loss_of(problem):
    """The loss of outputs."""
    losses = torch.nn.functional
    return losses.cross_entropy if problem.classes else losses.mse_loss


def tasks_of(problem):
    return [tuple(map(torch.from_numpy, task)) for task in problem.tasks]


def flat(gradients):
    """In θ's layout; None where a parameter got none."""
    if all(g is None for g in gradients):
        return None
    return torch.cat([g.detach().ravel() for g in gradients]).numpy()
