"""parallel-metalearn: its inner optimisers over torch.func, with rates of every structure."""

from collections import OrderedDict

import numpy as np
import torch
from metalearn.inner_optimizers import InnerSGD, InnerSGDMomentum
from problem import Way, array
from torch_network import functional, loss_of, tasks_of

PACKAGE, REQUIRES = "parallel-metalearn", ("torch", "parallel-metalearn")


def run_with(kind=InnerSGD, **settings):
    def run(problem):
        loss, vector = loss_of(problem), problem.vector
        weights = OrderedDict(
            (name, part.clone().requires_grad_())
            for name, part in problem.split(torch.tensor(problem.theta)).items()
        )
        more = {"momentum": float(array(vector["momentum"]))} if kind is InnerSGDMomentum else {}
        many = np.ndim(problem.alpha) > 0
        inner = kind(
            weights,
            max_inner_steps=problem.steps,
            per_layer=many,
            per_step=many,
            **settings,
            **more,
        ).double()
        rates = list(inner.lrs.values())
        # Its rates by tensor and step, the vector's by step and tensor.
        values = np.reshape(problem.alpha, (-1, len(rates))).T
        with torch.no_grad():
            for rate, row in zip(rates, values, strict=True):
                rate.copy_(torch.tensor(row))

        def value(phi, x, y):
            return loss(functional(problem, phi, x), y)

        total = 0.0
        for xs, ys, xq, yq in tasks_of(problem):
            phi, state = weights, inner.init_state(weights)
            for k in range(problem.steps):
                phi, state = inner(phi, torch.func.grad(value)(phi, xs, ys), state, k)
            total = total + value(phi, xq, yq) / len(problem.tasks)
        found = torch.autograd.grad(total, [*weights.values(), *rates])
        gradient = torch.cat([g.ravel() for g in found[: len(weights)]]).numpy()
        if not many:
            return gradient
        by_rate = torch.stack(found[len(weights) :]).T.ravel().numpy()
        return {"meta_gradient": gradient, "rate_gradient": by_rate}

    return run


WAYS = [
    Way("InnerSGD", run_with()),
    Way("InnerSGD(first_order=True)", run_with(first_order=True),
        instead="its default, where exact is meant"),
    Way("InnerSGD, rates per tensor and step", run_with(), vectors=("rates-per-tensor-and-step",)),
    Way("InnerSGDMomentum", run_with(InnerSGDMomentum), vectors=("momentum",)),
]  # fmt: skip
