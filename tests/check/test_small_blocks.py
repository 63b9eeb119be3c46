"""A mistake in a block that is small beside the others is seen, or the report says it is blind."""

import numpy as np
import pytest

from numaml import check

from .test_scale import real, same

rng = np.random.default_rng(11)
SHAPES = {"W": (3, 4), "V": (2, 3), "b": (4,)}
SLICES = {"W": slice(0, 12), "V": slice(12, 18), "b": slice(18, 22)}
a, x = rng.normal(size=(2, 22))


def blocks_of_size(ratio):
    """f and its gradient, in V and b smaller by the ratio than in W."""
    w = np.ones(22)
    w[12:] = ratio
    return (lambda p: np.sum(w * np.sin(a * p))), w * a * np.cos(a * x)


CHANGES = {
    "a flipped sign": lambda block: -block,
    "5 times the right one": lambda block: 5 * block,
    "transposed": lambda block: block.reshape(2, 3).T.ravel(),
    "zero": lambda block: 0 * block,
}


def blind(report):
    """The size below which the report says it sees nothing; 0 if it says nothing."""
    [*notes] = [note for note in report.notes if note.startswith("blind below")]
    return float(notes[0].split()[2]) if notes else 0.0


@pytest.mark.parametrize("ratio", [1e-3, 1e-8, 1e-12, 1e-15, 1e-17, 1e-40, 1e-200])
@pytest.mark.parametrize("words", ["a flipped sign", "5 times the right one", "transposed"])
def test_by_complex_steps_it_is_seen_at_any_size(ratio, words):
    f, gradient = blocks_of_size(ratio)
    assert check.gradient(f, gradient, x, blocks=SHAPES)
    where = "V" if words == "transposed" else "b"
    wrong = gradient.copy()
    wrong[SLICES[where]] = CHANGES[words](wrong[SLICES[where]])
    report = check.gradient(f, wrong, x, blocks=SHAPES)
    assert (report.verdict, report.where) == ("wrong", where), str(report)
    assert f"{words} in {where}" in report.looks_like or f"{words}: a" in report.looks_like
    assert "right in W" in report.looks_like


@pytest.mark.parametrize("ratio", [1e-3, 1e-6, 1e-8, 1e-12, 1e-15, 1e-17, 1e-40])
@pytest.mark.parametrize("change", CHANGES)
def test_by_differences_it_is_seen_or_said_to_be_too_small(ratio, change):
    f, gradient = blocks_of_size(ratio)
    right = check.gradient(real(f), gradient, x, blocks=SHAPES)
    assert right, str(right)
    wrong = gradient.copy()
    wrong[SLICES["V"]] = CHANGES[change](wrong[SLICES["V"]])
    report = check.gradient(real(f), wrong, x, blocks=SHAPES)
    if ratio >= 1e-8:
        assert (report.verdict, report.where) == ("wrong", "V"), str(report)
    assert report.verdict == "wrong" or blind(report) > ratio / 10, str(report)
    assert "V" in report.where or "V" in report.notes[-1]


@pytest.mark.parametrize("ratio", [1e-2, 1e-4, 1e-6, 1e-9])
def test_in_single_precision_too(ratio):
    f, gradient = blocks_of_size(ratio)
    point = x.astype("f4")

    def single(p):
        return np.float32(real(f)(p.astype("f4").astype(float)))

    wrong = gradient.astype("f4")
    assert check.gradient(single, wrong, point, blocks=SHAPES).verdict != "wrong"
    wrong[SLICES["b"]] *= -1
    report = check.gradient(single, wrong, point, blocks=SHAPES)
    assert report.verdict == "wrong" or blind(report) > ratio / 10, str(report)
    assert ratio < 1e-2 or report.verdict == "wrong"


@pytest.mark.parametrize("wrap", [same, real], ids=["complex step", "differences"])
@pytest.mark.parametrize("ratio", [1e-6, 1e-15, 1e-40])
def test_in_hessian_products(ratio, wrap):
    w = np.where(np.arange(22) < 18, 1.0, ratio)
    g, H = (lambda p: w * np.exp(p)), w * np.exp(x)
    assert check.hvp(wrap(g), lambda v: H * v, x, blocks=SHAPES)
    flip = np.where(np.arange(22) < 18, 1.0, -1.0)
    report = check.hvp(wrap(g), lambda v: flip * H * v, x, blocks=SHAPES)
    assert "a flipped sign in b; right in W, V" in report.looks_like, str(report)


