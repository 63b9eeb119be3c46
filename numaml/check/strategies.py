"""Hypothesis strategies for anybody's suite: architectures, tasks, step sizes, as plain data.

Hypothesis draws names, sizes and a seed, and numbers come from the seed: raw floats would find
overflows, not bugs. Import this module itself (it needs Hypothesis):
``from numaml.check import strategies``.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

Array = np.ndarray[Any, Any]

SMOOTH = ("tanh", "softplus", "sigmoid", "square", "identity")
ACTIVATIONS = (*SMOOTH, "relu")
LOSSES = ("squared_error", "cross_entropy")


class Architecture(NamedTuple):
    """A multilayer perceptron by name, in the order of `numaml.MLP`'s arguments."""

    sizes: tuple[int, ...]
    activation: str
    loss: str
    norm: str | None = None


class Arrays(NamedTuple):
    """Support and query sets, (T, n, …) for T tasks or (n, …) for one without a task axis."""

    x_support: Array
    y_support: Array
    x_query: Array
    y_query: Array


SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def architectures(
    draw: st.DrawFn,
    activations: Sequence[str] = ACTIVATIONS,
    losses: Sequence[str] = LOSSES,
    norms: Sequence[str | None] = (None,),
    deepest: int = 3,
    widest: int = 6,
) -> Architecture:
    """Architectures with up to so many hidden layers; "square" stays shallow, so its values do.

    Parameters
    ----------
    activations, losses, norms : sequences of str
        Names to choose from; no normalisation unless asked for.
    deepest, widest : int
        Largest number of hidden layers and of units in one.

    Examples
    --------
    >>> from hypothesis import find
    >>> from numaml.check import strategies
    >>> find(strategies.architectures(), lambda a: len(a.sizes) > 2)
    Architecture(sizes=(1, 1, 1), activation='tanh', loss='squared_error', norm=None)
    """
    activation = draw(st.sampled_from(activations))
    depth = min(deepest, 1) if activation == "square" else deepest
    hidden = draw(st.lists(st.integers(1, widest), max_size=depth))
    loss = draw(st.sampled_from(losses))
    outputs = draw(st.integers(2 if loss == "cross_entropy" else 1, 4))
    sizes = (draw(st.integers(1, 4)), *hidden, outputs)
    return Architecture(sizes, activation, loss, draw(st.sampled_from(norms)))


@st.composite
def thetas(draw: st.DrawFn, sizes: Sequence[int]) -> Array:
    """Parameters (P,) of an MLP, biases too: a zero bias may sit on a ReLU's kink.

    Parameters
    ----------
    sizes : sequence of int
        Widths of the layers.

    Examples
    --------
    >>> from hypothesis import find
    >>> from numaml.check import strategies
    >>> find(strategies.thetas((2, 3)), lambda theta: True).shape
    (9,)
    """
    rng = np.random.default_rng(draw(SEEDS))
    blocks = []
    for n_in, n_out in pairwise(sizes):
        blocks += [rng.normal(0, np.sqrt(2 / n_in), n_in * n_out), rng.normal(0, 0.1, n_out)]
    return np.concatenate(blocks)


@st.composite
def tasks(
    draw: st.DrawFn, architecture: Architecture, most_tasks: int = 4, most_examples: int = 6
) -> Arrays:
    """Data for an architecture: T tasks or one without a task axis, support and query by size.

    Parameters
    ----------
    architecture : Architecture
        Its widths and loss decide the shapes; "cross_entropy" gets integer classes.
    most_tasks, most_examples : int
        Largest T and largest number of examples in a set.

    Examples
    --------
    >>> from hypothesis import find
    >>> from numaml.check import strategies
    >>> network = strategies.Architecture((2, 3), "tanh", "cross_entropy")
    >>> arrays = find(strategies.tasks(network), lambda arrays: arrays.x_query.ndim == 3)
    >>> arrays.x_query.shape, arrays.y_query.shape
    ((1, 1, 2), (1, 1))
    """
    sizes, _, loss, _ = architecture
    count = draw(st.none() | st.integers(1, most_tasks))
    lead = () if count is None else (count,)
    support, query = (draw(st.integers(1, most_examples)) for _ in range(2))
    rng = np.random.default_rng(draw(SEEDS))

    def examples(n: int) -> tuple[Array, Array]:
        x = rng.normal(size=(*lead, n, sizes[0]))
        if loss == "cross_entropy":
            return x, rng.integers(0, sizes[-1], (*lead, n))
        return x, rng.normal(size=(*lead, n, sizes[-1]))

    return Arrays(*examples(support), *examples(query))


def step_sizes() -> st.SearchStrategy[float]:
    """Inner learning rates alpha, 0 among them: there exact and first order are the same.

    Examples
    --------
    >>> from hypothesis import find
    >>> from numaml.check import strategies
    >>> find(strategies.step_sizes(), lambda alpha: alpha > 0)
    0.01
    """
    return st.sampled_from((0.0, 0.01, 0.05, 0.1))
