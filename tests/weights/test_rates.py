"""Structures of rates: what each means, that JSON changes nothing of it, and what is refused."""

import json

import numpy as np
import pytest

import numaml
from numaml.engine import inner
from numaml.engine.alpha import checked_rates
from numaml.weights.rates import Each, described

MODEL = numaml.MLP((2, 3, 1))
THETA = MODEL.init(0)
ARRAY = np.linspace(-0.1, 0.2, MODEL.size)

# (what is written, K, how it is kept, the rates of every step multiplied out)
W1, b1, W2, b2 = (slice(0, 6), slice(6, 9), slice(9, 12), slice(12, 13))


def blocks(*rates):
    lengths = [one.stop - one.start for one in (W1, b1, W2, b2)]
    return np.repeat(rates, lengths)


STRUCTURES = [
    ((0.1, -0.2), 2, {"layers": [0.1, -0.2]}, [blocks(0.1, 0.1, -0.2, -0.2)] * 2),
    ((None, 0.1), 1, {"layers": [None, 0.1]}, [blocks(0, 0, 0.1, 0.1)]),
    (((None, 0.1), (0.2, 0.3)), 1, {"layers": [{"W": None, "b": 0.1}, {"W": 0.2, "b": 0.3}]},
     [blocks(0, 0.1, 0.2, 0.3)]),
    (ARRAY, 1, {"parameters": ARRAY.tolist()}, [ARRAY]),
    ({"parameters": 0.3}, 1, {"parameters": 0.3}, [np.full(MODEL.size, 0.3)]),
    ([0.1, -0.2], 2, {"steps": [0.1, -0.2]}, [np.full(MODEL.size, 0.1), np.full(MODEL.size, -0.2)]),
    ([(0.1, None), ARRAY, 1], 3,
     {"steps": [{"layers": [0.1, None]}, {"parameters": ARRAY.tolist()}, 1.0]},
     [blocks(0.1, 0.1, 0, 0), ARRAY, np.ones(MODEL.size)]),
    ({"rates": (None, 0.1), "momentum": 0.9}, 1,
     {"rates": {"layers": [None, 0.1]}, "momentum": 0.9}, [blocks(0, 0, 0.1, 0.1)]),
    ({"rates": 0.1, "momentum": None, "pull": 2}, 1, {"rates": 0.1, "pull": 2.0},
     [np.full(MODEL.size, 0.1)]),
]  # fmt: skip


def multiplied_out(rates, step):
    values = inner.factor(rates.form.steps[step], rates.values, rates.form.blocks, False)
    return np.broadcast_to(values, THETA.shape)


@pytest.mark.parametrize(("alpha", "steps", "kept", "want"), STRUCTURES)
def test_a_structure_means_what_it_says_also_after_json(alpha, steps, kept, want):
    assert described(alpha) == kept
    back = json.loads(json.dumps(kept))
    assert described(back) == kept
    for one in (alpha, back):
        rates = checked_rates(one, THETA, MODEL, steps)
        got = [multiplied_out(rates, k) for k in range(steps)]
        np.testing.assert_array_equal(got, want)


def test_a_rate_is_kept_once_however_often_it_is_used():
    form = checked_rates((0.1, 0.2), THETA, MODEL, 5)
    assert form.values.tolist() == [0.1, 0.2]
    assert len(set(form.form.steps)) == 1
    whole = checked_rates({"parameters": 0.1}, THETA, MODEL, 3)
    assert whole.form.steps == (Each(0, MODEL.size),) * 3


BAD = [
    ((0.1,), ValueError, "1 entries, and the model 2 layers"),
    ((0.1, 0.2, 0.3), ValueError, "3 entries"),
    ((None, None), ValueError, "None in every layer"),
    (((None, None), None), ValueError, "None in every layer"),
    (((0.1, 0.2, 0.3), 0.1), TypeError, "want a real number; a tuple"),
    (([0.1, 0.2], 0.1), TypeError, r"in its layers, is \[0.1, 0.2\]"),
    ((0.1, ARRAY), TypeError, "in its layers"),
    ((True, 0.1), TypeError, "is True; want a real number"),
    ((0.1, 1j), TypeError, "is 1j"),
    ((0.1, "0.1"), TypeError, "is '0.1'"),
    ((0.1, np.nan), ValueError, "is nan"),
    ((0.1, np.inf), ValueError, "is inf"),
    ([0.1], ValueError, "1 steps; steps is 2"),
    ([0.1, None], TypeError, "alpha is None"),
    ([0.1, [0.1]], TypeError, r"in its steps, is \[0.1\]"),
    ([], ValueError, "0 steps"),
    (ARRAY[1:], ValueError, r"shape \(12,\) and theta \(13,\)"),
    (np.stack([ARRAY, ARRAY]), ValueError, r"shape \(2, 13\)"),
    (np.where(ARRAY[4] == ARRAY, np.nan, ARRAY), ValueError, r"alpha\[4\] is nan"),
    (ARRAY > 0, TypeError, "dtype bool"),
    (ARRAY * 1j, TypeError, "dtype complex"),
    (np.ma.masked_less(ARRAY, 0), TypeError, "masked_array"),
    ({"layer": [0.1, 0.2]}, TypeError, "want a real number; a tuple"),
    ({"layers": 0.1}, TypeError, "want a real number; a tuple"),
    ({"W": 0.1, "b": 0.1}, TypeError, "want a real number; a tuple"),
    ({"momentum": 0.9}, TypeError, "want a real number; a tuple"),
    ({"rates": 0.1, "momentun": 0.9}, ValueError, "'momentun'; want rates, momentum and pull"),
    ({"rates": 0.1, "momentum": True}, TypeError, "momentum is True"),
    ({"rates": 0.1, "pull": np.nan}, ValueError, "pull is nan"),
    ({"rates": {"rates": 0.1}}, TypeError, "want a real number; a tuple"),
]


@pytest.mark.parametrize(("alpha", "error", "message"), BAD)
def test_what_is_no_structure_is_refused(alpha, error, message):
    batch = numaml.Batch(np.ones((4, 2)), np.ones((4, 1)))
    with pytest.raises(error, match=message):
        numaml.adapt(MODEL, THETA, batch, alpha, 2)
    with pytest.raises((TypeError, ValueError)):
        numaml.meta_gradient(MODEL, THETA, numaml.Tasks(batch, batch), alpha, 2)


def test_a_model_without_layers_takes_rates_for_parameters_only():
    class Square:
        def value(self, theta, batch):
            return (theta * theta).sum(-1)

        def linearize(self, theta, batch):
            return self.value(theta, batch), 2 * theta, lambda v: 2 * v

    batch = numaml.Batch(np.ones((2, 1)), np.ones((2, 1)))
    tasks = numaml.Tasks(batch, batch)
    theta, rates = np.array([1.0, 2.0]), np.array([0.1, -0.2])
    value, gradient = numaml.meta_gradient(Square(), theta, tasks, rates, 2)
    shrunk = (1 - 2 * rates) ** 2
    np.testing.assert_allclose(gradient, 2 * shrunk**2 * theta, rtol=1e-14)
    assert value == pytest.approx((shrunk * theta) @ (shrunk * theta), rel=1e-14)
    with pytest.raises(TypeError, match="Square has no unpack"):
        numaml.meta_gradient(Square(), theta, tasks, (0.1, 0.2), 2)
