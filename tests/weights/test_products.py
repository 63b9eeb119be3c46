"""How products are asked for: every way gives the product, and each is taken where it was meant."""

import numpy as np
import pytest

from numaml.check import Mod, relative_error
from numaml.weights import products

# Sums of up to some hundred terms in another order.
SUMMED_OTHERWISE = 1e-13


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
        (2, 2**18, 1),  # one of them just fits
        (3, 2**18 + 1, 3),  # no part is small enough
    ],
)
def test_products_are_taken_in_parts_too_small_for_threads(tasks, each, at_once):
    assert products.tasks_at_once(tasks, each) == at_once


WAYS = [
    ((12, 16, 64), (64, 63)),  # in three parts of four tasks
    ((2, 3, 4), (4, 5)),  # in one
    ((3, 4), (4, 5)),
    ((12, 16, 64), (12, 64, 63)),
    ((6, 3, 1), (1, 5)),  # an outer product
    ((6, 3, 1), (6, 1, 5)),
    ((3, 1), (1, 5)),
    ((25, 10, 1), (1, 40)),  # a large one
    ((25, 10, 1), (25, 1, 40)),
    ((90, 1), (1, 50)),
    ((1, 4), (4, 5)),  # none: one row, two columns, one task
    ((6, 1, 4), (4, 5)),
    ((3, 2), (2, 5)),
    ((1, 3, 4), (4, 5)),
]


@pytest.mark.parametrize(("h", "W"), WAYS)
def test_every_way_to_a_product_is_the_product(h, W):
    rng = np.random.default_rng(6)
    h, W = rng.normal(size=h), rng.normal(size=W)
    assert relative_error(products.product(h, W), h @ W) < SUMMED_OTHERWISE


@pytest.mark.parametrize(
    ("h", "W", "widened"),
    [((64, 1), (1, 64), True), ((65, 1), (1, 65), True), ((4, 16, 1), (4, 1, 64), True),
     ((63, 1), (1, 65), False), ((4, 16, 1), (4, 1, 63), False), ((300, 9), (9, 50), False)],
)  # fmt: skip
def test_outer_products_are_products_of_matrices_from_4096_numbers(monkeypatch, h, W, widened):
    asked, concatenate = [], np.concatenate
    monkeypatch.setattr(np, "concatenate", lambda *of: asked.append(of) or concatenate(*of))
    products.product(np.ones(h), np.ones(W))
    assert len(asked) == 2 * widened


def test_the_size_of_a_part_is_counted_from_the_examples_of_a_task(monkeypatch):
    asked = []
    monkeypatch.setattr(products, "tasks_at_once", lambda *counts: asked.append(counts) or 3)
    for h, W in (((6, 5, 4), (4, 7)), ((5, 4), (4, 7)), ((6, 5, 4), (6, 4, 7))):
        products.product(np.ones(h), np.ones(W))
    assert asked == [(6, 5 * 4 * 7)]  # only where several tasks share W


@pytest.mark.parametrize(
    ("shape", "copied"),
    [((128, 128), True), ((3, 5), True), ((128, 129), False), ((7, 3, 5), False), ((1, 5), True)],
)
def test_a_small_weight_that_tasks_share_is_turned_by_a_copy(shape, copied):
    W = np.random.default_rng(13).normal(size=shape)
    turned = products.turned(W)
    assert np.array_equal(turned, W.mT)
    assert np.shares_memory(turned, W) == (not copied)
    assert turned.flags.c_contiguous == copied


@pytest.mark.parametrize("shape", [(4, 3), (5, 4, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_sums_over_rows_and_columns_keep_axis_and_dtype(shape, dtype):
    a = np.random.default_rng(14).normal(size=shape).astype(dtype)
    for function, axis in ((products.row_sum, -2), (products.column_sum, -1)):
        got, want = function(a), a.sum(axis, keepdims=True)
        assert (got.shape, got.dtype) == (want.shape, dtype)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-6 if dtype is np.float32 else 1e-15)


def test_sums_are_exact_in_a_ring():
    a = np.array([[Mod(2), Mod(-3)], [Mod(7), Mod(5)], [Mod(11), Mod(1)]])
    assert (products.row_sum(a) == np.array([[Mod(20), Mod(3)]])).all()
    assert (products.column_sum(a) == np.array([[Mod(-1)], [Mod(12)], [Mod(12)]])).all()


def test_what_is_remembered_cannot_be_written_into():
    first = products.ones(2, 3, np.dtype("f4"))
    assert products.ones(2, 3, np.dtype("f4")) is first
    assert first.shape == (2, 3)
    assert first.dtype == np.float32
    assert (first == 1).all()
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 2
    products.ones(3, 2, np.dtype("f4"))
    assert products.ones(2, 3, np.dtype("f4")) is first  # small ones drive out none


def test_what_is_remembered_is_bounded():
    for count in range(20):
        many = products.ones(1, 2**16 + 1 + count, np.dtype("f4"))
        assert many.shape == (1, 2**16 + 1 + count)
        assert (many == 1).all()
        few = products.ones(1, 2**16, np.dtype("f4"))
        assert products.ones(1, 2**16, np.dtype("f4")) is few
        assert products.ones.cache_info().currsize == 2
