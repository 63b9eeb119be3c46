"""Rates from the command line: trained, kept in the learner, evaluated."""

import numpy as np
import pytest

import numaml
from numaml import family
from numaml.command import main as cli
from numaml.experiments import runs
from numaml.experiments.experiment import Trained
from numaml.experiments.omniglot import Omniglot
from numaml.experiments.sinusoid import Sinusoid
from numaml.learning.state import State

pytestmark = pytest.mark.usefixtures("in_turn")

LITTLE = ["--tasks", "2", "--shots", "3", "--queries", "4", "--hidden", "5", "4", "--every", "4"]


def train(folder, iterations, *options):
    options = [*LITTLE, "--iterations", str(iterations), "--alone", *options]
    assert cli.main(["train", "sinusoid", "--out", str(folder), *options]) == 0


def test_learned_rates_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("numaml.experiments.sinusoid.TEST_TASKS", 6)
    options = ["--rates", "tensor", "--adapt", "body", "--momentum", "0.5", "--steps", "2",
               "--weights", "multi-step", "--limit", "0.5"]  # fmt: skip
    train(tmp_path / "run", 8, *options)
    (one,) = runs.load(tmp_path / "run").values()
    state, model = one.state, one.experiment.model
    assert len(state.theta) == model.size + 2 * 4 + 1
    assert (one.vector[model.size :] != 1).all()
    learner = numaml.Learner.load(tmp_path / "run" / "learner.npz")
    theta, alpha = family.parted(model, one.vector, one.experiment.inner, 2)
    assert learner.theta.tobytes() == theta.tobytes()
    assert learner.alpha["momentum"] == alpha["momentum"] != 0.5
    first, second = learner.alpha["rates"]["steps"]
    assert first["layers"][2] is None
    assert first["layers"][0]["W"] != second["layers"][0]["W"]
    assert state.settings["limit"] == 0.5
    assert state.settings["gradient"].startswith("Exact(learned=True, weights=MultiStep(epoch=1")
    told = capsys.readouterr().out
    assert cli.main(["evaluate", str(tmp_path / "run")]) == 0
    assert told.split("5-shot test")[1][:60] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "inner", "learned", "gradient"),
    [
        ({}, 0.01, False, "meta_gradient"),
        ({"learner": "first-order"}, 0.01, False, "first_order_meta_gradient"),
        ({"adapt": "head"}, (None, None, 0.01), False, "meta_gradient"),
        ({"rates": "parameter"}, {"parameters": 0.01}, True, "Exact"),
        ({"rates": "one", "learner": "first-order"}, 0.01, True, "FirstOrder"),
        ({"rates": "one", "learner": "pretrained"}, 0.01, False, "meta_gradient"),
        ({"weights": "multi-step", "steps": 2}, 0.01, False, "Exact"),
        (
            {"rates": "tensor", "adapt": "head", "steps": 2},
            [(None, None, (0.01, 0.01))] * 2,
            True,
            "Exact",
        ),
        (
            {"rates": "tensor", "adapt": "head", "learner": "pretrained"},
            (None, None, (0.01, 0.01)),
            False,
            "meta_gradient",
        ),
        ({"momentum": 0.9}, {"rates": 0.01, "momentum": 0.9}, False, "meta_gradient"),
    ],
)
def test_settings_are_rates(settings, inner, learned, gradient):
    one = Sinusoid(**settings)
    assert (one.inner, one.loop.learned) == (inner, learned)
    taken = one.gradient()
    assert (getattr(taken, "__name__", None) or type(taken).__name__) == gradient
    theta = one.start(np.random.default_rng(0))
    again, _ = one.parted(one.joined(theta))
    assert again.tobytes() == theta.tobytes()


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ValueError, match="only the head moves"):
        Sinusoid(rates="parameter", adapt="head")
    with pytest.raises(ValueError, match="test-alpha is a rate for all"):
        Omniglot(test_alpha=(0.1,), rates="one")


@pytest.mark.parametrize(
    ("rates", "by_steps"),
    [
        ((), {0: 0.5, 1: 0.5, 3: 0.5}),
        ((0.25,), {0: 0.25, 1: 0.25, 3: 0.25}),
        ((2.0, 0.25), {0: 2.0, 1: [2.0], 3: [2.0, 0.25, 0.25]}),
        ((2.0, 0.5, 0.25, 0.1), {2: [2.0, 0.5], 5: [2.0, 0.5, 0.25, 0.1, 0.1]}),
    ],
)
def test_the_last_rate_of_the_test_serves_all_further_steps(rates, by_steps):
    one = Omniglot(alpha=0.5, test_alpha=rates)
    trained = Trained(one, State(np.ones(3), np.random.default_rng(0)))
    assert {steps: trained.alpha_for(steps) for steps in by_steps} == by_steps
