"""A learner in the user's units, and its threads."""

import copy
import dataclasses
import pickle
import threading

import numpy as np
import pytest

import numaml
from numaml import MLP, Adapted, Learner, Scaling
from numaml.learning import learner as module

MODEL = MLP((3, 8, 2), "tanh")
CLASSIFIER = MLP((4, 9, 3), loss="cross_entropy", norm="layer")
UNITS = Scaling([5.0, -1.0, 200.0], [2.0, 0.1, 50.0], [10.0, -1e6], [3.0, 1e5])
KINDS = np.array(["ant", "bee", "cow"])
ROUNDING = 1e-9  # of scaling there and back, relative


def regression(dtype=np.float64, **changes):
    settings = {"alpha": 0.1, "steps": 7, "scaling": UNITS, "provenance": {"seed": 3}}
    return Learner(MODEL, MODEL.init(0, dtype), **(settings | changes))


def classification(**changes):
    settings = {"alpha": 0.5, "steps": 20, "classes": KINDS}
    return Learner(CLASSIFIER, CLASSIFIER.init(1, np.float32), **(settings | changes))


def rows(n=6, seed=0):
    """Support in the user's units, the standardised one, and a query in the user's units."""
    rng = np.random.default_rng(seed)
    x, y, query = rng.normal(size=(n, 3)), rng.normal(size=(n, 2)), rng.normal(size=(5, 3))
    mean_x, scale_x, mean_y, scale_y = map(np.array, UNITS)
    return (x * scale_x + mean_x, y * scale_y + mean_y), (x, y), query * scale_x + mean_x


def test_adapting_in_the_users_units_is_adapting_the_standardised():
    (x, y), (x_std, y_std), query = rows()
    phi = numaml.adapt(MODEL, MODEL.init(0), numaml.Batch(x_std, y_std), 0.1, 7)
    adapted = regression().adapt(x, y)
    np.testing.assert_allclose(adapted.phi, phi, rtol=ROUNDING)
    u = MODEL.predict(phi, (query - np.array(UNITS.x_mean)) / np.array(UNITS.x_scale))
    wanted = u * np.array(UNITS.y_scale) + np.array(UNITS.y_mean)
    np.testing.assert_allclose(adapted.predict(query), wanted, rtol=ROUNDING)


@pytest.mark.parametrize(
    "alpha",
    [(None, 0.1), np.linspace(-0.05, 0.1, MODEL.size), [0.1, (0.1, (None, 0.2))] + [0.05] * 5,
     {"rates": (0.1, None), "momentum": 0.5}],
)  # fmt: skip
def test_rates_are_those_of_adapt_and_stay_so_in_a_file(tmp_path, alpha):
    (x, y), (x_std, y_std), _ = rows()
    learner = regression(alpha=alpha)
    phi = numaml.adapt(MODEL, learner.theta, numaml.Batch(x_std, y_std), alpha, 7)
    np.testing.assert_allclose(learner.adapt(x, y).phi, phi, rtol=ROUNDING)
    longer = [*alpha, alpha[-1]] if isinstance(alpha, list) else alpha
    more = numaml.adapt(MODEL, learner.theta, numaml.Batch(x_std, y_std), longer, 8)
    np.testing.assert_allclose(learner.adapt(x, y, 8).phi, more, rtol=ROUNDING)
    learner.save(tmp_path / "learner.npz")
    again = Learner.load(tmp_path / "learner.npz")
    assert again.alpha == learner.alpha
    assert again.adapt(x, y).phi.tobytes() == learner.adapt(x, y).phi.tobytes()


