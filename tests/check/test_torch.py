"""Planted faults in PyTorch closures get their diagnosis; right ones pass in both precisions."""

import math

import numpy as np
import pytest

from numaml import check

from ..planted import ALPHA, BLOCKS, FAULTS, K, assert_told, bent, problem

torch = pytest.importorskip("torch", reason="runs where PyTorch is installed")


def loss(theta, x, y):
    blocks = torch.split(theta, [math.prod(shape) for shape in BLOCKS.values()])
    W1, b1, W2, b2 = (b.reshape(s) for b, s in zip(blocks, BLOCKS.values(), strict=True))
    return ((torch.tanh(x @ W1 + b1) @ W2 + b2 - y) ** 2).mean()


def meta_loss(theta, tasks, fault):
    """The usual loop; its inner gradient may be detached, or its Hessian stale."""
    losses = []
    for xs, ys, xq, yq in tasks:
        phi = theta
        for _ in range(K):
            (g,) = torch.autograd.grad(loss(phi, xs, ys), phi, create_graph=fault != "first-order")
            if fault == "stale":
                H = torch.autograd.functional.hessian(
                    lambda p, xs=xs, ys=ys: loss(p, xs, ys), theta.detach()
                )
                g = g.detach() + H @ (phi - phi.detach())
            phi = phi - ALPHA * g
        losses.append(loss(phi, xq, yq))
    return torch.stack(losses).mean()


def closures(fault, dtype):
    case = problem(dtype)
    tasks = [[torch.from_numpy(a) for a in task] for task in zip(*case[1:], strict=True)]

    def value(p):
        return meta_loss(torch.from_numpy(p).requires_grad_(), tasks, "exact").item()

    def meta_gradient(p):
        theta = torch.from_numpy(p).requires_grad_()
        return torch.autograd.grad(meta_loss(theta, tasks, fault), theta)[0].numpy()

    def gradient(x, y):
        def of(p):
            phi = torch.from_numpy(p).requires_grad_()
            return torch.autograd.grad(loss(phi, x, y), phi)[0].numpy()

        return of

    pieces = [(gradient(xs, ys), gradient(xq, yq)) for xs, ys, xq, yq in tasks]
    return value, lambda p: bent(fault, meta_gradient(p)), case.theta, pieces


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults(fault, dtype):
    value, gradient, theta, tasks = closures(fault, dtype)
    report = check.meta_gradient(
        value, gradient, theta, tasks=tasks, alpha=ALPHA, steps=K, blocks=BLOCKS
    )
    assert_told(report, fault)
