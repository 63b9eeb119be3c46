"""Policies that adapt: what the numbers are of, and that a user's own environment is taken."""

import numpy as np
import pytest

import numaml
from numaml.check import complex_step, relative_error
from numaml.data.environments import Goals, Gymnasium, Navigation, Rounds
from numaml.family import policies
from numaml.family.policies import Adaptation, PolicyGradient, Recipe, TrustRegion, walk
from numaml.family.trust_region import trust_region_step
from numaml.maml import inner_loop, pull_back, push_forward

MODEL = numaml.MLP((2, 6, 5, 4), "tanh", "gaussian_nll")
RECIPE = Recipe(paths=4, judged_by=5, horizon=9)
rng = np.random.default_rng(0)
THETA = rng.normal(0, 0.5, MODEL.size)


def adaptation(steps=2, theta=THETA):
    return Adaptation(MODEL, theta, Goals(3)(np.random.default_rng(1)), 0.3, steps, RECIPE)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_the_gradient_is_that_of_the_surrogate(steps):
    one, v = adaptation(steps), rng.normal(size=MODEL.size)

    def value(theta):
        phi = theta
        for stage in one.seen[:-1]:
            phi = inner_loop(MODEL, phi, stage.batch, 0.3, 1)
        u = MODEL.predict(phi, one.query.x)
        return policies.surrogate(u, one.judge.y[..., :-1], one.query.y).mean()

    assert abs(value(THETA) - one.surrogate) < 1e-15
    assert one.judged(THETA) == (one.surrogate, 0.0)
    moved = THETA + 1e-3 * v
    assert abs(one.judged(moved)[0] - value(moved)) < 1e-14
    assert abs(one.gradient() @ v - complex_step(value, THETA, v)) < 1e-13
    first_order = one.gradient(exact=False)
    assert (relative_error(first_order, one.gradient()) > 0.01) == (steps > 0)


@pytest.mark.parametrize("rows", [1, 100])
def test_parts_of_the_tasks_make_no_difference(rows, monkeypatch):
    whole, v = adaptation(), rng.normal(size=MODEL.size)
    monkeypatch.setattr(policies, "ROWS", rows)
    parts = adaptation()
    assert len(parts._parts()) == (3 if rows == 1 else 2)
    assert relative_error(parts.gradient(), whole.gradient()) < 1e-13
    moved = THETA + 0.01 * v
    assert relative_error(parts.judged(moved), whole.judged(moved)) < 1e-12


def test_the_curvature_is_of_the_divergence_and_what_is_thinned_is_near():
    one, v, tiny = adaptation(), rng.normal(size=MODEL.size), 1e-4
    exact, first_order = one.curvature()(v), one.curvature(exact=False)(v)
    assert one.judged(THETA + tiny * v)[1] == pytest.approx(tiny**2 / 2 * (v @ exact), rel=2e-3)
    assert relative_error(first_order, exact) > 0.01
    one = adaptation(0)  # of few rows inner Hessians are noise
    assert 0.01 < relative_error(one.curvature(3)(v), one.curvature()(v)) < 0.5


def test_forward_and_back_are_adjoint_and_both_are_of_phi():
    model = numaml.MLP((2, 5, 3), "softplus", "cross_entropy")
    theta = model.init(0)
    support = numaml.Batch(rng.normal(size=(4, 7, 2)), rng.integers(0, 3, (4, 7)))
    hvps = []
    inner_loop(model, theta, support, 0.3, 3, hvps)
    v, w = rng.normal(size=model.size), rng.normal(size=(4, model.size))
    pushed, pulled = push_forward(hvps, 0.3, v), pull_back(reversed(hvps), 0.3, w)
    assert len(hvps) == 3
    assert np.allclose((w * pushed).sum(-1), pulled @ v, rtol=1e-12)
    along = complex_step(lambda theta: numaml.adapt(model, theta, support, 0.3, 3), theta, v)
    assert relative_error(pushed, along) < 1e-14


def test_navigation_moves_ends_and_pays_as_said():
    where = Navigation([[0.1, 0.005], [0.3, -0.4]])
    assert (where.reset(3, rng) == 0).all()
    seen, rewards, ends = where.step(np.array([[[1.0, 0.0]] * 3, [[-0.5, 7.0]] * 3]))
    assert np.allclose(seen[:, 0], [[0.1, 0.0], [-0.05, 0.1]])
    assert np.allclose(rewards[:, 0], [-0.005, -np.hypot(0.35, 0.5)])
    assert (ends == [[True] * 3, [False] * 3]).all()


class Counted:
    """The reward is the number of the step; path n of task t ends after t + n + 1 of them."""

    def reset(self, paths, rng):
        self.steps, self.ends = 0, 1 + np.add.outer(np.arange(2), np.arange(paths))
        return np.zeros((*self.ends.shape, 1))

    def step(self, actions):
        self.steps += 1
        rewards = np.full(self.ends.shape, float(self.steps))
        return rewards[..., None], rewards, self.steps == self.ends


