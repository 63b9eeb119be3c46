"""Bad input is refused before any work, and the message says got, wanted, fix."""

from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

import numaml
from numaml import MLP, Batch, ConvNet, Tasks

MODEL = MLP((2, 3, 2))
CLASSIFIER = MLP((2, 3, 4), loss="cross_entropy")
X, Y, C = np.ones((5, 7, 2)), np.ones((5, 7, 2)), np.ones((5, 7), int)
THETA = np.zeros(MODEL.size)
NAN, INFINITE = X.copy(), X.copy()
IMAGE, LAYERS = (3, 2, 1), ((4, 3, 1),)
NAN[1, 2, 0], INFINITE[4, 6, 1] = np.nan, np.inf


def tasks(n=7, lead=(5,), n_in=2, n_out=2):
    return Batch(np.ones((*lead, n, n_in)), np.ones((*lead, n, n_out)))


def fractions(n):
    return np.array([Fraction(1, 1 + i) for i in range(n)], object)


BAD = {
    "sizes of one layer": (lambda: MLP((3,)), ValueError, r"\(3,\); want at least \(n_in, n_out\)"),
    "width zero": (lambda: MLP((3, 0, 1)), ValueError, r"each >= 1"),
    "float width": (lambda: MLP((3, 4.0, 1)), TypeError, r"want integers"),
    "sizes not a sequence": (lambda: MLP(3), TypeError, r"sizes is 3; want integers"),
    "image without channels": (
        lambda: ConvNet((28, 28), LAYERS, 5), TypeError,
        r"image is \(28, 28\); want \(height, width, channels\), e.g. \(28, 28, 1\)"),
    "image of text": (lambda: ConvNet("288", LAYERS, 5), TypeError, r"image is '288'; want"),
    "image of no width": (lambda: ConvNet((2, 0, 1), LAYERS, 5), ValueError, r"each >= 1"),
    "filters alone": (
        lambda: ConvNet(IMAGE, (3, 3), 5), TypeError,
        r"layers\[0\] is 3; want \(filters, kernel, stride\) of every layer"),
    "stride one half": (
        lambda: ConvNet(IMAGE, ((3, 3, 1), (3, 3, 0.5)), 5), TypeError, r"layers\[1\] is .*0.5"),
    "stride zero": (lambda: ConvNet(IMAGE, ((3, 3, 0),), 5), ValueError, r"layers is .* each >= 1"),
    "no convolutions": (lambda: ConvNet(IMAGE, (), 5), TypeError, r"layers is \(\); want"),
    "number of layers": (lambda: ConvNet(IMAGE, 4, 5), TypeError, r"layers is 4; want"),
    "no outputs": (lambda: ConvNet(IMAGE, LAYERS, 0), ValueError, r"n_out is 0; want an integer"),
    "outputs True": (lambda: ConvNet(IMAGE, LAYERS, True), TypeError, r"n_out is True; want an"),
    "norm of images": (lambda: ConvNet(IMAGE, LAYERS, 5, norm="all"), ValueError, r"'all'; want"),
    "images of another size": (
        lambda: ConvNet(IMAGE, LAYERS, 2).value(np.zeros(50), tasks()), ValueError,
        r"x has shape \(5, 7, 2\); sizes=\(6, 24, 2\) need \(…, n, 6\)"),
    "theta of another convolution": (
        lambda: ConvNet(IMAGE, LAYERS, 2).unpack(np.zeros(51)), ValueError,
        r"theta has shape \(51,\); sizes=\(6, 24, 2\) need \(50,\)"),
    "unknown activation": (lambda: MLP((1, 1), "swish"), ValueError, r"'swish'; want one of"),
    "pair for activation": (lambda: MLP((1, 1), (np.sin, np.cos)), TypeError, r"\(s, s′, s″\)"),
    "triple of names": (lambda: MLP((1, 1), ("a", "b", "c")), TypeError, r"callables"),
    "name of a slope": (lambda: MLP((1, 1), (np.sin, "b", None)), TypeError, r"callables"),
    "name of a curvature": (lambda: MLP((1, 1), (np.sin, np.cos, "c")), TypeError, r"callables"),
    "four callables": (lambda: MLP((1, 1), (np.sin,) * 4), TypeError, r"callables"),
    "unknown loss": (lambda: MLP((1, 1), loss="mse"), ValueError, r"'mse'; want one of"),
    "unknown norm": (lambda: MLP((1, 1), norm="group"), ValueError, r"norm is 'group'; want"),
    "exact arithmetic under a norm": (
        lambda: MLP((2, 3, 2), norm="layer").value(fractions(MODEL.size), tasks()), TypeError,
        r"theta has dtype object and norm is 'layer'; want floating-point theta"),
    "init in integers": (lambda: MODEL.init(0, int), TypeError, r"want float32, float64"),
    "theta of another network": (
        lambda: MLP((1, 40, 1)).unpack(np.zeros(17)), ValueError,
        r"theta has shape \(17,\); sizes=\(1, 40, 1\) need \(121,\)"),
    "theta of another network alone": (
        lambda: MODEL.lift(np.zeros(3)), ValueError, r"sizes=\(2, 3, 2\) need \(17,\)"),
    "theta of integers": (
        lambda: MODEL.value(THETA.astype(int), tasks()), TypeError, r"int64.*astype\(float\)"),
    "theta half": (lambda: MODEL.value(THETA.astype("f2"), tasks()), TypeError, r"float16"),
    "too few blocks": (lambda: MODEL.pack([(np.ones((2, 3)), np.ones(3))]), ValueError, r"2 pairs"),
    "one layer too many": (
        lambda: MLP((2, 3)).pack([(np.ones((2, 3)), np.ones(3)), (np.ones((3, 2)), np.ones(2))]),
        ValueError, r"got 2 layers; sizes=\(2, 3\) need 1 pairs"),
    "integer blocks": (
        lambda: MLP((2, 3)).pack([(np.ones((2, 3), int), np.ones(3, int))]), TypeError,
        r"theta has dtype int64"),
    "transposed block": (
        lambda: MODEL.pack([(np.ones((3, 2)), np.ones(3)), (np.ones((3, 2)), np.ones(2))]),
        ValueError, r"W1 has shape \(3, 2\); want exactly \(2, 3\)"),
    "bias as a row": (
        lambda: MODEL.pack([(np.ones((2, 3)), np.ones((1, 3))), (np.ones((3, 2)), np.ones(2))]),
        ValueError, r"b1 has shape \(1, 3\); want exactly \(3,\)"),
    "bias that would broadcast": (
        lambda: MODEL.pack([(np.ones((2, 3)), np.ones(3)), (np.ones((3, 2)), np.ones(1))]),
        ValueError, r"b2 has shape \(1,\)"),
    "missing task axis": (
        lambda: MODEL.pack([(np.ones((4, 2, 3)), np.ones(3)), (np.ones((3, 2)), np.ones(2))]),
        ValueError, r"b1 has shape \(3,\); want exactly \(4, 3\)"),
    "features": (lambda: MODEL.value(THETA, tasks(n_in=3)), ValueError, r"need \(…, n, 2\)"),
    "one example without its axis": (
        lambda: MODEL.predict(THETA, np.ones(2)), ValueError, r"rows are examples"),
    "outputs": (lambda: MODEL.value(THETA, tasks(n_out=1)), ValueError,
                r"y has shape \(5, 7, 1\); squared_error of \(5, 7, 2\) wants \(5, 7, 2\)"),
    "task axes of theta and x": (
        lambda: MODEL.value(np.zeros((4, MODEL.size)), tasks()), ValueError,
        r"x has shape \(5, 7, 2\); theta of \(4, 17\) wants \(4, 7, 2\), or \(7, 2\) for all"),
    "complex x": (
        lambda: MODEL.value(THETA, Batch(X + 1j, Y)), TypeError, r"complex128 and theta float64"),
    "complex y": (lambda: MODEL.value(THETA, Batch(X, Y + 1j)), TypeError, r"y has dtype complex"),
    "floats in exact arithmetic": (
        lambda: MODEL.value(fractions(MODEL.size), Batch(X, Y)), TypeError,
        r"x has dtype float64 and theta object"),
    "class too large": (
        lambda: CLASSIFIER.value(np.zeros(CLASSIFIER.size), Batch(X, 4 * C)), ValueError,
        r"classes 4 to 4; sizes=\(2, 3, 4\) need 0 to 3"),
    "class far too large": (
        lambda: CLASSIFIER.value(np.zeros(CLASSIFIER.size), Batch(X, 9 * C)), ValueError, "9 to 9"),
    "class negative": (
        lambda: CLASSIFIER.value(np.zeros(CLASSIFIER.size), Batch(X, -C)), ValueError, r"-1 to -1"),
    "one-hot classes": (
        lambda: CLASSIFIER.value(np.zeros(CLASSIFIER.size), Batch(X, np.eye(7, 4, dtype=int)
                                 * np.ones((5, 1, 1), int))), ValueError,
        r"y has shape \(5, 7, 4\); cross_entropy of \(5, 7, 2\) wants \(5, 7\), or \(7,\) for"),
    "float classes": (
        lambda: CLASSIFIER.value(np.zeros(CLASSIFIER.size), Batch(X, Y)), TypeError,
        r"wants integer classes"),
    "v of another network": (
        lambda: MODEL.linearize(THETA, tasks())[2](np.ones(3)), ValueError, r"v has shape \(3,\)"),
    "v of another number of tasks": (
        lambda: MODEL.linearize(THETA, tasks())[2](np.ones((4, MODEL.size))), ValueError,
        r"v has shape \(4, 17\); theta of \(17,\) wants \(5, 17\), or \(17,\) for all tasks"),
    "complex v": (
        lambda: MODEL.linearize(THETA, tasks())[2](1j * THETA), TypeError, r"v has dtype complex"),
    "NaN": (lambda: Batch(NAN, Y), ValueError, r"x\[1, 2, 0\] is nan; want finite"),
    "infinity": (lambda: Batch(X, INFINITE), ValueError, r"y\[4, 6, 1\] is inf"),
    "flat x": (lambda: Batch(np.ones(7), np.ones((7, 1))), ValueError, r"\(7,\); want \(n, n_in\)"),
    "four axes": (lambda: Batch(X[None], Y[None]), ValueError, r"\(T, n, n_in\)"),
    "empty batch": (lambda: Batch(X[:, :0], Y[:, :0]), ValueError, r"want at least one"),
    "no tasks": (lambda: Batch(X[:0], Y[:0]), ValueError, r"want at least one"),
    "unequal examples": (lambda: Batch(X, Y[:, :6]), ValueError, r"want y \(5, 7, n_out\)"),
    "targets without their axis": (lambda: Batch(X, Y[..., 0]), ValueError, r"y\[..., None\]"),
    "text": (lambda: Batch(X, np.full((5, 7), "a")), TypeError, r"y has dtype <U1; want numbers"),
    "query tasks": (lambda: Tasks(tasks(), tasks(lead=(4,))), ValueError, r"\(5, 7, 2\) in the"),
    "query features": (lambda: Tasks(tasks(), tasks(n_in=1)), ValueError, r"x has shape"),
    "query outputs": (lambda: Tasks(tasks(), tasks(n_out=1)), ValueError, r"y has shape"),
    "query without tasks": (lambda: Tasks(tasks(), tasks(lead=())), ValueError, r"want the same"),
    "arrays for batches": (lambda: Tasks(X, Y), TypeError, r"support is ndarray; want a Batch"),
    "no sinusoids": (lambda: numaml.Sinusoids(tasks=0), ValueError, "tasks is 0; want an integer"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()


FUNCTIONS = (
    numaml.adapt,
    numaml.meta_value,
    numaml.meta_gradient,
    numaml.first_order_meta_gradient,
)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"steps": -1}, ValueError, "steps is -1; want an integer >= 0"),
        ({"steps": 1.0}, TypeError, "steps is 1.0; want an integer"),
        ({"steps": np.array(2.5)}, TypeError, "want an integer"),
        ({"steps": True}, TypeError, "steps is True"),
        ({"steps": None}, TypeError, "steps is None"),
        ({"alpha": True}, TypeError, "alpha is True; want one real number"),
        ({"alpha": np.bool_(True)}, TypeError, "want one real number"),
        ({"steps": np.array(2)}, TypeError, "want an integer"),
        ({"theta": np.where(np.arange(MODEL.size) == 3, np.nan, THETA)}, ValueError,
         r"theta\[3\] is nan; want finite"),
        ({"theta": np.where(np.arange(MODEL.size) == 4, np.inf, THETA)}, ValueError,
         r"theta\[4\] is inf"),
        ({"theta": np.ma.masked_greater(THETA, 100)}, TypeError, "masked"),
        ({"theta": THETA.astype(np.longdouble)}, TypeError, "longdouble|float128"),
        ({"theta": THETA.astype(int).astype(object)}, TypeError, "holds int in an object array"),
        ({"theta": THETA.astype(object)}, TypeError, "holds float in an object array"),
        ({"theta": np.array([None] * MODEL.size)}, TypeError, "holds NoneType"),
        ({"alpha": -0.1}, ValueError, "alpha is -0.1; want a finite number >= 0"),
        ({"alpha": np.nan}, ValueError, "alpha is nan"),
        ({"alpha": np.inf}, ValueError, "alpha is inf"),
        ({"alpha": 1j}, TypeError, "alpha is 1j; want one real number"),
        ({"alpha": "0.1"}, TypeError, "alpha is '0.1'"),
        ({"alpha": None}, TypeError, "alpha is None"),
        ({"alpha": np.ones(3)}, ValueError, r"alpha has shape \(3,\) and theta"),
        ({"theta": np.zeros((5, MODEL.size))}, ValueError, r"want one row \(P,\)"),
        ({"theta": np.zeros(3)}, ValueError, r"need \(17,\)"),
        ({"theta": 1.0}, ValueError, r"theta has shape \(\); sizes=\(2, 3, 2\) need"),
    ],
)  # fmt: skip
def test_bad_arguments_of_the_meta_functions(function, change, error, message):
    both = Tasks(tasks(), tasks(8))
    arguments = {"theta": THETA, "alpha": 0.1, "steps": 2} | change
    data = both.support if function is numaml.adapt else both
    with pytest.raises(error, match=message):
        function(MODEL, arguments["theta"], data, arguments["alpha"], arguments["steps"])


