"""The sinusoid experiment: what its table shows, and how learners that run away are counted."""

import numpy as np
import pytest

from numaml.command import main as cli
from numaml.experiments import runs, sinusoid
from numaml.experiments.sinusoid import Sinusoid

pytestmark = pytest.mark.usefixtures("in_turn")

SHORT = ["--iterations", "120", "--tasks", "4", "--hidden", "8"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sinusoid") / "run"
    assert cli.main(["train", "sinusoid", "--out", str(folder), *SHORT]) == 0
    return folder


def test_the_table_shows_what_was_measured(trained):
    learners = runs.load(trained)
    rows, one = Sinusoid.results(learners, seed=0), learners["first-order"]
    losses = sinusoid.errors_on_fresh_tasks(one, 5, 0)
    assert losses.shape == (11, 600)
    row = next(r for r in rows if (r["learner"], r["shots"], r["steps"]) == ("first-order", 5, 10))
    assert row["mse"] == losses[10].mean()
    assert f"{row['mse']:.3f} ± {row['ci95']:.3f}" in Sinusoid.table(rows)


def errors_with(lost):
    """Of 600 tasks, so many run away over five steps; the others' error is 0.5."""
    errors = np.full((11, 600), 0.5)
    errors[5:, :lost] = np.resize([np.inf, np.nan, 101.0, 1e30], lost)
    return errors


@pytest.mark.parametrize(("lost", "cell"), [(0, "0.500 ± 0.000"), (6, "0.500 ± 0.000*")])
def test_tasks_that_run_away_are_counted_and_left_out(lost, cell, monkeypatch):
    monkeypatch.setattr(sinusoid, "errors_on_fresh_tasks", lambda *_: errors_with(lost))
    rows = Sinusoid.results({"exact": None}, 0)
    assert [row["ran_away"] for row in rows] == 2 * [0, 0, lost, lost]
    text = Sinusoid.table(rows)
    assert text.count(" " + cell + "\n") == 2
    assert text.count("* without tasks whose error runs away over the steps, at most 6") == (
        2 * (lost > 0)
    )


def test_many_tasks_that_run_away_are_divergence(monkeypatch):
    monkeypatch.setattr(sinusoid, "errors_on_fresh_tasks", lambda *_: errors_with(7))
    text = Sinusoid.table(Sinusoid.results({"exact": None}, 0))
    assert text.count("0.500 ± 0.000") == 4
    assert text.count("diverged") == 4
    assert "*" not in text


def test_what_runs_away_in_validation_is_bad_but_finite():
    config = Sinusoid(hidden=(8,), seed=5)
    theta = config.model.init(0)
    score = config.validator()
    assert score(theta) == Sinusoid(hidden=(8,), seed=5).validator()(theta)
    assert score(theta) != Sinusoid(hidden=(8,), seed=6).validator()(theta)
    assert -20 < score(theta) < 0
    away = Sinusoid(hidden=(8,), alpha=1e3)
    assert away.validator()(theta) == -sinusoid.AWAY
