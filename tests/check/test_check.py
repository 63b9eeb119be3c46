"""The kit's smaller checks: each passes what is right and fails, with a name, what is not."""

import builtins
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import numaml
from numaml import check
from numaml.check import strategies
from numaml.check.probe import DOUBLE, SINGLE, Probe, precision
from numaml.network.activations import ACTIVATIONS
from numaml.network.losses import LOSSES, OF_POLICIES, target_width

from ..cases import build

rng = np.random.default_rng(0)
x = rng.normal(size=12)
A = rng.normal(size=(12, 12))
A = A + A.T
SHAPES = {"W": (2, 5), "b": (2,)}


def f(x):
    return np.sum(np.tanh(x) ** 2) + x @ A @ x / 2


def g(x):
    return 2 * np.tanh(x) * (1 - np.tanh(x) ** 2) + A @ x


def H(x):
    t = np.tanh(x)
    return np.diag(2 * (1 - t**2) * (1 - 3 * t**2)) + A


def real(function):
    """The same, for real numbers only."""

    def refusing(x):
        if np.iscomplexobj(x):
            raise TypeError("real numbers only")
        return function(x)

    return refusing


def flipped(block):
    return block.reshape(2, 5).T.ravel()


# gradient and hvp


@pytest.mark.parametrize("wrap", [lambda f: f, real], ids=["complex step", "differences"])
def test_gradient(wrap):
    report = check.gradient(wrap(f), g, x, blocks=SHAPES)
    assert report, str(report)
    assert report.order == pytest.approx(2, abs=0.1)
    assert report.method == (
        "adaptive central differences (SciPy)" if wrap is real else "complex step"
    )
    wrong = g(x)
    for bad, words in (
        (-wrong, "a flipped sign"), (7 * wrong, "7 times the right one"),
        (0 * wrong, "zero everywhere"), (wrong * np.inf, "NaN or infinity"),
        (np.concatenate([flipped(wrong[:10]), wrong[10:]]), "transposed in W; right in b"),
        (np.concatenate([wrong[:10], -wrong[10:]]), "a flipped sign in b; right in W"),
        (np.concatenate([wrong[:10], 0 * wrong[10:]]), "zero in b; right in W"),
    ):  # fmt: skip
        with np.errstate(all="ignore"):
            report = check.gradient(wrap(f), bad, x, blocks=SHAPES)
        assert report.verdict == "wrong"
        assert words in report.looks_like
        assert report.order == pytest.approx(1, abs=0.1) or not np.isfinite(bad).all()


@pytest.mark.parametrize("wrap", [lambda f: f, real], ids=["complex step", "differences"])
@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_hvp(wrap, dtype):
    point = x.astype(dtype)
    dense = H(x).astype(dtype)
    report = check.hvp(wrap(g), lambda v: dense @ v, point, blocks=SHAPES)
    assert report, str(report)
    for bad, words in (
        (lambda v: -dense @ v, "a flipped sign"), (lambda v: dense @ v / 2, "1/2 times"),
        (lambda v: 0 * v, "zero everywhere"),
        (lambda v: np.concatenate([flipped((dense @ v)[:10]), (dense @ v)[10:]]),
         "transposed in W; right in b"),
        (lambda v: A.astype(dtype) @ v, "right in b"),
        (lambda v: v, ""),
    ):  # fmt: skip
        report = check.hvp(wrap(g), bad, point, blocks=SHAPES)
        assert report.verdict == "wrong"
        if words != "right in b":
            assert words in report.looks_like, str(report)
        with pytest.raises(AssertionError, match="Hessian-vector product: WRONG"):
            check.assert_right(report)


def test_hvp_of_numaml_and_with_its_second_term_missing():
    case = build((3, 5, 2), "tanh", "cross_entropy", None, 6, 7, 0.1, 1, seed=0)
    denied = numaml.MLP((3, 5, 2), (np.tanh, ACTIVATIONS["tanh"][1], None), "cross_entropy")
    for model, verdict in ((case.model, "right"), (denied, "wrong")):
        hvp = model.linearize(case.theta, case.tasks.support)[2]
        report = check.hvp(
            lambda p: case.model.linearize(p, case.tasks.support)[1], hvp, case.theta
        )
        assert report.verdict == verdict


