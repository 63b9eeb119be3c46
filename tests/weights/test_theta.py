"""θ and its layers: where each block lies."""

import numpy as np
import pytest

from numaml.weights import theta


def test_places():
    assert theta.places(((2, 3), (3, 1))) == [(0, 6, 9, (2, 3)), (9, 12, 13, (3, 1))]
    assert theta.size(((2, 3), (3, 1))) == 13
    assert theta.size(((4, 5),)) == 25


def test_only_so_many_networks_are_remembered():
    for width in range(1, 400):
        theta.places(((1, width), (width, 1)))
    assert theta.places.cache_info().currsize < 300


@pytest.mark.parametrize("lead", [(), (6,), (2, 3)])
def test_unpack_and_pack(lead):
    shapes = ((2, 3), (3, 1))
    vector = np.arange(np.prod(lead, dtype=int) * 13.0).reshape(*lead, 13)
    (W1, b1), (W2, b2) = layers = theta.unpack(vector, shapes)
    assert (W1.shape, b1.shape) == ((*lead, 2, 3), (*lead, 3))
    assert (W2.shape, b2.shape) == ((*lead, 3, 1), (*lead, 1))
    first = [block[(0,) * len(lead)].ravel().tolist() for block in (W1, b1, W2, b2)]
    assert first == [[0, 1, 2, 3, 4, 5], [6, 7, 8], [9, 10, 11], [12]]
    assert all(np.shares_memory(block, vector) for layer in layers for block in layer)
    assert np.array_equal(theta.pack(layers), vector)


def test_unpack_gives_views_whatever_the_strides():
    vector = np.asfortranarray(np.arange(26.0).reshape(2, 13))
    every_other = np.arange(26.0)[::2]
    for one in (vector, every_other):
        layers = theta.unpack(one, ((2, 3), (3, 1)))
        assert all(np.shares_memory(block, one) for layer in layers for block in layer)
        assert np.array_equal(theta.pack(layers), one)
