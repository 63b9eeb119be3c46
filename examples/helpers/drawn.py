"""Configurations drawn at random, of the kinds that the table of `speed.py` has.

A kind gives the bounds that its numbers lie between: widths of inputs, hidden layers and outputs,
number of hidden layers, tasks, support and query examples, inner steps.
"""

from __future__ import annotations

import numpy as np

from .peers import Configuration

SQUARED, CLASSES = "squared_error", "cross_entropy"
KINDS: dict[str, tuple[str, list[tuple[int, int]]]] = {  # in the order above
    "tiny": (SQUARED, [(1, 3), (8, 24), (1, 2), (1, 1), (4, 12), (3, 8), (3, 8), (1, 2)]),
    "sinusoid": (SQUARED, [(1, 2), (24, 64), (1, 1), (2, 2), (10, 40), (5, 20), (5, 20), (1, 5)]),
    "slim": (SQUARED, [(3, 12), (12, 48), (1, 3), (2, 4), (8, 40), (4, 16), (4, 16), (1, 12)]),
    "deep": (CLASSES, [(5, 30), (32, 80), (2, 5), (4, 6), (8, 24), (5, 15), (5, 20), (1, 3)]),
    "images": (CLASSES, [(99, 784), (48, 256), (5, 20), (2, 4), (8, 32), (5, 25), (5, 25), (1, 5)]),
    "wide": (SQUARED, [(20, 300), (256, 1000), (1, 10), (1, 2), (8, 16), (5, 20), (5, 30), (1, 3)]),
    "many": (CLASSES, [(16, 64), (64, 256), (5, 10), (1, 2), (8, 24), (40, 100), (10, 40), (1, 3)]),
}  # fmt: skip
NORMALISED = 1 / 4  # of the classifiers so many have batch norm
ALPHA = {SQUARED: 0.01, CLASSES: 0.1}  # with which first-order MAML is another, and none runs away


def drawn(count: int, seed: int) -> list[Configuration]:
    """So many configurations, the kinds in turn; the same for the same seed."""
    rng, kinds = np.random.default_rng(seed), list(KINDS)
    return [_drawn(kinds[n % len(kinds)], n, rng) for n in range(count)]


def _drawn(kind: str, number: int, rng: np.random.Generator) -> Configuration:
    loss, (n_in, width, n_out, depth, *others) = KINDS[kind]

    def between(bounds: tuple[int, int]) -> int:
        """Small numbers as often as large ones."""
        low, high = np.log(bounds[0]), np.log(bounds[1] + 1)
        return int(np.exp(rng.uniform(low, high)))

    hidden = [between(width) for _ in range(between(depth))]
    sizes = (between(n_in), *hidden, between(n_out))
    tasks, support, query, steps = map(between, others)
    norm = "batch" if loss == CLASSES and rng.random() < NORMALISED else None
    name = f"{kind}-{number}"
    return Configuration(
        name, sizes, tasks, support, query, steps, loss, norm, wanted=1, alpha=ALPHA[loss]
    )
