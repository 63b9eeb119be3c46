"""Nothing told is dropped: masks, missing numbers and labels, precision, what tells labels apart.

Every kind is tried at every entry that takes such a thing. Stand-ins for tables of pandas', polars'
and pyarrow's have what numaml looks at; where pandas is installed, its own are tried too.
"""

import datetime
import decimal

import numpy as np
import pytest

import numaml
from numaml.data import given

PANDAS = "pandas' own objects are tried where it is installed"
N = 24
GROUPS = np.repeat(["ada", "bob", "cyd"], 8)
X = np.random.default_rng(0).normal(size=(N, 2))
Y = X[:, 0] * 3
SIDES = np.where(Y > 0, "up", "down")
SMALL = {"hidden": (3,), "iterations": 2, "shots": 2, "queries": 2, "tasks": 2, "random_state": 0}
REGRESSION = numaml.MAMLRegressor(**SMALL).fit(X, Y, GROUPS)
SORTER = numaml.MAMLClassifier(**SMALL).fit(X, SIDES, GROUPS)


def grouped(x=X, y=Y, groups=GROUPS):
    return numaml.Grouped(x, y, groups, shots=2, queries=2, tasks=2)


# What takes numbers x (N, 2), by what it calls them; what takes y (N,); what takes labels (N,).
TAKE_X = {
    "Batch": lambda x: numaml.Batch(x, Y[:, None]),
    "FewShot": lambda x: numaml.FewShot(x, np.repeat([0, 1, 2], 8), ways=2)(
        np.random.default_rng(0)
    ),
    "Grouped": lambda x: grouped(x=x),
    "fit": lambda x: numaml.MAMLRegressor(**SMALL).fit(x, Y, GROUPS),
    "fit of a classifier": lambda x: numaml.MAMLClassifier(**SMALL).fit(x, SIDES, GROUPS),
    "adapt": lambda x: REGRESSION.adapt(x, Y),
    "predict": lambda x: REGRESSION.predict(x),
    "predict_proba": lambda x: SORTER.predict_proba(x),
    "score": lambda x: REGRESSION.score(x, Y, GROUPS),
}
TAKE_Y = {
    "Batch": lambda y: numaml.Batch(X, [[one] for one in y] if type(y) is list else y[:, None]),
    "Grouped": lambda y: grouped(y=y),
    "fit": lambda y: numaml.MAMLRegressor(**SMALL).fit(X, y, GROUPS),
    "adapt": lambda y: REGRESSION.adapt(X, y),
    "score": lambda y: REGRESSION.score(X, y),
}
TAKE_LABELS = {
    "Grouped": lambda labels: grouped(groups=labels),
    "split_groups": lambda labels: numaml.split_groups(labels, 1, 0, seed=0),
    "split_classes": lambda labels: numaml.split_classes(labels, 1, 0, seed=0),
    "groups of fit": lambda labels: numaml.MAMLRegressor(**SMALL).fit(X, Y, labels),
    "y of fit": lambda labels: numaml.MAMLClassifier(**SMALL).fit(X, labels, GROUPS),
    "y of adapt": lambda labels: SORTER.adapt(X, labels),
    "groups of score": lambda labels: REGRESSION.score(X, Y, labels),
}
ROW = 5


def with_one(values, value, dtype=None):
    changed = list(values) if isinstance(values, list) else np.array(values, dtype, copy=True)
    changed[ROW] = value
    return changed


def masked(values):
    return np.ma.array(values, mask=np.arange(len(values)).reshape((-1,) + (1,) * (values.ndim - 1))
                       + np.zeros(values.shape, int) == ROW)  # fmt: skip


def refuse(call, given_, match=rf"\b{ROW}\b"):
    with pytest.raises((ValueError, TypeError), match=match):
        call(given_)


MASKED = {
    "array": masked,
    "list of rows": lambda values: [masked(values)[row] for row in range(N)],
}