def test_labels_go_in_and_come_out_and_the_steps_help():
    rng = np.random.default_rng(0)
    centres = 3 * np.eye(4)[:3]
    x = (centres[:, None] + 0.3 * rng.normal(size=(3, 5, 4))).reshape(15, 4)
    learner, y = classification(), np.repeat(KINDS, 5)
    adapted = learner.adapt(x, y)
    assert adapted.predict(centres).tolist() == KINDS.tolist()
    assert adapted.predict_proba(centres).argmax(1).tolist() == [0, 1, 2]
    np.testing.assert_allclose(adapted.predict_proba(x).sum(1), 1, rtol=1e-6)  # float32
    numbers = {"ant": 7, "bee": -2, "cow": 5}
    other = classification(classes=np.array([*numbers.values()]))
    phi = other.adapt(x, [numbers[name] for name in y]).phi
    assert np.array_equal(phi, adapted.phi)
    plain = classification(classes=None).adapt(x, np.repeat([0, 1, 2], 5))
    assert np.array_equal(plain.phi, adapted.phi)
    assert plain.predict(centres).tolist() == [0, 1, 2]
    assert other.adapt(x, [numbers[name] for name in y]).predict(centres).tolist() == [7, -2, 5]
    as_objects = learner.adapt(x, y.astype(object))
    assert np.array_equal(as_objects.phi, adapted.phi)


def test_one_output_is_flat_if_y_was():
    model = MLP((3, 5, 1))
    learner = Learner(model, model.init(0), 0.1, 2)
    (x, y), _, query = rows()
    flat, column = learner.adapt(x, y[:, 0]), learner.adapt(x, y[:, :1])
    assert flat.predict(query).shape == (5,)
    assert np.array_equal(flat.predict(query)[:, None], column.predict(query))


@pytest.mark.parametrize(("n", "steps"), [(0, None), (0, 3), (6, 0)])
def test_without_rows_or_steps_theta_itself_predicts(n, steps):
    (x, y), _, query = rows()
    learner = regression()
    adapted = learner.adapt(x[:n], y[:n], steps)
    assert np.array_equal(adapted.phi, MODEL.init(0))
    assert adapted.predict(query).shape == (5, 2)
    assert adapted.predict(query[:0]).shape == (0, 2)
    empty = classification().adapt(np.empty((0, 4)), [])
    assert set(empty.predict(np.eye(4))) <= set(KINDS)


def test_other_steps_than_its_own():
    (x, y), _, _ = rows()
    assert np.array_equal(regression().adapt(x, y, 3).phi, regression(steps=3).adapt(x, y).phi)


def test_the_dtype_of_the_work_is_thetas():
    (x, y), _, query = rows()
    adapted = regression(np.float32).adapt(x, y)
    assert adapted.phi.dtype == np.float32
    np.testing.assert_allclose(adapted.predict(query), regression().adapt(x, y).predict(query),
                               rtol=1e-4)  # fmt: skip
    assert regression(np.float32, scaling=None).adapt(x, y, 0).predict(query).dtype == np.float32


def test_a_learner_keeps_its_own_numbers():
    theta = MODEL.init(0)
    learner = Learner(MODEL, theta, 0.1, 2)
    theta[0] = 99
    assert learner.theta[0] != 99
    with pytest.raises(ValueError, match="read-only"):
        learner.theta[0] = 99


def at(place, value):
    x = np.ones((4, 3))
    x[place] = value
    return x