# What takes alpha and theta of `meta_gradient`, wherever it is.
ENTRIES = {
    **{function.__name__: lambda theta, alpha, f=function: f(
        MODEL, theta, tasks() if f is numaml.adapt else Tasks(tasks(), tasks(8)), alpha, 1)
       for function in (*FUNCTIONS, numaml.evaluate)},
    "train": lambda theta, alpha: numaml.train(
        MODEL, theta, lambda _: Tasks(tasks(), tasks()), alpha=alpha, steps=1, iterations=1),
    "Learner": lambda theta, alpha: numaml.Learner(MODEL, theta, alpha, 1),
    "plan": lambda theta, alpha: numaml.engine.plan(
        MODEL, theta, Tasks(tasks(), tasks()), alpha, 1),
}  # fmt: skip
NO_ALPHA = {
    "beyond floats": (10**400, "want a finite number >= 0"),
    "a fraction beyond floats": (Fraction(10**400), "want a finite number >= 0"),
    "half": (np.float16(0.5), "want one real number"),
    "more digits": (np.longdouble(0.5), "want one real number"),
    "decimal": (Decimal("0.5"), "want one real number"),
    "an array": (np.array(0.5), "want one real number"),
}


@pytest.mark.parametrize("what", NO_ALPHA)
@pytest.mark.parametrize("entry", ENTRIES)
def test_what_is_no_alpha_is_none_anywhere(entry, what):
    alpha, message = NO_ALPHA[what]
    with pytest.raises(
        (ValueError, TypeError), match=f"alpha is .*; ({message}|want a real number)"
    ):
        ENTRIES[entry](THETA, alpha)


