"""Tasks taken in parts: the same meta-gradient, in memory that does not grow with the tasks."""

import gc
import tracemalloc
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

import numaml
from numaml.engine import parts

pytestmark = pytest.mark.usefixtures("plain")


@pytest.fixture
def small_parts(monkeypatch):
    """Parts as if memory were scarce; gives the numbers of tasks of the parts taken."""
    monkeypatch.setattr(parts, "KEPT", 2**12)
    monkeypatch.setattr(parts, "PART", 2**17)
    monkeypatch.setattr(parts, "THETAS", 0)
    monkeypatch.setattr(parts, "ROWS", 1)
    return set_watch(monkeypatch)


def set_watch(monkeypatch):
    taken, mean = [], numaml.engine.calls.mean

    def watched(results, sizes):
        taken.extend(sizes)
        return mean(results, sizes)

    monkeypatch.setattr(numaml.engine.calls, "mean", watched)
    return taken


def tasks_for(model, n_tasks, n=4, m=6, seed=0):
    rng = np.random.default_rng(seed)

    def batch(rows):
        x = rng.normal(size=(n_tasks, rows, model.sizes[0]))
        if model.loss == "cross_entropy":
            return numaml.Batch(x, rng.integers(0, model.sizes[-1], (n_tasks, rows)))
        return numaml.Batch(x, rng.normal(size=(n_tasks, rows, model.sizes[-1])))

    return numaml.Tasks(batch(n), batch(m))


def whole(model, *arguments):
    """In one part: a model that does not tell how large its traces are."""

    class Silent:
        value, linearize = model.value, model.linearize
        checked, lift = model.checked, model.lift

    assert isinstance(model, parts.Foreseen)
    assert not isinstance(Silent(), parts.Foreseen)
    return numaml.meta_gradient(Silent(), *arguments)


@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
@pytest.mark.parametrize("norm", [None, "batch", "layer"])
def test_parts_change_nothing_but_rounding(small_parts, loss, norm, handled):
    model = numaml.MLP((3, 8, 7, 4), activation="tanh", loss=loss, norm=norm)
    arguments = model.init(1), tasks_for(model, 29), 0.1, 3
    value, gradient = numaml.meta_gradient(model, *arguments)
    # 8 · 1749 bytes a task: 9 at once. The parts are of unequal size, so weights are seen.
    assert small_parts == [7, 7, 7, 8]
    want_value, want = whole(model, *arguments)
    assert small_parts[4:] == [29]
    # Sums over 29 tasks in another order: some ulp of the largest number.
    assert value == pytest.approx(want_value, rel=1e-14)
    np.testing.assert_allclose(gradient, want, rtol=0, atol=1e-14 * np.abs(want).max())
    assert gradient.dtype == want.dtype
    assert isinstance(value, float)


def test_float32_stays_float32(small_parts):
    model = numaml.MLP((3, 30, 2))
    value, gradient = numaml.meta_gradient(
        model, model.init(0, np.float32), tasks_for(model, 33), 0.1, 3
    )
    assert small_parts == [11, 11, 11]  # 4 · 2850 bytes a task
    assert gradient.dtype == np.float32
    assert isinstance(value, float)


def test_what_is_wrong_in_the_last_part_is_said_before_the_first(small_parts, monkeypatch):
    model = numaml.MLP((3, 30, 4), loss="cross_entropy")
    tasks = tasks_for(model, 30)
    tasks.query.y[29, 5] = 4
    monkeypatch.setattr(numaml.MLP, "linearize", None)
    with pytest.raises(ValueError, match=r"y.*4"):
        numaml.meta_gradient(model, model.init(0), tasks, 0.1, 3)
    with pytest.raises(ValueError, match="alpha is -1"):
        numaml.meta_gradient(model, model.init(0), tasks_for(model, 30), -1, 3)


def test_one_task_and_exact_numbers_are_never_cut(small_parts):
    model = numaml.MLP((3, 5, 2), activation="square")
    tasks = tasks_for(model, 1)
    one = numaml.Tasks(*(numaml.Batch(b.x[0], b.y[0]) for b in (tasks.support, tasks.query)))
    for given in (tasks, one):
        assert numaml.meta_gradient(model, model.init(0), given, 0.1, 3)[1].shape == (model.size,)
    exact = numaml.Tasks(
        *(numaml.Batch(*(np.full(a.shape, Fraction(1)) for a in (b.x, b.y)))
          for b in (tasks_for(model, 40).support, tasks_for(model, 40).query))
    )  # fmt: skip
    numaml.meta_gradient(model, np.full(model.size, Fraction(1)), exact, Fraction(0), 1)
    assert small_parts == [1, 1, 40]


