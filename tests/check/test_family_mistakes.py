"""The family's mistakes, planted in closures of three frameworks, and in implicit gradients.

One faulty loop is written for all: PyTorch's are checked by a value of its own, in both
precisions, JAX's and NumPy's against numaml's model.
"""

import functools
import inspect
import re
import textwrap
from fractions import Fraction

import numpy as np
import pytest

import numaml
from numaml import check

from .test_family_vectors import VECTORS, Values, array

SIZES, T, K = (2, 4, 3), 2, 2
MODEL = numaml.MLP(SIZES, "tanh")
P, HEAD = MODEL.size, np.arange(MODEL.size) >= 12
LAYER = HEAD.astype(int)  # the number of each parameter's layer
STEPWISE = np.linspace(0.05, 0.2, 2 * P).reshape(2, P)
N = 5  # support examples
ADAM = {"b1": 0.6, "b2": 0.8, "epsilon": 0.05}
INSIDE = ADAM | {"epsilon_inside": True}
# fault -> (how it adapts, what the report says)
FAULTS = {
    "right": ({"alpha": 0.2}, ""),
    "detached": ({"alpha": 0.2}, "detached after the first step"),
    "chained": ({"alpha": 0.2}, "each task going on from where the last one ended"),
    "late": ({"alpha": 0.2}, "the adjoint of the wrong step: the Hessian"),
    "head": ({"alpha": 0.2}, "curvature of the last layer only"),
    "alpha": ({"alpha": 0.2}, "alpha acts 1.1 times as strongly"),
    "support": ({"alpha": 0.05}, f"alpha acts {N} times as strongly"),
    "examples": ({"alpha": 0.05}, f"losses are {N} times as large|summed over their examples"),
    "outside": ({"alpha": STEPWISE}, "the rates outside: it is H"),
    "reversed": ({"alpha": STEPWISE}, "its rates run backwards"),
    "still": ({"rates": LAYER, "alpha": 0.1}, "rates that never change"),
    "buffer": ({"alpha": 0.1, "momentum": 0.5}, "momentum's adjoint dropped"),
    "decay": ({"alpha": 0.1, "decay": 0.7}, "weight decay in the gradient only"),
    "no momentum": ({"alpha": 0.1, "momentum": 0.5}, "no momentum: plain gradient steps"),
    "no decay": ({"alpha": 0.1, "decay": 0.7}, "no weight decay"),
    "no pull": ({"alpha": 0.1, "pull": 0.9}, "the proximal term missing"),
    "anchor": ({"alpha": 0.1, "pull": 0.9}, "the proximal term's theta detached"),
    "last": ({"alpha": 0.1, "weights": [0.4, 0.6]}, "the last weight of the multi-step loss"),
    "moments": ({"alpha": 0.1, "adam": ADAM}, "Adam's moments detached between steps"),
    "root": ({"alpha": 0.1, "adam": ADAM}, "Adam's second moment detached"),
    "side": ({"alpha": 0.1, "adam": ADAM}, "Adam's epsilon on the other side of the root"),
    "hat": ({"alpha": 0.1, "adam": ADAM}, "Adam's epsilon before the bias correction"),
    "uncorrected": ({"alpha": 0.1, "adam": ADAM}, "Adam without bias correction"),
    "no adam": ({"alpha": 0.1, "adam": INSIDE}, "plain gradient steps, without Adam"),
    "state": ({"alpha": 0.1, "adam": INSIDE}, "^the inner optimiser's state going on from task"),
    "both": ({"alpha": 0.1, "momentum": 0.5}, "and its optimiser's state too"),
}
# As in the first of these but right: nothing else is said than that.
RIGHT = {f"right, as {name}": name for name in (
    "outside", "still", "buffer", "no pull", "last", "root", "state",
)}  # fmt: skip


def problem(dtype=np.float64):
    rng = np.random.default_rng(3)
    theta = rng.normal(0, 0.7, P)
    arrays = [rng.normal(size=(T, n, width)) for n in (N, 6) for width in (2, 3)]
    return [a.astype("f4").astype(dtype) for a in (theta, *arrays)]