@pytest.mark.parametrize("how", MASKED)
@pytest.mark.parametrize("entry", TAKE_X)
def test_a_masked_cell_of_x_is_refused(entry, how):
    refuse(TAKE_X[entry], MASKED[how](X), rf"x\[{ROW}, 0\] is masked")


@pytest.mark.parametrize("entry", TAKE_Y)
def test_a_masked_cell_of_y_is_refused(entry):
    refuse(TAKE_Y[entry], masked(Y), rf"y\[{ROW}(, 0)?\] is masked")


@pytest.mark.parametrize("entry", TAKE_LABELS)
def test_a_masked_label_is_refused(entry):
    known = SIDES if entry.startswith("y") else GROUPS
    refuse(TAKE_LABELS[entry], masked(known), rf"\[{ROW}\] is masked")
    refuse(TAKE_LABELS[entry], with_one(known.tolist(), np.ma.masked), rf"\[{ROW}\] is ")


def test_a_mask_that_hides_nothing_is_no_matter():
    free = np.ma.array(X, mask=False)
    assert np.array_equal(grouped(x=free).x, grouped().x)
    assert np.array_equal(numaml.Batch(free, Y[:, None]).x, X)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
@pytest.mark.parametrize("entry", [*TAKE_X, *TAKE_Y])
def test_a_missing_number_is_refused_with_its_row(entry, value):
    for entries, whole in ((TAKE_X, X.tolist()), (TAKE_Y, Y.tolist())):
        if entry in entries and not (entry == "Batch" and value is None):  # exact arithmetic's
            one = [1.0, value] if entries is TAKE_X else value
            match = rf"\b{ROW}\b" if entry != "FewShot" or value is None else "is (nan|inf)"
            refuse(entries[entry], with_one(whole, one), match)


NAT = np.datetime64("NaT")
DAYS = np.array([f"2024-01-0{1 + 'abc'.index(group[0])}" for group in GROUPS], "datetime64[D]")
MISSING = {
    "None in a list": with_one(GROUPS.tolist(), None),
    "NaN in a list": with_one(GROUPS.tolist(), float("nan")),
    "nothing in a list": with_one(GROUPS.tolist(), ""),
    "blanks in a list": with_one(GROUPS.tolist(), " \t"),
    "nothing in an array": with_one(GROUPS, ""),
    "NaN in an object array": with_one(GROUPS, float("nan"), object),
    "NaN among floats": with_one(np.arange(N) / 2, np.nan),
    "NaN among decimals": with_one([decimal.Decimal(n % 3) for n in range(N)],
                                   decimal.Decimal("sNaN")),
    "NaT in an array": with_one(DAYS, NAT),
    "NaT in days of nanoseconds": with_one(DAYS, NAT, "datetime64[ns]"),
    "NaT in a list": with_one(list(DAYS), NAT),
    "None among dates": with_one([datetime.date(2024, 1, 1)] * N, None),
    "no bytes": with_one(GROUPS.astype("S"), b""),
    "nothing in strings of any length": with_one(GROUPS.astype(np.dtypes.StringDType()), ""),
}  # fmt: skip


@pytest.mark.parametrize("how", MISSING)
@pytest.mark.parametrize("entry", TAKE_LABELS)
def test_a_missing_label_is_refused_with_its_row(entry, how):
    refuse(TAKE_LABELS[entry], MISSING[how], rf"(groups|y|labels)\[{ROW}\] is .*want a label")


@pytest.mark.parametrize("entry", TAKE_LABELS)
def test_a_missing_label_of_pandas_is_refused(entry):
    pandas = pytest.importorskip("pandas", reason=PANDAS)
    known = (SIDES if entry.startswith("y") else GROUPS).tolist()
    for value in (None, pandas.NA, float("nan"), pandas.NaT):
        for dtype in (object, "string", "category"):
            labels = pandas.Series(with_one(known, value), dtype=dtype)
            refuse(TAKE_LABELS[entry], labels, rf"\[{ROW}\] is .*want a label")
    refuse(TAKE_LABELS[entry], pandas.Series(with_one([1] * N, pandas.NA), dtype="Int64"),
           rf"\[{ROW}\] is (<NA>|nan); want a label")  # fmt: skip


