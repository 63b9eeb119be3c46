"""What somebody hands in: refused with a cure, taken as it is, or noticed to do harm."""

import re
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from numaml import check

from .test_scale import ALPHA, META, PAIRS, TASKS, K, Own, meta_value, real, theta

x = np.array([0.3, 0.4, 0.5])
SIN = np.sin(2 * x)


def f(p):
    return np.sin(p) @ np.sin(p)


def g(p):
    return np.sin(2 * p)


def H(v):
    return 2 * np.cos(2 * x) * v


TANH = (np.tanh, lambda z: 1 / np.cosh(z) ** 2, lambda z: -2 * np.tanh(z) / np.cosh(z) ** 2)
u, y = np.random.default_rng(0).normal(size=(2, 4, 3, 5))


def squared_error(u, y):
    n = u.shape[-2] * u.shape[-1]
    return ((u - y) ** 2).sum((-2, -1)) / n, 2 * (u - y) / n, lambda v: 2 * v / n


# Refused: (got, wanted, fix)

NOT_NUMBERS = {
    "None": (None, "is None; want real numbers: is a return missing"),
    "complex": (SIN + 0j, "dtype complex128; want real numbers: take .real"),
    "objects": (
        SIN.astype(object),
        r"dtype object; want real numbers: convert it.*astype\(float\)",
    ),
    "truths": (SIN > 0.7, "dtype bool; want real numbers"),
    "text": (["a", "b", "c"], "dtype <U1; want real numbers"),
    "masked": (np.ma.masked_greater(SIN, 0.8), "a masked array; want plain numbers: fill"),
    "ragged": ([[1.0, 2.0], [3.0]], "no array .*; want real numbers"),
}


@pytest.mark.parametrize("name", NOT_NUMBERS)
def test_what_is_no_real_number_is_refused_everywhere(name):
    what, words = NOT_NUMBERS[name]
    for call in (
        lambda: check.gradient(f, what, x),
        lambda: check.gradient(f, lambda p: what, x),
        lambda: check.gradient(f, g, what),
        lambda: check.hvp(g, lambda v: what, x),
        lambda: check.meta_gradient(f, what, x),
        lambda: check.against(what, Own(1.0), theta, TASKS, ALPHA, K),
        lambda: check.order_report(what, x),
        lambda: check.order_report(x, what),
        lambda: check.derivative(f, what, x),
        lambda: check.derivative(f, x, what),
        lambda: check.taylor(f, 1.0, x, what),
        lambda: check.activation((np.tanh, lambda z: what, None)),
        lambda: check.loss(squared_error, what, y),
    ):
        with pytest.raises(TypeError, match=words):
            call()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "f returned None; want real numbers: is a return missing"),
        (1j, "f returned complex128; want real numbers: take .real"),
        (Fraction(1, 3), "f returned object; want real numbers"),
        ("1", "f returned <U1"),
        (True, "f returned bool"),
        (np.ma.masked, "f returned a masked array"),
    ],
)
def test_a_value_that_is_no_number_is_refused(value, words):
    with pytest.raises(TypeError, match=words):
        check.gradient(lambda p: value, g, x)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_named(bad):
    words = re.escape(str(bad))
    holed = np.array([0.3, bad, 0.5])
    for call in (
        lambda: check.gradient(f, g, holed),
        lambda: check.gradient(lambda p: bad, g, x),
        lambda: check.hvp(lambda p: holed, H, x),
        lambda: check.meta_gradient(f, g, holed),
        lambda: check.against(theta, Own(1.0), np.full(4, bad), TASKS, ALPHA, K),
        lambda: check.against(theta, Own(1.0), theta, TASKS, bad, K),
        lambda: check.order_report(holed, x),
        lambda: check.order_report(x, holed),
        lambda: check.derivative(f, x, holed),
        lambda: check.taylor(f, bad, x, x),
        lambda: check.activation((lambda z: np.full_like(z, bad), np.zeros_like, None)),
        lambda: check.loss(squared_error, np.full_like(u, bad), y),
    ):
        with pytest.raises(
            ValueError, match=f"(NaN or infinity|NaN or infinite|is).*{words}.*want"
        ):
            call()
    for report in (
        check.gradient(f, holed, x),
        check.hvp(g, lambda v: np.where(np.arange(3) == 1, bad, H(v)), x),
        check.activation((*TANH[:2], lambda z: np.full_like(z, bad))),
    ):
        assert report.verdict == "wrong"
        assert "NaN or infinity in" in report.looks_like
        assert str(report)


