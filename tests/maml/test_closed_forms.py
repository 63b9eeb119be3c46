"""Models whose adaptation and meta-gradient are known in closed form, none of them ours."""

import numpy as np
import pytest
from scipy import optimize

import numaml

from ..cases import build, each_task

pytestmark = pytest.mark.usefixtures("handled")

# A handful of float64 operations on numbers of size 1.
ROUNDING = 1e-13


class Quadratic:
    """L(θ) = ½ (θ − c)ᵀ A (θ − c) with a batch (A, c): the whole model, proving that maml.py needs
    nothing else of one."""

    def value(self, theta, batch):
        A, c = batch
        return 0.5 * np.einsum("...i,...ij,...j", theta - c, A, theta - c)

    def linearize(self, theta, batch):
        A, c = batch
        gradient = np.einsum("...ij,...j", A, theta - c)
        return self.value(theta, batch), gradient, lambda v: np.einsum("...ij,...j", A, v)


class Pair:
    """Support and query of a model that is not ours, in a container that is not ours."""

    def __init__(self, support, query):
        self.support, self.query = support, query


def quadratic(lead, seed=0, size=4):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(2, *lead, size, size))
    A = root @ root.swapaxes(-1, -2) / size
    c = rng.normal(size=(2, *lead, size))
    return Quadratic(), rng.normal(size=size), Pair((A[0], c[0]), (A[1], c[1]))


@pytest.mark.parametrize("lead", [(), (5,)], ids=["one task", "five tasks"])
@pytest.mark.parametrize("steps", [0, 1, 2, 7])
def test_quadratic_model(lead, steps):
    model, theta, tasks = quadratic(lead)
    (A, c), (B, d) = tasks.support, tasks.query
    alpha = 0.2
    J = np.linalg.matrix_power(np.eye(4) - alpha * A, steps)  # φ_K − c = J (θ − c)
    phi = c + np.einsum("...ij,...j", J, theta - c)
    lam = np.einsum("...ij,...j", B, phi - d)
    gradient = np.einsum("...ji,...j", J, lam)
    value = 0.5 * np.einsum("...i,...ij,...j", phi - d, B, phi - d)

    got = numaml.adapt(model, theta, tasks.support, alpha, steps)
    np.testing.assert_allclose(got, phi, rtol=ROUNDING, atol=ROUNDING)
    got_value, got_gradient = numaml.meta_gradient(model, theta, tasks, alpha, steps)
    want_gradient = gradient.mean(0) if lead else gradient
    np.testing.assert_allclose(got_gradient, want_gradient, rtol=ROUNDING, atol=ROUNDING)
    np.testing.assert_allclose(got_value, value.mean(), rtol=ROUNDING)
    alone = numaml.meta_value(model, theta, tasks, alpha, steps)
    assert got_value == alone
    assert type(got_value) is type(alone) is float
    _, first_order = numaml.first_order_meta_gradient(model, theta, tasks, alpha, steps)
    np.testing.assert_allclose(first_order, lam.mean(0) if lead else lam, rtol=ROUNDING)


def test_first_order_is_exact_where_the_support_loss_has_no_curvature():
    model, theta, tasks = quadratic((5,))
    flat = Pair((np.zeros((5, 4, 4)), tasks.support[1]), tasks.query)
    exact = numaml.meta_gradient(model, theta, flat, 0.3, 3)[1]
    assert np.array_equal(exact, numaml.first_order_meta_gradient(model, theta, flat, 0.3, 3)[1])


def test_quadratic_model_is_minimised_by_scipy_as_it_is():
    model, theta, tasks = quadratic((5,))
    found = optimize.minimize(
        lambda p: numaml.meta_gradient(model, p, tasks, 0.2, 3), theta, jac=True, tol=1e-12
    )
    J = np.linalg.matrix_power(np.eye(4) - 0.2 * tasks.support[0], 3)
    (B, d), c = tasks.query, tasks.support[1]
    normal = np.einsum("tji,tjk,tkl->il", J, B, J)
    right = np.einsum("tji,tjk,tk->i", J, B, d - c + np.einsum("tij,tj->ti", J, c))
    np.testing.assert_allclose(found.x, np.linalg.solve(normal, right), rtol=1e-5)


@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
@pytest.mark.parametrize("activation", ["tanh", "relu", "softplus", "square"])
def test_one_step_against_the_dense_hessian(activation, loss):
    """K = 1: ∇M = mean of (I − αH) g, with H column by column from complex steps."""
    case = build((3, 4, 2), activation, loss, 5, 6, 7, 0.1, 1, seed=3)
    model, theta, tasks, alpha, _ = case.arguments
    want = np.zeros(model.size)
    for support, query in zip(each_task(tasks.support), each_task(tasks.query), strict=True):
        stack = theta + 1e-30j * np.eye(model.size)
        H = model.linearize(stack, support)[1].imag / 1e-30
        phi = theta - alpha * model.linearize(theta, support)[1]
        want += (np.eye(model.size) - alpha * H) @ model.linearize(phi, query)[1] / 5
    _, gradient = numaml.meta_gradient(*case.arguments)
    np.testing.assert_allclose(gradient, want, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("alpha", "steps"), [(0.0, 4), (0.5, 0)])
def test_without_adaptation_the_meta_gradient_is_the_mean_query_gradient(alpha, steps):
    case = build((3, 4, 2), "tanh", "squared_error", 5, 6, 7, alpha, steps, seed=4)
    values, gradients, _ = case.model.linearize(case.theta, case.tasks.query)
    value, gradient = numaml.meta_gradient(*case.arguments)
    np.testing.assert_allclose(value, values.mean(), rtol=ROUNDING)
    np.testing.assert_allclose(gradient, gradients.mean(0), rtol=ROUNDING, atol=ROUNDING)
    phi = numaml.adapt(case.model, case.theta, case.tasks.support, alpha, steps)
    assert phi.shape == (5, case.model.size)
    assert np.all(phi == case.theta)
    phi[0, 0] += 1  # a copy, not a view of theta or of another task's row
    assert phi[1, 0] == case.theta[0]