def point(theta, how):
    """θ, and behind it the learned rates."""
    learned = np.array([1.0, 0.5], theta.dtype)[: 2 * ("rates" in how)]
    return np.concatenate([theta, learned])


class Loop:
    """The usual loop with one fault; ``of`` has another framework's gradients and stops."""

    def __init__(self, of, fault):
        self.of, self.fault = of, fault
        self.how = {"momentum": 0.0, "decay": 0.0, "pull": 0.0, "weights": [0.0, 1.0], "adam": None}
        self.how |= FAULTS[RIGHT.get(fault, fault)][0]

    def value(self, at, data):
        total, theta, state = 0.0, at[:P], None
        for task in zip(*data, strict=True):
            judged, phi, ended = self.of_task(theta, at[P:], state, *task)
            theta = phi if self.fault in ("chained", "both") else theta
            state = ended if self.fault in ("state", "both") else None
            total = total + judged
        return total / T

    def of_task(self, theta, learned, state, xs, ys, xq, yq):
        how, fault, stop = self.how, self.fault, self.of.stop
        phi, total = theta, 0.0
        for k in range(K):
            held = phi if fault != "decay" else stop(phi)
            away = phi - (stop(theta) if fault == "anchor" else theta)
            g = self.gradient(phi, xs, ys, k) + how["decay"] * (fault != "no decay") * held
            g = g + how["pull"] * (fault != "no pull") * away
            u, state = self.optimiser(g, (0 * theta, 0 * theta, 0) if state is None else state)
            phi = self.moved(phi, u, self.rate(k, learned), xs, ys, k, learned)
            weight = how["weights"][k] * (fault != "last" or k < K - 1)
            total = total + weight * self.scale("query") * self.of.loss(phi, xq, yq)
        return total, phi, state

    def optimiser(self, g, state):
        """(u, state) of momentum or Adam."""
        how, fault, stop, (m, v, k) = self.how, self.fault, self.of.stop, state
        if fault in ("buffer", "moments"):
            m, v = stop(m), stop(v)
        if not how["adam"]:
            u = how["momentum"] * (fault != "no momentum") * m + g
            return u, (u, v, k + 1)
        b1, b2, epsilon = (how["adam"][name] for name in ADAM)
        m, v, k = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g, k + 1
        one, two = (1, 1) if fault == "uncorrected" else (1 / (1 - b1**k), 1 / (1 - b2**k))
        v_hat = two * (stop(v) if fault == "root" else v)
        epsilon = epsilon * two**0.5 if fault == "hat" else epsilon
        inside = (how["adam"] is INSIDE) != (fault == "side")
        below = (v_hat + epsilon) ** 0.5 if inside else v_hat**0.5 + epsilon
        return g if fault == "no adam" else one * m / below, (m, v, k)

    def rate(self, k, learned):
        alpha = self.how["alpha"]
        alpha = self.of.array(alpha[k]) if np.ndim(alpha) else alpha
        if "rates" in self.how:
            learned = self.of.stop(learned) if self.fault == "still" else learned
            alpha = alpha * learned[self.how["rates"]]
        return alpha * (1.1 if self.fault == "alpha" else 1.0)

    def scale(self, part):
        return N if self.fault == "examples" or (self.fault, part) == ("support", "support") else 1

    def gradient(self, phi, xs, ys, k):
        stop, g = self.of.stop, self.scale("support") * self.of.gradient(phi, xs, ys)
        if self.fault == "detached" and k:
            return stop(g)
        if self.fault not in ("late", "head"):
            return g
        at = phi - self.how["alpha"] * g if self.fault == "late" else phi
        H = self.of.hessian(stop(at), xs, ys)
        if self.fault == "head":
            H = H * self.of.array(np.outer(HEAD, HEAD).astype(float))
        return stop(g) + H @ (phi - stop(phi))

    def moved(self, phi, u, rate, xs, ys, k, learned):
        stop, after = self.of.stop, phi - rate * u
        if self.fault not in ("outside", "reversed"):
            return after
        H, moved = self.of.hessian(stop(phi), xs, ys), phi - stop(phi)
        if self.fault == "outside":
            return stop(after) + moved - H @ (rate * moved)
        return stop(after) + moved - self.rate(K - 1 - k, learned) * (H @ moved)


