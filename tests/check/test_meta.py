"""The kit's checks of a meta-gradient: right ones pass, planted faults get their name."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import numaml
from numaml import check
from numaml.check.meta import _each_task

from ..cases import build, cases
from ..planted import ALPHA, BLOCKS, FAULTS, SIZES, K, T, assert_told, bent, problem

model = numaml.MLP(SIZES, "tanh")
SUM = "a sum in place of a mean"


def real_only(p):
    """Functions of other frameworks do not take complex numbers."""
    if np.iscomplexobj(p):
        raise TypeError("real numbers only")
    return p


def pieces_of(net, tasks, through=real_only):
    def gradient(batch):
        return lambda p: net.linearize(through(p), batch)[1]

    return [(gradient(s), gradient(q)) for s, q in _each_task(tasks)]


class Dense:
    """The same problem with dense Hessians, from which every known mistake is written down."""

    def __init__(self, net, theta, tasks, alpha, steps):
        self.net, self.theta, self.alpha, self.steps = net, theta, alpha, steps
        self.pairs = _each_task(tasks)
        self.I = np.eye(len(theta))

    def path(self, support, steps):
        path = [self.theta]
        for _ in range(steps):
            path.append(path[-1] - self.alpha * self.net.linearize(path[-1], support)[1])
        return path

    def mean(self, adjoint):
        return np.mean([adjoint(s, q, self.path(s, self.steps + 1)) for s, q in self.pairs], axis=0)

    def g(self, phi, batch):
        return self.net.linearize(phi, batch)[1]

    def J(self, phi, support, rate=None):
        H = self.net.linearize(phi, support)[2](self.I)
        return self.I - (self.alpha if rate is None else rate) * H

    def product(self, points, support, lam, rate=None):
        for phi in reversed(points):
            lam = self.J(phi, support, rate) @ lam
        return lam

    def mistakes(self):
        K, g, product, mean = self.steps, self.g, self.product, self.mean
        return {
            "first-order MAML": mean(lambda s, q, p: g(p[K], q)),
            "the Hessian at theta in": mean(lambda s, q, p: product([p[0]] * K, s, g(p[K], q))),
            "the Hessian at the last phi": mean(lambda s, q, p: product([p[K]] * K, s, g(p[K], q))),
            "no adaptation": mean(lambda s, q, p: g(p[0], q)),
            "the support loss judged": mean(lambda s, q, p: product(p[:K], s, g(p[K], s))),
            "the support gradient at phi": mean(lambda s, q, p: g(p[K], s)),
            "truncation": mean(lambda s, q, p: product(p[K - 1 : K], s, g(p[K], q))),
            "the wrong order": mean(lambda s, q, p: product(p[:K][::-1], s, g(p[K], q))),
            "curvature added": mean(lambda s, q, p: product(p[:K], s, g(p[K], q), -self.alpha)),
            "curvature without alpha": mean(lambda s, q, p: product(p[:K], s, g(p[K], q), 1.0)),
            f"{K + 1} inner steps in place of {K}": mean(
                lambda s, q, p: product(p[: K + 1], s, g(p[K + 1], q))
            ),
            f"{K - 1} inner steps in place of {K}": mean(
                lambda s, q, p: product(p[: K - 1], s, g(p[K - 1], q))
            ),
            "Reptile": mean(lambda s, q, p: p[0] - p[K]),
            "task 4 of 4 alone": mean(
                lambda s, q, p: 4 * (s is self.pairs[3][0]) * product(p[:K], s, g(p[K], q))
            ),
        }


def numpy_closures(fault, dtype):
    """A meta-value of real numbers only, its gradient with a fault, and its pieces."""
    case = problem(dtype)
    theta, tasks = case.theta, case.tasks

    def value(p):
        return numaml.meta_value(model, real_only(p), tasks, ALPHA, K)

    gradient = numaml.meta_gradient(model, theta, tasks, ALPHA, K)[1]
    if fault == "first-order":
        gradient = numaml.first_order_meta_gradient(model, theta, tasks, ALPHA, K)[1]
    if fault == "stale":
        dense = Dense(model, theta.astype(float), problem().tasks, ALPHA, K)
        gradient = dense.mistakes()["the Hessian at theta in"].astype(dtype)
    return value, bent(fault, gradient), theta, pieces_of(model, tasks)


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_get_their_name(fault, dtype):
    value, gradient, theta, tasks = numpy_closures(fault, dtype)
    report = check.meta_gradient(
        value, gradient, theta, tasks=tasks, alpha=ALPHA, steps=K, blocks=BLOCKS
    )
    assert_told(report, fault)
    assert_told(check.against(gradient, model, theta, problem(dtype).tasks, ALPHA, K), fault)
    assert any("float32" in note for note in report.notes) == (fault == "exact" and dtype == "f4")


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("fault", FAULTS)
def test_without_pieces_the_verdict_is_the_same(fault, dtype):
    value, gradient, theta, _ = numpy_closures(fault, dtype)
    report = check.meta_gradient(value, gradient, theta, blocks=BLOCKS)
    assert report.verdict == ("right" if fault == "exact" else "wrong"), str(report)
    if fault in ("first-order", "stale"):  # nothing to compare with: the report asks for it
        assert report.looks_like == ""
        assert "tasks, alpha and steps" in report.notes[-1]
    else:
        assert FAULTS[fault].split(" (")[0] in report.looks_like


def test_every_known_mistake_is_recognised():
    case = problem()
    dense = Dense(model, case.theta, case.tasks, ALPHA, K)
    for name, gradient in dense.mistakes().items():
        report = check.against(gradient, model, case.theta, case.tasks, ALPHA, K)
        assert report.verdict == "wrong", name
        assert name in report.looks_like, str(report)
    first_order = dense.mistakes()["first-order MAML"]
    report = check.against(-T * first_order, model, case.theta, case.tasks, ALPHA, K)
    assert report.looks_like.startswith("first-order MAML")
    assert report.looks_like.endswith(f"minus {T} times the right one: {SUM} (there are {T} tasks)")


@pytest.mark.parametrize(
    ("factor", "words"),
    [(N := 6, "summed over their examples"), (3, "summed over outputs"),
     (N * 3, "summed over examples and outputs"), (0.5, "½(u − y)²"), (1.5, "½ Σ (u − y)²")],
)  # fmt: skip
def test_other_conventions_are_recognised(factor, words):
    """Another convention's loss is c times ours: it moves phi as c·alpha does."""
    case = problem()
    rate = ALPHA / 10  # a sum over 18 numbers must not diverge
    for function, order in (
        (numaml.meta_gradient, "not first-order"),
        (numaml.first_order_meta_gradient, "first-order MAML"),
    ):
        _, gradient = function(model, case.theta, case.tasks, factor * rate, K)
        report = check.against(factor * gradient, model, case.theta, case.tasks, rate, K)
        assert words in report.looks_like, str(report)
        assert report.looks_like.endswith("times as strongly)") == (order != "first-order MAML")
        assert (order in report.looks_like) == (order == "first-order MAML")