@pytest.mark.parametrize("entry", ENTRIES)
def test_alpha_beyond_float32_is_named(entry):
    with pytest.raises(ValueError, match=r"alpha is 1e\+300, beyond theta's float32"):
        ENTRIES[entry](THETA.astype(np.float32), 1e300)
    with pytest.raises(ValueError, match=r"beta is 1000.*; want an outer learning rate > 0"):
        numaml.train(MODEL, THETA, None, alpha=0.1, steps=1, iterations=1, beta=10**400)


BATCHES = {
    "Tasks": Tasks(tasks(), tasks()), "a pair": (X, Y), "nothing": None, "an array": X,
}  # fmt: skip


@pytest.mark.parametrize("what", BATCHES)
def test_what_is_no_batch(what):
    for call in (
        lambda batch: numaml.adapt(MODEL, THETA, batch, 0.1, 1),
        lambda batch: MODEL.value(THETA, batch),
        lambda batch: MODEL.linearize(THETA, batch),
        lambda batch: numaml.meta_value(
            MODEL, THETA, SimpleNamespace(support=batch, query=tasks()), 0.1, 1
        ),
    ):
        with pytest.raises(TypeError, match=r"got a \w+; want a numaml.Batch\(x, y\)"):
            call(BATCHES[what])


def test_a_batch_need_not_have_every_class():
    assert CLASSIFIER.value(np.zeros(CLASSIFIER.size), Batch(X, 3 * C)) == pytest.approx(np.log(4))


