"""Learned rates and losses after every step: exact, replayed, and in training."""

import json
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

import numaml
from numaml import engine, family
from numaml.check import Mod, complex_step, dual_gradient, relative_error
from numaml.family import gradients

from ..cases import build
from ..engine.test_inner import NAMES, STEPS, structures
from ..maml.test_exact import field_elements, tasks_of

CASE = build((3, 6, 4, 2), "tanh", "cross_entropy", 5, 7, 8, 0.3, STEPS, 1, "batch")
WEIGHTS = (0.2, 0, -0.3, 0.7)
EXACT = 2e-13  # a rate's derivative is a sum over steps and layers, of which some cancel


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_by_theta_and_rates(handled, name):
    alpha = structures(CASE.model.size)[name]
    if name in ("parameters", "steps and parameters"):  # no rate of 0, which cannot be learned
        alpha = {"parameters": 0.2} if name == "parameters" else [*alpha[:2], {"parameters": 0.1}]
    gradient = family.Exact(learned=True, weights=WEIGHTS)
    start = family.joined(CASE.model, CASE.theta, alpha, STEPS)
    assert (start[CASE.model.size :] == 1).all()
    start = start + 0.1 * np.sin(np.arange(len(start)))
    arguments = CASE.tasks, alpha, STEPS
    value, slope = gradient(CASE.model, start, *arguments)

    def of(point):
        return gradient.value(CASE.model, point, *arguments)

    assert value == pytest.approx(of(start), rel=1e-14)
    ends = np.eye(len(start))[CASE.model.size :]
    directions = np.concatenate([np.cos(np.outer([1, 2], np.arange(len(start)))), ends])
    want = [complex_step(of, start, v) for v in directions]
    assert relative_error(directions @ slope, want) < EXACT
    theta, rates = family.parted(CASE.model, start, alpha, STEPS)
    again, same = family.Exact(weights=WEIGHTS)(CASE.model, theta, CASE.tasks, rates, STEPS)
    assert again == pytest.approx(value, rel=1e-14)
    assert relative_error(same, slope[: CASE.model.size]) < EXACT


def test_one_rate_takes_the_loop_of_maml(handled, monkeypatch):
    """And comes to what the family's own steps come to, whatever the last loss weighs."""
    start = family.joined(CASE.model, CASE.theta, 0.3, STEPS) + 0.1
    found, through = [], []

    class Noting(gradients.Noting):
        def __init__(self, model):
            through.append(weights)
            super().__init__(model)

    monkeypatch.setattr(gradients, "Noting", Noting)
    for weights in (None, (0, 0, 0, 2.5), (0, 1e-300, 0, 1)):
        gradient = family.Exact(learned=True, weights=weights)
        found.append(gradient(CASE.model, start, CASE.tasks, 0.3, STEPS))
    assert through == [None, (0, 0, 0, 2.5)]
    each = family.joined(CASE.model, CASE.theta, [0.3] * STEPS, STEPS) + 0.1
    _, slopes = family.Exact(learned=True)(CASE.model, each, CASE.tasks, [0.3] * STEPS, STEPS)
    together = np.append(slopes[: CASE.model.size], slopes[CASE.model.size :].sum())
    assert relative_error(together, found[0][1]) < EXACT
    assert len(through) == 2
    with monkeypatch.context() as patch:
        patch.setattr(gradients.Core, "as_it_is", False)
        engine.replaying(engine.replaying(False))  # and forget what was recorded
        value, slope = family.Exact(learned=True)(CASE.model, start, CASE.tasks, 0.3, STEPS)
    for factor, (got, vector) in zip((1, 2.5, 1), found, strict=True):
        assert got == pytest.approx(factor * value, rel=1e-14)
        assert relative_error(vector, factor * slope) < EXACT
    engine.replaying(engine.replaying(False))


def test_one_rate_over_the_field_and_of_a_model_of_ones_own():
    """M = (φ_2 − y)² for L_S = (φ − x)²/2 has M's derivative by α in closed form."""

    class Own:
        size = 1

        def value(self, theta, batch):
            return ((theta - batch) * (theta - batch) / 2)[0]

        def linearize(self, theta, batch):
            return self.value(theta, batch), theta - batch, lambda v: v

    theta, x, y, a, m = (np.array([Mod(n)], object) for n in (5, 7, 11, 3, 2))
    gradient = family.Exact(learned=True)
    joint = np.concatenate([theta, m])
    value, slope = gradient(Own(), joint, SimpleNamespace(support=x, query=y), a[0], 2)
    r, one = a[0] * m[0], Mod(1)
    phi = x + (one - r) * (one - r) * (theta - x)
    assert value == ((phi - y) * (phi - y) / 2)[0]
    lam = (phi - y)[0]
    assert slope[0] == (one - r) * (one - r) * lam
    assert slope[1] == -2 * a[0] * (one - r) * (theta - x)[0] * lam