def test_a_function_that_ends_beside_the_point_is_named():
    def edge(p):
        return np.inf if np.any(p != x) else 1.0

    report = check.gradient(edge, g, x)
    assert report.verdict == "cannot tell"
    assert "beside the point the function is NaN or infinite" in report.notes[-1]


def test_shapes_and_settings_that_do_not_fit_are_refused():
    pairs = [(lambda p: p, lambda p: p)]
    v = np.ones(3)
    for call, error, words in (
        (lambda: check.gradient(f, SIN[:, None], x), ValueError, r"shape \(3, 1\).*ravel\(\)"),
        (lambda: check.gradient(f, np.ones(0), x), ValueError, r"shape \(0,\)"),
        (lambda: check.gradient(f, 3.0, x), ValueError, r"shape \(\)"),
        (lambda: check.gradient(f, g, x[:0]), ValueError, r"shape \(0,\); want one row"),
        (lambda: check.gradient(f, g, x.astype("f2")), TypeError, "float16; want float64"),
        (lambda: check.gradient(f, g, x.astype("g")), TypeError, "float128; want float64"),
        (lambda: check.gradient(3.0, g, x), TypeError, "f is float 3.0; want a function"),
        (lambda: check.gradient(f, g, x, blocks={"a": 3}), TypeError, "block 'a' has shape 3"),
        (lambda: check.gradient(f, g, x, blocks={"a": (1.5, 2)}), TypeError, "whole numbers"),
        (lambda: check.gradient(f, g, x, blocks={"a": (-3, -1)}), TypeError, "whole numbers"),
        (lambda: check.gradient(f, g, x, blocks=[("a", (3,))]), TypeError, "want a mapping"),
        (lambda: check.gradient(f, g, x, blocks={"all of it": (3,)}), ValueError, "different"),
        (lambda: check.gradient(f, g, x, blocks={1: (1,), "1": (2,)}), ValueError, "different"),
        (lambda: check.derivative(f, x, v[:2]), ValueError, r"shape \(2,\) and the point \(3,\)"),
        (lambda: check.derivative(f, x, v[None]), ValueError, r"shape \(1, 3\)"),
        (lambda: check.derivative(f, x, 0 * v), ValueError, "the direction is 0"),
        (lambda: check.taylor(np.sin, 1.0, x, v), ValueError, "returned shape.*one number"),
        (lambda: check.taylor(f, [1.0, 2.0], x, v), ValueError, "one finite number"),
        (lambda: check.order_report(x[None], x[None]), ValueError, "want .P,. twice"),
        (lambda: check.order_report(x[:0], x[:0]), ValueError, "want .P,. twice"),
        (lambda: check.activation(TANH[:2]), TypeError, "want .s, s_prime, s_second."),
        (lambda: check.activation("tanh"), TypeError, "the activation is 'tanh'"),
        (lambda: check.activation((np.tanh, None, None)), TypeError, "s′ is NoneType"),
        (lambda: check.loss(lambda u, y: 1.0, u, y), TypeError, "returned float; want"),
        (lambda: check.loss(lambda u, y: (1.0, u, 3), u, y), ValueError, "value has shape"),
        (lambda: check.loss(lambda u, y: (*squared_error(u, y)[:2], 3), u, y), TypeError,
         "the Hessian product is int 3"),
        (lambda: check.loss(squared_error, u.astype(int), y), TypeError, "want float64"),
        (lambda: check.loss(squared_error, u[:0], y[:0]), ValueError, "at least one number"),
        (lambda: check.meta_gradient(f, g, x, tasks=pairs, alpha=-1.0, steps=1), ValueError,
         "alpha is -1.0 < 0"),
        (lambda: check.meta_gradient(f, g, x, tasks=pairs, alpha=True, steps=1), TypeError,
         "alpha has dtype bool"),
        (lambda: check.meta_gradient(f, g, x, tasks=pairs, alpha=1j, steps=1), TypeError,
         "alpha has dtype complex"),
        (lambda: check.meta_gradient(f, g, x, tasks=pairs, alpha=x[:2], steps=1), ValueError,
         r"alpha has shape \(2,\)"),
        (lambda: check.meta_gradient(f, g, x, tasks=pairs, alpha=0.1, steps=True), TypeError,
         "steps is True"),
        (lambda: check.meta_gradient(f, g, x, tasks=pairs, alpha=0.1, steps=1.0), TypeError,
         "steps is 1.0"),
        (lambda: check.meta_gradient(f, g, x, tasks=[g], alpha=0.1, steps=1), TypeError,
         "want a pair .support_gradient"),
        (lambda: check.meta_gradient(f, g, x, tasks=[(g, 3)], alpha=0.1, steps=1), TypeError,
         "the query gradient of task 1 is int 3"),
        (lambda: check.meta_gradient(f, g, x, tasks=[(g, f)], alpha=0.1, steps=1), ValueError,
         r"the query gradient of task 1 has shape \(\)"),
        (lambda: check.against(theta, Own(1.0), theta, TASKS, -0.1, K), ValueError, "-0.1 < 0"),
        (lambda: check.against(theta, Own(1.0), theta, TASKS, ALPHA, -1), ValueError, "K >= 0"),
        (lambda: check.against(theta, f, theta, TASKS, ALPHA, K), TypeError, "has no value"),
        (lambda: check.against(theta, Own(1.0), theta, PAIRS, ALPHA, K), TypeError,
         "want support and query sets"),
    ):  # fmt: skip
        with pytest.raises(error, match=words):
            call()


