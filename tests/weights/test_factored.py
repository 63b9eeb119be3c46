"""Either form of adapted weights, forced: the same numbers, whatever the rule would choose."""

import math
from fractions import Fraction

import numpy as np
import pytest

import numaml
from numaml import check
from numaml.weights import factored
from numaml.weights.factored import Factored, Layered

from ..cases import build
from ..maml.test_exact import true_meta_gradient

# The two sum in another order: some thousand roundings of float64, on well-scaled networks.
SUMMED_OTHERWISE = 1e-13
SIZES = (4, 7, 6, 3)  # every axis its own size; 5 tasks, 8 support and 9 query examples

pytestmark = pytest.mark.usefixtures("plain")


@pytest.fixture
def large(monkeypatch):
    """Small networks are kept layer by layer, as large ones are."""
    monkeypatch.setattr(factored, "layered", lambda *_: True)


@pytest.fixture
def forced(monkeypatch, large):
    """A call with factors never multiplied out, or always."""

    def run(function, pay, *arguments):
        with monkeypatch.context() as patch:
            patch.setattr(factored, "pays", lambda *_: pay)
            return function(*arguments)

    return run


def assert_same(got, want):
    for a, b in zip(got, want, strict=True):
        assert check.relative_error(a, b) < SUMMED_OTHERWISE


@pytest.mark.parametrize("norm", [None, "batch", "layer"])
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
@pytest.mark.parametrize("tasks", [None, 5])
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_all_forms_agree(monkeypatch, norm, loss, tasks, steps):
    case = build(SIZES, "tanh", loss, tasks, 8, 9, 0.1, steps, 0, norm)
    adapt = (case.model, case.theta, case.tasks.support, case.alpha, steps)

    def results():
        return [
            *numaml.meta_gradient(*case.arguments),
            *numaml.first_order_meta_gradient(*case.arguments),
            numaml.meta_value(*case.arguments),
            numaml.adapt(*adapt),
            case.model.linearize(case.theta, case.tasks.support)[2](case.v),
        ]

    flat = results()
    monkeypatch.setattr(factored, "layered", lambda *_: True)
    for pay in (True, False):
        monkeypatch.setattr(factored, "pays", lambda *_, pay=pay: pay)
        assert_same(results(), flat)


@pytest.mark.parametrize("pay", [True, False])
@pytest.mark.parametrize("norm", [None, "batch"])
def test_a_forced_form_against_the_complex_step(forced, pay, norm):
    case = build(SIZES, "softplus", "cross_entropy", 5, 8, 9, 0.1, 3, 1, norm)

    def value(theta):
        return numaml.meta_value(case.model, theta, *case.arguments[2:])

    gradient = forced(numaml.meta_gradient, pay, *case.arguments)[1]
    along_v = forced(check.complex_step, pay, value, case.theta, case.v)
    assert abs(gradient @ case.v - along_v) < SUMMED_OTHERWISE * np.linalg.norm(gradient)


def exact_case(element):
    rng = np.random.default_rng(2)
    model = numaml.MLP((3, 2, 1), "square")

    def elements(*shape):
        flat = [element(n) for n in rng.integers(1, 100, math.prod(shape)).tolist()]
        return np.array(flat, object).reshape(shape)

    batch = [numaml.Batch(elements(2, n, 3), elements(2, n, 1)) for n in (2, 1)]
    return model, elements(model.size), numaml.Tasks(*batch), element(3), 2


@pytest.mark.parametrize("element", [check.Mod, lambda n: Fraction(n, 50)])
def test_exact_arithmetic_does_not_see_the_form(forced, element):
    case = exact_case(element)
    want = true_meta_gradient(*case)
    thin, dense = (forced(numaml.meta_gradient, pay, *case) for pay in (True, False))
    assert thin[0] == dense[0]
    for gradient in (thin[1], dense[1]):
        assert (gradient == want).all()