def test_over_the_field(handled):
    rng, model = np.random.default_rng(2), numaml.MLP((1, 2, 1), "square")
    theta, tasks = field_elements(rng, model.size), tasks_of(field_elements, rng, (), 1, 1)
    a = Mod(3) / 7
    alpha = {"rates": [(a, None), ((None, a), -a)], "momentum": a / 3, "pull": a / 2}
    start = family.joined(model, theta, alpha, 2)
    start[model.size :] = field_elements(rng, 5)
    gradient = family.Exact(learned=True, weights=(-2, 0, 3))

    def value(joint):
        theta, factors = joint[: model.size], joint[model.size :]
        (W1, b1, b2, W2), (m, p) = factors[[0, 0, 1, 2]] * np.array([a, a, a, -a]), factors[3:]
        m, p, phi, u = m * (a / 3), p * (a / 2), theta, theta * 0
        zero = theta[0] * 0
        total = -2 * model.value(phi, tasks.query)
        for rates in ([W1, W1, b1, b1, zero, zero, zero], [zero, zero, b2, b2, W2, W2, W2]):
            g = dual_gradient(lambda point: model.value(point, tasks.support), phi)
            u = u * m + g + (phi - theta) * p
            phi = phi - np.array(rates, object) * u
        return total + 3 * model.value(phi, tasks.query)

    got_value, got = gradient(model, start, tasks, alpha, 2)
    assert got_value == value(start)
    assert np.array_equal(got, dual_gradient(value, start))


def test_replayed_bit_for_bit():
    alpha = {"rates": [0.1, (None, 0.2, 0.1), 0.3], "momentum": 0.5}
    start = family.joined(CASE.model, CASE.theta, alpha, STEPS)
    gradient, found = family.Exact(learned=True, weights=WEIGHTS), []
    for replaying in (False, True):
        before = engine.replaying(replaying)
        for _ in range(3 if replaying else 1):
            value, slope = gradient(CASE.model, start, CASE.tasks, alpha, STEPS)
        found.append((value, slope.tobytes()))
        seen = [one.call.split(",")[0] for one in engine.recordings()]
        assert seen == ["exact of the family"] * replaying
        engine.replaying(before)
    assert found[0] == found[1]


def test_first_order_leaves_the_curvature_out():
    arguments = CASE.model, CASE.theta, CASE.tasks, 0.3, STEPS
    _, want = numaml.first_order_meta_gradient(*arguments)
    assert relative_error(family.FirstOrder()(*arguments)[1], want) < 1e-14
    _, exact = numaml.meta_gradient(*arguments)
    assert relative_error(family.Exact()(*arguments)[1], exact) < 1e-14
    assert relative_error(exact, want) > 0.01


