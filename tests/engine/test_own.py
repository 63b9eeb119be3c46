"""A model of one's own is held to what it promises, and can write to nothing of its caller's."""

from fractions import Fraction

import numpy as np
import pytest

import numaml

THETA = np.ones(3)
X = np.arange(24.0).reshape(3, 4, 2)
TASKS = numaml.Tasks(*[numaml.Batch(X, np.zeros((3, 4), int))] * 2)
ONE = numaml.Tasks(*[numaml.Batch(X[0], X[0])] * 2)


class Own:
    """A quadratic, with some of what it gives replaced."""

    def __init__(self, value=lambda theta: theta @ theta, batch=lambda _: None, scores=None):
        self.given, self.batch, self.scores = value, batch, scores

    def value(self, theta, batch):
        self.batch(batch)
        return self.given(theta)

    def predict(self, theta, x):
        self.batch(x)
        return self.scores

    def linearize(self, theta, batch):
        self.batch(batch)
        value = self.given(theta)
        return value, np.zeros((*np.shape(value), 3)), lambda v: np.zeros((*np.shape(value), 3))


CALLS = {
    "meta_gradient": numaml.meta_gradient,
    "first_order": numaml.first_order_meta_gradient,
    "meta_value": numaml.meta_value,
    "evaluate": numaml.evaluate,
    "adapt": lambda model, theta, tasks, *rest: numaml.adapt(model, theta, tasks.support, *rest),
}
NO_LOSS = {
    "None": None, "text": "a", "true": True, "list": [1.0, 2.0], "complex": 1j, "masked":
    np.ma.masked, "a fraction": Fraction(1, 2), "objects": np.array([None] * 3),
}  # fmt: skip


@pytest.mark.parametrize("what", NO_LOSS)
@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("call", CALLS)
def test_a_value_that_is_no_loss_is_refused(call, steps, what):
    model = Own(lambda _: NO_LOSS[what])
    with pytest.raises(TypeError, match=r"value is .*; want a number like those of theta, float64"):
        CALLS[call](model, THETA, ONE, 0.1, steps)


def test_what_is_a_loss():
    for value in (np.float32(2), 2, 2.0, np.array(2.0)):
        assert numaml.meta_value(Own(lambda _, one=value: one), THETA, ONE, 0.1, 1) == 2
    ring = np.array([Fraction(1, 2)] * 3, object)
    assert numaml.meta_value(Own(), ring, ONE, 1, 0) == Fraction(3, 4)
    for value in (0.5, True, np.float64(2)):
        with pytest.raises(TypeError, match=r"value (is|holds)"):
            numaml.meta_value(Own(lambda _, one=value: one), ring, ONE, 1, 0)
    assert numaml.meta_value(Own(lambda _: 1j), THETA.astype(complex), ONE, 0.1, 0) == 1j


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize("call", [*CALLS, "accuracies"])
def test_it_cannot_write_to_what_it_is_given(call, steps):
    def spoil(batch):
        getattr(batch, "x", batch)[...] = 7

    before, model = X.copy(), Own(lambda _: np.zeros(3), spoil, np.zeros((3, 4, 2)))
    with pytest.raises(ValueError, match="read-only"):
        {**CALLS, "accuracies": numaml.accuracies}[call](model, THETA, TASKS, 0.1, steps)
    model = Own(lambda theta: theta.__iadd__(1) @ theta)
    with pytest.raises(ValueError, match="read-only"):
        CALLS.get(call, numaml.meta_value)(model, THETA, ONE, 0.1, steps)
    assert np.array_equal(X, before)
    assert np.array_equal(THETA, np.ones(3))


NO_SCORES = {
    "one task's": np.zeros((4, 2)), "one for all rows": np.zeros((3, 1, 2)), "one for all tasks":
    np.zeros((1, 4, 2)), "no classes": np.zeros((3, 4)), "a list": np.zeros((3, 4, 2)).tolist(),
    "complex": np.zeros((3, 4, 2), complex), "objects": np.zeros((3, 4, 2), object),
}  # fmt: skip


@pytest.mark.parametrize("what", NO_SCORES)
def test_scores_of_another_shape_are_refused(what):
    """They would be broadcast."""
    model = Own(lambda _: np.zeros(3), scores=NO_SCORES[what])
    with pytest.raises((ValueError, TypeError), match=r"predict gave .*; want"):
        numaml.accuracies(model, THETA, TASKS, 0.1, 1)
    assert not numaml.accuracies(Own(scores=np.ones((3, 4, 2))), THETA, TASKS, 0.1, 0)[0].all() - 1
