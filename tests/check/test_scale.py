"""Verdicts do not depend on the scale: what is right or wrong at 1 is so at 1e-300 and at 1e150."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from numaml import check
from numaml.check.scale import cosine, multiple, norm, rms, unit
from numaml.network.activations import ACTIVATIONS
from numaml.network.losses import LOSSES, OF_POLICIES, target_width

SCALES = (1e-300, 1e-170, 1e150)
rng = np.random.default_rng(7)
n = 9
A = rng.normal(size=(n, n)) / n
a, x = rng.normal(size=(2, n))
SHAPES = {"W": (2, 3), "b": (3,)}


def f(p):
    return np.sum(np.sin(a * p)) + np.sum(np.tanh(A @ p) ** 2)


def g(p):
    t = np.tanh(A @ p)
    return a * np.cos(a * p) + 2 * A.T @ (t * (1 - t * t))


def Hv(p, v):
    t = np.tanh(A @ p)
    return -a * a * np.sin(a * p) * v + 2 * A.T @ ((1 - t * t) * (1 - 3 * t * t) * (A @ v))


def real(function):
    def refusing(p, *rest):
        if np.iscomplexobj(p):
            raise TypeError("real numbers only")
        return function(p, *rest)

    return refusing


def same(function):
    return function


def bent(kind, answer):
    """A copy with a mistake in it, by the name that the report has to give it."""
    answer = np.array(answer)
    if kind == "a flipped sign":
        return -answer
    if kind == "zero everywhere":
        return 0 * answer
    if kind == "3 times the right one":
        return 3 * answer
    if kind == "a flipped sign in b; right in W":
        answer[..., 6:] *= -1
    return answer


KINDS = ("", "a flipped sign", "zero everywhere", "3 times the right one")
IN_A_BLOCK = "a flipped sign in b; right in W"


def assert_told(report, kind):
    assert report.verdict == ("wrong" if kind else "right"), str(report)
    assert kind in report.looks_like, str(report)
    assert not any("kink" in note or "blind" in note for note in report.notes), str(report)


@pytest.mark.parametrize("wrap", [same, real], ids=["complex step", "differences"])
@pytest.mark.parametrize("kind", [*KINDS, IN_A_BLOCK])
@pytest.mark.parametrize("scale", SCALES)
def test_gradient_and_hvp(scale, kind, wrap):
    report = check.gradient(
        wrap(lambda p: scale * f(p)), scale * bent(kind, g(x)), x, blocks=SHAPES
    )
    assert_told(report, kind)
    assert report.order == pytest.approx(1 if kind else 2, abs=0.1)
    product = lambda v: scale * bent(kind, Hv(x, v))  # noqa: E731  # as short as it is
    assert_told(check.hvp(wrap(lambda p: scale * g(p)), product, x, blocks=SHAPES), kind)


@pytest.mark.parametrize("wrap", [same, real], ids=["complex step", "differences"])
@pytest.mark.parametrize("kind", [*KINDS, IN_A_BLOCK])
@pytest.mark.parametrize("scale", [1e-290, 1e-170, 1e150])
def test_theta_of_any_scale(scale, kind, wrap):
    """A change of unit of theta, too: f(p / s) at s·x has the gradient g(x) / s."""
    report = check.gradient(
        wrap(lambda p: f(p / scale)), bent(kind, g(x)) / scale, scale * x, blocks=SHAPES
    )
    assert_told(report, kind)


class Own:
    """A model of two losses, c times those of another one; its sets are what it likes."""

    def __init__(self, c, wrap=same):
        self.c, self.wrap = c, wrap

    def value(self, theta, batch):
        X, y = batch
        r = self.wrap(np.tanh)((X @ theta[..., None])[..., 0]) - y
        return self.c * np.sum(r * r, -1)

    def linearize(self, theta, batch):
        X, y = batch
        h = self.wrap(np.tanh)((X @ theta[..., None])[..., 0])
        gradient = 2 * self.c * np.einsum("...ij,...i->...j", X, (h - y) * (1 - h * h))
        return self.value(theta, batch), gradient, None


T, P, ALPHA, K = 3, 4, 0.05, 2
support = (rng.normal(size=(T, 5, P)), rng.normal(size=(T, 5)))
query = (rng.normal(size=(T, 6, P)), rng.normal(size=(T, 6)))
TASKS = SimpleNamespace(support=support, query=query)
theta = rng.normal(size=P)
PAIRS = [((support[0][t], support[1][t]), (query[0][t], query[1][t])) for t in range(T)]


def meta_value(model, p, alpha):
    total = 0
    for s, q in PAIRS:
        phi = p
        for _ in range(K):
            phi = phi - alpha * model.linearize(phi, s)[1]
        total = total + model.value(phi, q)
    return total / T


def first_order():
    model, total = Own(1.0), 0
    for s, q in PAIRS:
        phi = theta
        for _ in range(K):
            phi = phi - ALPHA * model.linearize(phi, s)[1]
        total = total + model.linearize(phi, q)[1]
    return total / T


def exact():
    rows = [meta_value(Own(1.0), theta + 1e-30j * e, ALPHA).imag / 1e-30 for e in np.eye(P)]
    return np.array(rows)


META = {
    "": exact(), "a flipped sign": -exact(), "zero everywhere": 0 * exact(),
    "3 times the right one": 3 * exact(), "first-order MAML": first_order(),
}  # fmt: skip


@pytest.mark.parametrize("wrap", [same, real], ids=["complex step", "differences"])
@pytest.mark.parametrize("kind", META)
@pytest.mark.parametrize("scale", [1e-300, 1e-170, 1e150])
def test_meta_gradient_and_against_any_model(scale, kind, wrap):
    """Losses c times as large, alpha 1/c of it: phi is the same, the meta-gradient c times."""
    model, alpha, gradient = Own(scale, wrap), ALPHA / scale, scale * META[kind]

    def gradient_of(batch):
        return lambda p: model.linearize(p, batch)[1]

    pieces = [(gradient_of(s), gradient_of(q)) for s, q in PAIRS]
    report = check.meta_gradient(
        lambda p: meta_value(model, p, alpha), gradient, theta, tasks=pieces, alpha=alpha, steps=K
    )
    assert_told(report, kind)
    assert_told(check.against(gradient, model, theta, TASKS, alpha, K), kind)
    alone = check.meta_gradient(lambda p: meta_value(model, p, alpha), gradient, theta)
    assert alone.verdict == report.verdict


@pytest.mark.parametrize("wrap", [same, real], ids=["complex step", "differences"])
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("scale", SCALES)
def test_activations(scale, name, wrap):
    def triple(*factors):
        rows = zip(factors, ACTIVATIONS[name], strict=True)
        return [f and wrap(lambda z, c=c, f=f: c * scale * f(z)) for c, f in rows]

    assert check.activation(triple(1, 1, 1)), str(check.activation(triple(1, 1, 1)))
    report = check.activation(triple(1, -1, 1))
    assert report.verdict == "wrong"
    if ACTIVATIONS[name][2]:
        assert "a flipped sign in s″" in check.activation(triple(1, 1, -1)).looks_like
        assert "zero in s″" in check.activation(triple(1, 1, 0)).looks_like


@pytest.mark.parametrize("wrap", [same, real], ids=["complex step", "differences"])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("scale", SCALES)
def test_losses(scale, name, wrap):
    n_out = 10 if name in OF_POLICIES else 3
    u, y = rng.normal(size=(4, 6, n_out)), rng.normal(size=(4, 6, target_width(name, n_out)))
    y = rng.integers(0, 3, (4, 6)) if name == "cross_entropy" else y

    def report(one, two):
        def loss(u, y):
            value, delta, hessian = LOSSES[name](u, y)
            return scale * value, one * scale * delta, lambda v: two * scale * hessian(v)

        return check.loss(wrap(loss), u, y)

    assert report(1, 1), str(report(1, 1))
    assert report(3, 3).looks_like.startswith("a fault in some blocks: 3 times the right one")
    assert "a flipped sign in Hessian product" in report(1, -1).looks_like
    assert "zero in gradient" in report(0, 1).looks_like


@pytest.mark.parametrize("scale", [1e-140, 1e100])
def test_a_loss_at_large_and_at_small_outputs(scale):
    """The gradient is of the unit of u then, and the Hessian is not."""
    u, y = scale * rng.normal(size=(2, 4, 3, 5))
    row = LOSSES["squared_error"]
    assert check.loss(row, u, y)
    report = check.loss(lambda u, y: (*row(u, y)[:2], lambda v: -row(u, y)[2](v)), u, y)
    assert "a flipped sign in Hessian product; right in gradient" in report.looks_like


@pytest.mark.parametrize("scale", SCALES)
def test_numbers_follow_the_scale(scale):
    exact, first = rng.normal(size=(2, n))
    here = check.order_report(exact, first, blocks=SHAPES)
    there = check.order_report(scale * exact, scale * first, blocks=SHAPES)
    assert there.missing == pytest.approx(here.missing, rel=1e-12)
    assert there.cosine == pytest.approx(here.cosine, rel=1e-12)
    for one, two in zip(here.blocks, there.blocks, strict=True):
        assert two[1:] == pytest.approx(one[1:], rel=1e-12)
    assert check.relative_error(scale * first, scale * exact) == pytest.approx(
        check.relative_error(first, exact), rel=1e-12
    )
    v = rng.normal(size=n)
    for wrap in (same, real):
        got = check.derivative(wrap(lambda p: scale * f(p)), x, v)
        assert abs(got.value - scale * (g(x) @ v)) <= 3 * got.error < 1e-8 * scale
    for slope, order in ((1.0, 2), (-1.0, 1)):
        got = check.taylor(lambda p: scale * f(p), slope * scale * (g(x) @ v), x, v)
        assert got.order == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("e", [-1074, -1000, -500, 0, 500, 1000])
def test_norms_of_every_power_of_two(e):
    row = np.array([3.0, -4.0, 0.0, 12.0])
    scaled = np.ldexp(row, e)
    assert norm(scaled) == np.ldexp(13.0, e)
    assert rms(scaled) == pytest.approx(np.ldexp(6.5, e), rel=1e-15, abs=5e-324)
    assert multiple(-2 * scaled if e < 1000 else scaled / -0.5, scaled) == -2
    assert cosine(scaled, -row) == pytest.approx(-1, abs=1e-15)
    assert 0.5 <= np.max(np.abs(unit(scaled)[0])) < 1
    assert norm(1j * scaled) == norm(scaled)


def test_norms_of_nothing_and_of_what_is_not_finite():
    zero, inf, nan = np.zeros(3), np.array([1.0, math.inf]), np.array([1.0, math.nan])
    assert norm(zero) == rms(zero) == norm([]) == rms([]) == 0
    assert math.isnan(multiple(zero, zero))
    assert math.isnan(cosine(zero, zero + 1))
    assert norm(inf) == math.inf
    assert math.isnan(norm(nan))
    assert check.relative_error([math.nan], [1.0]) == math.inf


def test_a_host_that_lets_numpy_raise_is_not_reached_by_harmless_underflow():
    with np.errstate(all="raise"):
        for c in (1e-300, 1.0):
            assert check.gradient(lambda p, c=c: c * p[0], np.array([c, 0.0]), np.ones(2))
        assert math.isfinite(check.relative_error([1e-300, 1.0], [1e-300, 2.0]))
