"""Either representation of fast weights, forced: the same numbers, whatever the rule would do."""

import math
from fractions import Fraction

import numpy as np
import pytest

import numaml
from numaml import check
from numaml.network import mlp
from numaml.network.activations import ACTIVATIONS
from numaml.weights import factored

from ..cases import build

# The two sum in another order: some thousand roundings of float64, on well-scaled networks.
SUMMED_OTHERWISE = 1e-13
SIZES = (4, 7, 6, 3)  # every axis its own size; 5 tasks, 8 support and 9 query examples


@pytest.fixture
def large(monkeypatch):
    """Small networks handled as large ones are."""
    monkeypatch.setattr(factored, "FEW", 0)


@pytest.fixture
def forced(monkeypatch, large):
    """A call with factors never multiplied out, or always; theta is a sum in both."""

    def run(function, pays, *arguments):
        with monkeypatch.context() as patch:
            patch.setattr(factored, "pays", lambda rank, *_: pays or not rank)
            return function(*arguments)

    return run


@pytest.mark.parametrize("norm", [None, "batch", "layer"])
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
@pytest.mark.parametrize("tasks", [None, 5])
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_both_representations_agree(forced, norm, loss, tasks, steps):
    case = build(SIZES, "tanh", loss, tasks, 8, 9, 0.1, steps, 0, norm)
    for function in (numaml.meta_gradient, numaml.first_order_meta_gradient):
        thin = forced(function, True, *case.arguments)
        dense = forced(function, False, *case.arguments)
        for a, b in zip(thin, dense, strict=True):
            assert check.relative_error(a, b) < SUMMED_OTHERWISE
    adapt = (case.model, case.theta, case.tasks.support, case.alpha, steps)
    thin, dense = (forced(numaml.adapt, pays, *adapt) for pays in (True, False))
    assert check.relative_error(thin, dense) < SUMMED_OTHERWISE


@pytest.mark.parametrize("pays", [True, False])
@pytest.mark.parametrize("norm", [None, "batch"])
def test_a_forced_representation_against_the_complex_step(forced, pays, norm):
    case = build(SIZES, "softplus", "cross_entropy", 5, 8, 9, 0.1, 3, 1, norm)

    def value(theta):
        return numaml.meta_value(case.model, theta, *case.arguments[2:])

    gradient = forced(numaml.meta_gradient, pays, *case.arguments)[1]
    along_v = forced(check.complex_step, pays, value, case.theta, case.v)
    assert abs(gradient @ case.v - along_v) < SUMMED_OTHERWISE * np.linalg.norm(gradient)


def exact_case(element):
    rng = np.random.default_rng(2)
    model = numaml.MLP((3, 4, 2), "square")

    def elements(*shape):
        flat = [element(n) for n in rng.integers(1, 100, math.prod(shape)).tolist()]
        return np.array(flat, object).reshape(shape)

    batch = [numaml.Batch(elements(5, n, 3), elements(5, n, 2)) for n in (2, 1)]
    return model, elements(model.size), numaml.Tasks(*batch), element(3), 2


def test_a_network_of_one_layer_may_be_factored(forced):
    case = build((4, 3), "tanh", "cross_entropy", 5, 8, 9, 0.1, 2, 0)
    thin, dense = (forced(numaml.meta_gradient, pays, *case.arguments)[1] for pays in (True, False))
    assert check.relative_error(thin, dense) < SUMMED_OTHERWISE
    adapt = (case.model, case.theta, case.tasks.support, case.alpha, 2)
    thin, dense = (forced(numaml.adapt, pays, *adapt) for pays in (True, False))
    assert check.relative_error(thin, dense) < SUMMED_OTHERWISE


@pytest.mark.parametrize("element", [check.Mod, lambda n: Fraction(n, 50)])
def test_exact_arithmetic_does_not_see_the_representation(forced, element):
    case = exact_case(element)
    thin, dense = (forced(numaml.meta_gradient, pays, *case) for pays in (True, False))
    assert thin[0] == dense[0]
    assert (thin[1] == dense[1]).all()


def test_the_rule_chooses_layer_by_layer(large):
    """A wide layer stays factored beside a narrow one, and long inner loops become dense."""
    model = numaml.MLP((30, 40, 1))
    rng = np.random.default_rng(3)
    batch = numaml.Batch(rng.normal(size=(5, 4, 30)), rng.normal(size=(5, 4, 1)))
    phi, rows = model.lift(model.init(0), batch)
    for steps in range(1, 4):
        _, g, _ = model.linearize(phi, rows)
        phi = phi - 0.01 * g
        wide, narrow = (weight for weight, _ in phi.layers)
        rows.x @ wide, rng.normal(size=(5, 4, 40)) @ narrow
        assert wide.base.ndim == 2
        assert [U.shape[-2] for U, _ in wide.pairs] == [4], steps  # x at every step: one pair
        assert narrow.base.ndim == 3