@pytest.mark.parametrize("tasks", [None, 5])
def test_a_network_of_one_layer_may_be_factored(forced, tasks):
    case = build((4, 3), "tanh", "cross_entropy", tasks, 8, 9, 0.1, 2, 0)
    adapt = (case.model, case.theta, case.tasks.support, case.alpha, 2)
    for function, arguments in ((numaml.meta_gradient, case.arguments), (numaml.adapt, adapt)):
        thin, dense = (np.hstack(forced(function, pay, *arguments)) for pay in (True, False))
        assert_same([thin], [dense])


def test_the_rule_chooses_layer_by_layer():
    """A wide layer stays factored beside a narrow one, and long inner loops become dense."""
    model = numaml.MLP((100, 80, 1), "tanh")
    rng = np.random.default_rng(3)
    batch = numaml.Batch(rng.normal(size=(5, 9, 100)), rng.normal(size=(5, 9, 1)))
    phi, rows = model.lift(model.init(0), batch)
    hidden = rng.normal(size=(5, 9, 80))
    for steps in range(1, 7):
        phi = phi - 0.01 * model.linearize(phi, rows)[1]
        (wide, pairs), (narrow, none) = (W.settled for W, _ in phi.layers)
        assert wide.ndim == 2
        assert [U.shape[-2] for U, _ in pairs] == [9], steps  # x at every step: one pair
        assert pairs[0][0] is rows.x
        assert narrow.ndim == 3  # multiplied out: 9 · 81 is more than 80
        assert not none
        assert (hidden @ phi.layers[1][0]).shape == (5, 9, 1)
    # Products with θ's own W go through W.
    assert model.lift(model.init(0), batch)[0].layers[0][0].settled[0].ndim == 2


