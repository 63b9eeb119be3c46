"""A test vector in float64, and what the adaptors of one framework share."""

from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from numaml.check import answers


def array(numbers):
    if isinstance(numbers, list):
        return np.array([array(one) for one in numbers])
    return float(Fraction(numbers))


class Problem:
    """What an adaptor is given: θ, tasks (xs, ys, xq, yq), α, K, and the whole vector."""

    def __init__(self, vector):
        self.vector = vector
        self.name, self.steps = vector["name"], vector["steps"]
        self.sizes, self.activation, self.loss, _ = vector["network"].values()
        self.classes = self.loss == "cross_entropy"
        self.theta = array(vector["theta"])
        alpha = array(vector["alpha"] if "alpha" in vector else vector["rates"])
        self.alpha = float(np.squeeze(alpha)) if np.size(alpha) == 1 else alpha
        self.tasks = [
            tuple(
                np.array(part[name]) if name == "y" and self.classes else array(part[name])
                for part in (task["support"], task["query"])
                for name in "xy"
            )
            for task in vector["tasks"]
        ]

    @property
    def shapes(self):
        pairs = enumerate(pairwise(self.sizes), 1)
        return {k: s for l, (i, o) in pairs for k, s in ((f"W{l}", (i, o)), (f"b{l}", (o,)))}

    def split(self, theta):
        """The tensors of θ by name, in any framework that slices."""
        found, start = {}, 0
        for name, shape in self.shapes.items():
            stop = start + int(np.prod(shape))
            found[name], start = theta[start:stop].reshape(shape), stop
        return found


PLAIN = "maml", "maml-classification", "tanh"


class Way(NamedTuple):
    """One way in which a library's users write MAML."""

    name: str
    run: object  # from a Problem to its meta-gradient, or {field: answer}
    vectors: tuple = PLAIN
    instead: str = ""  # where it goes wrong: what to write


def problems(names):
    every = {v["name"]: v for c in answers.COLLECTIONS for v in answers.vectors(c)}
    return [Problem(every[name]) for name in names]
