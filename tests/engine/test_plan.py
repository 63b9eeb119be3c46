"""What is told beforehand is what happens: forms of weights, and parts."""

import numpy as np
import pytest

import numaml
from numaml.engine import calls, parts
from numaml.weights.factored import Layered

pytestmark = pytest.mark.usefixtures("plain")


def tasks_for(model, n_tasks, n):
    rng, lead = np.random.default_rng(0), () if n_tasks is None else (n_tasks,)
    x, y = (rng.normal(size=(*lead, n, width)) for width in (model.sizes[0], model.sizes[-1]))
    return numaml.Tasks(numaml.Batch(x, y), numaml.Batch(x, y))


def forms(model, theta, support, steps):
    """Of every layer the form of its weight in φ_0, …, φ_K, from the weights themselves."""
    phi, rows = model.lift(theta, support)
    seen = []
    for _ in range(steps + 1):
        seen.append([form(W) for W, _ in phi.layers] if isinstance(phi, Layered)
                    else ["flat"] * (len(model.sizes) - 1))  # fmt: skip
        phi = phi - 0.01 * model.linearize(phi, rows)[1]
    return tuple(zip(*seen, strict=True))


def form(W):
    base, pairs = W.settled
    if pairs:
        return "factored"
    return "shared" if base.ndim == 2 and not W.pairs else "multiplied out"


@pytest.mark.parametrize(
    ("sizes", "n_tasks", "n", "expected"),
    [
        ((1, 40, 40, 1), 5, 4, {"flat"}),
        ((200, 180, 3), 5, 30, {"shared", "factored", "multiplied out"}),
        ((200, 180, 3), None, 30, {"shared", "factored", "multiplied out"}),
        ((3, 200, 180), 4, 40, {"shared", "factored", "multiplied out"}),  # dense after two steps
        ((200, 180, 3), 3, 95, {"flat"}),  # large, but nothing pays
        ((200, 180, 3), 5, 95, {"shared", "multiplied out"}),  # so large that the mean does
    ],
)
def test_the_forms_told_are_those_taken(sizes, n_tasks, n, expected):
    model = numaml.MLP(sizes, "tanh")
    theta, tasks = model.init(0), tasks_for(model, n_tasks, n)
    told = numaml.engine.plan(model, theta, tasks, 0.01, 3).forms
    assert told == forms(model, theta, tasks.support, 3)
    assert {one for layer in told for one in layer} == expected


def test_the_parts_told_are_those_taken(monkeypatch):
    monkeypatch.setattr(parts, "KEPT", 2**12)
    monkeypatch.setattr(parts, "PART", 2**15)
    monkeypatch.setattr(parts, "THETAS", 0)
    monkeypatch.setattr(parts, "ROWS", 1)
    taken, mean = [], calls.mean
    monkeypatch.setattr(
        calls, "mean", lambda results, sizes: taken.append(tuple(sizes)) or mean(results, sizes)
    )
    model = numaml.MLP((3, 8, 7, 4), "tanh")
    theta, tasks = model.init(0), tasks_for(model, 7, 4)
    told = numaml.engine.plan(model, theta, tasks, 0.1, 2)
    numaml.meta_gradient(model, theta, tasks, 0.1, 2)
    assert len(told.parts) > 1
    assert taken == [told.parts]


def test_of_another_model_no_forms_are_told():
    class Mean:
        def value(self, theta, batch):
            return ((theta - batch) ** 2).sum(-1)

        def linearize(self, theta, batch):
            return self.value(theta, batch), 2 * (theta - batch), lambda v: 2 * v

    pair = type("Pair", (), {"support": np.ones((3, 2)), "query": np.zeros((3, 2))})
    plan = numaml.engine.plan(Mean(), np.zeros(2), pair, 0.1, 1)
    assert plan.forms == ()
    assert plan.replay.startswith("plain")
