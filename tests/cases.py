"""Random configurations for the property tests: Hypothesis draws shapes and a seed, not floats."""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

import numaml


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


def build(sizes, activation, loss, n_tasks, shots, queries, alpha, steps, seed, norm=None) -> Case:
    rng = np.random.default_rng(seed)
    model = numaml.MLP(sizes, activation, loss, norm)
    lead = () if n_tasks is None else (n_tasks,)

    def batch(n):
        x = rng.normal(size=(*lead, n, sizes[0]))
        if loss == "cross_entropy":
            return numaml.Batch(x, rng.integers(0, sizes[-1], (*lead, n)))
        return numaml.Batch(x, rng.normal(size=(*lead, n, sizes[-1])))

    theta = model.init(rng) + 0.1 * rng.normal(size=model.size)
    v = rng.normal(size=model.size)
    tasks = numaml.Tasks(batch(shots), batch(queries))
    return Case(model, theta, tasks, alpha, steps, v / np.linalg.norm(v))


SMOOTH = ("tanh", "softplus", "sigmoid", "square", "identity")


STEPS = st.integers(0, 4)


NORMS = (None, "batch", "layer")


def cases(activations=(*SMOOTH, "relu"), steps=STEPS, norms=NORMS):
    """Widths, task count, support and query sizes are all drawn; ``square`` stays shallow, where
    its values stay moderate."""

    @st.composite
    def draw_case(draw):
        activation = draw(st.sampled_from(activations))
        deepest = 1 if activation == "square" else 3
        hidden = draw(st.lists(st.integers(1, 6), max_size=deepest))
        loss = draw(st.sampled_from(("squared_error", "cross_entropy")))
        outputs = draw(st.integers(2 if loss == "cross_entropy" else 1, 4))
        return build(
            (draw(st.integers(1, 4)), *hidden, outputs),
            activation,
            loss,
            draw(st.none() | st.integers(1, 4)),
            draw(st.integers(1, 6)),
            draw(st.integers(1, 6)),
            draw(st.sampled_from((0.0, 0.01, 0.05, 0.1))),
            draw(steps),
            draw(st.integers(0, 2**32 - 1)),
            draw(st.sampled_from(norms)),
        )

    return draw_case()


def each_task(batch):
    """The batch's tasks one by one, without a task axis."""
    if batch.x.ndim == 2:
        return [batch]
    return [numaml.Batch(x, y) for x, y in zip(batch.x, batch.y, strict=True)]