# Two labels, by turns, of which a conversion makes one.
MERGED = {
    "a zero byte": ("a", "a\0"),
    "beyond 2^53, with a negative": (2**63, 2**63 + 1, -1),
    "beyond 64 bits": (2**64, 2**64 + 1),
    "beyond 2^53, beside a float": (2**53, 2**53 + 1, 0.5),
}
MIXED = {
    "a number and its text": (1, "1"),
    "true and 1": (True, 1),
    "True and its text": (True, "True"),
    "bytes and text": (b"a", "a"),
    "floats beyond 2^53": (2.0**53, 2.0**53 + 2),
    "floats beyond 2^24": (np.float32(2**24), np.float32(2**24 + 2)),
}


def by_turns(labels):
    return [labels[row % len(labels)] for row in range(N)]


@pytest.mark.parametrize("how", MERGED)
@pytest.mark.parametrize("made", [list, tuple, lambda labels: np.array(labels, object)])
def test_labels_that_differ_stay_different(how, made):
    labels = made(by_turns(MERGED[how]))
    count = len(MERGED[how])
    assert len(set(grouped(groups=labels).groups.tolist())) == count
    assert len(set(numaml.split_classes(labels, 1, 0, 0)[2].tolist())) == count - 1
    parts = numaml.split_groups(labels, 1, 0, 0)
    assert parts[0].sum() == N / count
    for entry in ("y of fit", "y of adapt"):  # what cannot be a class is refused
        refuse(TAKE_LABELS[entry], labels, ".")


@pytest.mark.parametrize("how", MIXED)
@pytest.mark.parametrize("entry", TAKE_LABELS)
def test_labels_of_which_one_might_be_made_are_refused(entry, how):
    refuse(TAKE_LABELS[entry], by_turns(MIXED[how]), "want (labels of one kind|integers or text)")
    array = np.array(by_turns(MIXED[how]), object)
    if "float" not in how:
        refuse(TAKE_LABELS[entry], array, "want labels of one kind")


def test_01_and_1_are_two_classes_for_an_estimator():
    y = ["01" if value > 0 else "1" for value in Y]
    sorter = numaml.MAMLClassifier(**SMALL).fit(X, y, GROUPS)
    assert sorter.classes_.tolist() == ["01", "1"]
    assert set(sorter.adapt(X, y).predict(X)) <= {"01", "1"}
    for other in ([1] * N, np.ones(N), np.ones(N, object), [True] * N):
        refuse(lambda y: sorter.adapt(X, y), other, ".")
    ones = np.array([1] * N, object)
    for call in (sorter.adapt, sorter.learner_.adapt, sorter.score):
        for other in (ones, ones.astype(float).astype(object), ones.astype(int)):
            refuse(lambda y, call=call: call(X, y), other, "want labels, each one of ")
    refuse(lambda y: sorter.learner_.adapt(X, y), ["1\0"] * N, r"y\[0\] is '1\\x00'; want one of")
    days = numaml.MAMLClassifier(**SMALL).fit(X, DAYS.astype(str), GROUPS)
    refuse(lambda y: days.learner_.adapt(X, y), DAYS.astype(object), "want labels, each one of ")
    flags = numaml.MAMLClassifier(**SMALL).fit(X, (Y > 0).astype(int), GROUPS)
    for other in (Y > 0, (Y > 0) * 1.0, (Y > 0).astype(int).astype(str)):
        for call in (flags.adapt, flags.score):
            refuse(lambda y, call=call: call(X, y), other, "want labels, each one of ")