def test_a_function_whose_shape_changes_is_refused():
    lengths = iter(range(1, 99))
    with pytest.raises(ValueError, match=r"f returned shape \(1,\), and then \(2,\)"):
        check.gradient(lambda p: np.ones(next(lengths)), g, x)


def test_only_a_report_can_be_asserted_to_be_right():
    for other in (True, None, check.order_report(x, x), "right"):
        with pytest.raises(TypeError, match="want the Report of a check"):
            check.assert_right(other)


# Taken

AS_ONE = {
    "float": float, "np.float64": np.float64, "list": lambda v: [v],
    "(1,)": lambda v: np.array([v]), "(1, 1)": lambda v: np.array([[v]]),
    "np.float32": np.float32, "0-d float32": lambda v: np.array(v, "f4"),
}  # fmt: skip


@pytest.mark.parametrize("shape", AS_ONE)
def test_one_number_in_any_shape_is_a_value(shape):
    single = "32" in shape
    for gradient, verdict in ((g, "right"), (lambda p: -g(p), "wrong")):
        report = check.gradient(lambda p: AS_ONE[shape](real(f)(p)), gradient, x)
        assert report.verdict == verdict, str(report)
        assert any("float32" in note for note in report.notes) == (single and verdict == "right")


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f8", ">f4", "g"])
def test_answers_of_every_format_are_taken(dtype):
    assert check.gradient(f, SIN.astype(dtype), x)
    assert check.gradient(f, -SIN.astype(dtype), x).looks_like == "a flipped sign"
    assert check.gradient(f, list(SIN), list(x))
    assert check.gradient(lambda p: f(p) if p.dtype.isnative else 1 / 0, SIN, x.astype(">f8"))


def test_blocks_may_be_scalars_or_hold_nothing():
    for blocks in ({"a": (), "b": (2,)}, {"a": (1, 1), "none": (0, 4), "b": [2]}):
        report = check.gradient(f, g, x, blocks=blocks)
        assert [b.name for b in report.blocks] == ["all of it", "a", "b"]


# Noticed: what is written into, and what is not the same twice


def scribbling(function):
    """The same, on its argument's own memory."""

    def scribble(p, *rest):
        given = p.copy()
        p *= -7
        return function(given, *rest)

    return scribble


WRITES = "writes into its argument"