def test_what_comes_after_a_paths_end_does_not_count():
    model = numaml.MLP((1, 2), loss="gaussian_nll")
    paths = walk(model, model.init(0), Counted(), 3, 7, np.random.default_rng(0))
    ends = [[1, 2, 3], [2, 3, 4]]
    assert (paths.taken.sum(-1) == ends).all()
    assert (paths.rewards.sum(-1) == [[1, 3, 6], [3, 6, 10]]).all()
    assert np.allclose(paths.returns, [10 / 3, 19 / 3])
    batch = policies.as_batch(paths, np.ones((2, 3, 7)), np.float64)
    assert np.allclose(batch.y[..., -1].mean(-1), 1)
    assert (batch.y[..., -1] > 0).sum(-1).tolist() == [6, 9]


def test_a_policy_that_ran_away_is_told():
    wide = np.concatenate([THETA[:-2], [800.0, 800.0]])  # ln σ, whose exponential overflows
    for phi in (THETA * np.nan, wide):
        with (
            np.errstate(all="ignore"),
            pytest.raises(FloatingPointError, match="a policy ran away"),
        ):
            walk(MODEL, phi, Navigation([[0.1, 0.2]]), 3, 4, rng)


def test_a_step_inside_the_trust_region_is_one():
    one = adaptation(1)
    step = TrustRegion(RECIPE, limit=0.01, every=1)
    tasks = Goals(3)(np.random.default_rng(1))
    value, theta = step(MODEL, THETA, tasks, 0.3, 1)
    surrogate, divergence = one.judged(theta)
    assert value == one.value
    assert surrogate < one.surrogate
    assert 0.003 < divergence <= 0.01
    assert PolicyGradient(RECIPE)(MODEL, THETA, tasks, 0.3, 1)[0] == value


def test_where_no_step_is_better_theta_stays():
    theta, g = np.ones(3), np.array([1.0, 2.0, 3.0])
    for judged in ((2.0, 0.0), (0.0, 9.0), (np.nan, 0.0), (0.0, np.nan)):
        got = trust_region_step(theta, 1.0, g, lambda v: v, lambda _, j=judged: j, 0.1)
        assert got is theta
    assert trust_region_step(theta, 1.0, 0 * g, lambda v: v, lambda _: (0, 0), 0.1) is theta


def test_an_outer_step_of_ones_own_trains_resumes_and_is_remembered(tmp_path):
    def run(iterations, folder, **more):
        return numaml.train(
            MODEL, THETA, Goals(2), alpha=0.1, steps=1, iterations=iterations, rng=3,
            outer=TrustRegion(RECIPE, **more), folder=tmp_path / folder, resume=True,
        )  # fmt: skip

    whole = run(3, "whole")
    run(1, "parts")
    assert run(3, "parts").theta.tobytes() == whole.theta.tobytes()
    assert whole.values == run(3, "parts").values
    assert np.any(whole.theta != THETA)
    with pytest.raises(ValueError, match=r"trained with outer = .*limit=0.03"):
        run(4, "parts", limit=0.1)
    with pytest.raises(ValueError, match=r"outer is .*<lambda>, which in a checkpoint"):
        numaml.train(
            MODEL, THETA, Goals(2), alpha=0.1, steps=1, iterations=1,
            outer=lambda *_: (0.0, THETA), folder=tmp_path / "lambda",
        )  # fmt: skip


def test_gymnasiums_environments_are_taken():
    gymnasium = pytest.importorskip("gymnasium")
    makers = [lambda g=g: gymnasium.make("Pendulum-v1", g=g) for g in (5.0, 10.0) for _ in "abc"]
    both = Gymnasium(gymnasium.vector.SyncVectorEnv(makers), tasks=2)
    model = numaml.MLP((3, 4, 2), "tanh", "gaussian_nll")
    theta = model.init(0, np.float32)
    recipe = Recipe(paths=3, judged_by=3, horizon=6, squared=False)
    one = Adaptation(model, theta, Rounds(both, 1, 2), 0.1, 1, recipe)
    paths = one.seen[0].paths
    assert paths.observations.shape == (2, 3, 6, 3)
    assert np.allclose(np.hypot(*np.moveaxis(paths.observations[..., :2], -1, 0)), 1, atol=1e-6)
    assert (paths.rewards < 0).all()
    assert one.gradient().shape == theta.shape
    with pytest.raises(ValueError, match="paths is 4; 6 environments of 2 tasks have 3 each"):
        both.reset(4, rng)
    with pytest.raises(ValueError, match="want a multiple of tasks, 4"):
        Gymnasium(both.envs, tasks=4)