@pytest.mark.parametrize("dtype", [">f8", ">f4", ">i4", "<f8", ">i8", ">u2", "f2"])
def test_a_dtype_of_any_byte_order_keeps_its_precision(dtype):
    x = (1000 * X).astype(dtype)
    wide = x.astype(np.float64)
    for got in (numaml.Batch(x, Y[:, None]).x, grouped(x=x).x, grouped(y=x.astype(dtype)).y):
        assert got.dtype.isnative
        assert got.dtype.itemsize >= 4 or got.dtype.kind != "f"
    assert set(grouped(x=x).x[:, 0].astype(float)) == set(wide[:, 0])
    drawn = numaml.FewShot(x, np.repeat([0, 1, 2], 8), ways=3, shots=4, queries=4, tasks=9)
    got = drawn(np.random.default_rng(0)).support.x
    assert set(got[..., 0].ravel().tolist()) <= set(wide[:, 0].tolist())
    same = numaml.MAMLRegressor(**SMALL).fit(x, Y, GROUPS)
    assert same.learner_.theta.dtype == (np.float32 if dtype in (">f4", "f2") else np.float64)
    one, other = (
        numaml.MAMLRegressor(**SMALL).fit(x.astype(x.dtype.newbyteorder("=")), Y, GROUPS),
        same,
    )
    assert np.array_equal(one.predict(x), other.predict(x))


@pytest.mark.parametrize("entry", [*TAKE_X, *TAKE_Y])
def test_more_digits_than_float64_are_refused(entry):
    if np.dtype(np.longdouble).itemsize <= 8:
        return  # then it is float64
    for entries, whole in ((TAKE_X, X), (TAKE_Y, Y)):
        if entry in entries:
            refuse(entries[entry], whole.astype(np.longdouble), "dtype (longdouble|float128).*want")


LARGE = 2**53 + np.arange(N)


@pytest.mark.parametrize("entry", [*TAKE_X, *TAKE_Y])
def test_integers_that_no_float_tells_apart_are_refused(entry):
    if entry != "Batch":  # which does not convert: theta's dtype does
        for entries, whole in ((TAKE_X, np.stack([LARGE, LARGE], 1)), (TAKE_Y, LARGE[:, None])):
            if entry in entries:
                refuse(entries[entry], whole, r"\[1, 0\] is 9007199254740993; floats tell")
                refuse(entries[entry], (-whole).astype("i8"), r"\[1, 0\] is -9007199254740993")


@pytest.mark.parametrize("entry", [*TAKE_X, *TAKE_Y])
def test_integers_that_a_conversion_would_round_are_refused(entry):
    """One number that is no integer makes floats of all."""
    pandas = pytest.importorskip("pandas", reason=PANDAS)
    rows = [[2**53 + 1, value] for value in Y.tolist()]
    table = pandas.DataFrame({"id": LARGE, "dose": Y})
    for x in (rows, tuple(map(tuple, rows)), table):
        if entry in TAKE_X:
            refuse(TAKE_X[entry], x, "x has 9007199254740993, which as a float is another")
    if entry in TAKE_Y:
        refuse(TAKE_Y[entry], with_one(Y.tolist(), 2**53 + 1), "y has 9007199254740993, which")


def test_integers_are_kept_apart_when_they_are_drawn():
    x = 1_700_000_000 + np.arange(60)[:, None]
    draw = numaml.FewShot(x, np.repeat(np.arange(12), 5), ways=3, shots=2, queries=2, tasks=40)
    drawn = draw(np.random.default_rng(0)).support.x
    assert drawn.dtype == np.float64
    assert set(drawn.ravel()) == set(x.ravel())
    small = numaml.FewShot(x - 1_700_000_000 + 2**24 - 59, draw.y, ways=3, shots=2, queries=2)
    assert small(np.random.default_rng(0)).support.x.dtype == np.float32
    assert given.beyond(np.array([2**24 + 1], ">i4"), 2**24)
    assert not given.beyond(np.array([], int), 2**24)