class Torch:
    def __init__(self, dtype):
        self.torch = pytest.importorskip("torch", reason="PyTorch is not installed")
        self.dtype = dtype

    def array(self, a):
        return self.torch.from_numpy(np.array(a).astype(self.dtype))

    def stop(self, a):
        return a.detach()

    def loss(self, theta, x, y):
        W1, b1, W2, b2 = self.torch.split(theta, [8, 4, 12, 3])
        h = self.torch.tanh(x @ W1.reshape(2, 4) + b1)
        return ((h @ W2.reshape(4, 3) + b2 - y) ** 2).mean()

    def gradient(self, phi, x, y):
        return self.torch.autograd.grad(self.loss(phi, x, y), phi, create_graph=True)[0]

    def hessian(self, phi, x, y):
        return self.torch.autograd.functional.hessian(lambda p: self.loss(p, x, y), phi)

    def closures(self, fault):
        theta, *data = problem(self.dtype)
        loop, honest = Loop(self, fault), Loop(self, "right")
        honest.how, data = loop.how, [self.array(a) for a in data]

        def leaf(p):
            return self.torch.from_numpy(p).requires_grad_()

        def gradient(p):
            at = leaf(p)
            return self.torch.autograd.grad(loop.value(at, data), at, materialize_grads=True)[
                0
            ].numpy()

        def inner(x, y):
            def of(p):
                return self.gradient(leaf(p), x, y).detach().numpy()

            return of

        pieces = [(inner(xs, ys), inner(xq, yq)) for xs, ys, xq, yq in zip(*data, strict=True)]
        return lambda p: honest.value(leaf(p), data).item(), gradient, theta, pieces


@functools.cache
def jax_closures():
    return Jax()


class Jax:
    def __init__(self):
        self.jax = pytest.importorskip("jax", reason="JAX is not installed")
        self.stop, self.array = self.jax.lax.stop_gradient, self.jax.numpy.asarray
        self.gradient = self.jax.jit(self.jax.grad(self.loss))
        self.hessian = self.jax.jit(self.jax.hessian(self.loss))

    def loss(self, theta, x, y):
        W1, b1, W2, b2 = self.jax.numpy.split(theta, [8, 12, 24])
        h = self.jax.numpy.tanh(x @ W1.reshape(2, 4) + b1)
        return ((h @ W2.reshape(4, 3) + b2 - y) ** 2).mean()


def assert_told(report, fault):
    words = "" if fault in RIGHT else FAULTS[fault][1]
    assert report.verdict == ("wrong" if words else "right"), str(report)
    assert bool(words) == bool(report.looks_like)
    assert re.search(words, report.looks_like), str(report)
    assert not words or 20 * report.distance < report.blocks[0].error


@pytest.mark.parametrize(
    ("fault", "dtype"),
    [(fault, "f8") for fault in [*FAULTS, *RIGHT]]
    + [
        (fault, "f4")
        for fault in ("late", "alpha", "outside", "still", "buffer", "side", "right, as last")
    ],
)
def test_in_pytorch(fault, dtype):
    torch = Torch(dtype)
    value, gradient, theta, tasks = torch.closures(fault)
    how = FAULTS[RIGHT.get(fault, fault)][0]
    blocks = check.blocks(SIZES) | ({"rates": (2,)} if "rates" in how else {})
    at = point(theta, how)
    report = check.meta_gradient(value, gradient, at, tasks=tasks, steps=K, blocks=blocks, **how)
    assert_told(report, fault)


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("fault", [*FAULTS, *RIGHT])
def test_in_jax(fault, dtype):
    of = jax_closures()
    theta, xs, ys, xq, yq = problem()
    how = {"alpha": 1.0, **FAULTS[RIGHT.get(fault, fault)][0]}
    with of.jax.enable_x64(dtype == "f8"):
        start, *data = (of.array(a.astype(dtype)) for a in (point(theta, how), xs, ys, xq, yq))
        gradient = of.jax.grad(Loop(of, fault).value)(start, data)
    tasks = numaml.Tasks(numaml.Batch(xs, ys), numaml.Batch(xq, yq))
    alpha = how.pop("alpha")
    report = check.against(np.array(gradient), MODEL, point(theta, how), tasks, alpha, K, **how)
    assert_told(report, fault)


