"""K inner steps: a K-th derivative? No: K products with Hessians, counted and multiplied out.

``python examples/questions/steps.py``
"""

import numpy as np

import numaml

MODEL = numaml.MLP((1, 8, 1), "tanh")
ALPHA = 0.05


class Counted:
    """A model whose Hessian products are counted."""

    def __init__(self, model):
        self.model, self.products = model, 0
        self.value = model.value

    def linearize(self, theta, batch):
        value, gradient, hvp = self.model.linearize(theta, batch)

        def counted(v):
            self.products += 1
            return hvp(v)

        return value, gradient, counted


def main():
    """(K, products, distance from the product of K matrices) for some K."""
    tasks = numaml.Sinusoids(tasks=1, shots=5, queries=7)(np.random.default_rng(0))
    support, query = (
        numaml.Batch(batch.x[0], batch.y[0]) for batch in (tasks.support, tasks.query)
    )
    theta, unit = MODEL.init(0), np.eye(MODEL.size)
    found = []
    for K in (1, 2, 3, 5, 10):
        counted = Counted(MODEL)
        _, exact = numaml.meta_gradient(counted, theta, numaml.Tasks(support, query), ALPHA, K)
        # Of every step two things are kept, its gradient and its matrix of second derivatives.
        phi, J = theta, unit
        for _ in range(K):
            _, g, hvp = MODEL.linearize(phi, support)
            J = (unit - ALPHA * np.array([hvp(e) for e in unit])) @ J
            phi = phi - ALPHA * g
        product = J.T @ MODEL.linearize(phi, query)[1]
        found.append((K, counted.products, numaml.check.relative_error(product, exact)))
    return found


if __name__ == "__main__":
    print("K  Hessian products  off from the product of K matrices I − αH")
    for K, products, error in main():
        print(f"{K:<3}{products:<18}{error:.0e}")