def test_sets_with_other_numbers_of_tasks():
    """Sets need not be in a numaml.Tasks, which looks at this as well."""
    sets = SimpleNamespace(support=tasks(), query=tasks(lead=(4,)))
    for call in (
        lambda: numaml.meta_gradient(MODEL, THETA, sets, 0.1, 1),
        lambda: MODEL.checked(THETA, tasks(lead=()), tasks(), tasks(lead=(4,))),
    ):
        with pytest.raises(ValueError, match=r"\(4, 7, 2\); want the same number of tasks in all"):
            call()


@pytest.mark.parametrize("dtype", [bool, int, np.float16, np.longdouble, object])
def test_v_is_taken_as_theta_is(dtype):
    _, _, hvp = MODEL.linearize(THETA, tasks())
    with pytest.raises(TypeError, match=r"v (has dtype|holds)"):
        hvp(np.ones(MODEL.size).astype(dtype))


@pytest.mark.parametrize("name", ["x", "y"])
def test_numbers_that_nobody_looked_at_are_looked_at(name):
    """A batch need not be numaml's own; then its numbers are looked at in every call."""
    loose = SimpleNamespace(**{"x": X, "y": Y, name: NAN})
    for call in (
        lambda: MODEL.value(THETA, loose),
        lambda: MODEL.linearize(THETA, loose),
        lambda: numaml.adapt(MODEL, THETA, loose, 0.1, 1),
        lambda: numaml.meta_gradient(
            MODEL, THETA, SimpleNamespace(support=tasks(), query=loose), 0.1, 1
        ),
    ):
        with pytest.raises(ValueError, match=rf"{name}\[1, 2, 0\] is nan"):
            call()
    masked = SimpleNamespace(x=X, y=np.ma.masked_equal(C, 1))
    with pytest.raises(TypeError, match="y is a masked array"):
        CLASSIFIER.value(np.zeros(CLASSIFIER.size), masked)


