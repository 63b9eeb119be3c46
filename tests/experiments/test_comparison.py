"""Comparisons: baselines by other means, paired intervals by a bootstrap, and what is concluded."""

import dataclasses

import numpy as np
import pytest

from numaml import MLP, Batch, Grouped, Scaling, Tasks
from numaml.experiments import ways
from numaml.experiments.comparison import Outcome, compared, difference, verdict
from numaml.experiments.decision import Decision, Part
from numaml.learning import held as held_tasks
from numaml.learning.held import DRAWS, Held, chosen, drawn, measured


def tasks(classes=0, seed=0):
    """Seven tasks, four support and three query rows, two features."""
    rng = np.random.default_rng(seed)
    x, query = rng.normal(size=(7, 4, 2)), rng.normal(size=(7, 3, 2))
    y, true = (rng.normal(size=(7, n, 1)) for n in (4, 3))
    if classes:
        y, true = (rng.integers(0, classes, (7, n)) for n in (4, 3))
    return Tasks(Batch(x, y), Batch(query, true))


def source(classes=0):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(60, 2)), rng.normal(size=60)
    y = rng.integers(0, classes, 60) if classes else y
    return Grouped(x, y, np.repeat(np.arange(6), 10), 4, 3)


def test_ridge_and_gaussian_process_are_scikit_learns():
    linear = pytest.importorskip("sklearn.linear_model")
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel

    given = tasks()
    support, query = given.support, given.query
    for words, predicted in ways.ridge(given):
        ridge = linear.Ridge(float(words.split()[-1])).fit(support.x[2], support.y[2, :, 0])
        np.testing.assert_allclose(predicted[2], ridge.predict(query.x[2])[:, None], rtol=1e-9)
    for words, predicted in ways.gaussian_process(given):
        length, noise = (float(word.split()[-1]) for word in words.split(","))
        kernel = ConstantKernel(1.0) + RBF(length * 2**0.5)  # distances are means over features
        process = GaussianProcessRegressor(kernel, alpha=noise, optimizer=None)
        process.fit(support.x[5], support.y[5, :, 0])
        np.testing.assert_allclose(predicted[5], process.predict(query.x[5])[:, None], rtol=1e-6)


def test_means_and_shares_by_hand():
    given = tasks()
    found = ways.baselines(source(), MLP((2, 3, 1)), 0)
    ((_, mean),) = found["mean of the support"](given)
    assert mean[3, :, 0].tolist() == pytest.approx([given.support.y[3].mean()] * 3)
    given, rows = tasks(3), source(3)
    model = MLP((2, 3, 3), loss="cross_entropy")
    ((_, shares),) = ways.baselines(rows, model, 0)["majority of the support"](given)
    prior = np.array([(rows.y == k).mean() for k in range(3)])
    counts = np.array([(given.support.y[6] == k).sum() for k in range(3)])
    np.testing.assert_allclose(shares[6, 2], (counts + prior) / 5)


@pytest.mark.parametrize("classes", [0, 3])
def test_a_forest_is_moved_towards_the_support(classes):
    pytest.importorskip("sklearn")
    given, (name, model) = tasks(classes), ("random forest, offset by task", MLP((2, 3, 1)))
    if classes:
        model = MLP((2, 3, 3), loss="cross_entropy")
    found = [one for _, one in ways.baselines(source(classes), model, 0)[name](given)]
    if classes:
        assert all(np.allclose(one.sum(-1), 1) for one in found)
        assert all((one > 0).all() for one in found)
        ratio = found[-1] / found[0]  # as the support has more of a class than the forest
        counts = (given.support.y[..., None] == np.arange(3)).sum(1)
        assert np.corrcoef(np.log(ratio[:, 0]).ravel(), counts.ravel())[0, 1] > 0.8
    else:
        moves = [one - found[0] for one in found]
        assert np.ptp(moves[-1], axis=1) == pytest.approx(0)  # the same for all of a task
        assert (abs(moves[-1]) > abs(moves[1])).mean() == 1  # back towards the forest