def test_functions_that_write_into_their_argument_are_noticed_and_harm_nothing():
    kept, kept_theta, kept_u = x.copy(), theta.copy(), u.copy()
    pieces = [
        tuple(scribbling(lambda p, b=b: Own(1.0).linearize(p, b)[1]) for b in pair)
        for pair in PAIRS
    ]
    meta = {"tasks": pieces, "alpha": ALPHA, "steps": K}
    value = lambda p: meta_value(Own(1.0), p, ALPHA)  # noqa: E731
    model = SimpleNamespace(
        value=scribbling(Own(1.0).value), linearize=scribbling(Own(1.0).linearize)
    )
    loss = scribbling(squared_error)
    for report, names in (
        (check.gradient(scribbling(f), g, x), ["f"]),
        (check.gradient(scribbling(real(f)), scribbling(g), x), ["f", "the gradient"]),
        (check.hvp(scribbling(g), H, x), ["g"]),
        (check.hvp(g, scribbling(H), x), ["hvp"]),
        (check.activation(tuple(map(scribbling, TANH))), ["s", "s′", "s″"]),
        (check.loss(loss, u, y), ["the loss"]),
        (check.meta_gradient(scribbling(value), META[""], theta), ["the value"]),
        (check.meta_gradient(value, META[""], theta, **meta), ["the support gradient of task 1"]),
        (
            check.against(META[""], model, theta, TASKS, ALPHA, K),
            ["model.value", "model.linearize"],
        ),
    ):
        assert report, str(report)
        for name in names:
            assert any(note.startswith(f"{name} {WRITES}") for note in report.notes), str(report)
    wrong = check.meta_gradient(value, META["first-order MAML"], theta, **meta)
    assert wrong.looks_like.startswith("first-order MAML")
    assert check.derivative(scribbling(f), x, x).value == check.derivative(f, x, x).value
    assert np.array_equal(x, kept)
    assert np.array_equal(theta, kept_theta)
    assert np.array_equal(u, kept_u)
    assert not any(WRITES in note for note in check.gradient(f, g, x).notes)


def test_the_targets_of_a_loss_are_looked_after_too():
    def loss(u, y):
        row = squared_error(u, y)
        y[:] = 0
        return row

    kept = y.copy()
    report = check.loss(loss, u, y)
    assert report
    assert report.notes[0].startswith(f"the loss {WRITES}")
    assert np.array_equal(y, kept)


def test_a_result_that_is_always_the_same_memory_is_read_before_it_changes():
    memory = np.empty(3)

    def into(function):
        def filled(p):
            np.copyto(memory, function(p))
            return memory

        return filled

    assert check.gradient(real(f), into(g), x)
    assert check.hvp(real(into(g)), H, x)
    assert check.hvp(g, into(H), x)
    assert check.hvp(lambda p: p, lambda v: v, x)  # the argument itself


def test_a_product_that_changes_what_it_keeps_is_noticed():
    row = [1.0]

    def product(v):
        row[0] *= 1.5
        return row[0] * H(v)

    report = check.hvp(g, product, x)
    assert report.verdict == "cannot tell"
    assert "hvp(v) differs by" in report.notes[0]

    def loss(u, y):
        value, delta, hessian = squared_error(u, y)
        kept = [1.0]

        def drifting(v):
            kept[0] *= 1.5
            return kept[0] * hessian(v)

        return value, delta, drifting

    report = check.loss(loss, u, y)
    assert report.verdict == "cannot tell"
    assert "the Hessian product differs by" in report.notes[0]


# Said plainly


def test_where_no_mistake_is_recognised_the_report_says_so():
    bend = np.array([1, 1.3, 0.27])
    words = "it looks like no mistake that is known here"
    value = lambda p: meta_value(Own(1.0), p, ALPHA)  # noqa: E731
    odd = META[""] * [1, 1.3, 0.2, 2]
    pieces = [tuple(lambda p, b=b: Own(1.0).linearize(p, b)[1] for b in pair) for pair in PAIRS]
    for report in (
        check.gradient(f, bend * SIN, x),
        check.gradient(real(f), (bend * SIN).astype("f4"), x),
        check.hvp(g, lambda v: bend * H(v), x),
        check.activation((np.tanh, np.cos, np.cos)),
        check.loss(lambda u, y: (*squared_error(u, y)[:2], lambda v: v**3), u, y),
        check.meta_gradient(value, odd, theta),
        check.meta_gradient(value, odd, theta, tasks=pieces, alpha=ALPHA, steps=K),
        check.against(odd, Own(1.0), theta, TASKS, ALPHA, K),
    ):
        assert (report.verdict, report.looks_like) == ("wrong", ""), str(report)
        assert words in report.notes
    assert words not in check.gradient(f, -SIN, x).notes
    assert words not in check.gradient(f, SIN, x).notes