def test_a_small_network_is_held_flat():
    model = numaml.MLP((2, 6, 1))
    rng = np.random.default_rng(4)
    batch = numaml.Batch(rng.normal(size=(5, 7, 2)), rng.normal(size=(5, 7, 1)))
    phi, rows = model.lift(model.init(0), batch)
    _, g, _ = model.linearize(phi, rows)
    assert (phi - 0.01 * g).flat.shape == (5, model.size)


@pytest.mark.parametrize("few", [0, factored.FEW])
@pytest.mark.parametrize("tasks", [None, 5])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("norm", [None, "batch"])
def test_everything_may_be_asked_for_twice(monkeypatch, few, tasks, activation, norm):
    """What is written into free memory is never written into what is asked for again."""
    monkeypatch.setattr(factored, "FEW", few)
    case = build((12, 20, 2), activation, "squared_error", tasks, 4, 5, 0.1, 2, 0, norm)
    model = case.model
    theta, S, Q = model.lift(case.theta, case.tasks.support, case.tasks.query)

    def twice(function, *arguments):
        first, second = (np.asarray(function(*arguments)).copy() for _ in range(2))
        assert np.array_equal(first, second)

    def loss_and_product(phi, v):
        value, _, hvp = model.linearize(phi, S)
        return np.append(np.asarray(hvp(v)), value)

    phi = theta - 0.1 * model.linearize(theta, S)[1]
    lam = model.linearize(phi, Q)[1]
    for point in (phi, theta):
        hvp = model.linearize(point, S)[2]
        twice(hvp, lam)
        twice(loss_and_product, point, lam)
        lam = lam - 0.1 * hvp(lam)  # whose first layer has too many factors by now
    twice(hvp, lam)


def test_nothing_of_the_callers_is_changed():
    case = build(SIZES, "relu", "cross_entropy", 5, 8, 9, 0.1, 3, 5)
    theta = case.theta.copy()
    x = case.tasks.support.x.copy()
    first = numaml.meta_gradient(*case.arguments)[1]
    assert np.array_equal(theta, case.theta)
    assert np.array_equal(x, case.tasks.support.x)
    assert np.array_equal(first, numaml.meta_gradient(*case.arguments)[1])


def factors(rng, n_in, n_out, ranks, tasks=5):
    shapes = [((tasks, rank, n_in), (tasks, rank, n_out)) for rank in ranks]
    return [tuple(rng.normal(size=shape) for shape in pair) for pair in shapes]


@pytest.mark.parametrize(
    ("tasks", "each", "at_once"),
    [
        (3, 2**16, 3),
        (4, 2**16, 4),  # 2¹⁸ in all: no threads yet
        (12, 2**16, 4),  # the largest divisor of 12 that stays at 2¹⁸
        (10, 2**16, 2),  # 4 would fit, but does not divide 10
        (5, 2**16, 1),
        (31, 2**16, 1),
        (32, 2**16, 32),  # 2²¹: threads pay
        (64, 2**16, 64),
        (3, 2**18 + 1, 3),  # no part is small enough
    ],
)
def test_products_are_taken_in_parts_too_small_for_threads(tasks, each, at_once):
    assert factored._tasks_at_once(tasks, each) == at_once


@pytest.mark.parametrize(
    ("h", "W"),
    [
        ((12, 16, 64), (64, 63)),  # in three parts of four tasks
        ((2, 3, 4), (4, 5)),  # in one
        ((3, 4), (4, 5)),
        ((12, 16, 64), (12, 64, 63)),
        ((6, 3, 1), (1, 5)),
        ((6, 3, 1), (6, 1, 5)),
    ],
)
def test_every_way_to_a_product_is_the_product(h, W):
    rng = np.random.default_rng(6)
    h, W = rng.normal(size=h), rng.normal(size=W)
    assert check.relative_error(factored._product(h, W), h @ W) < SUMMED_OTHERWISE


def test_the_size_of_a_part_is_counted_from_the_examples_of_a_task(monkeypatch):
    asked = []
    monkeypatch.setattr(factored, "_tasks_at_once", lambda *counts: asked.append(counts) or 3)
    factored._product(np.ones((6, 5, 4)), np.ones((4, 7)))
    assert asked == [(6, 5 * 4 * 7)]


