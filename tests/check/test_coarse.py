"""Single precision, noise and kinks: each is called what it is, and nothing is accused for them."""

import numpy as np
import pytest

import numaml
from numaml import check
from numaml.check.probe import Probe

from .test_scale import real


def relu_problem(seed, dtype=np.float32):
    """A random ReLU network, its tasks in that dtype, theta, alpha and K."""
    rng = np.random.default_rng(seed)
    hidden = rng.integers(3, 8, rng.integers(1, 3)).tolist()
    sizes, norm = (2, *hidden, 3), [None, None, "layer", "batch"][seed % 4]
    model = numaml.MLP(sizes, "relu", ["squared_error", "cross_entropy"][seed // 2 % 2], norm)

    def batch(n):
        x = rng.normal(size=(3, n, 2)).astype(dtype)
        if model.loss == "cross_entropy":
            return numaml.Batch(x, rng.integers(0, 3, (3, n)))
        return numaml.Batch(x, rng.normal(size=(3, n, 3)).astype(dtype))

    tasks = numaml.Tasks(batch(5), batch(6))
    theta = (model.init(rng) + 0.1 * rng.normal(size=model.size)).astype(dtype)
    return model, theta, tasks, 0.1, int(seed % 3)


def reports(model, theta, tasks, alpha, steps, bend=1.0):
    """What the kit says of float32 callables that are given float32, or float64 and cast it."""
    single = np.float32

    def value(p):
        return numaml.meta_value(model, p.astype(single), tasks, alpha, steps)

    def gradient(p):
        return bend * numaml.meta_gradient(model, p.astype(single), tasks, alpha, steps)[1]

    def gradient_of(batch):
        return lambda p: model.linearize(p.astype(single), batch)[1]

    pairs = [
        (gradient_of(numaml.Batch(*s)), gradient_of(numaml.Batch(*q)))
        for s, q in zip(
            zip(tasks.support.x, tasks.support.y, strict=True),
            zip(tasks.query.x, tasks.query.y, strict=True),
            strict=True,
        )
    ]
    pieces = {"tasks": pairs, "alpha": alpha, "steps": steps}
    blocks = check.blocks(model.sizes)
    yield check.meta_gradient(real(value), gradient, theta, blocks=blocks)
    yield check.meta_gradient(real(value), gradient, theta.astype(float), blocks=blocks)
    yield check.meta_gradient(real(value), gradient, theta, blocks=blocks, **pieces)
    yield check.gradient(lambda p: float(real(value)(p)), gradient, theta.astype(float))
    yield check.against(gradient(theta), model, theta, tasks, alpha, steps)


@pytest.mark.parametrize("seed", range(4))
def test_a_right_float32_meta_gradient_is_right_or_cannot_be_told(seed):
    for report in reports(*relu_problem(seed)):
        assert "kink" not in str(report)
        assert report or "cannot tell in float32" in str(report), str(report)
        assert report or "use float64" in str(report), str(report)
        assert report.verdict != "wrong"


@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_one_is_not_right(seed):
    for report in reports(*relu_problem(seed), bend=-1.0):
        assert report.verdict in ("wrong", "cannot tell"), str(report)
        assert "kink" not in str(report)
    assert report.looks_like == "a flipped sign"  # against, which computes in float64


def kinked(distance, slopes=(2.0, -1.0)):
    """A function with a kink at this distance from 0.5 in its first number."""

    def f(p):
        z = p[0] - 0.5 - distance
        return np.sin(p[1]) + np.where(z.real > 0, slopes[0], slopes[1]) * z

    return f, np.array([slopes[0] if distance < 0 else slopes[1], np.cos(0.3)])


@pytest.mark.parametrize("wrap", [lambda f: f, real], ids=["complex", "real"])
@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e150])
def test_a_kink_is_named_where_there_is_one(wrap, scale):
    f, gradient = kinked(0.0)
    point = np.array([0.5, 0.3])
    for slope in (gradient[0], 2.0, 0.5):
        got = scale * np.array([slope, gradient[1]])
        report = check.gradient(wrap(lambda p: scale * f(p)), got, point)
        assert report.verdict == "cannot tell", str(report)
        assert any("sits on a kink" in note for note in report.notes)
    assert check.derivative(wrap(f), point, np.array([1.0, 0.0])).kink is True


@pytest.mark.parametrize(("seed", "steps"), [(9, 0), (16, 1), (31, 0)])
def test_where_nothing_settles_the_function_is_not_called_infinite(seed, steps):
    """Biases of 0 behind an input of 0: kinks of several units close by, which hide one another."""
    rng = np.random.default_rng(seed)
    model = numaml.MLP((2, 6, 1), "relu")
    x, y = rng.normal(size=(3, 4, 2)).astype("f4"), rng.normal(size=(3, 4, 1)).astype("f4")
    x[0, 0] = 0
    theta, batch = model.init(rng, np.float32), numaml.Batch(x, y)
    tasks = numaml.Tasks(batch, batch)
    gradient = numaml.meta_gradient(model, theta, tasks, 0.1, steps)[1]

    def value(p):
        return numaml.meta_value(model, p, tasks, 0.1, steps)

    report = check.meta_gradient(real(value), gradient, theta, blocks=check.blocks(model.sizes))
    assert report.verdict == "cannot tell"
    assert "infinite" not in str(report)
    assert "use float64 (no difference settles in" in report.notes[-1]