def test_a_linear_gradient_and_a_zero_one():
    """A Hessian of zeros is right if it is exactly that; a gradient of noise cannot be judged."""
    assert check.hvp(lambda x: 0 * x + 3, lambda v: 0 * v, x)
    assert check.gradient(real(lambda x: x @ np.arange(12.0)), np.arange(12.0), x)
    report = check.gradient(real(lambda x: 1 + 1e-18 * np.sum(x)), np.full(12, 1e-18), x)
    assert report.verdict == "cannot tell"
    assert "nothing to compare with" in report.notes[-1] or "noise" in report.notes[-1]
    report = check.gradient(real(lambda x: 1 + 1e-18 * np.sum(x)), np.full(12, 1.0), x)
    assert report.verdict == "wrong"


def test_where_the_value_overflows_nothing_is_said():
    def steep(x):  # finite at the point, infinite beside it
        return math.inf if np.any(x != 1.0) else 1.0

    with np.errstate(all="ignore"):
        report = check.gradient(steep, np.ones(3), np.ones(3))
    assert report.verdict == "cannot tell"
    with pytest.raises(ValueError, match="NaN or infinite at this point"):
        check.gradient(lambda x: math.nan, np.ones(3), np.ones(3))


def test_what_does_not_fit_is_refused():
    for bad, error, words in (
        (np.ones((2, 3)), ValueError, r"shape \(2, 3\); want one row"),
        (np.ones(0), ValueError, "one row"),
        (np.arange(3), TypeError, "dtype int64"),
        (np.array([1.0, np.nan]), ValueError, "NaN or infinity"),
    ):
        with pytest.raises(error, match=words):
            check.gradient(f, g, bad)
    with pytest.raises(TypeError, match="returned complex128"):
        check.gradient(lambda x: 1j * x[0], g, x)
    with pytest.raises(ValueError, match="g returned shape"):
        check.hvp(f, g, x)
    with pytest.raises(ValueError, match=r"hvp\(v\) has shape \(1, 12\)"):
        check.hvp(g, lambda v: v[None], x)


def test_a_report_is_true_only_if_right_and_reads_well():
    report = check.gradient(f, -g(x), x, blocks=SHAPES)
    lines = str(report).splitlines()
    assert not report
    assert lines[:2] == ["gradient: WRONG", "  it looks like a flipped sign"]
    assert lines[-1].endswith("order 1.0 (2 if right, 1 if not)")
    assert report.error == pytest.approx(2)
    assert report.where in {block.name for block in report.blocks}
    assert bool(check.gradient(f, g, x)) is True


# derivative and taylor


def test_derivative_is_honest():
    """The error estimate covers the error, for smooth, kinked, noisy and float32 functions."""
    v = rng.normal(size=12)

    def relus(x):
        return np.sum(np.maximum(A @ x, 0) ** 1.0 * np.arange(1, 13))

    kinked = np.arange(1, 13) * (A @ x > 0) @ A @ v
    for function, truth, point, worst in (
        (f, g(x) @ v, x, 1e-13), (real(f), g(x) @ v, x, 1e-9),
        (real(relus), kinked, x, 1e-8), (real(f), g(x) @ v, x.astype("f4"), 1e-2),
        (real(lambda x: float(f(x.astype("f4")))), g(x) @ v, x, 1e-2),
        (lambda x: float(f(x.astype("f4")).astype("f4")), g(x) @ v, x, 1e-2),
    ):  # fmt: skip
        with np.errstate(all="ignore"):
            got = check.derivative(function, point, v)
        scale = np.linalg.norm(g(x)) * np.linalg.norm(v)
        assert abs(got.value - truth) <= 3 * got.error < worst * scale
    array = check.derivative(real(g), x, v)
    assert np.all(np.abs(array.value - H(x) @ v) <= 3 * array.error)
    assert np.max(array.error) < 1e-8