class Polars:
    """A table with ``columns``, as pandas and polars have them."""

    def __init__(self, array, names):
        self.array, self.columns = array, names

    def __array__(self, dtype=None, copy=None):
        return self.array

    @property
    def ndim(self):
        return self.array.ndim

    @property
    def shape(self):
        return self.array.shape

    def turned(self):
        return type(self)(self.array[:, ::-1], self.names()[::-1])

    def called(self, *names):
        return type(self)(self.array[:, : len(names)], list(names))

    def names(self):
        return self.columns


class Arrow(Polars):
    """A table whose ``columns`` are arrays, and whose names are ``column_names``."""

    def __init__(self, array, names):
        self.array, self.columns, self.column_names = array, list(array.T), names

    def names(self):
        return self.column_names


@pytest.mark.parametrize("kind", [Polars, Arrow])
def test_columns_are_found_by_their_names(kind):
    table = kind(X, ["dose", "age"])
    fitted = numaml.MAMLRegressor(**SMALL).fit(table, Y, GROUPS)
    sorter = numaml.MAMLClassifier(**SMALL).fit(table, SIDES, GROUPS)
    assert fitted.feature_names_in_.tolist() == ["dose", "age"]
    assert (fitted.n_features_in_, fitted.learner_.provenance["features"]) == (2, ["dose", "age"])
    calls = {
        "predict": lambda x: fitted.predict(x),
        "adapt": lambda x: fitted.adapt(x, Y).predict(X),
        "predict_proba": lambda x: sorter.predict_proba(x),
        "score": lambda x: fitted.score(x, Y, GROUPS),
    }
    for call in calls.values():
        want = call(X)
        assert np.array_equal(call(table), want)
        assert np.array_equal(call(table.turned()), want)
        want = "x has the columns dose, weight; want those of training, dose, age: without age"
        refuse(call, table.called("dose", "weight"), want)
        refuse(call, table.called("dose"), "without age")
        more = kind(np.c_[X, X], ["age", "dose", "a", "b"])
        refuse(call, more, "leave out a, b")


LIBRARIES = ["pandas", "polars", "pyarrow"]


def table_of(library, columns):
    """A table of that library's own, where it is installed; or one of its columns."""
    module = pytest.importorskip(library, reason=f"{library}'s own tables, where it is installed")
    if not isinstance(columns, dict):
        return module.array(columns) if library == "pyarrow" else module.Series(columns)
    return (module.table if library == "pyarrow" else module.DataFrame)(columns)


@pytest.mark.parametrize("library", LIBRARIES)
def test_tables_of_others_are_taken_by_their_names(library):
    table = table_of(library, {"dose": X[:, 0], "age": X[:, 1]})
    turned = table_of(library, {"age": X[:, 1], "dose": X[:, 0]})
    fitted = numaml.MAMLRegressor(**SMALL).fit(table, Y, GROUPS)
    assert fitted.feature_names_in_.tolist() == ["dose", "age"]
    plain = numaml.MAMLRegressor(**SMALL).fit(X, Y, GROUPS)
    want = plain.adapt(X, Y).predict(X)
    for one in (fitted, fitted.learner_):
        assert np.array_equal(one.adapt(turned, Y).predict(turned), want)
    assert np.array_equal(fitted.predict(turned), plain.predict(X))
    other = table_of(library, {"dose": X[:, 0], "weight": X[:, 1]})
    for call in (fitted.predict, lambda x: fitted.learner_.adapt(x, Y)):
        refuse(call, other, "want those of training, dose, age: without age")
    for entry in ("Batch", "FewShot", "Grouped", "score"):
        TAKE_X[entry](turned)
    y = table_of(library, {"low": Y, "high": Y + 100})
    two = numaml.MAMLRegressor(**SMALL).fit(X, y, GROUPS)
    other = table_of(library, {"high": Y + 100, "low": Y})
    assert np.array_equal(two.adapt(X, other).predict(X), two.adapt(X, y).predict(X))