def test_of_a_meta_gradient_and_its_report():
    """Half of theta moves nothing but a last digit: the report says so, and stays right."""
    f, gradient = blocks_of_size(1e-17)
    report = check.meta_gradient(real(f), gradient, x, blocks=SHAPES)
    assert report
    assert "V, b would drown" in report.notes[-1]
    assert blind(report) < 1e-10
    assert {b.name: b.verdict for b in report.blocks} == {
        "all of it": "right", "W": "right", "V": "zero", "b": "zero",
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("wrap", [same, real], ids=["complex step", "differences"])
def test_a_block_that_is_rounding_alone_is_not_accused(seed, wrap):
    """A softmax does not feel a common shift: its derivative is 0, or a last digit or two."""
    rng = np.random.default_rng(seed)
    point, y = rng.normal(size=6), rng.integers(0, 5)
    point[5] *= 10

    def value(p):
        u = p[:5] + p[5]
        top = u.real.max()
        return np.log(np.sum(np.exp(u - top))) + top - u[y]

    e = np.exp(point[:5] - point[:5].max())
    delta = e / e.sum() - (np.arange(5) == y)
    for last in (delta.sum(), 0.0, 1.1e-16, -2.2e-16):
        report = check.gradient(
            wrap(value), np.append(delta, last), point, blocks={"u": (5,), "s": (1,)}
        )
        assert report, str(report)


@pytest.mark.parametrize("wrap", [same, real], ids=["complex step", "differences"])
def test_of_a_block_in_the_last_digits_only_clear_mistakes_count(wrap):
    """A deep network may leave any number there: two ways to compute it give two."""
    f, gradient = blocks_of_size(3e-14)
    rough = gradient.copy()
    rough[SLICES["b"]] *= [1.3, 0.2, -0.7, 2.2]
    report = check.gradient(wrap(f), rough, x, blocks=SHAPES)
    assert report, str(report)
    assert blind(report) > 3e-15
    assert "a mistake in b would" in report.notes[-1] or "b would" in report.notes[-1]
    f, gradient = blocks_of_size(1e-9)
    gradient[SLICES["b"]] *= [1.3, 0.2, -0.7, 2.2]
    assert check.gradient(wrap(f), gradient, x, blocks=SHAPES).where == "b"


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("seed", range(6))
def test_numbers_that_have_changed_places_are_seen(seed, n):
    """Directions of plain signs would miss one such mistake in two."""
    rng = np.random.default_rng(seed)
    a, point = rng.normal(size=(2, n))
    gradient = a * np.cos(a * point)
    wrong = gradient.copy()
    wrong[[0, n - 1]] = gradient[[n - 1, 0]]
    for blocks in ({"b": (n,)}, None):
        report = check.gradient(lambda p: np.sum(np.sin(a * p)), wrong, point, blocks=blocks)
        assert report.verdict == "wrong", str(report)


def test_every_number_of_an_activation_counts():
    """exp is 4e13 at the right end of the grid: beside that nothing else would be seen."""
    bent = lambda z: np.exp(z) * np.where(np.real(z) < 2, 1.5, 1.0)  # noqa: E731
    assert check.activation((np.exp, np.exp, np.exp))
    assert check.activation((np.exp, np.exp, bent)).where == "s″"
    assert check.activation((np.exp, bent, np.exp)).verdict == "wrong"


def test_plain_formulas_that_lose_digits_in_a_tail_are_right():
    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    def prime(z):
        return sigmoid(z) * (1 - sigmoid(z))

    for wrap in (same, real):
        second = lambda z: prime(z) * (1 - 2 * sigmoid(z))  # noqa: E731
        assert check.activation(tuple(map(wrap, (sigmoid, prime, second))))
        tanh = (
            np.tanh,
            lambda z: 1 - np.tanh(z) ** 2,
            lambda z: -2 * np.tanh(z) * (1 - np.tanh(z) ** 2),
        )
        assert check.activation(tuple(map(wrap, tanh)))