def test_conventions_of_one_output_and_of_cross_entropy():
    words = {7: "summed over their examples", 0.5: "½(u − y)²", 3: "divided by shots: ways times"}
    for loss, factors in (("squared_error", (7, 0.5)), ("cross_entropy", (7, 3))):
        sizes = (2, 4, 1) if loss == "squared_error" else (2, 4, 3)
        case = build(sizes, "tanh", loss, None, 7, 5, 0.02, 2, seed=3)
        for factor in factors:
            _, gradient = numaml.meta_gradient(
                case.model, case.theta, case.tasks, factor * case.alpha, case.steps
            )
            report = check.against(factor * gradient, *case.arguments)
            assert words[factor] in report.looks_like, str(report)


def test_curvature_missing_in_one_layer_is_located():
    value, exact, theta, tasks = numpy_closures("exact", "f8")
    first = numpy_closures("first-order", "f8")[1]
    mixed = np.where(np.arange(len(theta)) < 15, first, exact)
    report = check.meta_gradient(
        value, mixed, theta, tasks=tasks, alpha=ALPHA, steps=K, blocks=BLOCKS
    )
    assert report.looks_like == (
        "a fault in some blocks: first-order MAML in W1, b1; right in W2, b2"
    )
    assert {b.name: b.verdict for b in report.blocks}["W2"] == "right"


