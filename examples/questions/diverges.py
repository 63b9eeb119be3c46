"""Exact MAML does not converge, first-order does: at which alpha, and why?

``python examples/questions/diverges.py``: in one dimension by the formula; and on sinusoids how
long both meta-gradients are at the same θ, beside alpha times the largest curvature there.
"""

import argparse

import numpy as np

import numaml

MODEL, K = numaml.MLP((1, 40, 40, 1)), 5
ALPHAS = (0.001, 0.003, 0.01)  # at 0.03 a number overflows in the first iteration


def in_one_dimension(steepness, steps=K):
    """Slope of the meta-gradient by θ for L_S = ½ h φ², L_Q = ½ φ², αh = steepness.

    φ_K = (1 − αh)^K θ, so the exact one is (1 − αh)^{2K} θ, and first-order's (1 − αh)^K θ.
    """
    return (1 - steepness) ** (2 * steps), (1 - steepness) ** steps


def steepest(theta, support, rounds=30):
    """The largest eigenvalue of the mean support Hessian, by powers."""
    v = np.random.default_rng(0).normal(size=theta.shape)
    _, _, hvp = MODEL.linearize(theta, support)
    for _ in range(rounds):
        v = v / np.linalg.norm(v)
        v = np.mean(hvp(v), axis=0)
    return float(np.linalg.norm(v))


def on_sinusoids(alpha, iterations):
    """Along a first-order training, until a number overflows.

    Iterations done; median of αh; median and longest of the exact and of the first-order gradient.
    """
    rng, theta = np.random.default_rng(0), MODEL.init(0)
    source, first, second, rows = numaml.Sinusoids(tasks=25, shots=5), 0.0, 0.0, []
    for t in range(1, iterations + 1):
        tasks = source(rng)
        g = numaml.first_order_meta_gradient(MODEL, theta, tasks, alpha, K)[1]
        if t % 10 == 1:
            exact = numaml.meta_gradient(MODEL, theta, tasks, alpha, K)[1]
            lengths = [float(np.linalg.norm(one)) for one in (exact, g)]
            rows.append((alpha * steepest(theta, tasks.support), *lengths))
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
        rate = 1e-3 * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t)
        theta = theta - rate * first / (np.sqrt(second) + 1e-8)
        if not np.isfinite(theta).all():
            break
    middle, longest = np.nanmedian(rows, axis=0), np.nanmax(rows, axis=0)
    return t, *(float(x) for x in (middle[0], middle[1], longest[1], middle[2], longest[2]))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=500)
    options = parser.parse_args(arguments)
    print(f"one dimension, K = {K}: alpha h, slope of the exact gradient, of first-order's")
    for steepness in (0.5, 1.5, 2.0, 2.5, 3.0):
        exact, first = in_one_dimension(steepness)
        print(f"{steepness:6.1f}{exact:12.3g}{first:12.3g}")
    print(f"sinusoids, K = {K}; lengths of the exact and of the first-order gradient:")
    print(" alpha  iterations     alpha h  exact: median  longest  first: median  longest")
    with np.errstate(over="ignore", invalid="ignore"):
        for alpha in ALPHAS:
            t, *found = on_sinusoids(alpha, options.iterations)
            widths = (12, 15, 9, 15, 9)
            row = "".join(f"{one:{w}.3g}" for one, w in zip(found, widths, strict=True))
            print(f"{alpha:6g}{t:12}{row}")


if __name__ == "__main__":
    main()
