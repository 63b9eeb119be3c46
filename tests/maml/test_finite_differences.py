"""Finite differences of the loss and of the meta-value: the oracle that knows no formula of ours.

The first-order variant is measured against the same differences and must miss them by its
missing curvature term.
"""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import numaml
from numaml.check import central_difference, relative_error

from ..cases import SMOOTH, build, cases

pytestmark = pytest.mark.usefixtures("handled")

# Differences at steps 1e-4 and 5e-5 are extrapolated: truncation about 1e-16 times the fifth
# derivative, rounding about 1e-16 / 1e-4 = 1e-12, both times the size of the function. A kink
# inside the step shows as an error estimate far above that: the case is rejected, not tolerated.
TOLERANCE = 1e-8
SMOOTH_ENOUGH = 1e-6
examples = settings(max_examples=60, deadline=None)


def differences(f, x, v):
    derivative, error = central_difference(f, x, v)
    scale = 1 + np.max(np.abs(derivative)) + np.max(np.abs(f(x)))
    assume(np.isfinite(scale) and scale < 1e3 and np.max(error) < SMOOTH_ENOUGH * scale)
    return derivative, TOLERANCE * scale


@examples
@given(cases())
def test_gradient(case):
    _, gradient, _ = case.model.linearize(case.theta, case.tasks.support)
    want, tolerance = differences(
        lambda p: case.model.value(p, case.tasks.support), case.theta, case.v
    )
    assert np.max(np.abs(gradient @ case.v - want)) < tolerance


@examples
@given(cases())
def test_hessian_vector_product(case):
    _, _, hvp = case.model.linearize(case.theta, case.tasks.support)
    want, tolerance = differences(
        lambda p: case.model.linearize(p, case.tasks.support)[1], case.theta, case.v
    )
    assert np.max(np.abs(hvp(case.v) - want)) < tolerance


@examples
@given(cases())
@np.errstate(all="ignore")  # inner loops that run away are left out by the assumption
def test_exact_meta_gradient(case):
    value, gradient = numaml.meta_gradient(*case.arguments)
    want, tolerance = differences(
        lambda p: numaml.meta_value(case.model, p, *case.arguments[2:]), case.theta, case.v
    )
    assert value == numaml.meta_value(*case.arguments)
    assert abs(gradient @ case.v - want) < tolerance


@examples
@given(cases(steps=st.just(1)))
@np.errstate(all="ignore")
def test_first_order_misses_the_differences_by_its_curvature_term(case):
    model, theta, tasks, alpha, _ = case.arguments
    _, gradient = numaml.first_order_meta_gradient(*case.arguments)
    want, tolerance = differences(
        lambda p: numaml.meta_value(model, p, tasks, alpha, 1), theta, case.v
    )
    # v·αHλ by differences too: Hv from the inner gradient, λ at the adapted parameters.
    Hv, _ = differences(lambda p: model.linearize(p, tasks.support)[1], theta, case.v)
    lam = model.linearize(numaml.adapt(model, theta, tasks.support, alpha, 1), tasks.query)[1]
    missing = alpha * np.mean(np.sum(Hv * lam, axis=-1))
    assert abs(gradient @ case.v - want - missing) < 2 * tolerance
    if abs(missing) > 10 * tolerance:
        assert abs(gradient @ case.v - want) > tolerance


@pytest.mark.parametrize("activation", ["tanh", "relu", "softplus"])
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
def test_first_order_fails_the_test_that_exact_passes(activation, loss):
    case = build((3, 5, 4, 2), activation, loss, 6, 7, 8, 0.1, 3, seed=0)
    want, _ = central_difference(
        lambda p: numaml.meta_value(case.model, p, *case.arguments[2:]), case.theta, case.v
    )
    exact = numaml.meta_gradient(*case.arguments)[1] @ case.v
    first_order = numaml.first_order_meta_gradient(*case.arguments)[1] @ case.v
    assert abs(exact - want) < TOLERANCE
    assert abs(first_order - want) > 1e5 * TOLERANCE


@pytest.mark.parametrize(("alpha", "steps"), [(0.0, 3), (0.1, 0)])
def test_first_order_agrees_without_adaptation(alpha, steps):
    case = build((3, 5, 4, 2), "tanh", "squared_error", 6, 7, 8, alpha, steps, seed=1)
    exact = numaml.meta_gradient(*case.arguments)
    first_order = numaml.first_order_meta_gradient(*case.arguments)
    assert exact[0] == first_order[0]
    # Not to the bit: the exact one sums its adjoints' factors in one product over all tasks.
    assert relative_error(exact[1], first_order[1]) < 1e-15


@settings(max_examples=15, deadline=None)
@given(cases(activations=SMOOTH, steps=st.integers(1, 3)))
def test_exact_meta_gradient_by_scipy(case):
    differentiate = pytest.importorskip("scipy.differentiate", reason="needs SciPy >= 1.15")

    def along_v(t):
        values = [
            numaml.meta_value(case.model, case.theta + s * case.v, *case.arguments[2:])
            for s in t.ravel()
        ]
        return np.reshape(values, t.shape)

    result = differentiate.derivative(along_v, 0.0, initial_step=0.01)
    assume(result.success and result.error < SMOOTH_ENOUGH)
    got = numaml.meta_gradient(*case.arguments)[1] @ case.v
    # SciPy's own estimate is of the last halving; ten of them, plus rounding at its smallest step.
    assert abs(got - result.df) < 10 * result.error + TOLERANCE
