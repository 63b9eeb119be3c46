"""Which reduction? What alpha and the meta-gradient become under other losses' conventions.

``python examples/questions/reduction.py``. A loss that is c times the mean takes the same inner
steps with alpha / c, and its meta-gradient is c times the mean's.
"""

import numpy as np

import numaml

MODEL = numaml.MLP((2, 6, 3), "tanh")
N, OUTPUTS, ALPHA, STEPS = 5, 3, 0.4, 2
CONVENTIONS = {
    "mean over examples and outputs (MSELoss)": 1,
    "half of it": 1 / 2,
    "summed over outputs, averaged over examples": OUTPUTS,
    "half of that": OUTPUTS / 2,
    "summed over examples, averaged over outputs": N,
    "summed over both (reduction='sum')": N * OUTPUTS,
}


class Times:
    """A model whose losses are c times another's."""

    def __init__(self, model, c):
        self.model, self.c = model, c

    def value(self, theta, batch):
        return self.c * self.model.value(theta, batch)

    def linearize(self, theta, batch):
        value, gradient, hvp = self.model.linearize(theta, batch)
        return self.c * value, self.c * gradient, lambda v: self.c * hvp(v)


def main():
    """(convention, alpha there, meta-gradient there over ours, how far off is that)."""
    rng = np.random.default_rng(0)
    batch = [numaml.Batch(rng.normal(size=(4, N, 2)), rng.normal(size=(4, N, 3))) for _ in "sq"]
    theta, tasks = MODEL.init(0), numaml.Tasks(*batch)
    _, ours = numaml.meta_gradient(MODEL, theta, tasks, ALPHA, STEPS)
    found = []
    for name, c in CONVENTIONS.items():
        _, theirs = numaml.meta_gradient(Times(MODEL, c), theta, tasks, ALPHA / c, STEPS)
        _, careless = numaml.meta_gradient(Times(MODEL, c), theta, tasks, ALPHA, STEPS)
        same = numaml.check.relative_error(theirs / c, ours)
        found.append((name, ALPHA / c, c, same, numaml.check.relative_error(careless / c, ours)))
    return found


if __name__ == "__main__":
    print(f"{'convention':46}{'alpha':>8}{'gradient':>10}{'off':>8}{'with alpha 0.4':>16}")
    for name, alpha, c, off, careless in main():
        print(f"{name:46}{alpha:8.4f}{f'{c:g} ×':>10}{off:8.0e}{100 * careless:14.3g} %")