class Numpy:
    """Complex steps: what is stopped loses its imaginary part."""

    def array(self, a):
        return np.asarray(a)

    def stop(self, a):
        return a.real + 0j

    def loss(self, theta, x, y):
        return MODEL.value(theta, numaml.Batch(x, y))

    def gradient(self, phi, x, y):
        return MODEL.linearize(phi, numaml.Batch(x, y))[1]

    def hessian(self, phi, x, y):
        hvp = MODEL.linearize(phi.real, numaml.Batch(x, y))[2]
        return np.array([hvp(e) for e in np.eye(P)])


@pytest.mark.parametrize("fault", [*FAULTS, *RIGHT])
def test_in_numpy(fault):
    theta, xs, ys, xq, yq = problem()
    how = {"alpha": 1.0, **FAULTS[RIGHT.get(fault, fault)][0]}
    loop, at = Loop(Numpy(), fault), point(theta, how)
    gradient = [
        check.complex_step(lambda p: loop.value(p, (xs, ys, xq, yq)), at, e)
        for e in np.eye(len(at))
    ]
    tasks = numaml.Tasks(numaml.Batch(xs, ys), numaml.Batch(xq, yq))
    alpha = how.pop("alpha")
    report = check.against(np.array(gradient), MODEL, at, tasks, alpha, K, **how)
    assert_told(report, fault)


# Adam on its vectors, by complex steps.


def of_a_vector(name):
    """``(value, theta, pieces)`` for the kit."""
    vector = VECTORS[name]
    case = Values(vector)
    adam = vector["adam"] | {key: Fraction(vector["adam"][key]) for key in ("b1", "b2", "epsilon")}

    def value(p):
        found = case.total({**case.at, "theta": p})
        return found if np.iscomplexobj(p) else found.real

    def of(batch):
        return lambda p: case.model.linearize(p, batch)[1]

    tasks = [(of(support), of(query)) for support, query in case.tasks]
    how = {"alpha": case.at["rates"][0], "steps": vector["steps"], "adam": adam}
    how |= {"decay": Fraction(vector["decay"]), "decoupled": vector["decoupled"]}
    return value, case.at["theta"], {"tasks": tasks, **how}


# mistake -> what the kit says of it
OF_ADAM = {
    "first_order": "first-order MAML",
    "detached_after_first": "detached after the first step",
    "alpha_off": "alpha acts 1.1 times",
    "one_step_less": "1 inner steps in place of 2",
    "tasks_chained": "each task going on",
    "support_summed": "the support losses are",
    "epsilon_other": "Adam's epsilon on the other side of the root",
    "epsilon_hat": "Adam's epsilon before the bias correction",
    "uncorrected": "Adam without bias correction",
    "root_detached": "Adam's second moment detached",
    "moments_detached": "Adam's moments detached between steps",
    "zero_slope": "Adam's step at a gradient of 0 taken for flat",
}
OF_ADAMW = {
    "decay_other": "the other weight decay: in the gradient (L2), which was said to be beside it",
    "decay_detached": "weight decay in the gradient only: its own derivative is missing",
    "no_decay": "no weight decay",
}
VECTORS_OF_ADAM = dict.fromkeys(("adam", "adam-epsilon-inside", "adam-zero-gradient"), OF_ADAM)
VECTORS_OF_ADAM["adam-decay-decoupled"] = OF_ADAMW


@pytest.mark.parametrize("name", VECTORS_OF_ADAM)
def test_mistakes_of_the_vectors_of_adam(name):
    value, theta, pieces = of_a_vector(name)
    right = array(VECTORS[name]["right"]["meta_gradient"])
    report = check.meta_gradient(value, right, theta, **pieces)
    assert report, str(report)
    root = [note for note in report.notes if note.startswith("Adam's root is 0 in 1 of 3 param")]
    assert bool(root) == (name == "adam-zero-gradient")
    for mistake, answer in VECTORS[name]["wrong"]["meta_gradient"].items():
        if words := VECTORS_OF_ADAM[name].get(mistake):
            report = check.meta_gradient(value, array(answer), theta, **pieces)
            assert report.looks_like.startswith(words), (mistake, str(report))
            assert report.distance < 1e-7


