"""Losses and accuracies after every step: of what they take, and of steps that run away."""

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

import numaml
from numaml.learning.evaluation import accuracies, evaluate, mean_and_interval

MODEL = numaml.MLP((4, 6, 3), loss="cross_entropy")
THETA = MODEL.init(0)


def few_shot(tasks=7):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)), np.repeat(np.arange(12), 5)
    return numaml.FewShot(x, y, ways=3, shots=2, queries=3, tasks=tasks)(rng)


TASKS = few_shot()
FUNCTIONS = {"evaluate": evaluate, "accuracies": accuracies, "meta_value": numaml.meta_value}
BAD = {
    "a rate below 0": (THETA, -1.0, 2),
    "a rate of NaN": (THETA, np.nan, 2),
    "an infinite rate": (THETA, np.inf, 2),
    "a complex rate": (THETA, 0.1j, 2),
    "rates for another theta": (THETA, np.full(len(THETA) + 1, 0.1), 2),
    "rates for other layers": (THETA, (0.1,), 2),
    "rates for other steps": (THETA, [0.1, 0.1, 0.1], 2),
    "a rate of text": (THETA, "0.1", 2),
    "steps below 0": (THETA, 0.1, -1),
    "steps of 1.5": (THETA, 0.1, 1.5),
    "steps True": (THETA, 0.1, True),
    "steps of text": (THETA, 0.1, "2"),
    "a theta for each task": (np.stack([THETA] * 7), 0.1, 2),
    "theta too short": (THETA[1:], 0.1, 2),
    "theta of text": (np.array(["a"] * MODEL.size), 0.1, 2),
}


@pytest.mark.parametrize("what", BAD)
def test_what_meta_value_refuses_evaluation_refuses_alike(what):
    theta, alpha, steps = BAD[what]
    said = set()
    for function in FUNCTIONS.values():
        with pytest.raises((TypeError, ValueError)) as caught:
            function(MODEL, theta, TASKS, alpha, steps)
        said.add(str(caught.value))
    assert len(said) == 1


@pytest.mark.parametrize("tasks", [None, [1, 2], TASKS.support])
def test_what_is_no_tasks_is_refused_alike(tasks):
    for function in FUNCTIONS.values():
        with pytest.raises(TypeError, match=r"want numaml.Tasks\(support, query\)"):
            function(MODEL, THETA, tasks, 0.1, 2)


def test_an_accuracy_wants_classes():
    numbers = TASKS.query.y.astype(float)
    tasks = SimpleNamespace(
        support=TASKS.support, query=SimpleNamespace(x=TASKS.query.x, y=numbers)
    )
    with pytest.raises(TypeError, match=r"y has dtype float64; .* wants integer classes"):
        accuracies(MODEL, THETA, tasks, 0.1, 2)
    scores = Scores(np.zeros((7, 9, 3)))
    with pytest.raises(TypeError, match="the query's y has dtype float64; accuracy wants integer"):
        accuracies(scores, np.zeros(1), tasks, 0.1, 2)


@pytest.mark.parametrize("alpha", [Fraction(1, 10), np.float32(0.1), np.float64(0.1), 1, 0])
def test_what_meta_value_takes_evaluation_takes_alike(alpha):
    for steps in (np.int64(2), 2):
        losses = evaluate(MODEL, THETA, TASKS, alpha, steps)
        assert losses[2].mean() == numaml.meta_value(MODEL, THETA, TASKS, alpha, steps)
        assert accuracies(MODEL, THETA, TASKS, alpha, steps).shape == (3, 7)


def test_the_dtype_is_thetas_whatever_the_rate_is():
    theta = THETA.astype(np.float32)
    for alpha in (0.1, np.float64(0.1), Fraction(1, 10)):
        losses = evaluate(MODEL, theta, TASKS, alpha, 2)
        assert np.array_equal(losses, evaluate(MODEL, theta, TASKS, 0.1, 2))


class Scores:
    """A model that gives scores as they are written down for each task; adapting changes none."""

    def __init__(self, scores):
        self.scores = np.array(scores, float)

    def value(self, theta, batch):
        return np.zeros(len(self.scores))

    def linearize(self, theta, batch):
        zeros = np.zeros((len(self.scores), len(theta)))
        return self.value(theta, batch), zeros, lambda v: zeros

    def predict(self, theta, x):
        return self.scores


def test_an_accuracy_of_scores_that_are_no_numbers_is_none():
    right, wrong = [[3, 1], [0, 2]], [[1, 3], [2, 0]]
    scores = [
        right,
        wrong,
        [[np.nan, np.nan], [0, 2]],
        [[3, np.inf], [0, 2]],
        [[3, 1], [-np.inf, 0]],
    ]
    y = np.broadcast_to([0, 1], (5, 2))
    tasks = numaml.Tasks(*[numaml.Batch(np.zeros((5, 2, 1)), y)] * 2)
    found = accuracies(Scores(scores), np.zeros(1), tasks, 0.1, 1)
    for row in found:
        np.testing.assert_array_equal(row, [1, 0, np.nan, np.nan, np.nan])


@pytest.mark.parametrize("sizes", [(4, 6, 3), (4, 300, 300, 3)], ids=["flat", "in factors"])
def test_a_task_that_runs_away_is_the_only_one_without_an_accuracy(sizes):
    model = numaml.MLP(sizes, "identity", "cross_entropy")
    theta, tasks = model.init(0), few_shot()
    x = tasks.support.x.copy()
    x[2] *= 1e160
    far = numaml.Tasks(numaml.Batch(x, tasks.support.y), tasks.query)
    with np.errstate(all="ignore"):
        found = accuracies(model, theta, far, 0.01, 3)
    assert np.isnan(found[:, 2]).tolist() == [False, True, True, True]
    others = np.arange(7) != 2
    near = accuracies(model, theta, tasks, 0.01, 3)
    np.testing.assert_array_equal(found[:, others], near[:, others])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_that_run_away_have_no_accuracy(dtype):
    with np.errstate(all="ignore"):
        found = accuracies(
            MODEL, THETA.astype(dtype), TASKS, 1e37 if dtype is np.float32 else 1e160, 4
        )
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[-1]).all()
    mean, interval = mean_and_interval(found)
    assert np.isfinite(mean[0])
    assert np.isnan(mean[-1])
    assert np.isnan(interval[-1])


def test_underflow_is_no_error_whatever_numpy_was_told():
    far = 900 * np.ones(MODEL.size)
    quiet = [f(MODEL, far, TASKS, 1e-3, 2) for f in (evaluate, accuracies)]
    with np.errstate(under="raise"):
        loud = [f(MODEL, far, TASKS, 1e-3, 2) for f in (evaluate, accuracies)]
        mean, interval = mean_and_interval(np.array([1e-200, 3e-200]))
    for one, other in zip(quiet, loud, strict=True):
        assert np.array_equal(one, other)
    assert mean == 2e-200
    assert interval >= 0