def test_one_block_zero_or_without_an_explanation():
    value, gradient, theta, _ = numpy_closures("exact", "f8")
    for change, words in ((0.0, "zero in b1; right in W1, W2, b2"), (np.arange(1, 6), "wrong")):
        broken = gradient.copy()
        broken[10:15] *= change
        report = check.meta_gradient(value, broken, theta, blocks=BLOCKS)
        assert (report.verdict, report.where) == ("wrong", "b1")
        assert words in (report.looks_like or str(report))


def test_nan_and_zero_and_a_constant_factor():
    value, gradient, theta, _ = numpy_closures("exact", "f8")

    def said(wrong):
        report = check.meta_gradient(value, wrong, theta, blocks=BLOCKS)
        assert report.verdict == "wrong"
        assert str(report)
        return report.looks_like

    broken = gradient.copy()
    broken[12] = np.nan
    assert "NaN or infinity in all of it, b1" in said(broken)
    assert "zero everywhere" in said(0 * gradient)
    assert said(gradient / 6) == "1/6 times the right one: a mean too many"
    assert said(1.01 * gradient) == "1.01 times the right one: a constant factor"
    assert said(-0.7 * gradient) == "minus 0.7 times the right one: a constant factor"


def test_nothing_passes_because_it_is_small():
    """1e-12 of a gradient is compared like the gradient itself."""
    value, gradient, theta, _ = numpy_closures("exact", "f8")
    for scale in (1e-12, 1e12):
        assert check.meta_gradient(lambda p, c=scale: c * value(p), scale * gradient, theta)
        for wrong in (0 * gradient, scale * 1.001 * gradient):
            assert not check.meta_gradient(lambda p, c=scale: c * value(p), wrong, theta)


def test_a_small_error_in_float64_is_not_called_float32_noise_without_need():
    value, gradient, theta, _ = numpy_closures("exact", "f8")
    noise = np.random.default_rng(0).uniform(-1, 1, gradient.shape)
    report = check.meta_gradient(value, gradient * (1 + 1e-7 * noise), theta, blocks=BLOCKS)
    assert report.verdict == "cannot tell"
    assert "float32" in report.notes[-1]
    report = check.meta_gradient(value, gradient * (1 + 1e-3 * noise), theta, blocks=BLOCKS)
    assert report.verdict == "wrong"
    cast = gradient.astype("f4").astype(float)
    report = check.meta_gradient(value, cast, theta, blocks=BLOCKS)
    assert report.verdict == "right", "its bits say float32"


def test_a_value_that_sums_its_tasks():
    value, gradient, theta, tasks = numpy_closures("exact", "f8")
    arguments = {"tasks": tasks, "alpha": ALPHA, "steps": K}
    report = check.meta_gradient(lambda p: T * value(p), T * gradient, theta, **arguments)
    assert report
    assert f"the value is {T} times the mean" in report.notes[0]
    report = check.meta_gradient(lambda p: 0.3 * value(p), gradient, theta, **arguments)
    assert "0.3 times" in report.notes[0]
    assert "3.333 times" in report.looks_like


def test_pieces_of_another_objective_are_left_aside():
    value, gradient, theta, tasks = numpy_closures("exact", "f8")
    for arguments in ({"alpha": 2 * ALPHA, "steps": K}, {"alpha": 1e200, "steps": K}):
        report = check.meta_gradient(value, gradient, theta, tasks=tasks, **arguments)
        assert report
        assert "do not belong to this value" in report.notes[-1]