def test_a_network_adapts_at_each_rate_and_step():
    model, given = MLP((2, 3, 1), "tanh"), tasks()
    theta = model.init(0)
    found = dict(held_tasks.adapting(model, theta, (0.1, 0.3), 2, 1)(given))
    assert list(found) == ["α 0.1, K 1", "α 0.1, K 2", "α 0.3, K 1", "α 0.3, K 2"]
    _, gradient, _ = model.linearize(theta, given.support)
    once = model.predict(theta - 0.3 * np.asarray(gradient), given.query.x)
    np.testing.assert_allclose(found["α 0.3, K 1"], once)
    ((_, before),) = held_tasks.as_it_is(model, theta)(given)
    np.testing.assert_allclose(before, model.predict(theta, given.query.x))


def held(count=7, **changes):
    rng = np.random.default_rng(3)
    x, groups = rng.normal(size=(count * 9, 2)), np.repeat(np.arange(count), 9)
    rows = Grouped(x, x[:, 0] * (1 + groups), groups, **({"shots": 4, "queries": 3} | changes))
    return drawn(rows, [0, 2])


def test_draws_are_the_same_number_from_each_task_and_do_not_depend_on_the_others():
    seven, two = held(), held(2)
    assert seven.drawn.query.x.shape == (7 * DRAWS, 3, 2)
    assert (seven.drawn.query.x[: 2 * DRAWS] == two.drawn.query.x).all()
    assert seven.per_task(np.repeat(np.arange(7.0), DRAWS)).tolist() == [0, 1, 2, 3, 4, 5, 6]
    rows = np.arange(63.0)[:, None]
    one, other = np.split(
        drawn(Grouped(rows, rows[:, 0], np.repeat(np.arange(7), 9), 4, 3), [0]).drawn.support.x, 7
    )[:2]
    assert not (one == other - 9).all()  # each task's draws are its own
    first = drawn(Grouped(rows, rows[:, 0], np.repeat(np.arange(7), 9), 4, 3, support="first"), [0])
    assert (first.drawn.support.x[DRAWS + 3, :, 0] == [9, 10, 11, 12]).all()
    assert set(first.drawn.query.x[DRAWS : 2 * DRAWS].ravel()) == {13, 14, 15, 16, 17}


def test_errors_by_hand():
    one = Held(np.array(["a", "b"]), held(2).drawn)
    y = one.drawn.query.y
    off = np.where(np.arange(2 * DRAWS) < DRAWS, 0.5, 2.0)[:, None, None]
    found = measured(one, y + off)
    assert found["error"] == pytest.approx([0.5, 2.0])
    assert found["square"] == pytest.approx([0.25, 4.0])
    assert measured(one, np.where(off > 1, np.nan, y))["error"].tolist() == [0, np.inf]
    classes = Held(one.names, Tasks(*(Batch(b.x, np.zeros(b.x.shape[:2], int))
                                      for b in (one.drawn.support, one.drawn.query))))  # fmt: skip
    p = np.broadcast_to([0.25, 0.75], (*y.shape[:2], 2)).copy()
    p[DRAWS:] = [0.8, 0.2]
    found = measured(classes, p)
    assert found["wrong"].tolist() == [1, 0]
    assert found["log loss"] == pytest.approx(-np.log([0.25, 0.8]))


def test_what_is_chosen_is_chosen_on_validation_and_used_at_the_test():
    right, wrong = (lambda t: t.query.y), (lambda t: t.query.y + 9)

    def way(given):
        yield "first", wrong(given)
        yield "second", right(given) + 1
        yield "third", np.full_like(right(given), np.nan)

    validation = held(2)
    assert chosen(way, validation) == 1
    (outcome,) = compared({"way": way}, validation, held()).values()
    assert outcome.chosen == "second"
    assert outcome.measures["error"] == pytest.approx(np.ones(7))


@pytest.mark.parametrize("count", [11, 60])
def test_the_interval_of_paired_differences_is_the_bootstraps(count):
    """Over tasks, whose levels differ far more than the ways do."""
    rng = np.random.default_rng(count)
    level = rng.lognormal(3, 1, count)
    ours, theirs = level + rng.normal(0, 2, count), level + rng.normal(3, 2, count)
    found = difference(ours, theirs)
    again = rng.integers(0, count, (20_000, count))
    low, high = np.quantile((theirs - ours)[again].mean(1), [0.025, 0.975])
    # Student's t and n − 1 make it wider than the percentiles: by a fifth with 11 tasks.
    factor = {11: 2.23 / 1.96 * (11 / 10) ** 0.5, 60: 1.0}[count]
    assert found.mean == pytest.approx((low + high) / 2, abs=0.1)
    assert found.interval == pytest.approx(factor * (high - low) / 2, rel=0.05)
    assert found.wins == (ours < theirs).sum()
    assert found.settled
    unpaired = 1.96 * np.hypot(ours.std(), theirs.std()) / count**0.5
    assert unpaired > 3 * found.interval