def test_lifted_parameters_are_predicted_with_by_the_same_checks():
    model = MLP((40, 300, 50, 3))
    batch = Batch(np.ones((20, 3, 40)), np.ones((20, 3, 3)))
    theta, _ = model.lift(model.init(0), batch)
    assert type(theta) is not np.ndarray
    with pytest.raises(ValueError, match=r"x\[0, 0, 0\] is nan"):
        model.predict(theta, np.where(np.arange(40) == 0, np.nan, batch.x))
    with pytest.raises(TypeError, match="x is a masked"):
        model.predict(theta, np.ma.masked_greater(batch.x, 2))


LARGE = np.full((5, 7, 2), 2**24 + 1)


def test_integers_that_thetas_dtype_does_not_tell_apart():
    single = THETA.astype(np.float32)
    for batch in (Batch(LARGE, Y), Batch(X, -LARGE)):
        with pytest.raises(ValueError, match=r"\[0, 0, 0\] is -?16777217, and float32 tells"):
            MODEL.value(single, batch)
        assert np.isfinite(MODEL.value(THETA, batch)).all()
    for number in (2**24, -(2**24)):  # the largest that float32 tells from its neighbours
        assert np.isfinite(MODEL.value(single, Batch(np.full((5, 7, 2), number), Y))).all()
    with pytest.raises(ValueError, match=r"is 9007199254740993, and float64 tells integers up to"):
        MODEL.predict(THETA, np.full((5, 7, 2), 2**53 + 1))