@pytest.mark.parametrize("wrap", [lambda f: f, real], ids=["complex", "real"])
@pytest.mark.parametrize("distance", [1e-1, 1e-3, -1e-4, 1e-5, -1e-6, 1e-7, -1e-8, 1e-9, 1e-11])
def test_a_kink_beside_the_point_is_none_at_it(distance, wrap):
    f, gradient = kinked(distance)
    point = np.array([0.5, 0.3])
    report = check.gradient(wrap(f), gradient, point)
    assert "kink" not in str(report), str(report)
    assert report or (abs(distance) < 1e-6 and "noise" in report.notes[-1]), str(report)
    assert not check.derivative(wrap(f), point, np.array([1.0, 0.0])).kink
    assert not check.gradient(wrap(f), -gradient, point)


def test_many_kinks_around_the_point_are_none_at_it():
    """What a wide network is in float32: one kink in every thousandth."""
    rng = np.random.default_rng(0)
    at, size = rng.uniform(-1, 1, 2000), rng.normal(size=2000) / 100

    def f(p):
        return np.sum(size * np.maximum(p[0] - at, 0))

    right = np.array([np.sum(size[at < 0.1])])
    for wrap in (real, lambda f: lambda p: np.float32(real(f)(p.astype("f4")))):
        report = check.gradient(wrap(f), right, np.array([0.1]))
        assert "kink" not in str(report), str(report)
        assert report.verdict != "wrong"


def noisy(how, size, rng):
    def f(p):
        seed = abs(hash(p.tobytes())) % 2**60 if how == "of the argument" else None
        e = (np.random.default_rng(seed) if seed else rng).normal()
        return np.sum(np.sin(p)) * (1 + size * e)

    return real(f)


@pytest.mark.parametrize("how", ["of the call", "of the argument"])
@pytest.mark.parametrize("size", [1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1.0])
def test_a_noisy_value_is_called_noisy(size, how):
    rng = np.random.default_rng(3)
    point = rng.normal(size=7)
    for sign in (1, -1):
        report = check.gradient(noisy(how, size, rng), sign * np.cos(point), point)
        assert "noisy" in report.notes[0], str(report)
        assert "f " in report.notes[0]
        assert ("called again" in report.notes[0]) == (how == "of the call")
        assert report.verdict in (
            ("right", "cannot tell") if sign > 0 else ("wrong", "cannot tell")
        )
        assert "kink" not in str(report)
        assert report.verdict == "cannot tell" if size >= 1e-2 else True
        assert report.verdict != "cannot tell" if size <= 1e-8 else True


def test_a_noisy_answer_is_called_noisy():
    rng = np.random.default_rng(0)
    point = rng.normal(size=7)
    report = check.gradient(
        lambda p: np.sum(np.sin(p)), lambda p: np.cos(p) * (1 + 0.1 * rng.normal()), point
    )
    assert "the gradient differs by" in report.notes[0]
    assert report.verdict == "cannot tell"
    state = [1.0]

    def drifting(v):
        state[0] *= 1.1
        return -state[0] * np.sin(point) * v

    report = check.hvp(np.cos, drifting, point)
    assert "hvp(v) differs by" in report.notes[0]
    assert report.verdict == "cannot tell"


@pytest.mark.parametrize("digits", [2, 3, 4, 5, 6, 8])
def test_a_value_cut_to_a_few_digits_is_noisy(digits):
    rng = np.random.default_rng(1)
    for _ in range(5):
        point = rng.normal(size=8)
        for sign in (1, -1):
            report = check.gradient(
                lambda p: round(float(np.sum(np.sin(p))), digits), sign * np.cos(point), point
            )
            assert report.verdict != ("wrong" if sign > 0 else "right"), str(report)
            assert "f is noisy" in report.notes[0]


def test_half_precision_is_judged_as_such():
    point = np.random.default_rng(0).normal(size=6)
    f = lambda p: np.sum(np.sin(p))  # noqa: E731
    report = check.gradient(f, np.cos(point).astype("f2"), point)
    assert report.verdict != "wrong"
    assert "float16" in report.notes[-1]
    assert check.gradient(f, -np.cos(point).astype("f2"), point).verdict == "wrong"
    coarse = check.gradient(lambda p: np.float16(real(f)(p)), np.cos(point), point)
    assert coarse.verdict == "cannot tell"
    assert "cannot tell in float16: use float64" in coarse.notes[-1]


@pytest.mark.parametrize("size", [1e-7, 1e-5, 1e-3, 1.0])
@pytest.mark.parametrize("lose", [lambda p: np.abs(p) ** 2, lambda p: np.real(p) ** 2])
def test_a_small_part_that_loses_imaginary_numbers_is_noticed(size, lose):
    """A penalty by abs or norm: its derivative is missing in the complex step."""
    rng = np.random.default_rng(5)
    a, point = rng.normal(size=(2, 6))

    def f(p):
        return np.sum(np.sin(a * p)) + size * np.sum(lose(p))

    right = a * np.cos(a * point) + 2 * size * point
    report = check.gradient(f, right, point)
    assert report, str(report)
    assert report.method != "complex step"
    assert not check.gradient(f, a * np.cos(a * point), point)


SMOOTH = {
    "tanh": lambda p: np.sum(np.tanh(p)),
    "exp": np.exp,
    "power": lambda p: np.sum(p**5),
    "linear": np.sum,
    "relu": lambda p: np.where(p.real > 0, p, 0),
    "tiny": lambda p: 1e-200 * p**3,
    "odd at 0": lambda p: np.sum((p - 0.5) + (p - 0.5) ** 5),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_functions_that_take_complex_numbers_are_found_to(name):
    points = np.random.default_rng(0).normal(size=(10, 8))
    for point in (*points, np.full(3, 0.5), np.array([-3.0])):
        assert Probe(SMOOTH[name], point).method == "complex step"