def test_a_set_that_all_tasks_share_is_taken_with_every_part(small_parts, handled):
    model = numaml.MLP((3, 30, 2))
    tasks, theta = tasks_for(model, 40), model.init(0)
    support, query = tasks.support, tasks.query
    for shared in (
        SimpleNamespace(support=numaml.Batch(support.x[0], support.y[0]), query=query),
        SimpleNamespace(support=support, query=numaml.Batch(query.x[0], query.y[0])),
    ):
        got = numaml.meta_gradient(model, theta, shared, 0.1, 3)[1]
        every = [numaml.Batch(*(np.broadcast_to(a, (40, *a.shape[-2:])) for a in (b.x, b.y)))
                 for b in (shared.support, shared.query)]  # fmt: skip
        want = whole(model, theta, numaml.Tasks(*every), 0.1, 3)[1]
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-14 * np.abs(want).max())
    once = [5] * 8
    assert small_parts == [*once, 40, *once, 40]


def test_memory_is_free_when_its_last_user_is_done(handled):
    """And not only when the garbage collector comes by: nothing keeps itself."""
    model = numaml.MLP((3, 30, 20, 2), "tanh", norm="batch")
    theta, tasks = model.init(0), tasks_for(model, 7)
    gc.collect()
    gc.disable()
    try:
        numaml.meta_gradient(model, theta, tasks, 0.1, 3)
        numaml.adapt(model, theta, tasks.support, 0.1, 3)
        assert gc.collect() == 0
    finally:
        gc.enable()


# Few and many examples, few and many steps; factored, multiplied out, and both.
SHAPES = [
    ((64, 256, 256, 10), 5, 200, 10, 5),
    ((64, 256, 256, 10), 20, 10, 10, 5),
    ((64, 256, 256, 10), 5, 10, 10, 20),
    ((100, 400, 5), 16, 5, 50, 3),
    ((20, 64, 64, 64, 64, 2), 16, 30, 30, 3),
]


def peak(call):
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("sizes", "n_tasks", "n", "m", "steps"), SHAPES)
def test_the_memory_of_traces_is_foreseen(sizes, n_tasks, n, m, steps):
    model = numaml.MLP(sizes)
    arguments = model.init(0), tasks_for(model, n_tasks, n, m), 0.01, steps
    foreseen = 8 * n_tasks * model.trace_size(n, m, steps)
    assert 0.5 < peak(lambda: whole(model, *arguments)) / foreseen < 2


def test_memory_does_not_grow_with_the_tasks():
    model = numaml.MLP((64, 256, 256, 10))
    theta = model.init(0, np.float32)

    def of(n_tasks):
        tasks = tasks_for(model, n_tasks, 10, 10)
        tasks = numaml.Tasks(
            *(numaml.Batch(*(a.astype(np.float32) for a in (b.x, b.y)))
              for b in (tasks.support, tasks.query))
        )  # fmt: skip
        return peak(lambda: numaml.meta_gradient(model, theta, tasks, 0.01, 5))

    # 64 tasks just fit, in as much as was foreseen; 256 take parts of half of that.
    assert of(256) < of(64) < 2 * parts.KEPT


SIZES = 64, 256, 256, 10


def test_the_size_of_traces_by_hand():
    # 5 (4 · 10 · 522 + 5 · 10 · 522) + 4 · 10 · 522 = 255 780 numbers
    assert numaml.MLP(SIZES).trace_size(10, 10, 5) == 255_780
    # φ multiplied out: 50 (4 · 10 · 522 + 85 002) + 4 · 10 · 522
    assert numaml.MLP(SIZES).trace_size(10, 10, 50) == 5_314_980
    assert numaml.MLP((1, 1)).trace_size(1, 2**10, 0) == 4096
    assert numaml.MLP((2, 3, 1)).trace_size(5, 7, 1) == 80 + 13 + 112