@pytest.mark.parametrize("sign", [1, -1])
def test_the_integer_that_is_named_is_the_first_beyond(sign):
    x, single = np.array([[5, 2**24], [-(2**24), sign * (2**24 + 1)]]), THETA.astype(np.float32)
    with pytest.raises(ValueError, match=r"x\[1, 1\] is -?16777217, and float32"):
        MODEL.predict(single, x)
    assert MODEL.predict(single, x[:0]).shape == (0, 2)  # none to be named


NO_RING = {
    "a float": 0.5, "NaN": float("nan"), "nothing": None, "true": True, "a NumPy float":
    np.float64(2), "a NumPy integer": np.int64(2), "text": "2",
}  # fmt: skip


@pytest.mark.parametrize("what", NO_RING)
@pytest.mark.parametrize("name", ["x", "y"])
def test_what_is_of_no_ring_does_not_enter_exact_arithmetic(name, what):
    model = MLP((2, 3, 2), "square")
    theta, spoilt = fractions(model.size), np.array([[1, 2], [3, NO_RING[what]]], object)
    batch = Batch(**{"x": np.eye(2, dtype=int), "y": np.eye(2, dtype=int), name: spoilt})
    fine = Batch(np.eye(2, dtype=int), np.eye(2, dtype=int))
    for call in (
        lambda: model.value(theta, batch),
        lambda: model.linearize(theta, batch),
        lambda: numaml.meta_gradient(model, theta, Tasks(fine, batch), 1, 1),
        lambda: numaml.evaluate(model, theta, Tasks(batch, fine), 1, 1),
        lambda: model.predict(theta, spoilt),
    ):
        with pytest.raises(TypeError, match=rf"[xy] holds {type(NO_RING[what]).__name__} in an"):
            call()
    assert type(model.predict(theta, np.array([[1, 2]], object))[0, 0]) is Fraction
    assert type(model.predict(theta, np.array([[1, 2]]))[0, 0]) is Fraction


@pytest.mark.parametrize("alpha", ["1", True, 1.0, np.int64(1), np.array(Fraction(1))])
def test_what_is_no_alpha_in_exact_arithmetic(alpha):
    model = MLP((2, 3, 2), "square")
    both = Tasks(*[Batch(np.eye(2, dtype=int), np.eye(2, dtype=int))] * 2)
    with pytest.raises(TypeError, match=r"alpha is .*; want an element"):
        numaml.meta_gradient(model, fractions(model.size), both, alpha, 1)