@pytest.mark.parametrize("library", LIBRARIES)
def test_columns_of_others_keep_what_they_say(library):
    sides, groups = table_of(library, SIDES.tolist()), table_of(library, GROUPS.tolist())
    sorter = numaml.MAMLClassifier(**SMALL).fit(X, sides, groups)
    want = numaml.MAMLClassifier(**SMALL).fit(X, SIDES, GROUPS).adapt(X, SIDES)
    assert np.array_equal(sorter.adapt(X, sides).predict_proba(X), want.predict_proba(X))
    ids = table_of(library, [2**53 + row % 3 for row in range(N)])
    assert len(set(grouped(groups=ids).groups.tolist())) == 3
    refuse(lambda y: sorter.adapt(X, y), ids, "want labels, each one of")
    for values in (GROUPS.tolist(), [1] * N, [2**53 + 1] * N, DAYS.tolist()):
        refuse(TAKE_LABELS["Grouped"], table_of(library, with_one(values, None)), "want a label")
    refuse(TAKE_Y["fit"], table_of(library, with_one(Y.tolist(), None)), f"in row {ROW}; want")
    whole = {"id": [2**53 + 1] * N, "dose": Y.tolist()}
    refuse(TAKE_X["fit"], table_of(library, whole), "x has 9007199254740993, which as a float")
    lost = {"a": with_one([1] * N, None), "dose": Y.tolist()}
    refuse(TAKE_X["fit"], table_of(library, lost), f"in row {ROW}; want finite")


TURNED = {
    "Batch": lambda x, y, groups: numaml.Batch(x, y.to_frame()),
    "FewShot": lambda x, y, groups: numaml.FewShot(x, (y > 0).astype(int), ways=2),
    "y of Grouped": lambda x, y, groups: numaml.Grouped(x, y, GROUPS, shots=2, queries=2),
    "groups of Grouped": lambda x, y, groups: numaml.Grouped(x, Y, groups, shots=2, queries=2),
    "y of fit": lambda x, y, groups: numaml.MAMLRegressor(**SMALL).fit(x, y, GROUPS),
    "adapt": lambda x, y, groups: REGRESSION.adapt(x, y),
    "a learner": lambda x, y, groups: REGRESSION.learner_.adapt(x, y),
    "score": lambda x, y, groups: REGRESSION.score(x, y),
    "groups of score": lambda x, y, groups: REGRESSION.score(x, Y, groups),
}


@pytest.mark.parametrize("entry", TURNED)
def test_rows_in_another_order_are_refused(entry):
    pandas = pytest.importorskip("pandas", reason=PANDAS)
    x, y, groups = pandas.DataFrame(X), pandas.Series(Y), pandas.Series(GROUPS)
    with pytest.raises(ValueError, match=r"(y|groups) has the rows of x in another order"):
        TURNED[entry](x, y.iloc[::-1], groups.iloc[::-1])
    TURNED[entry](x, y, groups)


@pytest.mark.parametrize("entry", TAKE_LABELS)
def test_labels_in_two_columns_are_refused(entry):
    refuse(
        TAKE_LABELS[entry], np.stack([GROUPS, GROUPS], 1), r"shape \(24, 2\); want \(n,\) labels"
    )


def test_targets_are_found_by_their_names_too():
    y = np.stack([Y, 100 + Y], 1)
    table = Polars(y, ["low", "high"])
    fitted = numaml.MAMLRegressor(**SMALL).fit(X, table, GROUPS)
    want = fitted.adapt(X, y).predict(X)
    assert np.array_equal(fitted.adapt(X, table.turned()).predict(X), want)
    refuse(lambda y: fitted.adapt(X, y), table.called("low", "middle"), "y has the columns")


