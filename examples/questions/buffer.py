"""Does momentum's buffer belong to the meta-parameters? Three named gradients, and a wrong one.

``python examples/questions/buffer.py``. The inner rule is u ← μ u + g, φ ← φ − α u.
"""

import numpy as np

import numaml
from numaml import check

MODEL, ALPHA, MU, K = numaml.MLP((1, 8, 1), "tanh"), 0.02, 0.9, 5


def main():
    """Norms of the gradients, and how far the wrong ones are off."""
    data = numaml.Sinusoids(tasks=3, shots=5, queries=7)(np.random.default_rng(0))
    rng = np.random.default_rng(1)
    theta, carried = MODEL.init(0), rng.normal(0, 0.3, MODEL.size)
    parts = [zip(batch.x, batch.y, strict=True) for batch in (data.support, data.query)]
    pairs = [(numaml.Batch(*s), numaml.Batch(*q)) for s, q in zip(*parts, strict=True)]

    def value(theta, u_0, detached=False):
        total = 0.0
        for support, query in pairs:
            phi, u = theta, u_0
            for _ in range(K):
                u = MU * (u.real if detached else u) + MODEL.linearize(phi, support)[1]
                phi = phi - ALPHA * u
            total = total + MODEL.value(phi, query)
        return total / len(pairs)

    def gradient(f, x):
        return np.array([check.complex_step(f, x, e) for e in np.eye(len(x))])

    zero = np.zeros(MODEL.size)
    reset = gradient(lambda theta: value(theta, zero), theta)
    constant = gradient(lambda theta: value(theta, carried), theta)
    learned = gradient(lambda u: value(theta, u), carried)
    return {
        "reset to 0 for each task: ∂M/∂θ": (reset, 0.0),
        "carried over as a constant: ∂M/∂θ": (constant, check.relative_error(reset, constant)),
        "a meta-parameter: ∂M/∂u_0 beside that ∂M/∂θ": (learned, None),
        "detached between steps (a mistake): ∂M/∂θ": (
            detached := gradient(lambda theta: value(theta, zero, detached=True), theta),
            check.relative_error(detached, reset),
        ),
    }


if __name__ == "__main__":
    for name, (gradient, off) in main().items():
        share = "" if not off else f", {100 * off:.0f} % off"
        print(f"{name}: norm {np.linalg.norm(gradient):.3f}{share}")
