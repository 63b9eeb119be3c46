"""Complex steps: derivatives without cancellation, so agreement is to rounding."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import numaml
from numaml.check import complex_step, relative_error

from ..cases import build, cases

pytestmark = pytest.mark.usefixtures("handled")

# The promise of the design: 1e-12 in float64 up to K = 50. What is compared are directional
# derivatives, so errors are measured against the norm of the gradient (v has length 1).
PROMISED = 1e-12
# Where a normalisation cancels all but a few digits, see `Case.cancels`.
CANCELLED = 1e-9
# Several steps through a normalisation may magnify the last digit of θ a millionfold. The promise
# is for cases that do not, which are 99 in 100.
WELL_CONDITIONED = 1e-14
ACTIVATIONS = ("relu", "tanh", "softplus", "sigmoid", "square", "identity")


def distance(got, want, scale):
    return np.max(np.abs(got - want)) / max(np.max(scale), 1e-300)


def allowed(case):
    """What may be wrong for rounding's sake."""
    return CANCELLED if case.cancels else PROMISED


@settings(max_examples=100, deadline=None)
@given(cases())
def test_gradient_and_hessian_product(case):
    batch = case.tasks.support
    _, gradient, hvp = case.model.linearize(case.theta, batch)
    want = complex_step(lambda p: case.model.value(p, batch), case.theta, case.v)
    norms = np.linalg.norm(gradient, axis=-1)
    if np.all(norms == 0):
        assert np.all(want == 0)
    else:
        assert distance(gradient @ case.v, want, norms) < allowed(case)
    want = complex_step(lambda p: case.model.linearize(p, batch)[1], case.theta, case.v)
    assert relative_error(hvp(case.v), want) < allowed(case)


@settings(max_examples=60, deadline=None)
@given(cases(steps=st.integers(0, 8)))
def test_meta_gradient(case):
    def along_v(theta):
        return complex_step(
            lambda p: numaml.meta_value(case.model, p, *case.arguments[2:]), theta, case.v
        )

    with np.errstate(all="ignore"):  # inner loops that run away are left out below
        value, gradient = numaml.meta_gradient(*case.arguments)
        want, beside = along_v(case.theta), along_v(np.nextafter(case.theta, np.inf))
    # Where the query is fitted to 1e-3, u − y has lost three digits in either of the two.
    assume(np.isfinite(gradient).all() and 1e-6 < value < 1e6)
    if not gradient.any():
        assert want == 0
        return
    scale = np.linalg.norm(gradient)
    rounding = distance(want, beside, scale)  # what the last digit of θ does to the derivative
    assume(rounding < WELL_CONDITIONED)
    assert distance(gradient @ case.v, want, scale) < PROMISED


@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
@pytest.mark.parametrize("activation", [a for a in ACTIVATIONS if a != "square"])
def test_fifty_steps(activation, loss):
    case = build((3, 7, 5, 2), activation, loss, 4, 6, 8, 0.05, 50, seed=2)
    _, gradient = numaml.meta_gradient(*case.arguments)
    want = complex_step(
        lambda p: numaml.meta_value(case.model, p, *case.arguments[2:]), case.theta, case.v
    )
    assert distance(gradient @ case.v, want, np.linalg.norm(gradient)) < PROMISED
    first_order = numaml.first_order_meta_gradient(*case.arguments)[1]
    assert distance(first_order @ case.v, want, np.linalg.norm(gradient)) > 1e6 * PROMISED


@pytest.mark.parametrize("label", [0, 1])
def test_a_saturated_softmax_keeps_its_relative_accuracy(label):
    """exp(−60) beside 1, right or wrong: value, gradient and HVP are right to the last digits."""
    model = numaml.MLP((1, 2), loss="cross_entropy")
    theta = np.array([60.0, 0.0, 0.0, 0.0])
    batch = numaml.Batch(np.ones((1, 1)), np.array([label]))
    v = np.array([1.0, -2.0, 0.5, 3.0])
    value, gradient, hvp = model.linearize(theta, batch)
    q = np.exp(-60.0) / (1 + np.exp(-60.0))  # probability of class 1
    delta = np.array([-q, q]) if label == 0 else np.array([1 - q, q - 1])
    want = np.log1p(np.exp(-60.0)) + (60 if label else 0)
    assert abs(value / want - 1) < 1e-15
    assert relative_error(gradient, np.concatenate([delta, delta])) < 1e-15
    u_dot = v[:2] + v[2:]
    product = q * (1 - q) * (u_dot[0] - u_dot[1]) * np.array([1, -1])
    assert relative_error(hvp(v), np.concatenate([product, product])) < 1e-15


@pytest.mark.parametrize("activation", ["softplus", "sigmoid", "tanh", "relu"])
def test_activations_do_not_overflow(activation):
    s, s_prime, s_second = numaml.network.activations.ACTIVATIONS[activation]
    z = np.array([-1e4, -800.0, -1.0, 0.0, 1.0, 800.0, 1e4])
    for function in (s, s_prime, s_second or s):
        assert np.isfinite(function(z)).all()
        assert np.isfinite(function(z.astype("f4"))).all()
        assert function(z.astype("f4")).dtype == np.float32
    assert s_prime(z)[0] == 0
