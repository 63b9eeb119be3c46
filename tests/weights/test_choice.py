"""Which form weights are kept in: the one rule for factors, and the one for whole vectors."""

import itertools

import numpy as np
import pytest

import numaml
from numaml.check import relative_error
from numaml.weights import factored
from numaml.weights.choice import FEW, layered, pays

# The two forms sum in another order: some thousand roundings of float64.
SUMMED_OTHERWISE = 1e-13


@pytest.mark.parametrize(
    ("rank", "n_in", "n_out", "expected"),
    [
        (1, 2, 2, False),  # 4 multiplications against 4
        (1, 3, 2, True),  # 5 against 6
        (2, 4, 5, True),  # 18 against 20
        (2, 4, 4, False),  # 16 against 16
        (3, 4, 5, False),
        (1, 1, 9, False),
    ],
)
def test_factors_pay_where_they_need_fewer_multiplications(rank, n_in, n_out, expected):
    assert pays(rank, n_in, n_out) == expected


@pytest.mark.parametrize(
    ("sizes", "tasks", "rank", "expected"),
    [
        ((4, 2048, 2), 4, 2, False),  # 2¹⁵ numbers in the matrices of the largest layer
        ((4, 2049, 2), 4, 2, True),
        ((4, 2049, 2), 3, 2, False),
        ((4, 2049, 2), 4, 4, False),  # large enough, but factors do not pay
        ((4, 8192, 1), 1, 2, False),
        ((4, 8193, 1), 1, 2, True),
        ((1, 2, 4, 2049), 4, 2, True),  # in one layer is enough
        ((200, 200), 1, 1, True),
        ((200, 200), 1, 100, False),
        ((256, 256), 2, 200, False),  # 2¹⁷ numbers
        ((256, 256), 3, 200, True),  # factors do not pay, and the mean over tasks does
    ],
)
def test_vectors_are_flat_unless_a_layer_is_large(sizes, tasks, rank, expected):
    assert layered(tuple(itertools.pairwise(sizes)), tasks, rank) == expected


@pytest.mark.parametrize(("width", "tasks"), [(2048, 4), (2049, 4), (8192, None), (8193, None)])
def test_on_either_side_of_the_rule_the_numbers_are_the_same(width, tasks, monkeypatch, plain):
    model = numaml.MLP((4, width, 2), "tanh")
    rng, lead = np.random.default_rng(12), () if tasks is None else (tasks,)
    sets = [
        numaml.Batch(rng.normal(size=(*lead, n, 4)), rng.normal(size=(*lead, n, 2))) for n in (2, 9)
    ]
    theta = model.init(0)
    start, support, _ = model.lift(theta, *sets)  # the first of the sets counts: two examples
    flat = (tasks or 1) * 4 * width <= FEW
    assert isinstance(start, np.ndarray) == flat
    assert isinstance(model.linearize(start, support)[1], np.ndarray) == flat
    got = numaml.meta_gradient(model, theta, numaml.Tasks(*sets), 0.1, 2)[1]
    monkeypatch.setattr(factored, "layered", lambda *_: flat)
    want = numaml.meta_gradient(model, theta, numaml.Tasks(*sets), 0.1, 2)[1]
    assert relative_error(got, want) < SUMMED_OTHERWISE


def test_what_is_each_tasks_own_and_what_nobody_adapts_stays_flat():
    model = numaml.MLP((200, 200), "tanh")
    theta, x = model.init(0), np.ones((5, 1, 200))
    assert isinstance(model.lift(theta, numaml.Batch(x, x))[0], factored.Layered)
    assert model.lift(theta)[0] is theta
    thetas = np.stack([theta] * 5)
    assert model.lift(thetas, numaml.Batch(x, x))[0] is thetas