def test_derivative_at_and_beside_a_kink():
    one = np.ones(1)
    at = check.derivative(lambda x: float(np.abs(x[0])), 0 * one, one)
    assert at.jump == pytest.approx(2)
    assert at.error >= 1
    for distance in (1e-2, 1e-4, 1e-6):
        got = check.derivative(lambda x: float(np.abs(x[0])), distance * one, one)
        assert abs(got.value - 1) <= 3 * got.error + 1e-12
    jump = check.derivative(lambda x: float(x[0] > 0), 0 * one, one)
    assert jump.error > 1e3


def test_derivative_where_f_is_not_defined_far_away():
    """log does not exist below 0, where the first, wide step would go."""
    point, direction = np.array([0.01, 5.0]), np.array([1.0, 0.0])
    got = check.derivative(lambda x: math.log(x[0]) if x[0] > 0 else math.nan, point, direction)
    assert abs(got.value - 100) <= 3 * got.error < 1e-4


@pytest.mark.parametrize(
    "broken",
    [
        lambda x: np.sum(np.abs(x) ** 2),  # loses the tangent in silence
        lambda x: np.sum(x.real**2) + 0 * x[0],
        lambda x: np.vdot(x, x) + 0 * x[0],
        lambda x: np.linalg.norm(x) + 0j * np.sum(x) if np.iscomplexobj(x) else np.linalg.norm(x),
        lambda x: np.array([1.0]) if np.iscomplexobj(x) else f(x),  # another shape
        lambda x: f(x) + (1 + 1j if np.iscomplexobj(x) else 0),  # another value
        lambda x: np.float64(f(x)),  # warns that it drops the imaginary part
    ],
)
def test_a_lost_imaginary_part_is_noticed(broken):
    assert Probe(broken, x).method == "adaptive central differences (SciPy)"


