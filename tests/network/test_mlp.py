"""The MLP's public face: layouts, task axes, dtypes, users' own activations."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

import numaml
from numaml.check import relative_error

from ..cases import NORMS, build, each_task

ROUNDING = 1e-14
CONFIGURATIONS = [
    ((3, 5, 4, 2), "tanh", "squared_error"),
    ((3, 5, 4, 2), "relu", "cross_entropy"),
    ((3, 2), "tanh", "squared_error"),
    ((1, 4, 1), "softplus", "squared_error"),
]


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=str)
def test_a_stack_of_tasks_is_the_tasks_one_by_one(configuration, plain):
    case = build(*configuration, 6, 7, 8, 0.05, 3, seed=0)
    model, theta, tasks, alpha, steps = case.arguments
    supports, queries = each_task(tasks.support), each_task(tasks.query)
    singles = [numaml.Tasks(s, q) for s, q in zip(supports, queries, strict=True)]

    phi = numaml.adapt(model, theta, tasks.support, alpha, steps)
    want = [numaml.adapt(model, theta, s, alpha, steps) for s in supports]
    assert relative_error(phi, want) < ROUNDING

    value, gradient, hvp = model.linearize(phi, tasks.query)
    parts = [model.linearize(phi[t], queries[t]) for t in range(6)]
    assert value.shape == (6,)
    assert relative_error(value, [part[0] for part in parts]) < ROUNDING
    assert relative_error(gradient, [part[1] for part in parts]) < ROUNDING
    v = np.random.default_rng(1).normal(size=(6, model.size))
    assert relative_error(hvp(v), [part[2](v[t]) for t, part in enumerate(parts)]) < ROUNDING
    assert relative_error(hvp(case.v), [part[2](case.v) for part in parts]) < ROUNDING

    for function in (numaml.meta_gradient, numaml.first_order_meta_gradient):
        value, gradient = function(*case.arguments)
        parts = [function(model, theta, single, alpha, steps) for single in singles]
        assert relative_error(value, np.mean([part[0] for part in parts])) < ROUNDING
        assert relative_error(gradient, np.mean([part[1] for part in parts], axis=0)) < ROUNDING


def test_a_stack_of_thetas_on_one_batch():
    case = build((3, 5, 2), "tanh", "squared_error", None, 7, 8, 0.1, 1, seed=0)
    thetas = np.random.default_rng(1).normal(size=(4, case.model.size))
    batch = case.tasks.support
    value, gradient, hvp = case.model.linearize(thetas, batch)
    parts = [case.model.linearize(theta, batch) for theta in thetas]
    assert relative_error(value, [part[0] for part in parts]) < ROUNDING
    assert relative_error(gradient, [part[1] for part in parts]) < ROUNDING
    assert relative_error(hvp(case.v), [part[2](case.v) for part in parts]) < ROUNDING
    assert case.model.predict(thetas, batch.x).shape == (4, 7, 2)


@pytest.mark.parametrize("norm", NORMS)
def test_a_stack_of_directions_gives_the_dense_hessian(norm):
    case = build((3, 5, 2), "tanh", "squared_error", None, 7, 8, 0.1, 1, 0, norm)
    _, _, hvp = case.model.linearize(case.theta, case.tasks.support)
    H = hvp(np.eye(case.model.size))
    assert relative_error(H, H.T) < ROUNDING
    assert relative_error(H @ case.v, hvp(case.v)) < ROUNDING
    assert np.array_equal(hvp(case.v), hvp(case.v)), "hvp may be called any number of times"


@pytest.mark.parametrize("activation", ["relu", "tanh", "softplus", "sigmoid"])
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
@pytest.mark.parametrize("norm", NORMS)
def test_every_result_has_the_dtype_of_theta(activation, loss, dtype, norm, plain):
    case = build((3, 5, 2), activation, loss, 4, 7, 8, 0.05, 2, 0, norm)
    theta = case.theta.astype(dtype)
    value, gradient, hvp = case.model.linearize(theta, case.tasks.support)
    assert value.dtype == gradient.dtype == hvp(gradient).dtype == dtype
    assert case.model.predict(theta, case.tasks.support.x).dtype == dtype
    for alpha in (0.05, np.float64(0.05), np.float32(0.05), 0):
        arguments = (case.model, theta, case.tasks, alpha, 2)
        assert numaml.adapt(case.model, theta, case.tasks.support, alpha, 2).dtype == dtype
        for function in (numaml.meta_gradient, numaml.first_order_meta_gradient):
            value, gradient = function(*arguments)
            assert gradient.dtype == dtype
            assert type(value) is (complex if dtype is np.complex128 else float)
    want = numaml.meta_gradient(*case.arguments)[1]
    got = numaml.meta_gradient(case.model, theta, case.tasks, 0.05, 2)[1]
    assert relative_error(got, want) < (1e-4 if dtype is np.float32 else ROUNDING)


def test_unpack_gives_views_and_pack_is_its_inverse():
    model = numaml.MLP((3, 5, 4, 2))
    theta = np.arange(4.0 * model.size).reshape(4, model.size)
    layers = model.unpack(theta)
    assert [(W.shape, b.shape) for W, b in layers] == [
        ((4, 3, 5), (4, 5)), ((4, 5, 4), (4, 4)), ((4, 4, 2), (4, 2))
    ]  # fmt: skip
    assert all(np.shares_memory(block, theta) for layer in layers for block in layer)
    assert np.array_equal(model.pack(layers), theta)
    assert np.array_equal(model.pack(model.unpack(theta[0])), theta[0])
    W, b = model.unpack(theta[0])[0]
    assert np.array_equal(W, np.arange(15.0).reshape(3, 5))
    assert np.array_equal(b, np.arange(15.0, 20.0))
    W[...] = -1
    assert (theta[0, :15] == -1).all()
    assert np.array_equal(model.pack(model.unpack(np.asfortranarray(theta))), theta)


@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
def test_layouts_in_memory_do_not_matter(loss):
    case = build((3, 5, 2), "tanh", loss, 4, 7, 8, 0.05, 2, seed=0)
    x = np.asfortranarray(case.tasks.support.x)
    strided = numaml.Batch(np.repeat(x, 2, axis=1)[:, ::2], case.tasks.support.y)
    theta = np.repeat(case.theta, 2)[::2]
    assert not theta.flags.c_contiguous
    got = case.model.linearize(theta, strided)
    want = case.model.linearize(case.theta, case.tasks.support)
    assert relative_error(got[1], want[1]) < ROUNDING
    assert relative_error(got[2](case.v), want[2](case.v)) < ROUNDING


@pytest.mark.parametrize("turned", [np.asfortranarray, lambda a: a[..., ::-1].copy()[..., ::-1]])
def test_layouts_in_memory_change_no_bit_of_a_plain_call(plain, turned):
    """Nor of a recorded one, whose arrays all lie row after row."""
    model, rng = numaml.MLP((9, 30, 4), norm="batch"), np.random.default_rng(0)
    theta = model.init(0)
    S, Q = (numaml.Batch(rng.normal(size=(5, n, 9)), rng.normal(size=(5, n, 4))) for n in (6, 7))
    other = numaml.Tasks(*(numaml.Batch(turned(batch.x), turned(batch.y)) for batch in (S, Q)))
    want = numaml.meta_gradient(model, theta, numaml.Tasks(S, Q), 0.1, 2)[1]
    assert np.array_equal(numaml.meta_gradient(model, theta, other, 0.1, 2)[1], want)


def test_a_users_activation():
    sine = (np.sin, np.cos, lambda z: -np.sin(z))
    model = numaml.MLP((3, 5, 2), sine)
    case = build((3, 5, 2), "tanh", "squared_error", 4, 7, 8, 0.05, 2, seed=0)
    arguments = (case.theta, case.tasks, 0.05, 2)
    got = numaml.meta_gradient(model, *arguments)[1] @ case.v
    want = numaml.check.complex_step(
        lambda p: numaml.meta_value(model, p, case.tasks, 0.05, 2), case.theta, case.v
    )
    assert abs(got - want) < ROUNDING
    assert hash(model) == hash(numaml.MLP((3, 5, 2), sine))
    assert model == numaml.MLP([3, 5, 2], sine)


def test_init():
    model = numaml.MLP((300, 200, 100), "tanh")
    theta = model.init(0)
    assert np.array_equal(theta, model.init(np.random.default_rng(0)))
    assert np.array_equal(model.init(0, "f4"), theta.astype("f4"))
    for (W, b), n_in in zip(model.unpack(theta), (300, 200), strict=True):
        assert abs(W.std() * np.sqrt(n_in) - 1) < 0.02
        assert not b.any()
    relu = numaml.MLP((300, 200, 100)).init(0)
    assert np.allclose(relu, np.sqrt(2) * theta)
    own = (np.tanh, np.cos, None)
    for activation in (
        "identity",
        "softplus",
        "sigmoid",
        "square",
        own,
    ):  # a gain of 1 but for relu
        assert np.array_equal(numaml.MLP((300, 200, 100), activation).init(0), theta)


def test_inputs_are_never_changed():
    case = build((3, 5, 2), "relu", "squared_error", 4, 7, 8, 0.05, 2, seed=0)
    batches = (case.tasks.support, case.tasks.query)
    arrays = (case.theta, *(a for batch in batches for a in (batch.x, batch.y)))
    before = [a.copy() for a in arrays]
    for a in arrays:
        a.flags.writeable = False
    for _ in range(4):  # as the program stands, recorded, and replayed
        numaml.meta_gradient(*case.arguments)
        numaml.first_order_meta_gradient(*case.arguments)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, before, strict=True))


def test_threads_do_not_disturb_each_other():
    case = build((3, 5, 2), "tanh", "squared_error", 4, 7, 8, 0.05, 3, seed=0)
    want = numaml.meta_gradient(*case.arguments)[1]
    wrong = []

    def work():
        results = [numaml.meta_gradient(*case.arguments)[1] for _ in range(50)]
        wrong.extend(got for got in results if not np.array_equal(got, want))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_normalised_networks_ignore_what_they_should(norm):
    """A factor on all features (up to ε), and under "batch" a constant added to every row."""
    model = numaml.MLP((3, 5, 2), "tanh", norm=norm)
    theta, x = model.init(0), np.random.default_rng(1).normal(size=(7, 3))
    assert relative_error(model.predict(theta, 1e3 * x), model.predict(theta, 2e3 * x)) < 1e-9
    moved = relative_error(model.predict(theta, x + 4.0), model.predict(theta, x))
    assert moved < ROUNDING if norm == "batch" else moved > 0.01


def test_a_prediction_under_batch_depends_on_its_batch_and_under_layer_does_not():
    x = np.random.default_rng(1).normal(size=(7, 3))
    for norm, alone in (("batch", False), ("layer", True)):
        model = numaml.MLP((3, 5, 2), "tanh", norm=norm)
        whole, part = model.predict(model.init(0), x), model.predict(model.init(0), x[:4])
        assert (relative_error(whole[:4], part) < ROUNDING) == alone


def test_a_constant_feature_is_mapped_to_the_shift():
    model = numaml.MLP((3, 4, 2), "tanh", norm="batch")
    theta, x = np.random.default_rng(2).normal(size=model.size), np.full((6, 3), 7.0)
    (_, b1), (W2, b2) = model.unpack(theta)
    want = np.tanh(b1) @ W2 + b2
    magnified = ROUNDING / 1e-5**0.5  # what is left of a constant, divided by the root of ε
    assert relative_error(model.predict(theta, x), np.tile(want, (len(x), 1))) < magnified
    tasks = numaml.Tasks(numaml.Batch(x, np.ones((6, 2))), numaml.Batch(x, np.ones((6, 2))))
    value, gradient = numaml.meta_gradient(model, theta, tasks, 0.1, 3)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_a_row_alone_is_refused_where_it_would_be_normalised_away():
    model = numaml.MLP((3, 4, 2), norm="batch")
    theta, x, y = model.init(0), np.ones((1, 3)), np.ones((1, 2))
    with pytest.raises(ValueError, match=r"one row.*take more rows together.*norm='layer'"):
        model.predict(theta, x)
    assert np.isfinite(model.value(theta, numaml.Batch(x, y)))  # a loss it has
    for norm, sizes in (("layer", (3, 4, 2)), (None, (3, 4, 2)), ("batch", (3, 2))):
        other = numaml.MLP(sizes, norm=norm)
        assert other.predict(other.init(0), x).shape == (1, 2)


def test_without_hidden_layers_nothing_is_normalised():
    x = np.random.default_rng(6).normal(5, 1, (4, 3))
    plain = numaml.MLP((3, 2))
    theta = plain.init(0)
    assert np.array_equal(
        numaml.MLP((3, 2), norm="batch").predict(theta, x), plain.predict(theta, x)
    )


@pytest.mark.parametrize("hidden", [(16,), (16, 8)])
def test_inputs_far_from_0_keep_their_digits_in_single_precision(hidden):
    """N takes the mean of x W away again, which has all the digits where x lies far from 0."""
    model = numaml.MLP((5, *hidden, 3), "tanh", "cross_entropy", "batch")
    theta = model.init(0, np.float32)

    def batch(n, dtype):
        x = np.float32(1000 + np.random.default_rng(n).normal(size=(4, n, 5)))
        return numaml.Batch(x.astype(dtype), np.random.default_rng(n).integers(0, 3, (4, n)))

    single, double = (
        numaml.meta_gradient(
            model, theta.astype(dtype), numaml.Tasks(batch(7, dtype), batch(8, dtype)), 0.3, 2
        )[1]
        for dtype in (np.float32, np.float64)
    )
    assert relative_error(single.astype(float), double) < 1e-5  # was 4e-2: some ulp of float32
    x = batch(7, np.float32).x
    far = model.predict(theta, x).astype(float)
    assert relative_error(far, model.predict(theta.astype(float), x)) < 1e-5


def test_a_product_belongs_to_the_arrays_it_was_made_of():
    model, rng = numaml.MLP((3, 4, 2), "tanh"), np.random.default_rng(8)
    theta, x, y, v = (rng.normal(size=n) for n in (26, (7, 3), (7, 2), 26))
    _, _, hvp = model.linearize(theta, numaml.Batch(x, y))
    before = hvp(v)
    for array in (theta, x, y):
        array *= 0.5
    assert np.array_equal(hvp(v), before)


def test_x_beyond_the_dtype_is_named():
    model = numaml.MLP((2, 3, 1))
    largest = np.finfo(np.float32).max
    theta, x = model.init(0, np.float32), np.array([[1.0, largest], [3.0, 1e300], [-1e301, 4.0]])
    for call in (
        lambda: model.predict(theta, x),
        lambda: numaml.adapt(model, theta, numaml.Batch(x, np.ones((3, 1))), 0.1, 1),
    ):
        with pytest.raises(ValueError, match=r"x\[1, 1\] is 1e\+300, beyond theta's float32"):
            call()
    with pytest.raises(ValueError, match=r"x\[0, 1\] is nan"):
        model.predict(theta, np.array([[1.0, np.nan]], np.float32))
    with pytest.raises(TypeError, match="masked"):
        model.predict(theta, np.ma.masked_greater(np.ones((2, 2)), 5))


def test_complex_numbers_of_single_precision_fit_into_those_of_double():
    model = numaml.MLP((2, 3, 1))
    theta, x = model.init(0, complex), np.array([[1 + 2j, 3]], np.complex64)
    assert np.array_equal(model.predict(theta, x), model.predict(theta, x.astype(complex)))


def test_numbers_of_another_byte_order_keep_their_precision():
    model = numaml.MLP((2, 3, 1))
    theta, x = model.init(0), np.random.default_rng(9).normal(size=(4, 2))
    swapped = model.predict(theta.astype(">f8"), x.astype(">f8"))
    assert swapped.dtype == np.float64
    assert np.array_equal(swapped, model.predict(theta, x))


def test_harmless_underflow_does_not_raise():
    model = numaml.MLP((1, 4, 1), "tanh")
    x = np.linspace(-1, 1, 5)[:, None]
    batch, theta = numaml.Batch(x, x), 900 * np.ones(model.size)
    with np.errstate(all="raise"):
        _, gradient, hvp = model.linearize(theta, batch)
        assert np.isfinite(hvp(gradient)).all()
        model.predict(theta, x)
        model.value(theta, batch)
        for steps in (1, 1, 1):
            numaml.meta_gradient(model, theta, numaml.Tasks(batch, batch), 1e-9, steps)
        assert np.geterr()["under"] == "raise"


@pytest.mark.parametrize("sizes", [(3, 5, 2), (90, 80, 5)])
@pytest.mark.parametrize("norm", [None, "batch"])
@pytest.mark.parametrize("shared", ["support", "query"])
def test_a_set_that_all_tasks_share_is_seen_once_by_each(sizes, norm, shared):
    """In every form of the weights, and the same as if it were written out for each task."""
    rng = np.random.default_rng(10)
    model = numaml.MLP(sizes, "tanh", norm=norm)
    one, many = (
        numaml.Batch(*(rng.normal(size=(*lead, n, width)) for width in (sizes[0], sizes[-1])))
        for lead, n in (((), 6), ((8,), 5))
    )
    written = numaml.Batch(*(np.broadcast_to(array, (8, *array.shape)) for array in (one.x, one.y)))
    names = ("support", "query") if shared == "support" else ("query", "support")
    tasks = SimpleNamespace(**dict(zip(names, (one, many), strict=True)))
    whole = SimpleNamespace(**dict(zip(names, (written, many), strict=True)))
    for _ in range(3):  # plain, recorded, replayed
        got = numaml.meta_gradient(model, model.init(0), tasks, 0.1, 3)
        want = numaml.meta_gradient(model, model.init(0), whole, 0.1, 3)
        assert got[0] == pytest.approx(want[0], rel=1e-14)
        assert relative_error(got[1], want[1]) < 1e-13


def test_what_traces_hold_is_counted():
    """Four arrays of 2 + 6 examples by 5 + 4 units, and of each step all c so far, or all of φ."""
    model = numaml.MLP((3, 5, 4))
    assert model.size == 44
    assert model.trace_size(2, 6, 1) == 4 * 2 * 9 + 18 + 4 * 6 * 9
    assert model.trace_size(2, 6, 3) == 3 * (4 * 2 * 9 + 44) + 4 * 6 * 9


def test_inputs_are_centred_once_so_that_one_pair_is_kept_for_them():
    rng = np.random.default_rng(11)
    model = numaml.MLP((90, 80, 5), norm="batch")
    batch = numaml.Batch(rng.normal(size=(9, 5, 90)), rng.normal(size=(9, 5, 5)))
    phi, rows = model.lift(model.init(0), batch)
    for _ in range(3):
        _, g, _ = model.linearize(phi, rows)
        phi = phi - 0.1 * g
    (first, _), *_ = phi.layers
    assert [U.shape[-2] for U, _ in first.pairs] == [5]