# Minima.


def implicit():
    """A linear model's minima in closed form; every mistake from the formula."""
    rng, p = np.random.default_rng(0), 0.7
    theta, B = rng.normal(size=4), rng.normal(size=(3, 6, 4))
    A, b, c = B.mT @ B, rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    I = np.eye(4)

    def solved(theta):
        return np.linalg.solve(A + p * I, (b + p * theta)[..., None])[..., 0]

    def value(theta):
        return ((solved(theta) - c) ** 2).sum() / 2 / 3

    tasks = [(lambda phi, t=t: A[t] @ phi - b[t], lambda phi, t=t: phi - c[t]) for t in range(3)]
    q = solved(theta) - c

    def mean(matrix, q=q):
        return np.mean([np.linalg.solve(matrix(H), one) for H, one in zip(A, q, strict=True)], 0)

    along = np.einsum("ti,tij,tj->t", q, I + A / p, q)
    step = (q * q).sum(1) / along
    r = q - step[:, None] * np.einsum("tij,tj->ti", I + A / p, q)
    more = (r * r).sum(1) / (q * q).sum(1)  # the next direction, by the old residual, is q again
    step_two = step + (r * r).sum(1) / along / (1 + more)
    return value, theta, {"tasks": tasks, "minima": solved(theta), "pull": p}, {
        "": mean(lambda H: I + H / p),
        "zero everywhere": 0 * theta,
        "first order": q.mean(0),
        "the proximal term missing": mean(lambda H: H / p),
        "its weight missing": mean(lambda H: I + H),
        "damped": mean(lambda H: 2 * I + H / p),
        "a sign in the solve": mean(lambda H: I - H / p),
        "the query gradient at theta": mean(lambda H: I + H / p, theta - c),
        "stopped after 1 steps": (step[:, None] * q).mean(0),
        "one step in place of the solve": p * q.mean(0),
        "a Neumann series of 2 terms": p * mean(lambda H: np.linalg.inv(2 * I - H - p * I)),
        "the residual of the step before, in p = r + beta p (2 ": (step_two[:, None] * q).mean(0),
        "3 times the right one": 3 * mean(lambda H: I + H / p),
    }  # fmt: skip


def test_mistakes_of_implicit_gradients():
    value, theta, pieces, answers = implicit()
    for words, gradient in answers.items():
        report = check.implicit_gradient(value, gradient, theta, **pieces)
        assert report.verdict == ("wrong" if words else "right"), str(report)
        assert words in report.looks_like, str(report)


def test_what_is_no_minimum_is_told():
    value, theta, pieces, answers = implicit()
    off = np.array([[0.0], [1e-3], [0.0]])
    shifted = pieces | {"minima": pieces["minima"] + off}
    notes = check.implicit_gradient(value, answers[""], theta, **shifted).notes
    assert [note for note in notes if "minima should be, beside their terms: task 2 (" in note]
    report = check.implicit_gradient(
        lambda p: value(p) ** 2, answers["first order"], theta, **pieces
    )
    assert report.looks_like == ""
    assert [note for note in report.notes if "do not belong to this value" in note]


# What is said, and what is refused.


def quadratic():
    """L_S = φ·Aφ/2, L_Q = φ·Bφ/2, one step: ``(value, exact, theta, tasks)``."""
    A, B, theta = np.diag([1.0, 2.0, 3.0]), np.diag([3.0, 1.0, 2.0]), np.array([0.3, 0.4, 0.5])

    def value(p):
        phi = p - 0.1 * (A @ p)
        return phi @ B @ phi / 2

    J = np.eye(3) - 0.1 * A
    return value, J @ B @ J @ theta, theta, [(lambda p: A @ p, lambda p: B @ p)]


