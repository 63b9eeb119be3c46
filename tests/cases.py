"""Random configurations for the property tests, made of the kit's own strategies."""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

import numaml
from numaml.check import strategies
from numaml.check.strategies import ACTIVATIONS, SMOOTH
from numaml.network.losses import target_width

__all__ = ["ACTIVATIONS", "SMOOTH", "Case", "build", "cases", "each_task"]


class Case(NamedTuple):
    model: numaml.MLP
    theta: np.ndarray
    tasks: numaml.Tasks
    alpha: float
    steps: int
    v: np.ndarray  # a direction of length 1

    @property
    def arguments(self):
        return self.model, self.theta, self.tasks, self.alpha, self.steps

    @property
    def cancels(self):
        """Whether a normalisation is over one or two numbers: it is all but constant then, and what
        passes back through it is the difference of equal numbers."""
        examples = [batch.x.shape[-2] for batch in (self.tasks.support, self.tasks.query)]
        counts = {"batch": examples, "layer": self.model.sizes[1:-1]}
        return min(counts.get(self.model.norm, ()), default=3) < 3


def build(sizes, activation, loss, n_tasks, shots, queries, alpha, steps, seed, norm=None) -> Case:
    """The configuration with these sizes; numbers come from the seed."""
    rng = np.random.default_rng(seed)
    model = numaml.MLP(sizes, activation, loss, norm)
    lead = () if n_tasks is None else (n_tasks,)

    def batch(n):
        x = rng.normal(size=(*lead, n, sizes[0]))
        if loss == "cross_entropy":
            return numaml.Batch(x, rng.integers(0, sizes[-1], (*lead, n)))
        return numaml.Batch(x, rng.normal(size=(*lead, n, target_width(loss, sizes[-1]))))

    theta = model.init(rng) + 0.1 * rng.normal(size=model.size)
    v = rng.normal(size=model.size)
    tasks = numaml.Tasks(batch(shots), batch(queries))
    return Case(model, theta, tasks, alpha, steps, v / np.linalg.norm(v))


STEPS = st.integers(0, 4)


NORMS = (None, "batch", "layer")


@st.composite
def cases(draw, activations=ACTIVATIONS, steps=STEPS, norms=NORMS):
    """Widths, task count, support and query sizes are all drawn."""
    architecture = draw(strategies.architectures(activations, norms=norms))
    enough = strategies.tasks(architecture).filter(
        lambda arrays: architecture.norm != "batch" or min(a.shape[-2] for a in arrays[::2]) > 1
    )
    x_support, y_support, x_query, y_query = draw(enough)
    model = numaml.MLP(*architecture)
    tasks = numaml.Tasks(numaml.Batch(x_support, y_support), numaml.Batch(x_query, y_query))
    theta, v = draw(strategies.thetas(model.sizes)), draw(strategies.thetas(model.sizes))
    arguments = theta, tasks, draw(strategies.step_sizes()), draw(steps)
    return Case(model, *arguments, v / np.linalg.norm(v))


def each_task(batch):
    """The batch's tasks one by one, without a task axis."""
    if batch.x.ndim == 2:
        return [batch]
    return [numaml.Batch(x, y) for x, y in zip(batch.x, batch.y, strict=True)]
