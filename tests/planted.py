"""One small MAML problem, and what must be said of the faults planted in copies of it."""

from typing import NamedTuple

import numpy as np

import numaml
from numaml import check

SIZES, T, N_SUPPORT, N_QUERY = (2, 5, 3), 4, 6, 7  # every axis a size of its own
ALPHA, K = 0.2, 3
BLOCKS = check.blocks(SIZES)

# fault -> what the report must say
FAULTS = {
    "exact": "",
    "first-order": "first-order MAML",
    "summed": f"{T} times the right one: a sum in place of a mean (there are {T} tasks)",
    "stale": "stale parameters: the Hessian at theta",
    "transposed": "transposed in W1, W2",
    "sign-flipped": "a flipped sign",
}


class Problem(NamedTuple):
    theta: np.ndarray
    xs: np.ndarray
    ys: np.ndarray
    xq: np.ndarray
    yq: np.ndarray

    @property
    def tasks(self):
        return numaml.Tasks(numaml.Batch(self.xs, self.ys), numaml.Batch(self.xq, self.yq))


def problem(dtype=np.float64):
    """tanh and squared error; the same numbers in every precision."""
    rng = np.random.default_rng(5)
    arrays = (
        rng.normal(0, 0.7, numaml.MLP(SIZES).size),
        rng.normal(size=(T, N_SUPPORT, SIZES[0])), rng.normal(size=(T, N_SUPPORT, SIZES[-1])),
        rng.normal(size=(T, N_QUERY, SIZES[0])), rng.normal(size=(T, N_QUERY, SIZES[-1])),
    )  # fmt: skip
    return Problem(*(array.astype("f4").astype(dtype) for array in arrays))


def transposed(gradient):
    """With every W stored the other way round, as when PyTorch's weights are taken as they are."""
    layers = numaml.MLP(SIZES).unpack(np.asarray(gradient))
    return np.concatenate([block.T.ravel() for layer in layers for block in layer])


def bent(fault, gradient):
    """The faults that are made from the right gradient alone."""
    changes = {"summed": T * gradient, "sign-flipped": -gradient}
    return transposed(gradient) if fault == "transposed" else changes.get(fault, gradient)


def assert_told(report, fault):
    """The verdict and the diagnosis are those of the fault."""
    assert report.verdict == ("right" if fault == "exact" else "wrong"), str(report)
    assert FAULTS[fault] in report.looks_like, str(report)
    if fault == "exact":
        check.assert_right(report)