COUNTS = {
    "Sinusoids": lambda one: numaml.Sinusoids(tasks=one),
    "FewShot": lambda one: numaml.FewShot(np.ones((40, 2)), np.repeat(range(8), 5), ways=one),
    "Grouped": lambda one: numaml.Grouped(np.ones((9, 2)), np.ones(9), [1] * 9, shots=one),
    "fit": lambda one: numaml.MAMLRegressor(tasks=one).fit(np.ones((9, 2)), np.ones(9), [1] * 9),
    "split_classes": lambda one: numaml.split_classes(range(9), one, 1, 0),
    "sharded": lambda one: numaml.sharded(None, one),
    "iterations": lambda one: numaml.train(
        MODEL, THETA, None, alpha=0.1, steps=1, iterations=one
    ),
    "width": lambda one: MLP((2, one, 1)),
}  # fmt: skip


@pytest.mark.parametrize("count", [True, np.True_, 2.5, np.float64(3), "3", None, np.array([3])])
@pytest.mark.parametrize("entry", COUNTS)
def test_what_is_no_count_is_none_anywhere(entry, count):
    with pytest.raises((TypeError, ValueError), match=r"want (an |a whole |)(integer|number)"):
        COUNTS[entry](count)


def test_what_is_no_scale():
    for scale in (True, 1j, np.inf, np.array(1.0), "1"):
        with pytest.raises((TypeError, ValueError), match=r"scale is .*; want (one real|a finite)"):
            numaml.FewShot(np.ones((40, 2)), np.repeat(range(8), 5), scale=scale)


def test_a_row_alone_is_not_adapted_by_nor_predicted_where_it_is_normalised_away():
    model, one = MLP((2, 3, 2), norm="batch"), tasks(1)
    for both in (Tasks(one, tasks()), Tasks(tasks(), one)):
        for function in (numaml.meta_gradient, numaml.meta_value, numaml.evaluate):
            with pytest.raises(ValueError, match=r"one row.*take more rows together, or norm"):
                function(model, THETA, both, 0.1, 1)
    with pytest.raises(ValueError, match="one row"):
        numaml.adapt(model, THETA, one, 0.1, 1)
    assert np.isfinite(numaml.adapt(MLP((2, 3, 2), norm="layer"), THETA, one, 0.1, 1)).all()


RATES = {
    "true in a pair": (({"W": 0.1, "b": True}, 0.1), "want a real number"),
    "half": (((0.1, np.float16(0.5)), 0.1), "want a real number"),
    "beyond floats": ((0.1, 10**400), "want a real number"),
    "masked": (np.ma.masked_less(np.ones(MODEL.size), 2), "masked"),
    "masked by name": ({"parameters": np.ma.masked_less(np.ones(MODEL.size), 2)}, "masked"),
    "halves": (np.ones(MODEL.size, np.float16), "dtype float16"),
    "more digits": (np.ones(MODEL.size, np.longdouble), "dtype (longdouble|float128)"),
    "NaN": (np.where(np.arange(MODEL.size) == 3, np.nan, 1), r"alpha\[3\] is nan"),
    "texts": (np.array(["1"] * MODEL.size), "dtype <U1"),
}


@pytest.mark.parametrize("what", RATES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_rates_are_taken_as_one_rate_is(function, what):
    alpha, message = RATES[what]
    data = tasks() if function is numaml.adapt else Tasks(tasks(), tasks(8))
    with pytest.raises((TypeError, ValueError), match=message):
        function(MODEL, THETA, data, alpha, 1)


def test_rates_beyond_theta_and_of_no_ring():
    both = Tasks(tasks(), tasks(8))
    with pytest.raises(ValueError, match="beyond theta's float32"):
        numaml.meta_value(MODEL, THETA.astype("f4"), both, (1e300, 0.1), 1)
    model, ones = MLP((2, 3, 2), "square"), Batch(np.eye(2, dtype=int), np.eye(2, dtype=int))
    for alpha in (np.ones(model.size), np.ones(model.size, object) * 0.5, (0.5, Fraction(1, 2))):
        with pytest.raises(TypeError, match=r"(alpha holds|a rate in alpha is 0.5, a) float"):
            numaml.meta_gradient(model, fractions(model.size), Tasks(ones, ones), alpha, 1)
