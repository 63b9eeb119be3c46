"""HIPS autograd: NumPy code, differentiated twice."""

import autograd
import autograd.numpy as np
from problem import Way

PACKAGE, REQUIRES = "autograd", ("autograd",)
ACTIVATIONS = {
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0.0),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
}


def run(problem):
    def loss(theta, x, y):
        tensors, L = problem.split(theta), len(problem.sizes) - 1
        for l in range(1, L + 1):
            x = np.dot(x, tensors[f"W{l}"]) + tensors[f"b{l}"]
            x = ACTIVATIONS[problem.activation](x) if l < L else x
        if problem.classes:
            return np.mean(np.log(np.sum(np.exp(x), axis=1)) - x[np.arange(len(y)), y])
        return np.mean((x - y) ** 2)

    def meta_value(theta):
        total = 0.0
        for xs, ys, xq, yq in problem.tasks:
            phi = theta
            for _ in range(problem.steps):
                phi = phi - problem.alpha * autograd.grad(loss)(phi, xs, ys)
            total = total + loss(phi, xq, yq)
        return total / len(problem.tasks)

    return autograd.grad(meta_value)(problem.theta)


WAYS = [Way("grad in grad", run)]