VERDICTS = {
    "is better than every baseline: than the best, close, by 0.9 ± 0.28 kg, on 5 of 5 tasks; the": {
        "ours": [1, 2, 3, 4, 5], "close": [2, 3, 4, 5, 5.5], "far": [9, 9, 9, 9, 9],
    },
    "close is better than ours, by 0.9 ± 0.28 kg: take it": {
        "ours": [2, 3, 4, 5, 5.5], "close": [1, 2, 3, 4, 5], "far": [9, 9, 9, 9, 9],
    },
    "not settled between ours and close: it is better than the best baseline, close, on 3 of 5": {
        "ours": [1, 2, 3, 4, 5], "close": [0, 1, 4, 5, 6], "far": [9, 9, 9, 9, 9],
    },
    "better than every baseline: than the best, close, by any amount, since that one diverged": {
        "ours": [1, 2, 3, 4, 5], "close": [1, 2, np.inf, 3, 4], "far": [1, np.inf, 3, 4, 5],
    },
    "not settled between ours and close, far": {"ours": [1], "close": [2], "far": [3]},
}  # fmt: skip


def test_a_better_first_order_learner_is_said():
    own = held()
    off = {"ours": 2.0, "the other": 1.0, "base": 5.0}
    y, noise = own.drawn.query.y, np.linspace(0.9, 1.1, 7 * DRAWS)[:, None, None]
    outcomes = {way: Outcome("", measured(own, y + by * noise), y, None) for way, by in off.items()}
    scaling = Scaling(np.zeros(2), np.ones(2), np.zeros(1), np.full(1, 10.0))
    part = Part(4, 1, own, outcomes, scaling, (), "2 tasks for validation")
    decision = Decision("kg", ("a", "b"), "ours", "the other", ("base",), "random", [part])
    text = decision.text()
    assert "verdict: ours is better than every baseline: than the best, base, by 30 ± " in text
    assert text.endswith("; the other is better still, by 10\n")
    assert len({len(line) for line in text.splitlines()[3:5]}) == 1
    rows = {row["way"]: row for row in decision.tables()["results.csv"]}
    assert rows["base"]["gain"] == pytest.approx(30, rel=1e-3)
    assert rows["base"]["wins"] == 7
    one = next(row for row in decision.tables()["tasks.csv"] if row["way"] == "base")
    assert one["error"] == pytest.approx(50, rel=0.15)
    assert one["square"] == pytest.approx(one["error"] ** 2)
    first = decision.tables()["predictions.csv"][0]
    assert float(first["kg"]) == pytest.approx(10 * y[0, 0, 0])
    assert float(first["a"]) == pytest.approx(own.drawn.query.x[0, 0, 0])


@pytest.mark.parametrize("words", VERDICTS)
def test_verdicts(words):
    errors = {way: np.array(each, float) for way, each in VERDICTS[words].items()}
    said = verdict("ours", errors, ("close", "far"), " kg", "ask more")
    assert words in said, said
    assert said.endswith("; ask more") == ("not settled" in said)


def test_the_first_rows_are_the_support():
    x = np.arange(40.0)[::-1, None]
    groups = np.tile([1, 0], 20)
    rows = Grouped(x, x[:, 0], groups, shots=3, queries=5, tasks=2, support="first")
    for seed in range(5):
        drawn_ = rows(np.random.default_rng(seed))
        own = {tuple(s[:, 0]): set(q[:, 0]) for s, q in zip(drawn_.support.x, drawn_.query.x,
                                                            strict=True)}  # fmt: skip
        assert set(own) == {(39, 37, 35), (38, 36, 34)}
        assert all(max(later) < min(first) for first, later in own.items())
    with pytest.raises(ValueError, match="support is 'last'; want one of 'random', 'first'"):
        dataclasses.replace(rows, support="last")