BAD = [
    (lambda: family.joined(CASE.model, CASE.theta, (0.1, 0.0, 0.1), 2), ValueError, "rate of 0"),
    (lambda: family.joined(CASE.model, CASE.theta, 0.1, 0), ValueError, "steps is 0"),
    (lambda: family.joined(CASE.model, CASE.theta, -0.1, 1), ValueError, "alpha is -0.1"),
    (lambda: family.Exact(True)(CASE.model, CASE.theta, CASE.tasks, 0.1, 1), ValueError,
     rf"with 1 learned rates want \({CASE.model.size + 1},\), as"),
    (lambda: family.Exact(True)(CASE.model, np.append(CASE.theta, [1, 1]), CASE.tasks, 0.1, 1),
     ValueError, "with 1 learned rates want"),
    (lambda: family.Exact(True)(object(), CASE.theta, CASE.tasks, 0.1, 1), TypeError, "no size"),
    (lambda: family.Exact(weights=(1,))(CASE.model, CASE.theta, CASE.tasks, 0.1, 1), ValueError,
     "weights has 1 numbers; steps is 1: want 2"),
    (lambda: family.Exact(weights=(0, 0, 1))(CASE.model, CASE.theta, CASE.tasks, 0.1, 1),
     ValueError, "weights has 3 numbers"),
    (lambda: family.Exact(weights=0.1), TypeError, "want v_0"),
    (lambda: family.Exact(weights=(0.1, np.nan)), ValueError, "want finite numbers"),
    (lambda: family.rates(CASE.model, 0.1, "block"), ValueError, "per is 'block'"),
    (lambda: family.rates(CASE.model, 0.1, moves="heads"), ValueError, "moves is 'heads'"),
    (lambda: family.rates(CASE.model, 0.1, "parameter", "head"), ValueError, "want per='tensor'"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_structures_by_name():
    rates = family.rates
    assert rates(CASE.model, 0.1) == 0.1
    assert rates(CASE.model, 0.1, moves="body") == (0.1, 0.1, None)
    assert rates(CASE.model, 0.1, moves="biases") == ((None, 0.1),) * 3
    assert rates(CASE.model, 0.1, "layer", steps=2) == [(0.1,) * 3] * 2
    assert rates(CASE.model, 0.1, "tensor", "head") == (None, None, (0.1, 0.1))
    assert rates(CASE.model, 0.1, "parameter") == {"parameters": 0.1}


@pytest.mark.parametrize("name", [name for name in NAMES if "parameters" not in name])
def test_parted_has_the_structure_that_was_joined(name):
    alpha = structures(CASE.model.size)[name]
    start = family.joined(CASE.model, CASE.theta, alpha, STEPS)
    theta, again = family.parted(CASE.model, start, alpha, STEPS)
    assert theta.tobytes() == CASE.theta.tobytes()
    assert repr(again) == repr(alpha)  # types too: of rates 0.3, and not np.float64(0.3)


# In training

SOURCE, NET = numaml.Sinusoids(tasks=3, shots=4, queries=5), numaml.MLP((1, 6, 1))
RATES = {"rates": [(None, 0.01), 0.02], "momentum": 0.5}
LEARNT = family.Annealed(
    family.FirstOrder(learned=True), family.Exact(learned=True, weights=family.MultiStep(2, 3)), 3
)


def run(folder=None, iterations=8, **changed):
    start = family.joined(NET, NET.init(0), RATES, 2)
    how = {"alpha": RATES, "steps": 2, "gradient": LEARNT, "rng": 1, "every": 2, "limit": 0.5}
    return numaml.train(NET, start, SOURCE, iterations=iterations, folder=folder, **how | changed)


def test_a_resumed_run_is_the_same_run(tmp_path):
    whole = run(tmp_path / "whole")
    run(tmp_path / "cut", 5)
    again = run(tmp_path / "cut", resume=True)
    assert again.theta.tobytes() == whole.theta.tobytes() == run().theta.tobytes()
    assert again.values == whole.values
    assert (whole.theta[NET.size :] != 1).all()
    kept = {"rates": {"steps": [{"layers": [None, 0.01]}, 0.02]}, "momentum": 0.5}
    assert whole.settings["alpha"] == json.loads(json.dumps(kept)) == kept
    assert whole.settings["limit"] == 0.5
    for changed in ({"alpha": {**RATES, "momentum": 0.6}}, {"limit": 0.6}, {"limit": None},
                    {"gradient": LEARNT.then}):  # fmt: skip
        with pytest.raises(ValueError, match="was trained with"):
            run(tmp_path / "cut", resume=True, **changed)


def test_the_gradient_is_that_of_the_iteration():
    seen = []

    class Seen:
        def at(self, iteration):
            seen.append(iteration)
            return numaml.meta_gradient

    numaml.train(NET, NET.init(0), SOURCE, alpha=0.1, steps=1, iterations=3, gradient=Seen())
    assert seen == [0, 1, 2]
    gradients = [LEARNT.at(i) for i in (2, 3, 4)]
    assert gradients[0] == LEARNT.first
    assert [one.iteration for one in gradients[1:]] == [3, 4]
    weights = [one.weights.at(one.iteration, 3) for one in gradients[1:]]
    assert weights[0] == pytest.approx((0, 2 / 9, 2 / 9, 5 / 9))
    assert weights[1] == pytest.approx((0, 1 / 9, 1 / 9, 7 / 9))


def test_shards_of_a_gradient_that_changes_change_as_well():
    with ThreadPoolExecutor(1) as executor:
        over = numaml.sharded(executor, 2, LEARNT)
        start, tasks = family.joined(NET, NET.init(0), RATES, 2), SOURCE(np.random.default_rng(0))
        for i in (0, 3, 6):
            want, got = (one.at(i)(NET, start, tasks, RATES, 2)[1] for one in (LEARNT, over))
            assert relative_error(got, want) < EXACT
        assert not hasattr(numaml.sharded(executor, 2), "at")


@pytest.mark.parametrize("limit", [0, -1.0, np.inf, np.nan])
def test_a_limit_is_a_norm(limit):
    with pytest.raises(ValueError, match="limit is"):
        run(limit=limit)
    with pytest.raises(TypeError, match="limit is True"):
        run(limit=True)
    with pytest.raises(ValueError, match="want one of them"):
        run(outer=numaml.meta_gradient)


def test_a_long_gradient_is_shortened_and_a_short_one_is_not():
    def first(limit, size):
        def gradient(model, theta, tasks, alpha, steps):
            return 0.0, np.full(theta.shape, size)

        state = numaml.train(NET, NET.init(0), SOURCE, alpha=0.1, steps=1, iterations=1,
                             gradient=gradient, limit=limit)  # fmt: skip
        return state.moments.first

    length = np.sqrt(NET.size)
    np.testing.assert_allclose(first(2.0, 3.0), 0.1 * 2 / length)
    np.testing.assert_array_equal(first(2.0, 0.1), first(None, 0.1))


def test_reptile_goes_along_the_mean_of_the_moves():
    tasks = SOURCE(np.random.default_rng(0))
    value, direction = family.reptile_direction(NET, NET.init(0), tasks, 0.05, 3)
    assert value == numaml.meta_value(NET, NET.init(0), tasks, 0.05, 3)
    phi = numaml.adapt(NET, NET.init(0), tasks.support, 0.05, 3)
    np.testing.assert_allclose(direction, NET.init(0) - sum(phi) / 3, atol=1e-15)
    one = numaml.Tasks(*(numaml.Batch(b.x[0], b.y[0]) for b in (tasks.support, tasks.query)))
    _, alone = family.reptile_direction(NET, NET.init(0), one, 0.05, 3)
    np.testing.assert_allclose(alone, NET.init(0) - phi[0], atol=1e-15)