def test_alpha_may_be_one_per_parameter():
    case = problem()
    rates = np.random.default_rng(0).uniform(0.1, 0.3, len(case.theta))
    (support, query), *_ = _each_task(case.tasks)

    def value(p):
        for _ in range(2):
            p = p - rates * model.linearize(p, support)[1]
        return model.value(p, query)

    gradient = check.complex_step(
        lambda rows: np.array([value(row) for row in rows]), case.theta, np.eye(len(case.theta))
    )
    pieces = [(lambda p: model.linearize(p, support)[1], lambda p: model.linearize(p, query)[1])]
    report = check.meta_gradient(value, gradient, case.theta, tasks=pieces, alpha=rates, steps=2)
    assert report
    assert "would be off by" in report.notes[-1]


@pytest.mark.parametrize(("alpha", "steps"), [(0.0, K), (ALPHA, 0)])
def test_where_first_order_is_exact_a_note_says_so(alpha, steps):
    case = problem()
    _, gradient = numaml.first_order_meta_gradient(model, case.theta, case.tasks, alpha, steps)
    report = check.against(gradient, model, case.theta, case.tasks, alpha, steps)
    assert report
    assert "first-order MAML is the same here" in report.notes[-1]


def test_noise_that_hides_the_second_order():
    """At this alpha first order is off by less than float32 differences can see, and the pieces
    are of no help."""
    case = problem("f4")
    alpha = 3e-4
    _, gradient = numaml.meta_gradient(model, case.theta, case.tasks, alpha, 1)
    rng = np.random.default_rng(0)

    def noisy(function):
        return lambda p: function(p) * (1 + 1e-2 * rng.normal())

    pieces = [(noisy(s), q) for s, q in pieces_of(model, case.tasks)]

    def value(p):
        return numaml.meta_value(model, real_only(p), case.tasks, alpha, 1)

    report = check.meta_gradient(
        value, gradient, case.theta, tasks=pieces, alpha=alpha, steps=1, blocks=BLOCKS
    )
    assert report.verdict == "cannot tell"
    assert "noise hides the difference from first-order MAML" in report.notes[-1]


def test_a_relu_network_on_a_kink_says_so():
    """Zero biases behind an input of zeros: every hidden unit of that example sits on its kink."""
    case, net = problem(), numaml.MLP(SIZES, "relu")
    xs = case.xs.copy()
    xs[0, 0] = 0
    tasks = numaml.Tasks(numaml.Batch(xs, case.ys), numaml.Batch(case.xq, case.yq))
    theta = net.init(0)
    gradient = numaml.meta_gradient(net, theta, tasks, ALPHA, K)[1]

    def value(p):
        return numaml.meta_value(net, real_only(p), tasks, ALPHA, K)

    for report in (
        check.meta_gradient(value, gradient, theta, blocks=BLOCKS),
        check.against(gradient, net, theta, tasks, ALPHA, K),
    ):
        assert report.verdict == "cannot tell", str(report)
        assert any("sits on a kink" in note for note in report.notes)
        with pytest.raises(AssertionError, match="kink"):
            check.assert_right(report)
    aside = theta + 0.01 * np.random.default_rng(0).normal(size=theta.shape)
    gradient = numaml.meta_gradient(net, aside, tasks, ALPHA, K)[1]
    assert check.meta_gradient(value, gradient, aside, blocks=BLOCKS)
    # Away from the kink's block a fault is still seen, and named by what is seen.
    wrong = check.meta_gradient(value, -numaml.meta_gradient(net, theta, tasks, ALPHA, K)[1], theta)
    assert (wrong.verdict, wrong.looks_like) == ("wrong", "a flipped sign")


def test_a_value_that_differs_when_called_again():
    value, gradient, theta, _ = numpy_closures("exact", "f8")
    rng = np.random.default_rng(0)
    report = check.meta_gradient(lambda p: value(p) + 0.1 * rng.normal(), gradient, theta)
    assert report.verdict == "cannot tell"
    assert "differs by" in report.notes[0]
    assert "dropout" in report.notes[0]