Y = np.ones((4, 2))
BAD = {
    "another network's theta": (
        lambda: Learner(MODEL, np.zeros(17), 0.1, 1), r"shape \(17,\); sizes=\(3, 8, 2\) need"),
    "NaN in theta": (lambda: Learner(MODEL, MODEL.init(0) * np.nan, 0.1, 1), r"theta\[0\] is nan"),
    "complex theta": (lambda: Learner(MODEL, MODEL.init(0, complex), 0.1, 1), "want float32 or"),
    "no MLP": (lambda: Learner("MLP", [1.0], 0.1, 1), "model is str; want a numaml.MLP"),
    "alpha negative": (lambda: regression(alpha=-0.1), "want a finite number >= 0"),
    "alpha true": (lambda: regression(alpha=True), "alpha is True"),
    "rates for other layers": (lambda: regression(alpha=(0.1,)), "1 entries, and the model 2"),
    "rates for other steps": (lambda: regression(alpha=[0.1] * 6), "6 steps; steps is 7"),
    "rates for another theta": (lambda: regression(alpha=np.ones(3)), r"shape \(3,\) and theta"),
    "steps negative": (lambda: regression(steps=-1), "steps is -1; want an integer >= 0"),
    "steps without end": (lambda: regression(steps=10**9), "want an integer from 0 to 28551"),
    "steps 1.5": (lambda: regression(steps=1.5), "steps is 1.5; want an integer"),
    "scale zero": (
        lambda: regression(scaling=UNITS._replace(x_scale=[1.0, 0.0, 1.0])), "want numbers > 0"),
    "scaling of others": (lambda: regression(scaling=UNITS[:2] * 2), r"y_mean has shape \(3,\)"),
    "classes of numbers": (lambda: regression(classes=[1, 2]), "classes are for the loss"),
    "classes alike": (lambda: classification(classes=["a", "b", "a"]), "want 3 labels that differ"),
    "too few classes": (lambda: classification(classes=["a", "b"]), "want 3 labels"),
    "classes 0.5": (lambda: classification(classes=[0.5, 1, 2]), "want integers, or strings"),
    "provenance": (lambda: regression(provenance=[1]), "provenance is list; want a dict"),
    "x of others": (
        lambda: regression().adapt(np.ones((4, 5)), Y), r"x has shape \(4, 5\); want \(n, 3\)"),
    "x of a stack": (lambda: regression().adapt(np.ones((2, 4, 3)), Y), r"want \(n, 3\)"),
    "x of text": (lambda: regression().adapt([["a"] * 3] * 4, Y), "want real numbers"),
    "y too short": (lambda: regression().adapt(np.ones((4, 3)), Y[1:]), "want one y for each"),
    "y flat": (lambda: regression().adapt(np.ones((4, 3)), Y[:, 0]), r"y has shape \(4, 1\); want"),
    "x NaN": (
        lambda: regression().adapt(at((2, 1), np.nan), Y), r"x has .*nan.* in row 2; want finite"),
    "x too large": (
        lambda: regression(np.float32).adapt(at((2, 1), 1e300), Y), r"is 1e\+300; .*float32 can"),
    "an unknown label": (
        lambda: classification().adapt(np.eye(4), ["ant", "bee", "dog", "cow"]),
        r"y\[2\] is 'dog'; want one of \['ant', 'bee', 'cow'\]"),
    "numbers for names": (lambda: classification().adapt(np.eye(4), [0, 1, 2, 0]), "want labels"),
    "names for numbers": (
        lambda: classification(classes=None).adapt(np.eye(4), list("0120")), "want labels"),
    "floats for numbers": (
        lambda: classification(classes=None).adapt(np.eye(4), [0.0, 1, 2, 0]), "want labels"),
    "a class too many": (
        lambda: classification(classes=None).adapt(np.eye(4), [0, 1, 3, 0]), r"y\[2\] is 3; want"),
    "labels in a column": (
        lambda: classification().adapt(np.eye(4), [["ant"]] * 4), r"want \(n,\) labels"),
    "probability of a number": (
        lambda: regression().adapt(np.ones((4, 3)), Y).predict_proba(Y), "predicts numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name):
    call, message = BAD[name]
    with pytest.raises((TypeError, ValueError), match=message):
        call()


@pytest.mark.parametrize("errors", ["raise", "ignore", "warn"])
def test_what_runs_away_is_an_error_whatever_numpys_error_state(errors):
    (x, y), _, query = rows()
    with np.errstate(all=errors):
        with pytest.raises(FloatingPointError, match="phi is not finite after 7 steps"):
            regression(alpha=1e200).adapt(x, y)
        far = Adapted(regression(), np.full(MODEL.size, 1.7e308))
        with pytest.raises(FloatingPointError, match="prediction for row 0 of x is not finite"):
            far.predict(query)
        classification().adapt(np.eye(4) * 100, KINDS[[0, 1, 2, 0]]).predict_proba(np.eye(4) * 1e4)


def test_threads_share_a_learner_and_get_the_serial_bits():
    tasks = [rows(seed=seed)[0] for seed in range(24)]
    learner, query = regression(np.float32, steps=20), rows()[2]
    serial = [learner.adapt(*task).predict(query) for task in tasks]
    found = [None] * len(tasks)
    together = threading.Barrier(4)

    def work(first):
        together.wait()
        for k in range(first, len(tasks), 4):
            found[k] = learner.adapt(*tasks[k]).predict(query)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(serial, found, strict=True):
        assert np.array_equal(one, other)


def test_numpys_state_is_left_alone(tmp_path):
    np.random.seed(3)  # noqa: NPY002  # the legacy global state is what must not move
    before, (x, y) = np.random.get_state(), rows()[0]  # noqa: NPY002
    with np.errstate(over="raise", under="print", divide="ignore", invalid="raise"):
        errors, buffer, printing = np.geterr(), np.getbufsize(), np.get_printoptions()
        regression().save(tmp_path / "learner.npz")
        Learner.load(tmp_path / "learner.npz").adapt(x, y).predict(x)
        assert (np.geterr(), np.getbufsize()) == (errors, buffer)
        assert np.get_printoptions() == printing
    after = np.random.get_state()  # noqa: NPY002
    assert np.array_equal(before[1], after[1])
    assert before[2:] == after[2:]


COPIES = {
    "pickle": lambda one: pickle.loads(pickle.dumps(one)),  # noqa: S301  # our own
    "an old pickle": lambda one: pickle.loads(pickle.dumps(one, 2)),  # noqa: S301  # our own
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "replace": dataclasses.replace,
}


def unadapted(learner):
    return Adapted(learner, learner.theta)


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_keeps_its_numbers_too(how):
    for learner in (regression(), classification(provenance={"a": [1]})):
        inside = COPIES[how](unadapted(learner)).learner
        for again in (COPIES[how](learner), inside):
            assert np.array_equal(again.theta, learner.theta)
            assert (again.alpha, again.steps) == (learner.alpha, learner.steps)
            assert again.provenance == learner.provenance
            arrays = [again.theta, *(again.scaling or ()), again.classes]
            for array in (one for one in arrays if one is not None):
                assert not array.flags.writeable
    assert COPIES["deepcopy"](learner).provenance["a"] is not learner.provenance["a"]


@pytest.mark.parametrize("how", COPIES)
def test_what_was_adapted_cannot_be_written_to(how):
    (x, y), _, query = rows()
    adapted, mine = regression().adapt(x, y), MODEL.init(3)
    by_hand = Adapted(adapted.learner, mine)
    for one in (adapted, by_hand, COPIES[how](adapted), COPIES[how](by_hand)):
        with pytest.raises(ValueError, match="read-only"):
            one.phi[0] = 1
    before = by_hand.predict(query)
    mine[:] = 0
    assert np.array_equal(by_hand.predict(query), before)
    assert np.array_equal(COPIES[how](adapted).predict(query), adapted.predict(query))


@pytest.mark.parametrize(
    "one",
    [np.ma.array([1.0, 1.0, 1.0], mask=[1, 0, 0]), ["1", "1", "1"], [None, 1, 1], [1j, 1, 1]],
)
def test_a_scaling_of_no_numbers_is_refused(one):
    with pytest.raises((TypeError, ValueError), match=r"scaling.x_mean(\[0\] is| has).*; want"):
        regression(scaling=UNITS._replace(x_mean=one))


LABELS = {
    "too long": (["a" * 1001, "b", "c"], "labels of up to 1001 characters; want at most 1000"),
    "too long as an array": (
        np.array(["a" * 1001, "b", "c"]), "labels of up to 1001 characters; want at most 1000"),
    "zero bytes": (["a\0", "b", "c"], "without zero bytes at their end"),
    "of two kinds": ([1, "2", 3], "want labels of one kind"),
    "with None": (["a", None, "c"], "want integers, or strings"),
    "with NaN": (["a", float("nan"), "c"], "want labels of one kind"),
    "beyond 64 bits": ([1, 2, 2**70], "want integers, or strings"),
    "of two signs": ([-1, 2, 2**63], "want integers, or strings"),
}  # fmt: skip


@pytest.mark.parametrize("what", LABELS)
def test_labels_that_an_array_would_change_are_refused(what):
    labels, message = LABELS[what]
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        classification(classes=labels)
    assert len(str(caught.value)) < 1000


def test_labels_of_a_thousand_characters_are_kept():
    long = ["a" * 1000, "b", "\u2028" * 1000]
    assert classification(classes=long).classes.tolist() == long


def test_so_many_labels_that_one_long_one_would_make_them_large():
    model = MLP((1, 5000), loss="cross_entropy")
    labels = [str(number) for number in range(5000)]
    assert len(Learner(model, model.init(0), 0.1, 1, classes=labels).classes) == 5000
    with pytest.raises(ValueError, match="has 5000 labels of up to 900 characters; want at most"):
        Learner(model, model.init(0), 0.1, 1, classes=[*labels[1:], "a" * 900])


COSTS = {(1, 40, 40, 1): 1000, (784, 256, 128, 64, 64, 5): 200, (1, 100_000, 1): 10}


@pytest.mark.parametrize("sizes", COSTS)
def test_steps_are_bounded_by_what_adapting_costs(sizes):
    """Some ten seconds, by a rule; what is of use is far below."""
    model = MLP(sizes)
    theta = model.init(0, np.float32)
    with pytest.raises(ValueError, match="want an integer from 0 to") as caught:
        Learner(model, theta, 1e-9, 10**6)
    most = int(str(caught.value).split(" from 0 to ")[1].split(",")[0])
    assert COSTS[sizes] < most < 10**6
    assert Learner(model, theta, 1e-9, most).steps == most


def test_who_adapts_may_ask_for_more_steps_than_a_learner_may_have(monkeypatch):
    learner, (x, y) = regression(), rows()[0]
    monkeypatch.setattr(module, "MOST_WORK", 10 * 70_050)  # ten steps of MODEL
    with pytest.raises(ValueError, match="want an integer from 0 to 10, with this network"):
        dataclasses.replace(learner, steps=11)
    assert learner.adapt(x, y, 11).phi.shape == (MODEL.size,)
    with pytest.raises(ValueError, match="want an integer from 0 to 1000000"):
        learner.adapt(x, y, 10**6 + 1)


def test_a_theta_of_another_byte_order_is_kept_as_it_is_worth():
    theta = MODEL.init(0)
    assert np.array_equal(Learner(MODEL, theta.astype(">f8"), 0.1, 1).theta, theta)


def test_a_learner_of_images():
    """Two kinds of bars, told apart; by its file the same."""
    model = numaml.ConvNet((4, 3, 1), ((5, 3, 1), (6, 2, 2)), 2, loss="cross_entropy", norm="batch")
    learner = Learner(model, model.init(0), 0.5, 10, classes=np.array(["lying", "standing"]))
    x = np.zeros((7, 4, 3))
    for i in range(4):
        x[i, i] = 1
    for i in range(3):
        x[4 + i, :, i] = 1
    y = ["lying"] * 4 + ["standing"] * 3
    assert learner.adapt(x.reshape(7, 12), y).predict(x.reshape(7, 12)).tolist() == y
    with pytest.raises(ValueError, match=r"x has shape \(7, 11\); want \(n, 12\)"):
        learner.adapt(x.reshape(7, 12)[:, 1:], y)


def test_numbers_whose_squares_are_beyond_floats_are_numbers():
    model = numaml.MLP((1, 1), "identity")
    learner = numaml.Learner(model, np.array([2e-200, 1.0]), 0.1, 0)
    assert learner.adapt(np.empty((0, 1)), np.empty(0)).predict([[1e200]]).tolist() == [3.0]