def test_how_sure_and_a_line_of_a_test():
    value, exact, theta, tasks = quadratic()
    report = check.meta_gradient(value, exact * 1.5, theta)
    assert report.distance < 1e-12
    assert "  sure: " in str(report)
    assert "5e-01 off the right one" in str(report)
    unknown = check.meta_gradient(value, exact + np.array([0.1, -0.2, 0.05]), theta)
    assert np.isnan(unknown.distance)
    assert "sure" not in str(unknown)
    check.assert_meta_gradient(value, exact, theta, tasks=tasks, alpha=0.1, steps=1)
    with pytest.raises(AssertionError, match="meta-gradient: WRONG"):
        check.assert_meta_gradient(value, -exact, theta)


def test_the_snippet_for_pytorch_runs():
    """As `help` shows it, with a loss that is detached and with one that is not."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    text = inspect.getdoc(check).split("::\n\n")[1].split("\nThe test fails")[0]
    for stop, fails in ((False, False), (True, True)):

        def meta_loss(theta, stop=stop):
            g = torch.cos(theta)
            phi = theta - 0.1 * (g.detach() if stop else g)
            return phi @ phi

        def honest(p):
            phi = p - 0.1 * np.cos(p)
            return phi @ phi

        names = {"meta_loss": meta_loss, "theta0": torch.tensor([0.3, 0.4, 0.5])}
        exec(textwrap.dedent(text), names)  # noqa: S102  # the docstring's own
        assert names["value"](np.ones(3)) == pytest.approx(honest(np.ones(3)))
        if fails:
            with pytest.raises(AssertionError, match="WRONG"):
                names["test_my_maml"]()
        else:
            names["test_my_maml"]()


def test_the_kits_docstring_is_two_screens():
    assert len(inspect.getdoc(check).splitlines()) < 60


def test_a_value_of_another_alpha_is_told():
    value, exact, theta, tasks = quadratic()
    report = check.meta_gradient(value, exact, theta, tasks=tasks, alpha=0.025, steps=1)
    assert report
    assert "they would fit with alpha 4 times as large" in report.notes[-1]


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ({"weights": [0.5]}, ValueError, r"weights has shape \(1,\); want \(2,\)"),
        ({"momentum": -0.1}, ValueError, "momentum is -0.1; want one number >= 0"),
        ({"decay": [1.0, 2.0]}, ValueError, "decay is"),
        ({"pull": np.nan}, ValueError, "pull is nan"),
        ({"decoupled": True}, ValueError, "decoupled says where weight decay goes, and decay is 0"),
        ({"rates": [0.0, 1.0, 0.0]}, TypeError, "integers of shape"),
        ({"rates": [0, 2]}, ValueError, r"rates holds \[0, 2\]; want 0, 1, 2"),
        ({"rates": [0, 0]}, ValueError, r"rates has shape \(2,\) and names 1 of the 4"),
        ({"alpha": np.ones((3, 4))}, ValueError, r"alpha has shape \(3, 4\)"),
        ({"nesterov": True}, TypeError, "nesterov"),
        ({"adam": True}, TypeError, "want a mapping of some of b1, b2, epsilon"),
        ({"adam": {"eps": 1e-8}}, TypeError, "want a mapping of some of b1, b2, epsilon"),
        ({"adam": {"epsilon": 0}}, ValueError, "b1 and b2 below 1, and epsilon > 0"),
        ({"adam": {"b2": 1.0}}, ValueError, "b1 and b2 below 1, and epsilon > 0"),
        ({"adam": {"b1": "x"}}, TypeError, "adam's b1"),
        ({"adam": {}, "momentum": 0.9}, ValueError, "momentum is 0.9 beside adam"),
        ({"tasks": None}, TypeError, "together"),
    ],
)
def test_an_inner_loop_that_cannot_be_is_refused(how, error, words):
    tasks = [(lambda p: p, lambda p: p)]
    given = {"tasks": tasks, "alpha": 0.1, "steps": 2} | how
    with pytest.raises(error, match=words):
        check.meta_gradient(lambda p: p @ p, lambda p: p, np.ones(4), **given)


def test_minima_that_do_not_fit_are_refused():
    value, theta, pieces, answers = implicit()
    for wrong, words in (({"pull": 0.0}, "want p > 0"), ({"minima": [theta]}, r"\(3, 4\)")):
        with pytest.raises(ValueError, match=words):
            check.implicit_gradient(value, answers[""], theta, **(pieces | wrong))