def test_long_inner_loops_become_dense():
    model = numaml.MLP((3, 30, 30, 1), "tanh")
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(5, 4, 3)), rng.normal(size=(5, 4, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factored, "layered", lambda *_: True)
        phi, rows = model.lift(model.init(0), numaml.Batch(x, y))
    forms = []
    for _ in range(5):
        phi = phi - 0.01 * model.linearize(phi, rows)[1]
        base, pairs = phi.layers[1][0].settled
        forms.append((base.ndim, [U.shape[-2] for U, _ in pairs]))
    # 30 · 30 / 60 is 15: three steps of four examples pay, and are one pair when they settle
    assert forms == [(2, [4]), (2, [8]), (2, [12]), (3, []), (3, [])]


@pytest.mark.parametrize("lifted", [False, True])
@pytest.mark.parametrize("tasks", [None, 5])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("norm", [None, "batch"])
def test_everything_may_be_asked_for_twice(monkeypatch, lifted, tasks, activation, norm):
    """The same product twice, at θ, at φ and along either, is the same to the bit."""
    monkeypatch.setattr(factored, "layered", lambda *_: lifted)
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
        for v in (lam, theta, phi):
            twice(hvp, v)
            twice(loss_and_product, point, v)
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


# One weight


def factors(rng, n_in, n_out, ranks, tasks=5):
    shapes = [((tasks, rank, n_in), (tasks, rank, n_out)) for rank in ranks]
    return [tuple(rng.normal(size=shape) for shape in pair) for pair in shapes]


def sum_of(pairs):
    return sum(U.mT @ V for U, V in pairs)


@pytest.mark.parametrize(
    ("n_in", "n_out", "ranks", "settled"),
    [
        (30, 12, (2,), [2]),
        (30, 12, (2, 3), [5]),
        (500, 12, (2, 3), [5]),  # 512 wide: one pair
        (501, 12, (2, 3), [2, 3]),
        (30, 12, (4, 4), [8]),  # 8 · 42 is less than 30 · 12
        (30, 12, (4, 5), []),  # and 9 · 42 is more: multiplied out
        (12, 30, (1, 2, 5), [8]),
    ],
)
@pytest.mark.parametrize("with_base", [False, True])
def test_how_a_weight_settles(n_in, n_out, ranks, settled, with_base):
    rng = np.random.default_rng(7)
    h, c = rng.normal(size=(5, 2, n_in)), rng.normal(size=(5, 2, n_out))
    W = rng.normal(size=(n_in, n_out)) if with_base else None
    weight = Factored(W, factors(rng, n_in, n_out, ranks))
    want = sum_of(weight.pairs) + (0 if W is None else W)
    assert check.relative_error(weight.multiplied_out(), want) < SUMMED_OTHERWISE
    assert check.relative_error(h @ weight, h @ want) < SUMMED_OTHERWISE
    assert check.relative_error(c @ weight.mT, c @ want.mT) < SUMMED_OTHERWISE
    (base, pairs), again = weight.settled, weight.settled
    assert [U.shape[-2] for U, _ in pairs] == settled
    assert again[0] is base  # decided once
    assert again[1] is pairs
    if settled:
        assert base is W
    else:
        assert base.shape == (5, n_in, n_out)
    assert [U.shape[-2] for U, _ in weight.pairs] == list(ranks)  # what it was it stays


def test_a_weight_without_factors_is_settled():
    weight = Factored(np.ones((3, 2)))
    assert weight.settled == (weight.base, ())


def test_a_weight_once_multiplied_out_stays_so():
    rng = np.random.default_rng(9)
    base, h = rng.normal(size=(5, 20, 12)), rng.normal(size=(5, 2, 20))
    pairs = factors(rng, 20, 12, (1,))
    weight = Factored(base, pairs)  # one row would pay
    want = base + sum_of(pairs)
    assert check.relative_error(h @ weight, h @ want) < SUMMED_OTHERWISE
    settled, none = weight.settled
    assert not none
    further = weight - Factored(None, pairs)
    assert further.base is settled
    assert check.relative_error(h @ further, h @ (want - sum_of(pairs))) < SUMMED_OTHERWISE


def test_a_step_along_the_inputs_of_the_last_adds_no_rank_to_a_stacked_weight():
    """λ's of the first layer, of the query inputs and then of the support inputs at every step."""
    rng = np.random.default_rng(7)
    (Q, V), (S, W), (_, step) = factors(rng, 40, 30, (4, 3, 3))
    lam = Factored(None, [(Q, V), (S, W)])
    want = sum_of([*lam.pairs, (S, -step)])
    assert [U.shape[-2] for U, _ in lam.settled[1]] == [7]  # stacked
    after = lam - Factored(None, [(S, step)])
    assert [U.shape[-2] for U, _ in after.pairs] == [4, 3]
    assert_same([after.multiplied_out()], [want])


def test_a_step_goes_on_from_what_has_settled_and_else_keeps_pairs():
    """What no product was asked of is not multiplied out for nothing."""
    rng = np.random.default_rng(9)
    base, pairs = rng.normal(size=(20, 12)), factors(rng, 20, 12, (8, 8))
    fresh = Factored(base, pairs[:1])
    kept = fresh - Factored(None, pairs[1:])
    assert kept.base is base
    assert [U.shape[-2] for U, _ in kept.pairs] == [8, 8]
    used = Factored(base, pairs[:1])
    settled, _ = used.settled  # asks for the decision
    after = used - Factored(None, pairs[1:])
    assert after.base is settled
    assert_same([after.multiplied_out()], [kept.multiplied_out()])


def test_steps_along_the_same_inputs_are_one_pair():
    rng = np.random.default_rng(10)
    (x, V1), (_, V2), (h, V3) = factors(rng, 6, 4, (2, 2, 2))
    base = rng.normal(size=(6, 4))
    weight = Factored(base) - 0.5 * Factored(None, [(x, V1)])
    weight = weight - 0.5 * Factored(None, [(x, V2), (h, V3)])
    assert [U for U, _ in weight.pairs] == [x, h]
    assert np.array_equal(weight.pairs[0][1], -0.5 * V1 - 0.5 * V2)
    assert np.array_equal(weight.pairs[1][1], -(0.5 * V3))
    want = base - 0.5 * sum_of([(x, V1), (x, V2), (h, V3)])
    assert_same([weight.multiplied_out()], [want])
    equal = weight - Factored(None, [(x.copy(), V1)])  # the same numbers are not the same inputs
    assert len(equal.pairs) == 3


@pytest.mark.parametrize("mine", [False, True])
@pytest.mark.parametrize("others", [False, True])
def test_a_number_times_a_weight_and_a_difference(mine, others):
    rng = np.random.default_rng(11)
    shape = (5, 6, 4)

    def weight(with_base):
        pairs = factors(rng, 6, 4, (2, 1))
        base = rng.normal(size=shape) if with_base else None
        return Factored(base, pairs), sum_of(pairs) + (0 if base is None else base)

    (A, a), (B, b) = weight(mine), weight(others)
    assert_same([(A - 3 * B).multiplied_out()], [a - 3 * b])
    assert ((A - 3 * B).base is None) == (not mine and not others)
    assert_same([A.multiplied_out(), B.multiplied_out()], [a, b])


@pytest.mark.parametrize("shape", [(20, 12), (5, 20, 12)])
def test_a_transpose_is_settled_as_its_weight_is(monkeypatch, shape):
    rng = np.random.default_rng(12)
    c, pairs = rng.normal(size=(5, 2, 12)), factors(rng, 20, 12, (2, 3))
    weight = Factored(rng.normal(size=shape), pairs)
    want = weight.multiplied_out()
    _, settled = weight.settled
    with monkeypatch.context() as patch:
        patch.setattr(factored, "pays", None)  # asked once
        transpose = weight.mT
        assert transpose.settled == (transpose.base, transpose.pairs)  # the same array
    assert transpose.pairs == [(V, U) for U, V in settled]  # the same arrays
    assert_same([c @ transpose, transpose.multiplied_out()], [c @ want.mT, want.mT])
    assert transpose.base.flags.c_contiguous == (len(shape) == 2)  # θ's own is turned
    assert Factored(None, pairs).mT.base is None


@pytest.mark.parametrize(
    ("tasks", "ranks", "stacked"),
    [
        (4, (2, 2), 1),  # 8 · 50 is less than 600: copies are cheap
        (4, (2, 2, 3), 1),
        (4, (2, 2, 3, 2, 1), 2),  # three at once
        (4, (2, 2, 3, 2), 2),  # no four
        (1, (1, 2, 3, 4, 1, 2), 1),  # 50 is a twelfth: six
        (1, (1, 2, 3, 4, 1, 2, 2, 1), 2),
        (6, (2, 5), 0),  # 12 · 50
        (4, (3, 1), 0),  # the first pair's rows are counted, of all tasks
        (2, (5, 2), 1),  # 10 · 50
        (4, (2,), 1),
    ],
)
@pytest.mark.parametrize("base", [False, True])
def test_the_mean_over_tasks(monkeypatch, tasks, ranks, stacked, base):
    rng, calls, stack = np.random.default_rng(15), [], factored._stacked
    pairs = factors(rng, 20, 30, ranks, tasks)
    W = rng.normal(size=(tasks, 20, 30)) if base else None
    monkeypatch.setattr(factored, "_stacked", lambda *given: calls.append(given) or stack(*given))
    got = Factored(W, pairs).mean(0)
    want = (sum_of(pairs) + (0 if W is None else W)).mean(0)
    assert check.relative_error(got, want) < SUMMED_OTHERWISE
    assert len(calls) == stacked


def test_the_mean_of_a_weight_without_factors():
    W = np.random.default_rng(16).normal(size=(5, 3, 2))
    assert_same([Factored(W).mean(0)], [W.mean(0)])


# Vectors


def vector(rng, tasks=5):
    """A vector of two layers, and the same as a flat array."""
    layers, flat = [], []
    for n_in, n_out in ((6, 4), (4, 3)):
        pairs, b = factors(rng, n_in, n_out, (2, 1), tasks), rng.normal(size=(tasks, 1, n_out))
        base = rng.normal(size=(tasks, n_in, n_out))
        layers.append((Factored(base, pairs), b))
        flat += [(base + sum_of(pairs)).reshape(tasks, -1), b[:, 0]]
    return Layered(layers), np.concatenate(flat, axis=1)


def test_a_layered_vector_is_a_vector():
    rng = np.random.default_rng(17)
    (a, flat_a), (b, flat_b) = vector(rng), vector(rng)
    assert_same([np.asarray(a), np.asarray(a - 0.3 * b)], [flat_a, flat_a - 0.3 * flat_b])
    assert_same([(a - 0.3 * b).mean(0)], [(flat_a - 0.3 * flat_b).mean(0)])
    for alpha in (np.float64(0.3), np.array(0.3)):  # NumPy's numbers leave it to the vector
        assert_same([np.asarray(alpha * b)], [0.3 * flat_b])


def test_one_task_without_its_axis_is_one_row():
    rng = np.random.default_rng(18)
    U, V = rng.normal(size=(2, 6)), rng.normal(size=(2, 4))
    one = Layered([(Factored(None, [(U, V)]), V.sum(0, keepdims=True))])
    assert np.asarray(one).shape == (28,)
    assert_same([np.asarray(one)], [np.append((U.T @ V).ravel(), V.sum(0))])


@pytest.mark.parametrize("lead", [(), (5,)])
def test_layers_of_either_form(lead):
    rng = np.random.default_rng(19)
    flat = rng.normal(size=(*lead, 13))
    layers = factored.layers_of(flat, ((2, 3), (3, 1)))
    layers = [(W.base, b) for W, b in layers]
    assert [W.shape for W, _ in layers] == [(*lead, 2, 3), (*lead, 3, 1)]
    assert [b.shape for _, b in layers] == [(*lead, 1, 3), (*lead, 1, 1)]
    assert all(np.shares_memory(block, flat) for layer in layers for block in layer)
    given = Layered([])
    assert factored.layers_of(given, ((2, 3), (3, 1))) is given.layers


@pytest.mark.parametrize("tasks", [None, 5])
def test_the_gradient_takes_the_form_of_theta(tasks):
    rng, lead = np.random.default_rng(20), () if tasks is None else (tasks,)
    h, c, delta = (rng.normal(size=(*lead, 7, width)) for width in (4, 3, 3))
    outers = [([(h, c), (h, 2 * c)], delta)]
    want = np.concatenate([(3 * h.mT @ c).reshape(*lead, 12), delta.sum(-2)], axis=-1)
    flat = factored.gradient(outers, np.zeros(15))
    assert isinstance(flat, np.ndarray)
    kept = factored.gradient(outers, Layered([]))
    assert isinstance(kept, Layered)
    assert kept.layers[0][0].base is None
    assert [len(pair) for pair in kept.layers[0][0].pairs] == [2, 2]
    assert kept.layers[0][1].shape == (*lead, 1, 3)
    assert_same([flat, np.asarray(kept)], [want, want])


def test_what_does_not_fit_is_never_cut_short(large):
    """A vector with a layer too few, or a pair of three, is an error wherever it goes."""
    model = numaml.MLP((30, 40, 2))
    rng = np.random.default_rng(11)
    batch = numaml.Batch(rng.normal(size=(5, 4, 30)), rng.normal(size=(5, 4, 2)))
    theta, rows = model.lift(model.init(0), batch)
    _, gradient, hvp = model.linearize(theta, rows)
    short = Layered(gradient.layers[:1])
    for cut, error in (
        (lambda: theta - 0.1 * short, ValueError),
        (lambda: short - theta, ValueError),
        (lambda: hvp(short), IndexError),
        (lambda: model.linearize(Layered(theta.layers[:1]), rows), ValueError),
        (lambda: factored._stacked([(batch.x, batch.y), (batch.x, batch.y, batch.y)], -2),
         ValueError),
    ):  # fmt: skip
        with pytest.raises(error):
            cut()
