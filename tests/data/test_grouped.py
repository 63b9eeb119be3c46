"""Tasks from a table: what is drawn, whatever the labels, the order and the size of the groups."""

import collections
import datetime

import numpy as np
import pytest

import numaml
from numaml import Grouped, split_groups
from numaml.data.grouped import IGNORED, standardise

COUNTS = {"ada": 5, "bob": 9, "cyd": 3, "dan": 7, "eve": 4}  # label -> rows: ragged
GROUPS = np.random.default_rng(1).permutation(np.repeat(list(COUNTS), list(COUNTS.values())))
N = len(GROUPS)
# A row's features are its number and its group's, its target is their sum: one sees what it is.
X = np.stack([np.arange(N), np.unique(GROUPS, return_inverse=True)[1], np.ones(N)], 1).astype(float)
Y = X[:, 0] + 100 * X[:, 1]


def source(**changes):
    table = {"x": X, "y": Y, "groups": GROUPS}
    return Grouped(**(table | {"shots": 3, "queries": 1, "tasks": 2} | changes))


def draw(seed=0, **changes):
    return source(**changes)(np.random.default_rng(seed))


def test_a_task_is_a_group_and_no_row_is_there_twice():
    tasks = draw(tasks=300)
    assert tasks.support.x.shape == (300, 3, 3)
    assert tasks.query.y.shape == (300, 1, 1)
    x = np.concatenate([tasks.support.x, tasks.query.x], 1)
    y = np.concatenate([tasks.support.y, tasks.query.y], 1)
    np.testing.assert_array_equal(y[..., 0], x[..., 0] + 100 * x[..., 1])
    assert (x[..., 1] == x[:, :1, 1]).all()
    assert all(len(set(rows)) == 4 for rows in x[..., 0].tolist())


def test_every_row_of_the_large_groups_is_drawn_and_no_other():
    assert source().dropped == 1
    in_use = set(np.flatnonzero(GROUPS != "cyd"))
    tasks = draw(tasks=500)
    assert set(tasks.query.x[..., 0].ravel()) == in_use
    assert set(tasks.support.x[..., 0].ravel()) == in_use
    assert set(source(queries=4).groups) == {"bob", "dan"}


def test_groups_of_a_call_differ_unless_there_are_too_few():
    for seed in range(20):
        assert sorted(draw(seed, tasks=4).query.x[:, 0, 1]) == [0, 1, 3, 4]
    many = collections.Counter(draw(tasks=4000).query.x[:, 0, 1].tolist())
    assert max(abs(count - 1000) for count in many.values()) < 5 * 1000**0.5  # five deviations


def test_the_order_of_the_rows_does_not_count():
    order = np.random.default_rng(5).permutation(N)
    shuffled = draw(x=X[order], y=Y[order], groups=GROUPS[order])
    for part in ("support", "query"):
        for name in "xy":
            ours, theirs = (getattr(getattr(t, part), name) for t in (draw(), shuffled))
            np.testing.assert_array_equal(ours, theirs)


def test_tasks_depend_on_the_generator_alone():
    assert np.array_equal(draw(3).query.x, draw(3).query.x)
    assert not np.array_equal(draw(3, tasks=4).query.x, draw(4, tasks=4).query.x)