# Any model


class One:
    """Without a task axis, and with sets of its own kind."""

    def value(self, theta, batch):
        assert theta.ndim == 1
        return Own(1.0).value(theta, batch["examples"])

    def linearize(self, theta, batch):
        return Own(1.0).linearize(theta, batch["examples"])


@pytest.mark.parametrize("kind", META)
def test_against_takes_a_model_of_one_task_and_of_a_stack(kind):
    stack = check.against(META[kind], Own(1.0), theta, TASKS, ALPHA, K)
    assert stack.verdict == ("wrong" if kind else "right")
    assert kind in stack.looks_like
    alone = SimpleNamespace(support={"examples": PAIRS[0][0]}, query={"examples": PAIRS[0][1]})
    right = np.array([check.complex_step(after, theta, e) for e in np.eye(len(theta))])
    report = check.against(right, One(), theta, alone, ALPHA, K)
    assert report, str(report)
    assert "would be off by" in report.notes[-1]
    assert check.against(-right, One(), theta, alone, ALPHA, K).looks_like == "a flipped sign"


def after(p):
    s, q = PAIRS[0]
    for _ in range(K):
        p = p - ALPHA * Own(1.0).linearize(p, s)[1]
    return Own(1.0).value(p, q)


def test_against_takes_blocks_and_one_alpha_per_parameter():
    report = check.against(
        META["a flipped sign"], Own(1.0), theta, TASKS, ALPHA, K, blocks={"W": (3, 1), "b": (1,)}
    )
    assert [b.name for b in report.blocks] == ["all of it", "W", "b"]
    rates = np.full(len(theta), ALPHA)
    assert check.against(META[""], Own(1.0), theta, TASKS, rates, K)
    assert check.against(lambda p: META[""], Own(1.0), theta, TASKS, Fraction(1, 20), K)


def test_against_takes_a_batch_apart_only_if_nothing_is_lost():
    """Weights of examples that a batch of x and y alone would forget."""

    class Weighted:
        def __init__(self, x, y, weight=1.0):
            self.x, self.y, self.weight = x, y, weight

    class Model:
        def value(self, theta, batch):
            return batch.weight * Own(1.0).value(theta, (batch.x, batch.y))

        def linearize(self, theta, batch):
            value, gradient, _ = Own(1.0).linearize(theta, (batch.x, batch.y))
            return batch.weight * value, batch.weight * gradient, None

    tasks = SimpleNamespace(
        support=Weighted(*TASKS.support), query=Weighted(*TASKS.query, weight=2.0)
    )
    assert check.against(2 * META[""], Model(), theta, tasks, ALPHA, K)


def test_against_a_model_whose_losses_do_not_match():
    other = SimpleNamespace(support=PAIRS[0][0], query=TASKS.query)
    with pytest.raises(ValueError, match=r"shapes \(\) on the support sets and \(3,\)"):
        check.against(theta, Own(1.0), theta, other, ALPHA, K)


def test_a_task_whose_gradient_is_not_like_the_first_ones_is_probed_by_itself():
    """The second task alone loses imaginary numbers; the value does not."""
    lossy = lambda p, b: Own(1.0).linearize(p.real + 0 * p, b)[1]  # noqa: E731
    pieces = [tuple(lambda p, b=b: Own(1.0).linearize(p, b)[1] for b in pair) for pair in PAIRS]
    pieces[1] = tuple(lambda p, b=b: lossy(p, b) for b in PAIRS[1])
    value = lambda p: meta_value(Own(1.0), p, ALPHA)  # noqa: E731
    report = check.meta_gradient(value, META[""], theta, tasks=pieces, alpha=ALPHA, steps=K)
    assert report
    assert "would be off by" in report.notes[-1], str(report)


def test_pieces_that_overflow_are_named():
    value = lambda p: meta_value(Own(1.0), p, ALPHA)  # noqa: E731
    pieces = [(lambda p: p**3 * 1e200, lambda p: p)]
    report = check.meta_gradient(value, META[""], theta, tasks=pieces, alpha=1e200, steps=3)
    assert "task 1 has NaN or infinity in its parameters after" in report.notes[-1]
    assert report