@pytest.mark.parametrize(("n_in", "pairs"), [(30, 1), (500, 1), (501, 2)])
def test_factors_are_stacked_up_to_a_width(n_in, pairs):
    rng = np.random.default_rng(7)
    h, c = rng.normal(size=(5, 2, n_in)), rng.normal(size=(5, 2, 12))
    weight = factored.Weight(None, factors(rng, n_in, 12, (2, 3)))
    want = weight.multiplied_out()
    assert check.relative_error(h @ weight, h @ want) < SUMMED_OTHERWISE
    assert len(weight.pairs) == pairs
    assert check.relative_error(c @ weight.mT, c @ want.mT) < SUMMED_OTHERWISE


def test_the_first_layer_keeps_its_factors_apart_and_its_products():
    """Stacked, x would be a new array at every step, and x Uᵀ no product that is known."""
    rng = np.random.default_rng(8)
    base, h, known = rng.normal(size=(20, 12)), rng.normal(size=(5, 2, 20)), {}
    weight = factored.Weight(base, factors(rng, 20, 12, (2, 3)), known)
    first = h @ weight
    assert len(weight.pairs) == 2
    assert set(known) == {(id(h), id(M)) for M in (base, *(U for U, _ in weight.pairs))}
    kept = {key: entry[2] for key, entry in known.items()}
    assert np.array_equal(first, h @ weight)
    assert all(known[key][2] is product for key, product in kept.items())


def test_only_the_first_layer_keeps_products(large):
    """The inputs of the others are new at every step."""
    model = numaml.MLP((30, 40, 1))
    rng = np.random.default_rng(10)
    batch = numaml.Batch(rng.normal(size=(5, 4, 30)), rng.normal(size=(5, 4, 1)))
    theta, rows = model.lift(model.init(0), batch)
    phi = theta - 0.1 * model.linearize(theta, rows)[1]
    for vector in (theta, phi, model.linearize(phi, rows)[1]):
        assert [weight.known for weight, _ in vector.layers] == [theta.known, None]
        assert vector.layers[0][0].known is theta.known


def test_a_weight_once_multiplied_out_stays_so_and_its_product_is_not_kept():
    rng = np.random.default_rng(9)
    base, h, known = rng.normal(size=(5, 20, 12)), rng.normal(size=(5, 2, 20)), {}
    pairs = factors(rng, 20, 12, (1,))
    weight = factored.Weight(base, pairs, known)
    want = h @ (base + pairs[0][0].mT @ pairs[0][1])
    assert check.relative_error(h @ weight, want) < SUMMED_OTHERWISE
    assert not weight.pairs
    assert not known  # another matrix at every step: kept, it would only fill memory


def test_what_does_not_fit_is_never_cut_short(large):
    """A vector with a layer too few, or a pair of three, is an error wherever it goes."""
    model = numaml.MLP((30, 40, 2))
    rng = np.random.default_rng(11)
    batch = numaml.Batch(rng.normal(size=(5, 4, 30)), rng.normal(size=(5, 4, 2)))
    theta, rows = model.lift(model.init(0), batch)
    _, gradient, hvp = model.linearize(theta, rows)
    short = factored.Vector(model.sizes, gradient.layers[:1], known=theta.known)
    flat = [([(np.ones((5, 60, 30)), np.ones((5, 60, 40)))], np.ones((5, 60, 40)))]
    for cut in (
        lambda: theta - 0.1 * short,
        lambda: short.mean(0),
        lambda: np.asarray(short),
        lambda: hvp(short),
        lambda: factored.Vector.of(flat, model.sizes, None),
        lambda: factored._stacked([(batch.x, batch.y), (batch.x, batch.y, batch.y)]),
    ):
        with pytest.raises(ValueError, match=r"is (shorter|longer) than"):
            cut()


@pytest.mark.parametrize(
    ("width", "tasks", "flat"),
    [(8, 5, True), (2048, 4, True), (2049, 4, False), (8192, None, True), (8193, None, False)],
)
def test_vectors_are_flat_up_to_a_size(width, tasks, flat, monkeypatch):
    """2**15 numbers in the matrices of a layer, all tasks together; then factors begin to pay."""
    model = numaml.MLP((4, width, 2), "tanh")
    rng, lead = np.random.default_rng(12), () if tasks is None else (tasks,)
    batches = (
        numaml.Batch(rng.normal(size=(*lead, n, 4)), rng.normal(size=(*lead, n, 2))) for n in (2, 3)
    )
    tasks, theta = numaml.Tasks(*batches), model.init(0)
    start, support = model.lift(theta, tasks.support)
    assert [isinstance(W, np.ndarray) for W, _ in start.layers] == [flat, flat]
    assert (model.linearize(start, support)[1].flat is not None) == flat
    (alone,) = model.lift(theta)  # for one task
    assert isinstance(alone.layers[0][0], np.ndarray) == (4 * width <= 2**15)
    got = numaml.meta_gradient(model, theta, tasks, 0.1, 2)[1]
    monkeypatch.setattr(factored, "FEW", 0 if flat else 10**6)
    want = numaml.meta_gradient(model, theta, tasks, 0.1, 2)[1]
    assert check.relative_error(got, want) < SUMMED_OTHERWISE


