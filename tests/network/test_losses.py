"""The losses of policies: what they take, and their meta-gradients."""

import numpy as np
import pytest

import numaml
from numaml.check import complex_step
from numaml.network.losses import OF_POLICIES, target_width

rng = np.random.default_rng(0)
SIZES = (2, 5, 4, 6)  # three coordinates


@pytest.mark.parametrize("loss", sorted(OF_POLICIES))
def test_the_meta_gradient_is_that_of_the_meta_value(loss):
    model = numaml.MLP(SIZES, "tanh", loss)
    x, y = rng.normal(size=(4, 7, 2)), rng.normal(size=(4, 7, target_width(loss, 6)))
    y[..., -1] = abs(y[..., -1]) / 10
    theta, v = rng.normal(0, 0.3, (2, model.size))
    tasks = numaml.Tasks(numaml.Batch(x, y), numaml.Batch(x[:, :3], y[:, :3]))
    for _ in range(3):  # plain, recorded, replayed
        _, gradient = numaml.meta_gradient(model, theta, tasks, 0.1, 2)
        along = complex_step(lambda p: numaml.meta_value(model, p, tasks, 0.1, 2), theta, v)
        assert abs(gradient @ v - along) < 1e-12 * abs(along)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="which wants an even number"):
        numaml.MLP((2, 4, 3), loss="gaussian_nll")
    model = numaml.MLP(SIZES, loss="gaussian_nll")
    theta, x = model.init(0), rng.normal(size=(7, 2))
    with pytest.raises(ValueError, match=r"y has shape \(7, 6\).*wants \(7, 4\)"):
        model.value(theta, numaml.Batch(x, rng.normal(size=(7, 6))))
    scaling = numaml.Scaling(np.zeros(2), np.ones(2), np.zeros(6), np.ones(6))
    with pytest.raises(ValueError, match="scaling is for outputs in the units of y"):
        numaml.Learner(model, theta, 0.1, 1, scaling)


def test_a_learner_of_policies_is_kept_and_adapts(tmp_path):
    model = numaml.MLP(SIZES, loss="gaussian_nll")
    learner = numaml.Learner(model, model.init(0), 0.1, 1)
    learner.save(tmp_path / "policy.npz")
    again = numaml.Learner.load(tmp_path / "policy.npz")
    x, y = rng.normal(size=(7, 2)), rng.normal(size=(7, 4))
    phi = numaml.adapt(model, learner.theta, numaml.Batch(x, y), 0.1, 1)
    assert np.array_equal(again.adapt(x, y).phi, phi)
    assert again.adapt(x, y).predict(x).shape == (7, 6)