@pytest.mark.parametrize(
    ("sizes", "tasks", "n", "m", "steps", "dtype", "expected"),
    [
        (SIZES, 65, 10, 10, 5, "f4", 1),  # 1.02 MB a task: 65 fit
        (SIZES, 66, 10, 10, 5, "f4", 3),  # in parts of at most 32
        (SIZES, 66, 10, 10, 5, "f8", 6),  # of at most 16, which is 5, or 6 of one size
        (SIZES, 67, 10, 10, 5, "f8", 5),  # a prime
        # 85 002 numbers of φ at each of 50 steps: one task takes 21 MB, but has 10 rows only
        (SIZES, 17, 10, 10, 50, "f4", 3),
        (SIZES, 16, 10, 10, 50, "f4", 4),  # of one size
        (SIZES, 128, 1, 10, 200, "f4", 2),  # 64 rows
        (SIZES, 129, 1, 10, 200, "f4", 3),
        (SIZES, 16, 10_000, 10, 50, "f4", 16),
        (SIZES, 16, 32, 10, 50, "f4", 8),
        # θ alone has 23 MB, and every part would read it anew: 6 · 23.4 // 16.1
        ((784, 2048, 2048, 20), 16, 20, 20, 5, "f4", 2),
        ((784, 2048, 2048, 20), 17, 20, 20, 5, "f4", 3),
        # 4096 numbers of 4 bytes a task: 2¹² tasks just fit
        ((1, 1), 2**12, 1, 2**10, 0, "f4", 1),
        ((1, 1), 2**12 + 1, 1, 2**10, 0, "f4", 3),  # and then at most 2¹¹
    ],
)
def test_the_number_of_parts_by_hand(sizes, tasks, n, m, steps, dtype, expected):
    model = numaml.MLP(sizes)
    theta = np.broadcast_to(np.zeros((), dtype), model.size)
    S, Q = (SimpleNamespace(x=np.broadcast_to(0.0, (tasks, rows, 1))) for rows in (n, m))
    assert parts.parts_of(model, theta, S, Q, steps) == expected


def test_what_is_not_cut():
    """One task without its axis, exact numbers, and a model that does not tell."""
    model, huge = numaml.MLP((1, 1)), 2**30
    S = SimpleNamespace(x=np.broadcast_to(0.0, (9, huge, 1)))
    theta = np.zeros(2)
    assert parts.parts_of(model, theta, S, S, 1) == 9
    assert parts.parts_of(model, theta.astype(object), S, S, 1) == 1
    assert parts.parts_of(SimpleNamespace(value=0, linearize=0), theta, S, S, 1) == 1
    one = SimpleNamespace(x=np.broadcast_to(0.0, (huge, 1)))
    for pair in ((one, one), (one, S), (S, one)):  # nor where all tasks share a set
        assert parts.parts_of(model, theta, *pair, 1) == 1


def test_the_parts_are_the_tasks_in_order(small_parts):
    model = numaml.MLP((3, 30, 2))
    tasks = tasks_for(model, 33)
    _, S, Q = model.checked(model.init(0), tasks.support, tasks.query)
    theta = model.init(0, np.float32)
    found = list(parts.in_parts(model, theta, S, Q, 3))
    assert [size for size, _ in found] == [11, 11, 11]
    for side, given in enumerate((S, Q)):
        for field in ("x", "y"):
            joined = np.concatenate([getattr(part[side], field) for _, part in found])
            assert np.array_equal(joined, getattr(given, field))
    S, Q = (type(S)(batch.x[:22], batch.y[:22]) for batch in (S, Q))
    assert [size for size, _ in parts.in_parts(model, theta, S, Q, 3)] == [11, 11]


def test_how_many_tasks_one_part_has():
    """The number weighs a part beside others, so it is the tasks'."""
    model = numaml.MLP((3, 2))
    theta, tasks = model.init(0), tasks_for(model, 5)
    _, S, Q = model.checked(theta, tasks.support, tasks.query)
    assert [size for size, _ in parts.in_parts(model, theta, S, Q, 1)] == [5]
    one = [type(S)(batch.x[0], batch.y[0]) for batch in (S, Q)]
    assert [size for size, _ in parts.in_parts(model, theta, *one, 1)] == [1]
    assert list(parts.in_parts(None, theta, "support", "query", 1)) == [(1, ("support", "query"))]


def test_bounds():
    assert list(parts.bounds(7, 3)) == [(0, 2), (2, 4), (4, 7)]
    assert list(parts.bounds(4, 1)) == [(0, 4)]


def test_the_mean_of_parts_weighs_them():
    results = [(1.0, np.array([1.0, 2.0])), (4.0, np.array([4.0, 8.0]))]
    value, gradient = parts.mean(results, [2, 1])
    assert value == 2
    assert gradient.tolist() == [2, 4]
    assert parts.mean(results[:1], [2]) is results[0]
    with pytest.raises(ValueError, match=r"is (shorter|longer) than"):
        parts.mean(results, [2, 1, 1])
