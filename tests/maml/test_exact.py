"""Exact arithmetic: the same core on object arrays, compared with ``==``.

The truth is taken from dual numbers pushed through the *value* alone, so no gradient formula
stands on both sides.
"""

from fractions import Fraction

import numpy as np
import pytest

import numaml
from numaml.check import Mod, dual_gradient

pytestmark = pytest.mark.usefixtures("handled")

SIZES, SUPPORT, QUERY = (2, 3, 1), 2, 3


def field_elements(rng, *shape):
    flat = [Mod(n) for n in rng.integers(Mod.p, size=int(np.prod(shape))).tolist()]
    return np.array(flat, object).reshape(shape)


def fractions(rng, *shape):
    flat = [
        Fraction(a, b)
        for a, b in zip(
            rng.integers(-9, 10, int(np.prod(shape))).tolist(),
            rng.integers(1, 6, int(np.prod(shape))).tolist(),
            strict=True,
        )
    ]
    return np.array(flat, object).reshape(shape)


def tasks_of(draw, rng, lead, n_in, n_out):
    return numaml.Tasks(
        numaml.Batch(draw(rng, *lead, SUPPORT, n_in), draw(rng, *lead, SUPPORT, n_out)),
        numaml.Batch(draw(rng, *lead, QUERY, n_in), draw(rng, *lead, QUERY, n_out)),
    )


def true_meta_value(model, theta, support, query, alpha, steps):
    """One task's meta-value with inner gradients from dual numbers."""
    phi = theta
    for _ in range(steps):
        phi = phi - alpha * dual_gradient(lambda p: model.value(p, support), phi)
    return model.value(phi, query)


def true_meta_gradient(model, theta, tasks, alpha, steps):
    if tasks.support.x.ndim == 2:
        return dual_gradient(
            lambda p: true_meta_value(model, p, tasks.support, tasks.query, alpha, steps), theta
        )
    count = len(tasks.support.x)
    per_task = [
        numaml.Tasks(
            numaml.Batch(tasks.support.x[t], tasks.support.y[t]),
            numaml.Batch(tasks.query.x[t], tasks.query.y[t]),
        )
        for t in range(count)
    ]
    return sum(true_meta_gradient(model, theta, one, alpha, steps) for one in per_task) / count


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
@pytest.mark.parametrize("lead", [(), (2,)], ids=["one task", "two tasks"])
def test_meta_gradient_over_the_field(steps, lead):
    rng = np.random.default_rng(steps)
    sizes = SIZES if steps < 3 else (2, 2, 1)
    model = numaml.MLP(sizes, "square")
    theta, alpha = field_elements(rng, model.size), field_elements(rng, 1)[0]
    tasks = tasks_of(field_elements, rng, lead, sizes[0], sizes[-1])
    want = true_meta_gradient(model, theta, tasks, alpha, steps)
    value, gradient = numaml.meta_gradient(model, theta, tasks, alpha, steps)
    assert isinstance(value, Mod)
    assert value == numaml.meta_value(model, theta, tasks, alpha, steps)
    assert np.array_equal(gradient, want)
    _, first_order = numaml.first_order_meta_gradient(model, theta, tasks, alpha, steps)
    assert np.array_equal(first_order, want) == (steps == 0)


@pytest.mark.parametrize("sizes", [(2, 1), (2, 3, 2), (1, 2, 2, 3)])
def test_gradient_and_hessian_product_over_the_field(sizes):
    rng = np.random.default_rng(len(sizes))
    model = numaml.MLP(sizes, "square")
    theta, v = field_elements(rng, 2, model.size)
    batch = numaml.Batch(field_elements(rng, 4, sizes[0]), field_elements(rng, 4, sizes[-1]))
    _, gradient, hvp = model.linearize(theta, batch)

    def true_gradient(p):
        return dual_gradient(lambda q: model.value(q, batch), p)

    assert np.array_equal(gradient, true_gradient(theta))
    want = dual_gradient(lambda p: sum(true_gradient(p) * v), theta)
    assert np.array_equal(hvp(v), want)


@pytest.mark.parametrize("activation", ["relu", "square", "identity"])
@pytest.mark.parametrize("steps", [1, 2])
def test_meta_gradient_in_fractions(activation, steps):
    rng = np.random.default_rng(3)
    model = numaml.MLP((2, 2, 2), activation)
    theta = fractions(rng, model.size)
    tasks = tasks_of(fractions, rng, (2,), 2, 2)
    alpha = Fraction(1, 7)
    value, gradient = numaml.meta_gradient(model, theta, tasks, alpha, steps)
    assert isinstance(value, Fraction)
    assert all(isinstance(element, Fraction) for element in gradient)
    assert np.array_equal(gradient, true_meta_gradient(model, theta, tasks, alpha, steps))


def test_floats_agree_with_fractions():
    """The field and the fractions vouch for the formulas; this ties the float code to them."""
    rng = np.random.default_rng(4)
    model = numaml.MLP((3, 4, 2), "relu")
    theta = fractions(rng, model.size)
    tasks = tasks_of(fractions, rng, (2,), 3, 2)
    _, want = numaml.meta_gradient(model, theta, tasks, Fraction(1, 16), 2)

    def as_floats(batch):
        return numaml.Batch(batch.x.astype(float), batch.y.astype(float))

    floats = numaml.Tasks(as_floats(tasks.support), as_floats(tasks.query))
    for dtype, bound in ((np.float64, 1e-14), (np.float32, 1e-5)):
        _, got = numaml.meta_gradient(model, theta.astype(dtype), floats, 1 / 16, 2)
        assert got.dtype == dtype
        assert numaml.check.relative_error(got, want.astype(float)) < bound


def test_relu_at_its_kink_has_slope_zero():
    model = numaml.MLP((1, 1, 1), "relu")
    theta = np.array([Fraction(1), Fraction(0), Fraction(1), Fraction(0)])
    batch = numaml.Batch(np.array([[Fraction(0)]]), np.array([[Fraction(1)]]))
    _, gradient, _ = model.linearize(theta, batch)
    assert gradient.tolist() == [0, 0, 0, -2]


def test_a_float_alpha_does_not_spoil_exact_arithmetic():
    model = numaml.MLP((2, 2), "identity")
    theta = fractions(np.random.default_rng(0), model.size)
    tasks = tasks_of(fractions, np.random.default_rng(1), (), 2, 2)
    with pytest.raises(TypeError, match="same ring"):
        numaml.meta_gradient(model, theta, tasks, 0.1, 1)
    with pytest.raises(TypeError, match="theta holds Fraction; want an element of the same ring"):
        numaml.adapt(model, theta, tasks.support, 0.1, 1)