def test_columns_without_names_and_refitting():
    fitted = numaml.MAMLRegressor(**SMALL).fit(Polars(X, ["a", "b"]), Y, GROUPS)
    assert fitted.fit(Polars(X, [0, 1]), Y, GROUPS) is fitted  # merely counted
    assert not hasattr(fitted, "feature_names_in_")
    assert "features" not in fitted.learner_.provenance
    want = fitted.predict(X)
    assert np.array_equal(fitted.predict(Polars(X[:, ::-1], [1, 0])), want)
    assert np.array_equal(fitted.predict(Polars(X, ["a", "b"])), want)  # nothing to compare with
    for twice in (["a", "a"], [1, "1"]):
        refuse(lambda x: numaml.MAMLRegressor(**SMALL).fit(x, Y, GROUPS), Polars(X, twice),
               "x has the column '(a|1)' twice")  # fmt: skip


def test_tables_of_pandas():
    pandas = pytest.importorskip("pandas", reason=PANDAS)
    table = pandas.DataFrame(X, columns=["dose", "age"])
    y, groups = pandas.Series(Y, name="effect"), pandas.Series(GROUPS, name="patient")
    fitted = numaml.MAMLRegressor(**SMALL).fit(table, y, groups)
    about = fitted.learner_.provenance
    assert (about["features"], about["target"]) == (["dose", "age"], "effect")
    assert about["task"] == "patient"
    assert np.array_equal(fitted.predict(table[["age", "dose"]]), fitted.predict(X))
    for entry in (lambda x: fitted.predict(x), lambda x: fitted.adapt(x, y)):
        refuse(entry, table.rename(columns={"age": "Age"}), "want those of training, dose, age")
        holes = table.astype("Float64")
        holes.loc[ROW, "age"] = pandas.NA
        refuse(entry, holes, rf"row {ROW}")
    turned = y.iloc[::-1]
    for call in (
        lambda y: fitted.fit(table, y, GROUPS),
        lambda y: fitted.adapt(table, y),
        lambda y: fitted.score(table, y, GROUPS),
    ):
        refuse(call, turned, r"y has the rows of x in another order.*y.loc\[x.index\]")


BATCHED = numaml.MAMLRegressor(**SMALL, norm="batch").fit(X, Y, GROUPS)
SORTED = numaml.MAMLClassifier(**SMALL, norm="batch").fit(X, SIDES, GROUPS)
SAME = np.full((4, 2), 3.0)


@pytest.mark.parametrize("x", [SAME[:1], SAME, SAME[:1].tolist()])
def test_batch_normalisation_wants_rows_that_differ(x):
    cure = r"x has (1 row|4 rows).*Take more rows together, or train with norm=\"layer\""
    refuse(BATCHED.predict, x, cure)
    refuse(SORTED.predict, x, cure)
    refuse(SORTED.predict_proba, x, cure)
    refuse(lambda x: BATCHED.adapt(x, Y[: len(x)]), x, cure)
    refuse(lambda x: SORTED.adapt(x, SIDES[: len(x)]), x, cure)
    assert np.isfinite(BATCHED.predict(X[:2])).all()
    layered = numaml.MAMLRegressor(**SMALL, norm="layer").fit(X, Y, GROUPS)
    assert len(layered.adapt(x, Y[: len(x)]).predict(x)) == len(x)
    assert BATCHED.predict(X[:0]).shape == (0,)


@pytest.mark.parametrize("few", ["shots", "queries"])
def test_batch_normalisation_is_not_trained_on_one_row(few):
    refuse(lambda norm: numaml.MAMLRegressor(**(SMALL | {few: 1}), norm=norm).fit(X, Y, GROUPS),
           "batch", f'{few} is 1, and norm="batch".*Take 2 or more, or norm="layer"')  # fmt: skip
    numaml.MAMLRegressor(**(SMALL | {few: 1})).fit(X, Y, GROUPS)


def test_messages_stay_in_a_line():
    names = [f"c{k}\n\x1b[31m" for k in range(50_000)]
    assert len(given.listed(names)) < 1000
    assert given.listed(names).isprintable()
    assert given.listed(["a", "b"]) == "a, b"
    assert given.cut("x" * 100) == "x" * 59 + "…"
