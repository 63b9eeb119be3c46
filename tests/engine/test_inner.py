"""Inner steps with rates of every structure, exact in every representation."""

from fractions import Fraction

import numpy as np
import pytest

import numaml
from numaml import engine
from numaml.check import Mod, complex_step, dual_gradient, relative_error
from numaml.weights import factored

from ..cases import build
from ..maml.test_exact import field_elements, fractions, tasks_of

SIZES, STEPS = (3, 6, 4, 2), 3
EXACT = 1e-13  # rounding of a float64 network: as the audit's


def structures(size, a=0.3):
    """By name, for three layers and three steps, with numbers made of a."""
    return {
        "number": a,
        "layers": (a / 2, a, -a),
        "head": (None, None, a),
        "body": (a, a / 2, None),
        "middle": (None, a, None),
        "biases": ((None, a), (None, a / 3), (None, -a)),
        "blocks": ((a, a / 2), (a / 3, None), (a, a / 4)),
        "parameters": np.array([a * (i % 5 - 1) / 3 for i in range(size)]),
        "steps": [a, (a / 2, None, a), (None, (a, None), None)],
        "steps and parameters": [a, (a / 2, None, a), np.array([a / (i + 1) for i in range(size)])],
        "momentum": {"rates": a, "momentum": a * 2},
        "pull": {"rates": (a, None, a), "pull": a * 2},
        "both": {"rates": [a, (None, a, a / 2), ((a, None), a, a)], "momentum": a, "pull": a / 2},
    }


CASES = {norm: build(SIZES, "tanh", "cross_entropy", 5, 7, 8, 0.3, STEPS, 1, norm)
         for norm in (None, "batch", "layer")}  # fmt: skip
NAMES = list(structures(1))


@pytest.mark.parametrize("norm", CASES)
@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_by_a_complex_step(handled, name, norm):
    case = CASES[norm]
    alpha = structures(case.model.size)[name]
    arguments = case.tasks, alpha, STEPS
    value, gradient = numaml.meta_gradient(case.model, case.theta, *arguments)
    assert value == pytest.approx(numaml.meta_value(case.model, case.theta, *arguments), rel=1e-14)
    directions = np.stack([case.v, gradient / np.linalg.norm(gradient)])
    want = [complex_step(lambda theta: numaml.meta_value(case.model, theta, *arguments),
                         case.theta, v) for v in directions]  # fmt: skip
    assert relative_error(directions @ gradient, want) < EXACT
    _, first = numaml.first_order_meta_gradient(case.model, case.theta, *arguments)
    assert relative_error(directions @ first, want) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_adapted_parameters_step_by_step(handled, name):
    """Against steps written out, with the gradients of `linearize`."""
    case = CASES[None]
    alpha = structures(case.model.size)[name]
    rates = engine.alpha.checked_rates(alpha, case.theta, case.model, STEPS)
    m, p = (0 if i is None else rates.values[i] for i in (rates.form.momentum, rates.form.pull))
    phi, u = case.theta, 0
    for k in range(STEPS):
        u = m * u + case.model.linearize(phi, case.tasks.support)[1] + p * (phi - case.theta)
        entry = rates.form.steps[k]
        phi = phi - engine.inner.factor(entry, rates.values, rates.form.blocks, False) * u
    got = numaml.adapt(case.model, case.theta, case.tasks.support, alpha, STEPS)
    assert relative_error(got, phi) < EXACT
    losses = numaml.evaluate(case.model, case.theta, case.tasks, alpha, STEPS)
    assert relative_error(losses[-1], case.model.value(phi, case.tasks.query)) < EXACT


def exact_structures(a):
    """For two layers and two steps, in the ring of a."""
    each = np.array([a * (i - 3) for i in range(7)])
    return {
        "layers": (a, -a),
        "head": (None, a),
        "biases": ((None, a), (None, a / 3)),
        "parameters": each,
        "steps": [((a, None), a / 2), each],
        "both": {"rates": [(a, None), ((None, a), -a)], "momentum": a / 3, "pull": a / 2},
    }


def true_value(model, theta, batches, rates):
    """One task's meta-value through these rates, with inner gradients from dual numbers."""
    zero = theta[0] * 0
    places = rates.form.momentum, rates.form.pull
    m, p = (zero if place is None else rates.values[place] for place in places)
    phi, u = theta, np.array([zero] * len(theta))
    for entry in rates.form.steps:
        g = dual_gradient(lambda point: model.value(point, batches.support), phi)
        u = u * m + g + (phi - theta) * p  # arrays first: a number of the ring takes no array
        phi = phi - engine.inner.factor(entry, rates.values, rates.form.blocks, False) * u
    return model.value(phi, batches.query)


@pytest.mark.parametrize(
    ("draw", "a", "activation", "name"),
    [(field_elements, Mod(3) / 7, "square", name) for name in exact_structures(1)]
    + [(fractions, Fraction(1, 6), "relu", name) for name in ("biases", "both")],
)
def test_the_gradient_in_exact_arithmetic(handled, draw, a, activation, name):
    rng, model = np.random.default_rng(2), numaml.MLP((1, 2, 1), activation)
    theta, tasks = draw(rng, model.size), tasks_of(draw, rng, (), 1, 1)
    alpha = exact_structures(a)[name]
    rates = engine.alpha.checked_rates(alpha, theta, model, 2)
    want = dual_gradient(lambda point: true_value(model, point, tasks, rates), theta)
    value, got = numaml.meta_gradient(model, theta, tasks, alpha, 2)
    assert value == numaml.meta_value(model, theta, tasks, alpha, 2)
    assert np.array_equal(got, want)
    assert not np.array_equal(
        got, numaml.first_order_meta_gradient(model, theta, tasks, alpha, 2)[1]
    )


@pytest.mark.parametrize("layered", [False, True])
def test_replayed_bit_for_bit(layered, monkeypatch):
    monkeypatch.setattr(factored, "layered", lambda *_: layered)
    case = CASES["layer"]
    before = engine.replaying(False)
    for name in ("blocks", "steps and parameters", "both"):
        engine.replaying(False)
        alpha = structures(case.model.size)[name]
        arguments = case.model, case.theta, case.tasks, alpha, STEPS
        plain = numaml.meta_gradient(*arguments)
        engine.replaying(True)
        for _ in range(3):
            value, gradient = numaml.meta_gradient(*arguments)
        assert engine.recordings()[-1].steps, name
        assert value == plain[0]
        assert gradient.tobytes() == plain[1].tobytes()
    engine.replaying(before)


def test_what_no_step_moves_has_no_copy_and_no_products_of_its_own(monkeypatch):
    """The head's steps on wide layers: the body stays θ's own, and its direction is nothing."""
    monkeypatch.setattr(factored, "layered", lambda *_: True)
    monkeypatch.setattr(factored, "pays", lambda rank, n_in, n_out: rank < n_in + n_out)
    case = CASES[None]
    model, seen = case.model, []
    alpha = (None, None, 0.3)
    rates = engine.alpha.checked_rates(alpha, case.theta, model, STEPS)
    stepped, one = engine.inner.stepped(model, rates)
    phi, course, _ = stepped.lift(*model.checked(case.theta, case.tasks.support, case.tasks.query))
    for _ in range(STEPS):
        _, move, _ = stepped.linearize(phi, course)
        phi = phi - one * move
        seen.append(move)
    assert all(W.base.ndim == 2 and not W.pairs for W, _ in phi.layers[:2])
    assert all(b.shape[0] == 1 for _, b in phi.layers[:2])
    assert all(of is engine.inner.NOTHING for of in seen[0].layers[0])