@pytest.mark.parametrize(
    ("shape", "known", "turned"),
    [
        ((128, 128), None, True),
        ((3, 5), None, True),
        ((128, 129), None, False),
        ((3, 5), {}, False),
        ((7, 3, 5), None, False),
    ],
)
def test_a_small_weight_of_theta_keeps_its_transpose(shape, known, turned):
    W = np.random.default_rng(13).normal(size=shape)
    weight = factored.Weight.shared(W, known)
    assert (weight.turned is not None) == turned
    if turned:
        assert np.array_equal(weight.turned, W.T)
        assert weight.turned.flags.c_contiguous
        assert weight.mT.base is weight.turned
        assert weight.minus(2, factored.Weight(None)).mT.base is weight.turned
        assert np.array_equal(weight.minus(2, factored.Weight(W)).mT.base, -W.T)


@pytest.mark.parametrize(
    ("n_in", "n_out", "by_columns"),
    [(32, 31, True), (40, 3, True), (32, 32, False), (31, 7, False)],
)
def test_a_narrow_matrix_is_multiplied_out_by_columns(n_in, n_out, by_columns):
    rng = np.random.default_rng(14)
    pairs = factors(rng, n_in, n_out, (2, 3))
    matrix = factored.Weight(None, pairs).multiplied_out()
    assert (matrix.mT if by_columns else matrix).flags.c_contiguous
    want = sum(U.mT @ V for U, V in pairs)
    assert check.relative_error(matrix, want) < SUMMED_OTHERWISE


@pytest.mark.parametrize(
    ("tasks", "ranks", "rows"),
    [
        (4, (2, 2, 2, 2), [24, 8]),  # three copies hold as much as two matrices
        (3, (3, 3, 3, 3), [9, 9, 9, 9]),
        (4, (1, 3, 2, 2, 2), [24, 16]),
        (4, (1, 4, 2), [4, 16, 8]),
        (2, (1, 2, 2, 2), [10, 4]),
        (4, (2, 2), [16]),
        (4, (2,), [8]),
        (4, (), []),
    ],
)
def test_pairs_are_summed_three_at_a_time_where_copies_are_cheap(tasks, ranks, rows):
    pairs = factors(np.random.default_rng(15), 20, 30, ranks, tasks)
    few = list(factored._few(pairs))
    assert [len(U) for U, _ in few] == [len(V) for _, V in few] == rows
    total = np.full((20, 30), np.nan)
    factored.Weight(None, pairs).sum_over_tasks(total)
    if len(pairs) == 1:
        assert np.shares_memory(few[0][0], pairs[0][0])
    if pairs:
        want = sum(U.mT @ V for U, V in pairs).sum(0)
        assert check.relative_error(total, want) < SUMMED_OTHERWISE


@pytest.mark.parametrize(("activation", "kept"), [("relu", 0), ("tanh", 2)])
def test_what_only_a_second_derivative_asks_for_is_not_kept(activation, kept):
    """Of a piecewise linear activation the trace holds no z and no e."""
    model, rng, s = numaml.MLP((3, 4, 5, 2)), np.random.default_rng(16), ACTIVATIONS[activation]
    (theta,) = model.lift(model.init(0))
    hs, zs, ns = mlp.forward(theta.layers, rng.normal(size=(6, 3)), s[0], 0)
    _, trace = mlp.backward(theta.layers, hs, zs, ns, s, rng.normal(size=(6, 2)))
    assert len(trace.es) == kept
    assert bool(trace.zs) == bool(kept)


def test_sums_and_products_in_spare_memory():
    a, b = np.arange(6.0).reshape(2, 3), np.array([1.0, 2.0, 3.0])
    for function, want in ((factored.plus, a + b), (factored.times, a * b)):
        assert np.array_equal(function(a, b, spare=False), want)
        mine = a.copy()
        assert function(mine, b) is mine
        assert np.array_equal(mine, want)