DAYS = {name: datetime.date(2024, 1, 1 + day) for day, name in enumerate(COUNTS)}
LABELS = {
    "integers": X[:, 1].astype(np.int8) - 3,
    "floats": X[:, 1] / 7,
    "booleans": X[:, 1] > 1,
    "objects": GROUPS.astype(object),
    "bytes": GROUPS.astype("S"),
    "dates": np.array([DAYS[name] for name in GROUPS], "datetime64[D]"),
    "date objects": np.array([DAYS[name] for name in GROUPS]),
    "strings of any length": GROUPS.astype(np.dtypes.StringDType()),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_are_of_any_dtype(kind):
    tasks = draw(groups=LABELS[kind])
    if kind != "booleans":
        np.testing.assert_array_equal(tasks.support.x, draw().support.x)
    masks = split_groups(LABELS[kind], 1, 0, seed=0)
    assert sum(mask.sum() for mask in masks) == N


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes_of_the_numbers(dtype):
    assert draw(x=X.astype(dtype)).support.x.dtype == dtype
    assert draw(x=X.astype(int)).support.x.dtype == np.float64
    assert draw(y=Y.astype(dtype)).support.y.dtype == dtype
    classes = draw(y=Y.astype(np.int32)).query.y
    assert (classes.shape, classes.dtype) == ((2, 1), np.int32)
    assert draw(y=np.stack([Y, Y], 1)).query.y.shape == (2, 1, 2)


def test_it_can_be_learnt_from():
    rng = np.random.default_rng(0)
    groups, x = np.repeat(np.arange(30), 12), rng.uniform(-1, 1, (360, 2))
    y = (x * rng.normal(size=(30, 2))[groups]).sum(1)  # a slope of its own for each group
    tasks = Grouped(x, y, groups, shots=6, queries=6, tasks=10)
    model = numaml.MLP((2, 16, 1), "tanh")
    state = numaml.train(model, model.init(0), tasks, alpha=0.2, steps=2, iterations=150, beta=1e-2)
    losses = numaml.evaluate(model, state.theta, tasks(rng), alpha=0.2, steps=2).mean(1)
    assert losses[2] < 0.5 * losses[0]


def with_one(array, row, value):
    changed = array.copy()
    changed[row] = value
    return changed


BAD = {
    "NaN in x": (lambda: source(x=with_one(X, 7, [1.0, np.nan, 2.0])), ValueError,
        r"x has \[ 1. nan  2.\] in row 7; want finite numbers: fill it or leave the row out"),
    "NaN in y": (lambda: source(y=with_one(Y, 4, -np.inf)), ValueError, "y has -inf in row 4"),
    "text": (lambda: source(x=X.astype(str)), TypeError, "x has dtype <U32; want real numbers"),
    "no label": (lambda: source(groups=with_one(GROUPS.astype(object), 3, None)), ValueError,
        r"groups\[3\] is None; want a label for every row"),
    "NaN label": (lambda: source(groups=with_one(X[:, 1], 5, np.nan)), ValueError,
        r"groups\[5\] is nan"),
    "labels of two kinds": (lambda: source(groups=with_one(GROUPS.astype(object), 3, 7)), TypeError,
        r"groups\[0\] is text \('ada'\) and groups\[3\] a number \(7\).*want labels of one kind"),
    "labels of other rows": (lambda: source(groups=GROUPS[1:]), ValueError,
        r"groups has shape \(27,\) and x 28 rows; want one label for each"),
    "targets of other rows": (lambda: source(y=Y[1:]), ValueError,
        r"y has shape \(27,\) and x 28 rows; want \(n,\), or \(n, n_out\)"),
    "x of one axis": (lambda: source(x=Y), ValueError, r"x has shape \(28,\); want \(n, n_in\)"),
    "no rows": (lambda: source(x=X[:0]), ValueError, r"x has shape \(0, 3\)"),
    "no shots": (lambda: source(shots=0), ValueError, "shots is 0; want an integer >= 1"),
    "half a query": (lambda: source(queries=0.5), TypeError, "queries is 0.5; want an integer"),
    "no tasks": (lambda: source(tasks=0), ValueError, "tasks is 0; want"),
    "unknown word": (lambda: source(small="keep"), ValueError, "small is 'keep'; want one of"),
    "a small group": (lambda: source(small="error"), ValueError,
        "group cyd has 3 rows; shots = 3 and queries = 1 need 4: ask for fewer, leave"),
    "small groups only": (lambda: source(shots=9), ValueError,
        "groups has 5 labels with at most 9 rows each; shots = 9 and queries = 1 need 10"),
    "split of a table": (lambda: split_groups(X, 1, 1, 0), ValueError, r"groups has shape \(28, 3"),
    "no test groups": (lambda: split_groups(GROUPS, 4, 1, 0), ValueError,
        "got 5 groups for train = 4 and validation = 1; want .* one group left for the test"),
    "shares of all": (lambda: split_groups(GROUPS, 0.9, 0.3, 0), ValueError, "got 5 groups"),
    "a share of more than all": (lambda: split_groups(GROUPS, 1.5, 0, 0), ValueError,
        "train is 1.5; want a whole number, or a share from 0 to 1"),
    "True groups": (lambda: split_groups(GROUPS, True, 0, 0), TypeError, "train is True; want a"),
    "half text": (lambda: split_groups(GROUPS, 2, "1", 0), TypeError, "validation is '1'; want"),
    "huge": (lambda: standardise(with_one(X, 0, 1e200)), ValueError,
        r"column 0 of x has numbers up to 1e\+200; want smaller ones"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()


def test_a_split_keeps_groups_whole():
    masks = split_groups(GROUPS, 2, 1, seed=0)
    parts = [set(GROUPS[mask]) for mask in masks]
    assert [len(part) for part in parts] == [2, 1, 2]
    assert set.union(*parts) == set(COUNTS)
    assert (sum(mask.astype(int) for mask in masks) == 1).all()


def test_a_split_is_said_in_groups_or_in_shares_of_them():
    groups = np.arange(50)
    for said in ((0.6, 0.2), (np.float32(0.6), 10), (30, 0.2), (np.int8(30), np.int64(10))):
        for ours, theirs in zip(
            split_groups(groups, *said, seed=3), split_groups(groups, 30, 10, seed=3), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
    assert len(numaml.split_classes(groups, 0.5, 0.25, seed=0)[1]) == 12


def test_a_split_depends_on_the_seed_and_the_labels_alone():
    order = np.random.default_rng(5).permutation(N)
    masks = split_groups(GROUPS, 2, 1, seed=7)
    for ours, shuffled in zip(masks, split_groups(GROUPS[order], 2, 1, seed=7), strict=True):
        np.testing.assert_array_equal(ours[order], shuffled)
    assert any(not np.array_equal(split_groups(GROUPS, 2, 1, s)[0], masks[0]) for s in range(5))
    labels = numaml.split_classes(GROUPS, 2, 1, seed=7)  # the same split, as labels
    assert [set(GROUPS[mask]) for mask in masks] == [set(part) for part in labels]


def test_standardised_columns_have_mean_0_and_deviation_1():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)) * [1e-3, 1e4, 1] + [5, -1e6, 0]
    y = rng.normal(size=(40, 2)) * 7 + 2
    scaling = standardise(x, y)
    for columns, mean, scale in ((x, scaling.x_mean, scaling.x_scale), (y, *scaling[2:])):
        z = (columns - mean) / scale
        np.testing.assert_allclose(z.mean(0), 0, atol=1e-9)  # 5e3 deviations from 0, rounded
        np.testing.assert_allclose(z.std(0), 1, rtol=1e-9)


def test_columns_whose_squares_are_0_are_scaled_like_others():
    columns = np.random.default_rng(0).normal([0, 7, 0], size=(30, 3))
    want, got = standardise(columns, columns), standardise(1e-200 * columns, 1e-200 * columns)
    for name in ("x_mean", "x_scale", "y_mean", "y_scale"):
        np.testing.assert_allclose(getattr(got, name), 1e-200 * getattr(want, name), rtol=1e-12)
    one = standardise(np.c_[columns[:, 0], 1e-170 * columns[:, 1], np.full(30, 1e-200)])
    np.testing.assert_allclose(one.x_scale, [*(want.x_scale[:2] * [1, 1e-170]), IGNORED])


def test_columns_that_cannot_be_scaled_are_ignored_in_x_and_as_they_are_in_y():
    # 0.1 is no binary fraction: the deviation of ten of them is 1e-17, not 0.
    columns = np.stack([np.full(10, 0.1), np.full(10, 3.0), np.full(10, 1e-200)], 1)
    assert columns.std(0)[0] > 0
    scaling = standardise(columns, columns)
    assert not ((np.full((2, 3), 1e9) - scaling.x_mean) / scaling.x_scale).astype("f4").any()
    assert scaling.y_scale.tolist() == [1, 1, 1]
    scaling = standardise(columns, n_out=4)
    assert (scaling.y_mean.tolist(), scaling.y_scale.tolist()) == ([0] * 4, [1] * 4)
