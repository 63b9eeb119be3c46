"""Figures of a decision: what is drawn is what was measured, in the user's units."""

import numpy as np
import pytest

from numaml import MLP, Grouped, Scaling
from numaml.experiments import decision_figures, ways
from numaml.experiments.comparison import compared
from numaml.experiments.decision import Decision, Part
from numaml.learning.held import DRAWS, as_it_is, drawn

pytest.importorskip("matplotlib")
UNITS = Scaling(np.array([5.0]), np.array([2.0]), np.array([100.0]), np.array([30.0]))


def part(shots=4, features=1, classes=0):
    rng = np.random.default_rng(3)
    x, groups = rng.normal(size=(45, features)), np.repeat(np.arange(5), 9)
    y = rng.integers(0, classes, 45) if classes else x[:, 0] * (1 + groups)
    held = drawn(Grouped(x, y, groups, shots, 3), [0, 2])
    if classes:
        model = MLP((features, 2, classes), loss="cross_entropy")
        shares = ways.baselines(Grouped(x, y, groups, 4, 3), model, 0)["majority of the support"]
        own = {"ours": as_it_is(model, 3 * model.init(0)), "base": shares}
    else:
        flat = as_it_is(MLP((features, 1)), np.zeros(features + 1))
        own = {"ours": ways.ridge, "ours, before adapting": flat, "base": ways.gaussian_process}
    units = UNITS if features == 1 else Scaling(np.zeros(features), np.ones(features), *UNITS[2:])
    if classes:
        units = Scaling(*units[:2], np.zeros(classes), np.ones(classes))
    outcomes = compared(own, held, held)
    return Part(shots, 1, held, outcomes, units, tuple("abcde"[:classes]), "5 tasks")


def decision(*parts):
    names = ("week", "dose")[: parts[0].held.drawn.query.x.shape[-1]]
    return Decision("weight", names, "ours", "no other", ("base",), "random", list(parts))


@pytest.fixture
def axes(monkeypatch, tmp_path):
    """Draw; the axes of what would be written."""

    def of(draw, *parts):
        found = []
        monkeypatch.setattr(
            decision_figures, "write_figure", lambda drawn, path: found.append(drawn) or path
        )
        draw(decision(*parts), tmp_path)
        found[0].canvas.draw()
        return found[0].axes

    return of


def lines(axes):
    return {line.get_label(): line.get_xydata() for line in axes.get_lines()}


def test_errors_of_one_size_and_of_several(axes):
    one, other = part(4), part(2)
    (alone,) = axes(decision_figures.errors, one)
    means = [30 * one.outcomes[way].measures["error"].mean() for way in one.outcomes]
    drawn_at = [line.get_xdata()[0] for line in alone.get_lines() if line.get_marker() == "o"]
    assert drawn_at == pytest.approx(means)
    assert [text.get_text() for text in alone.get_yticklabels()] == list(one.outcomes)
    assert alone.get_xlabel() == "root mean square error of weight"
    (both,) = axes(decision_figures.errors, one, other)
    curves = [line.get_xydata() for line in both.get_lines() if len(line.get_xdata()) == 2]
    ours = next(curve for curve in curves if curve[1, 1] == pytest.approx(means[0]))
    assert ours[0] == pytest.approx([2, 30 * other.outcomes["ours"].measures["error"].mean()])


def test_held_out_tasks_are_curves_over_one_feature(axes):
    one = part()
    panels = axes(decision_figures.held_tasks, one)
    assert [panel.get_title(loc="left") for panel in panels] == ["0", "1", "2"]
    found = lines(panels[1])
    assert list(found) == ["its rows", "ours", "ours, before adapting", "base", "support"]
    support = one.held.drawn.support
    x, y = (getattr(support, axis)[DRAWS, :, 0] for axis in "xy")
    np.testing.assert_allclose(found["support"], np.stack([5 + 2 * x, 100 + 30 * y], 1))
    assert (found["ours, before adapting"][:, 1] == 100).all()  # zero, in the target's units
    curve, ends = found["ours"], found["its rows"][:, 0]
    assert np.ptp(np.diff(curve[:, 1])) < 1e-9  # ridge is a line
    assert (curve[0, 0], curve[-1, 0]) == pytest.approx((ends.min(), ends.max()))


def test_held_out_tasks_of_several_features_are_predicted_against_true(axes):
    one = part(features=2)
    panel = axes(decision_figures.held_tasks, one)[2]
    found, mine = lines(panel)["base"], slice(2 * DRAWS, 3 * DRAWS)
    want = [one.held.drawn.query.y[mine], one.outcomes["base"].predicted[mine]]
    np.testing.assert_allclose(found, np.stack([100 + 30 * w.ravel() for w in want], 1))
    assert panel.get_xlabel() == "true weight"


def test_reliability_by_hand(axes):
    one = part(classes=3)
    (panel,) = axes(decision_figures.reliability, one)
    found, p = lines(panel)["ours"], one.outcomes["ours"].predicted
    sure, right = p.max(-1), p.argmax(-1) == one.held.drawn.query.y
    first = np.floor(sure * 10) == np.floor(sure.min() * 10)
    assert found[0] == pytest.approx([sure[first].mean(), right[first].mean()])
    assert len(found) == len(np.unique(np.floor(sure * 10)))
    text = decision(one).text()
    assert "accuracy in % for weight" in text
    assert "MAML better by" in text


def test_a_forests_predictions_are_moved_without_the_forest():
    """By two that are constant: what is known of a task counts in full, or half."""
    tasks = part().held.drawn
    flat = [one for _, one in ways._moved(lambda x: np.full((*x.shape[:2], 1), 7.0), False)(tasks)]
    missed = (tasks.support.y - 7).mean(1, keepdims=True)
    np.testing.assert_allclose(flat[0], 7 + np.broadcast_to(missed, flat[0].shape))
    np.testing.assert_allclose(flat[1], 7 + np.broadcast_to(missed * 4 / 5, flat[0].shape))
    tasks = part(classes=3).held.drawn
    even = ways._moved(lambda x: np.full((*x.shape[:2], 3), 1 / 3), True)
    found = [one for _, one in even(tasks)]
    counts = (tasks.support.y[..., None] == np.arange(3)).sum(1)
    np.testing.assert_allclose(found[0], 1 / 3)
    np.testing.assert_allclose(found[-1][:, 0], (counts + 1 / 3) / 5)
