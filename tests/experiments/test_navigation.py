"""The navigation experiment: what is chosen by what, what the table shows, and resumed runs."""

import csv
import signal
from contextlib import contextmanager

import numpy as np
import pytest

from numaml.command import main as cli
from numaml.experiments import navigation, runs
from numaml.experiments.experiment import Trained
from numaml.experiments.navigation import NavigationExperiment
from numaml.family.policies import TrustRegion
from numaml.learning.state import State

pytestmark = pytest.mark.usefixtures("in_turn")

SHORT = [
    "--every", "1", "--tasks", "2", "--shots", "3", "--queries", "4", "--hidden", "6",
    "--horizon", "5", "--test-paths", "3",
]  # fmt: skip
TINY = NavigationExperiment(shots=3, queries=4, hidden=(6,), horizon=5, test_paths=7)


@pytest.fixture(autouse=True)
def few_goals(monkeypatch):
    monkeypatch.setattr(navigation, "FRESH", 3)
    monkeypatch.setattr(navigation, "VALIDATION", 4)


def train(folder, *options, ends=0):
    assert cli.main(["train", "navigation", "--out", str(folder), *SHORT, *options]) == ends


@contextmanager
def stopped_at(step):
    """Outer steps during one of which Ctrl-C is pressed."""
    before, steps = signal.getsignal(signal.SIGINT), iter(range(1, 9))

    def stepped(self, *arguments, outer=TrustRegion.__call__):
        if next(steps) == step:
            signal.raise_signal(signal.SIGINT)
        return outer(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrustRegion, "__call__", stepped)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
    signal.signal(signal.SIGINT, before)


def test_trained_resumed_and_evaluated(tmp_path, capsys, monkeypatch):
    drawn = pytest.importorskip("matplotlib")
    between = ("--iterations", "4", "--every", "2")  # Ctrl-C at 3: no checkpoint is due then
    train(tmp_path / "whole", *between)
    said = capsys.readouterr().out
    with (tmp_path / "whole" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["goals"], row["steps"]) for row in rows] == [
        (goals, str(k)) for goals in ("paper", "fresh") for k in range(5)
    ]
    for row in rows:
        assert f"{float(row['return']):.2f} ± {float(row['ci95']):.2f}" in said
    assert "-40.41 ± 4.01   -11.68 ± 2.16" in said
    for name in ("learning_curve", "paths", "each_goal") if drawn else ():
        assert (tmp_path / "whole" / f"{name}.png").stat().st_size > 10_000
    monkeypatch.setattr(NavigationExperiment, "figures", lambda *_: [])
    with stopped_at(3):
        train(tmp_path / "parts", *between, ends=130)
    assert "nothing is lost: continue with numaml train" in capsys.readouterr().err
    assert len(next(iter(runs.load(tmp_path / "parts").values())).state.values) == 3
    assert cli.main(["train", "--resume", str(tmp_path / "parts")]) == 0
    capsys.readouterr()
    assert cli.main(["evaluate", str(tmp_path / "parts")]) == 0
    assert capsys.readouterr().out.split("\nwritten")[0].strip() in said
    for name in ("checkpoint.npz", "learner.npz", "results.csv"):
        one, other = ((tmp_path / run / name).read_bytes() for run in ("whole", "parts"))
        assert one == other, name
    assert "first-order MAML" not in said
    assert cli.main(["train", "--resume", str(tmp_path / "parts"), "--no-alone"]) == 0
    assert capsys.readouterr().out.count("first-order MAML  ") == 2


def test_adam_and_the_papers_protocol(tmp_path):
    train(
        tmp_path, "--iterations", "1", "--optimizer", "adam", "--preset", "paper", "--first-order"
    )
    (one,) = runs.load(tmp_path).values()
    assert one.experiment.recipe.each
    assert not one.experiment.recipe.squared
    assert "outer" not in one.state.settings
    assert "exact=False" in one.state.settings["gradient"]
    assert abs(one.state.theta - one.experiment.start(np.random.default_rng(0))).max() < 0.011


def test_settings_of_another_outer_step_are_not_believed(tmp_path, capsys):
    train(tmp_path, "--iterations", "1")
    saved = runs.read(tmp_path)
    runs.write(NavigationExperiment(**{**vars(saved), "divergence": 0.5}), tmp_path)
    assert cli.main(["evaluate", str(tmp_path)]) == 2
    assert "config.json says outer = TrustRegion(" in capsys.readouterr().err


def test_actions_begin_as_wide_as_they_are_said_to_be():
    x = np.random.default_rng(1).normal(size=(9, 2)).astype("f4")
    for still in (True, False):
        experiment = NavigationExperiment(spread=0.7, still=still)
        u = experiment.model.predict(experiment.start(np.random.default_rng(0)), x)
        assert np.allclose(np.exp(u[:, 2:]), 0.7)
        assert (abs(u[:, :2]).max(0) < 1e-9 if still else abs(u[:, :2]).max(0) > 0.1).all()


def test_what_is_tested_on_chooses_nothing(monkeypatch):
    """α comes from the validation goals, and a goal's return depends on itself alone."""
    state = State(TINY.start(np.random.default_rng(0)), np.random.default_rng(0))
    alphas = navigation.chosen(Trained(TINY, state))
    assert alphas[0] == TINY.alpha
    assert len(alphas) == 4
    assert alphas[1:] == 3 * alphas[1:2]
    scores = {}
    for part in TINY.later:
        some = (TINY.alpha, *[part * TINY.alpha] * 3)
        returns = navigation.returns_along(TINY, state.theta, TINY.validation_goals(), some, 4)
        scores[some] = returns[1:].mean()
    assert max(scores, key=scores.get) == alphas
    monkeypatch.setattr(navigation, "GOALS", navigation.GOALS + 1)
    assert navigation.chosen(Trained(TINY, state)) == alphas
    goals = np.array([[0.3, 0.1], [0.2, -0.4]])
    both = navigation.returns_along(TINY, state.theta, goals, alphas, 7)
    goals[1] += 0.1
    again = navigation.returns_along(TINY, state.theta, goals, alphas, 7)
    assert (both[:, 0] == again[:, 0]).all()
    assert (both[:, 1] != again[:, 1]).all()


def test_tasks_are_tested_on_as_many_paths_as_said_and_trained_on_as_before():
    theta = TINY.start(np.random.default_rng(0))
    found = navigation.walked(TINY, theta, np.array([[0.3, 0.1]]), (0.5, 0.25), 7)
    assert [paths.taken.shape for paths in found] == [(1, 7, 5)] * 3
    assert TINY.outer().recipe == TINY.recipe
    assert (TINY.recipe.paths, TINY.recipe.judged_by) == (3, 4)


def test_steps_that_run_away_have_no_return():
    theta = TINY.start(np.random.default_rng(0))
    returns = navigation.returns_along(TINY, theta, np.array([[0.3, 0.1]]), (1e30, 1e30), 7)
    assert np.isfinite(returns[0]).all()
    assert np.isnan(returns[-1]).all()
    experiment = NavigationExperiment(alpha=1e18, shots=3, queries=4, hidden=(6,), horizon=5)
    assert experiment.validator()(theta) < -300