def test_without_scipy_the_error_says_what_to_install(monkeypatch):
    original = builtins.__import__

    def without(name, *arguments):
        if name.startswith("scipy"):
            raise ImportError(name)
        return original(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    assert check.gradient(f, g, x), "the complex step does not need it"
    with pytest.raises(ImportError, match=r"pip install 'numaml\[check\]'"):
        check.gradient(real(f), g, x)


def test_precision_is_seen_in_the_bits():
    numbers = rng.normal(size=5)
    assert precision(numbers) == DOUBLE
    assert precision(numbers.astype("f4").astype(float)) == SINGLE
    assert precision(numbers.astype("f4")) == SINGLE
    assert precision(numbers.astype("f2")) > SINGLE
    assert precision(np.array([0.5, 3.0, 0.0])) == DOUBLE


def test_noise_is_measured():
    single = Probe(lambda x: float(f(x.astype("f4")).astype("f4")), x)
    assert single.eps == SINGLE
    for probe, eps in ((single, SINGLE), (Probe(f, x), DOUBLE)):
        assert 0.1 * eps < probe.noise / probe.scale < 100 * eps
    hidden = Probe(real(lambda x: float(f(x.astype("f4"))) * (1 / 3)), x)
    assert hidden.eps == DOUBLE
    assert hidden.noise / hidden.scale > 0.01 * SINGLE, "float32 inside, though its bits deny it"


def test_taylor_orders():
    v = rng.normal(size=12)
    assert check.taylor(f, g(x) @ v, x, v).order == pytest.approx(2, abs=0.1)
    wrong = check.taylor(f, 1.001 * g(x) @ v, x, v)
    assert wrong.order == pytest.approx(1, abs=0.1)
    assert len(wrong.steps) == len(wrong.remainders)
    linear = check.taylor(lambda x: x @ v, v @ v, x, v)
    assert math.isnan(linear.order)
    assert math.isnan(check.gradient(lambda x: x @ v, v, x).order)
    assert "Taylor" not in str(check.gradient(lambda x: x @ v, v, x))


# orders and blocks


def test_order_report():
    exact, first = rng.normal(size=(2, 12))
    exact[10:], first[10:] = first[10:], 0
    orders = check.order_report(exact, first, blocks=SHAPES)
    assert orders.missing == np.linalg.norm(exact - first) / np.linalg.norm(exact)
    assert orders.cosine == exact @ first / np.linalg.norm(exact) / np.linalg.norm(first)
    W, b = orders.blocks
    assert W.missing == check.relative_error(first[:10], exact[:10])
    assert (b.name, b.missing) == ("b", 1)
    assert math.isnan(b.cosine)
    assert len(str(orders).splitlines()) == 4
    assert check.order_report(0 * exact, 0 * first).missing == 0
    assert math.isnan(check.order_report(0 * exact, first).missing)
    assert len(check.order_report(exact, first).blocks) == 8
    assert len(check.order_report(exact[:3], first[:3]).blocks) == 3
    with pytest.raises(ValueError, match=r"\(12,\).*\(11,\)"):
        check.order_report(exact, first[1:])


def test_blocks_are_those_of_the_model():
    model = numaml.MLP((3, 4, 5, 2))
    shapes = [block.shape for layer in model.unpack(model.init(0)) for block in layer]
    assert list(check.blocks(model.sizes).values()) == shapes


# activation and loss


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_numaml_are_right_and_bent_ones_are_not(name):
    s, s_prime, s_second = ACTIVATIONS[name]
    assert check.activation((s, s_prime, s_second)), str(check.activation((s, s_prime, s_second)))
    report = check.activation((s, lambda z: 2 * s_prime(z), s_second))
    assert report.verdict == "wrong"
    assert "2 times" in report.looks_like
    report = check.activation((real(s), real(s_prime), lambda z: np.full_like(z, 0.1)))
    assert (report.verdict, report.where) == ("wrong", "s″")
    if s_second:
        report = check.activation((s, s_prime, None))
        assert "zero in s″" in report.looks_like
        report = check.activation((s, s_prime, lambda z: -s_second(z)))
        assert "a flipped sign in s″; right in s′" in report.looks_like


def test_activation_that_changes_the_shape_is_refused():
    with pytest.raises(ValueError, match="around s″"):
        check.activation((np.tanh, lambda z: 1 - np.tanh(z) ** 2, lambda z: z[:2]))


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_numaml_are_right_and_bent_ones_are_not(name):
    n_out = 10 if name in OF_POLICIES else 3
    u, y = rng.normal(size=(4, 6, n_out)), rng.normal(size=(4, 6, target_width(name, n_out)))
    y = rng.integers(0, 3, (4, 6)) if name == "cross_entropy" else y
    row = LOSSES[name]

    def bent(change_gradient, change_product):
        def loss(u, y):
            value, delta, hessian = row(u, y)
            return value, change_gradient(delta), lambda v: change_product(hessian(v))

        return check.loss(loss, u, y)

    def same(a):
        return a

    assert bent(same, same), str(bent(same, same))
    report = bent(lambda d: 6 * d, same)
    assert report.verdict == "wrong"
    assert "6 times the right one" in report.looks_like
    assert "zero in Hessian product; right in gradient" in bent(same, lambda p: 0 * p).looks_like
    assert bent(same, lambda p: p.swapaxes(0, 0)[..., ::-1]).verdict == "wrong"
    with pytest.raises(ValueError, match="the Hessian product has shape"):
        bent(same, lambda p: p[0])
    with pytest.raises(ValueError, match="the gradient has shape"):
        bent(lambda d: d[0], same)


# strategies


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_strategies_fit_numaml(data):
    architecture = data.draw(strategies.architectures())
    model = numaml.MLP(*architecture)
    xs, ys, xq, yq = data.draw(strategies.tasks(architecture))
    tasks = numaml.Tasks(numaml.Batch(xs, ys), numaml.Batch(xq, yq))
    theta = data.draw(strategies.thetas(architecture.sizes))
    alpha = data.draw(strategies.step_sizes())
    assert np.isfinite(numaml.meta_value(model, theta, tasks, alpha, 1))
    assert not any((b == 0).all() for _, b in model.unpack(theta))