@settings(max_examples=8, deadline=None)
@given(cases(steps=st.integers(0, 3)), st.sampled_from(["f8", "f4"]), st.booleans())
def test_no_false_alarm_and_no_false_pass(case, dtype, with_pieces):
    """On random configurations: the exact one is never wrong, the first-order one never right
    unless it is the same to what can be seen."""
    theta = case.theta.astype(dtype)
    tasks = numaml.Tasks(
        *(
            numaml.Batch(b.x.astype(dtype), b.y.astype(dtype) if b.y.dtype.kind == "f" else b.y)
            for b in (case.tasks.support, case.tasks.query)
        )
    )
    arguments = case.model, theta, tasks, case.alpha, case.steps
    with np.errstate(all="ignore"):
        exact = numaml.meta_gradient(*arguments)[1]
        first = numaml.first_order_meta_gradient(*arguments)[1]
        assume(np.linalg.norm(exact) < 1e4)

        def value(p):
            return numaml.meta_value(case.model, real_only(p), *arguments[2:])

        extra = {}
        if with_pieces:
            tasks = pieces_of(case.model, tasks)
            extra = {"tasks": tasks, "alpha": case.alpha, "steps": case.steps}
        layers = check.blocks(case.model.sizes)
        report = check.meta_gradient(value, exact, theta, blocks=layers, **extra)
        assert report.verdict != "wrong", str(report)
        kinks = any("kink" in note for note in report.notes)
        if dtype == "f8" and not kinks and not case.cancels:
            assert np.linalg.norm(exact) == 0 or report, str(report)
        report = check.meta_gradient(value, first, theta, blocks=layers, **extra)
    gap = check.relative_error(first, exact)
    if report and not any("kink" in note for note in report.notes):
        assert gap < (1e-8 if dtype == "f8" else 0.05), str(report)
    if report.verdict == "wrong" and with_pieces and gap > 0.01:
        assert report.looks_like.startswith("first-order MAML"), str(report)


def test_against_agrees_with_numaml_at_every_loss_and_norm_axis():
    for loss, lead in (("cross_entropy", 5), ("squared_error", None)):
        case = build((3, 4, 2), "softplus", loss, lead, 6, 7, 0.1, 2, seed=0)
        assert check.against(numaml.meta_gradient(*case.arguments)[1], *case.arguments)
        assert not check.against(
            numaml.first_order_meta_gradient(*case.arguments)[1], *case.arguments
        )


def test_what_does_not_fit_is_refused():
    value, gradient, theta, tasks = numpy_closures("exact", "f8")
    with pytest.raises(TypeError, match="together"):
        check.meta_gradient(value, gradient, theta, tasks=tasks)
    with pytest.raises(ValueError, match=r"\(32,\).*\(33,\)"):
        check.meta_gradient(value, gradient[1:], theta)
    with pytest.raises(TypeError, match="complex128"):
        check.meta_gradient(value, gradient + 0j, theta)
    with pytest.raises(ValueError, match="mean over tasks"):
        check.meta_gradient(lambda p: p[:2], gradient, theta)
    with pytest.raises(ValueError, match=r"hold 15 numbers and theta 33"):
        check.meta_gradient(value, gradient, theta, blocks={"W1": (2, 5), "b1": (5,)})
    short = [(lambda p: p[:3], tasks[0][1])]
    with pytest.raises(ValueError, match="support gradient"):
        check.meta_gradient(value, gradient, theta, tasks=short, alpha=ALPHA, steps=K)
    with pytest.raises(ValueError, match="steps"):
        check.meta_gradient(value, gradient, theta, tasks=tasks, alpha=ALPHA, steps=-1)
    with pytest.raises(ValueError, match="at least one"):
        check.meta_gradient(value, gradient, theta, tasks=[], alpha=ALPHA, steps=K)
