"""Tasks taken in blocks: the same meta-gradient, in memory that does not grow with the tasks."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

import numaml
from numaml.engine import parts as blocks


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks as if memory were scarce; gives the numbers of tasks of the blocks taken."""
    monkeypatch.setattr(blocks, "KEPT", 2**12)
    monkeypatch.setattr(blocks, "BLOCK", 2**17)
    monkeypatch.setattr(blocks, "THETAS", 0)
    monkeypatch.setattr(blocks, "ROWS", 1)
    blocks.tasks_at_once.cache_clear()
    taken, mean = [], blocks.mean
    monkeypatch.setattr(
        blocks, "mean", lambda results, sizes: (taken.extend(sizes), mean(results, sizes))[1]
    )
    yield taken
    blocks.tasks_at_once.cache_clear()


def tasks_for(model, n_tasks, n=4, m=6, seed=0):
    rng = np.random.default_rng(seed)

    def batch(rows):
        x = rng.normal(size=(n_tasks, rows, model.sizes[0]))
        if model.loss == "cross_entropy":
            return numaml.Batch(x, rng.integers(0, model.sizes[-1], (n_tasks, rows)))
        return numaml.Batch(x, rng.normal(size=(n_tasks, rows, model.sizes[-1])))

    return numaml.Tasks(batch(n), batch(m))


def whole(model, *arguments):
    """Without blocks: a model that offers none."""

    class Plain:
        value, linearize, lift = model.value, model.linearize, model.lift

    return numaml.meta_gradient(Plain(), *arguments)


@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
@pytest.mark.parametrize("norm", [None, "batch", "layer"])
def test_blocks_change_nothing_but_rounding(small_blocks, loss, norm, handled):
    model = numaml.MLP((3, 8, 7, 4), activation="tanh", loss=loss, norm=norm)
    arguments = model.init(1), tasks_for(model, 29), 0.1, 3
    value, gradient = numaml.meta_gradient(model, *arguments)
    # 8 · 1749 bytes a task: 9 at once. The blocks are of unequal size, so weights are seen.
    assert small_blocks == [7, 7, 7, 8]
    want_value, want = whole(model, *arguments)
    # Sums over 29 tasks in another order: some ulp of the largest number.
    assert value == pytest.approx(want_value, rel=1e-14)
    np.testing.assert_allclose(gradient, want, rtol=0, atol=1e-14 * np.abs(want).max())
    assert gradient.dtype == want.dtype
    assert isinstance(value, float)


def test_float32_stays_float32(small_blocks):
    model = numaml.MLP((3, 30, 2))
    value, gradient = numaml.meta_gradient(
        model, model.init(0, np.float32), tasks_for(model, 33), 0.1, 3
    )
    assert small_blocks == [11, 11, 11]  # 4 · 2850 bytes a task
    assert gradient.dtype == np.float32
    assert isinstance(value, float)


def test_what_is_wrong_in_the_last_block_is_said_before_the_first(small_blocks, monkeypatch):
    model = numaml.MLP((3, 30, 4), loss="cross_entropy")
    tasks = tasks_for(model, 30)
    tasks.query.y[29, 5] = 4
    monkeypatch.setattr(numaml.MLP, "linearize", None)
    with pytest.raises(ValueError, match=r"y.*4"):
        numaml.meta_gradient(model, model.init(0), tasks, 0.1, 3)
    with pytest.raises(ValueError, match="alpha is -1"):
        numaml.meta_gradient(model, model.init(0), tasks_for(model, 30), -1, 3)


def test_one_task_and_exact_numbers_are_never_cut(small_blocks):
    model = numaml.MLP((3, 30, 2), activation="square")
    tasks = tasks_for(model, 1)
    one = numaml.Tasks(*(numaml.Batch(b.x[0], b.y[0]) for b in (tasks.support, tasks.query)))
    for given in (tasks, one):
        assert numaml.meta_gradient(model, model.init(0), given, 0.1, 3)[1].shape == (model.size,)
    exact = numaml.Tasks(
        *(numaml.Batch(*(np.ones_like(a, dtype=int).astype(object) for a in (b.x, b.y)))
          for b in (tasks_for(model, 40).support, tasks_for(model, 40).query))
    )  # fmt: skip
    numaml.meta_gradient(model, np.ones(model.size, int).astype(object), exact, 0, 2)
    assert not small_blocks


def test_a_set_that_all_tasks_share_is_never_cut(small_blocks):
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
    assert not small_blocks


# Few and many examples, few and many steps; factored, multiplied out, and both.
SHAPES = [
    ((64, 256, 256, 10), 16, 200, 10, 5),
    ((64, 256, 256, 10), 64, 10, 10, 5),
    ((64, 256, 256, 10), 16, 10, 10, 20),
    ((100, 400, 5), 32, 5, 50, 3),
    ((20, 64, 64, 64, 64, 2), 64, 30, 30, 3),
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
    foreseen = 8 * n_tasks * blocks.trace_size(sizes, n, m, steps)
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

    # 64 tasks just fit, in as much as was foreseen; 256 take blocks of half of that.
    assert of(256) < of(64) < 2 * blocks.KEPT


def test_tasks_at_once_by_hand():
    sizes = 64, 256, 256, 10
    # 5 (4 · 10 · 522 + 5 · 10 · 522) + 4 · 10 · 522 = 255 780 numbers, 1.02 MB
    assert blocks.trace_size(sizes, 10, 10, 5) == 255_780
    assert blocks.tasks_at_once(sizes, 65, 10, 10, 5, 4) == 65
    assert blocks.tasks_at_once(sizes, 66, 10, 10, 5, 4) == 32
    assert blocks.tasks_at_once(sizes, 66, 10, 10, 5, 8) == 16
    # 85 002 numbers of φ at each of 50 steps: one task takes 21 MB, but has 10 rows only
    assert blocks.tasks_at_once(sizes, 16, 10, 10, 50, 4) == 7
    assert blocks.tasks_at_once(sizes, 100, 1, 10, 200, 4) == 64  # 64 rows
    assert blocks.tasks_at_once(sizes, 16, 10_000, 10, 50, 4) == 1
    # θ alone has 23 MB, and every block would read it anew: 16 · 23.4 // 16.1
    assert blocks.tasks_at_once((784, 2048, 2048, 20), 32, 20, 20, 5, 4) == 23
    # 4096 numbers of 4 bytes a task: 2¹² tasks just fit
    assert blocks.tasks_at_once((1, 1), 2**12, 1, 2**10, 0, 4) == 2**12


def test_bounds():
    assert list(blocks.bounds(7, 3)) == [(0, 2), (2, 4), (4, 7)]
