"""The textbook and the engine are two texts of the same mathematics: every number of one is the
other's.

A meta-gradient of the engine is watched: what each pass held when it returned, and what went in
and out of each Hessian product. The textbook computes the same task by task. Over GF(2^61 − 1) and
in fractions the two must be equal, in floats to rounding. A bug planted at each tag of the
textbook must show in the quantity that the tag is about.
"""

import ast
import re
import sys
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest

import numaml
from numaml import textbook
from numaml.check import Mod, relative_error
from numaml.learning.outer import adam
from numaml.learning.state import Moments
from numaml.network import activations, network, normalisation, passes
from numaml.weights import factored

pytestmark = pytest.mark.usefixtures("plain")

SOURCE = Path(textbook.__file__).read_text()
# Some hundred operations of float64 on numbers of size 1, through three steps of the inner loop.
ROUNDING = 1e-13
T, N_SUPPORT, N_QUERY = 2, 9, 8
AXES = {None: None, "batch": 0, "layer": 1}
TRIPLES = {
    name: getattr(textbook, name) for name in ("relu", "sigmoid", "softplus", "tanh", "square")
}
# One whose every derivative differs, exact in any ring.
CUBIC = (lambda z: z * z * z, lambda z: 3 * z * z, lambda z: 6 * z)


# What the engine holds


@contextmanager
def watched():
    """What the engine's functions held when they returned, by name, in order."""
    seen = {name: [] for name in ("forward", "backward", "r_forward", "r_backward", "hvp", "exact",
                                  "pull_back", "first_order", "inner_loop")}  # fmt: skip
    files = {passes.__file__, network.__file__, numaml.maml.__file__}

    def on_return(frame, event, result):
        code = frame.f_code
        if event == "return" and code.co_filename in files and code.co_name in seen:
            seen[code.co_name].append({**frame.f_locals, "returned": result})

    sys.setprofile(on_return)
    try:
        yield seen
    finally:
        sys.setprofile(None)


class Case(NamedTuple):
    """A network of either text, and data."""

    model: numaml.MLP
    theta: np.ndarray
    tasks: numaml.Tasks
    alpha: object
    steps: int

    def net(self, text):
        activation = self.model.activation
        triple = getattr(text, activation) if isinstance(activation, str) else activation
        loss = getattr(text, self.model.loss)
        return text.Net(self.model.sizes, triple, loss, AXES[self.model.norm])

    def task(self, t):
        return [(batch.x[t], batch.y[t]) for batch in (self.tasks.support, self.tasks.query)]


def normal(rng, *shape):
    return rng.normal(0, 0.5, shape)


def field(rng, *shape):
    flat = [Mod(n) for n in rng.integers(Mod.p, size=int(np.prod(shape))).tolist()]
    return np.array(flat, object).reshape(shape)


def fractions(rng, *shape):
    n = int(np.prod(shape))
    pairs = zip(rng.integers(-9, 10, n).tolist(), rng.integers(1, 6, n).tolist(), strict=True)
    return np.array([Fraction(*pair) for pair in pairs], object).reshape(shape)


def case(sizes, activation="tanh", loss="squared_error", norm=None, steps=2, draw=normal, seed=0):
    rng = np.random.default_rng(seed)
    model = numaml.MLP(sizes, activation, loss, norm)

    def batch(n):
        x = draw(rng, T, n, sizes[0])
        if loss == "cross_entropy":
            return numaml.Batch(x, rng.integers(0, sizes[-1], (T, n)))
        return numaml.Batch(x, draw(rng, T, n, sizes[-1]))

    if draw is normal:  # squares of squares run away
        alpha, counts = 0.001 if activation == "square" else 0.05, (N_SUPPORT, N_QUERY)
    else:
        alpha, counts = draw(rng, 1)[0], (3, 2)
    tasks = numaml.Tasks(*(batch(n) for n in counts))
    return Case(model, draw(rng, model.size), tasks, alpha, steps)


# The comparison


class Differences:
    """The worst difference of every quantity so far: 0 or 1 in exact arithmetic."""

    def __init__(self):
        self.worst = {}

    def compare(self, name, got, want):
        got, want = np.asarray(got), np.asarray(want)
        if want.dtype.hasobject:
            error = 0.0 if got.shape == want.shape and (got == want).all() else 1.0
        else:
            error = relative_error(got, want)
        self.worst[name] = max(self.worst.get(name, 0.0), error)

    def compare_layers(self, name, got, want, t):
        """Of task t what the engine lists from 1 to L, and the textbook counts."""
        for l, layer in want.items():
            ours = got[l]
            self.compare(name, ours[t] if np.ndim(ours) > 2 else ours, layer)


def differences(case, text=textbook):
    """Every traced quantity of one text against the other's."""
    found, net = Differences(), case.net(text)
    with watched() as seen:
        value, gradient = numaml.meta_gradient(*case)
    with watched() as seen_first:
        first_value, first = numaml.first_order_meta_gradient(*case)
    for t in range(T):
        support, query = case.task(t)
        if net.axis == 0 and len(net.sizes) > 2:  # the engine takes away at once what N takes away
            support, query = ((x - x.mean(0), y) for x, y in (support, query))
        phis, hvps = text.inner_loop(net, case.theta, support, case.alpha, case.steps)
        _, lams = text.adjoints(net, case.theta, support, query, case.alpha, case.steps)
        for k, phi in enumerate(phis):
            x, y = support if k < case.steps else query
            at = seen["forward"][k], seen["backward"][k]
            trace = compare_pass(found, text, net, phi, x, y, *at, t)
            if k < case.steps:
                back = case.steps - 1 - k  # the last step's product comes first
                product = [seen[name][back] for name in ("r_forward", "r_backward", "hvp")]
                lam = lams[back]
                compare_r_pass(found, text, net, phi, lam, y, trace, *product, t)
                found.compare("lambda", one(product[2]["v"], t), lam)
                found.compare("Hv", one(product[2]["returned"], t), hvps[k](lam))
        found.compare("phi", one(seen["inner_loop"][0]["phi"], t), phis[-1])
        found.compare("phi", one(seen_first["inner_loop"][0]["phi"], t), phis[-1])
        found.compare("lambda", one(seen["pull_back"][0]["returned"], t), lams[-1])
    tasks = [case.task(t) for t in range(T)]
    want = text.meta_gradient(net, case.theta, tasks, case.alpha, case.steps)
    found.compare("meta-value", value, want[0])
    found.compare("meta-gradient", gradient, want[1])
    want = text.first_order_meta_gradient(net, case.theta, tasks, case.alpha, case.steps)
    found.compare("meta-value", first_value, want[0])
    found.compare("first-order", first, want[1])
    return found.worst


def one(vector, t):
    """Task t's row, or the row of all."""
    flat = np.asarray(vector)
    return flat[t] if flat.ndim > 1 else flat


def centred(net, rows):
    """The engine leaves out of the input a mean over examples that N takes away anyway."""
    return rows - textbook.mean(rows, 0) if net.axis == 0 and len(net.sizes) > 2 else rows


def compare_pass(found, text, net, phi, x, y, forward, backward, t):
    h, n, z = text.forward(net, phi, x)
    _, delta_L, _ = net.loss(z[len(z)], y)
    delta, c, e, grad_W, grad_b = text.backward(net, phi, h, n, z, delta_L)
    _, gradient, _ = text.linearize(net, phi, (x, y))
    inputs = {l - 1: h[l - 1] for l in z}  # the engine's last h is z
    inputs[0] = centred(net, inputs[0])
    found.compare_layers("h", forward["h"], inputs, t)
    found.compare_layers("n", [q and q.q for q in forward["N"]], {l: n[l][0] for l in n}, t)
    found.compare_layers("z", forward["z"], z, t)
    for name, layers in (("delta", delta), ("c", c), ("e", e)):
        found.compare_layers(name, backward[name], layers, t)
    ours = np.asarray(factored.gradient(backward["outers"][1:], np.zeros(0)))
    found.compare("gradient", ours[t], text.pack(grad_W, grad_b))
    found.compare("gradient", ours[t], gradient)
    return h, n, z, delta, c, e


def compare_r_pass(found, text, net, phi, v, y, trace, r_forward, r_backward, hvp, t):
    h, n, z, *_ = trace
    tangents = h_dot, a_dot, z_dot = text.r_forward(net, phi, v, h, n, z)
    L = len(z)
    delta_dot_L = net.loss(z[L], y)[2](z_dot[L])
    delta_dot, c_dot, e_dot, grad_W_dot, grad_b_dot = text.r_backward(
        net, phi, v, *trace, *tangents, delta_dot_L
    )
    hidden = {l: h_dot[l] for l in range(1, L)}  # x stands still, and the last is z_dot
    a_dot[1] = centred(net, a_dot[1])
    for name, layers in (("h_dot", hidden), ("a_dot", a_dot), ("z_dot", z_dot)):
        found.compare_layers(name, r_forward[name], layers, t)
    assert (h_dot[0] == 0).all()
    found.compare_layers("n_dot", r_forward["q_dot"], {l: text.J(a_dot[l], *n[l]) for l in z}, t)
    for name, layers in (("delta_dot", delta_dot), ("c_dot", c_dot), ("e_dot", e_dot)):
        found.compare_layers(name, r_backward[name], layers, t)
    found.compare("Hv", one(hvp["returned"], t), text.pack(grad_W_dot, grad_b_dot))


QUANTITIES = {
    "h", "n", "z", "delta", "c", "e", "gradient", "phi", "lambda", "meta-value", "meta-gradient",
    "first-order",
}  # fmt: skip
TANGENTS = {"h_dot", "a_dot", "n_dot", "z_dot", "delta_dot", "c_dot", "e_dot", "Hv"}


def assert_same(case, bound):
    worst = differences(case)
    hidden = len(case.model.sizes) > 2
    want = QUANTITIES | (TANGENTS if case.steps else set())
    assert set(worst) == (want if hidden else want - {"e", "h_dot", "e_dot"})
    assert max(worst.values()) <= bound, worst


@pytest.fixture(params=["flat", "factored", "multiplied out"])
def form(request, monkeypatch):
    """Vectors flat, or layer by layer with every weight in one form."""
    if request.param != "flat":
        monkeypatch.setattr(factored, "layered", lambda *_: True)
        monkeypatch.setattr(factored, "pays", lambda *_: request.param == "factored")


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("norm", AXES)
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
@pytest.mark.parametrize("activation", TRIPLES)
def test_floats(activation, loss, norm, steps):
    assert_same(case((3, 7, 6, 4), activation, loss, norm, steps), ROUNDING)


@pytest.mark.parametrize("sizes", [(3, 2), (3, 7, 6, 4)])
@pytest.mark.parametrize("norm", AXES)
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
def test_floats_in_every_form(form, sizes, norm, loss):
    assert_same(case(sizes, "softplus", loss, norm), ROUNDING)


@pytest.mark.parametrize("sizes", [(3, 2), (2, 3, 1), (2, 3, 2, 1)])
@pytest.mark.parametrize("activation", ["square", CUBIC], ids=["square", "cubic"])
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_the_field(form, sizes, activation, steps):
    assert_same(case(sizes, activation, steps=steps, draw=field), 0)


@pytest.mark.parametrize("activation", ["relu", "square"])
@pytest.mark.parametrize("sizes", [(3, 2), (2, 2, 1)])
def test_fractions(activation, sizes):
    assert_same(case(sizes, activation, draw=fractions), 0)


def trained(text, iterations=3):
    """Parameters after so many outer steps, by the textbook and by the engine's Adam."""
    start = case((2, 4, 1))
    tasks = [start.task(t) for t in range(T)]
    net = start.net(text)
    got = text.train(net, start.theta, lambda: tasks, start.alpha, start.steps, iterations, 0.01)
    theta, moments = start.theta, Moments(0 * start.theta, 0 * start.theta, 0)
    for _ in range(iterations):
        _, gradient = numaml.meta_gradient(start.model, theta, *start[2:])
        theta, moments = adam(theta, gradient, moments, 0.01)
    return relative_error(got - start.theta, theta - start.theta)


@pytest.mark.parametrize("iterations", [1, 3])
def test_the_outer_loop(iterations):
    assert trained(textbook, iterations) < ROUNDING


@pytest.mark.parametrize("name", TRIPLES)
def test_activations(name):
    z = np.array([-3.0, -0.5, 0.0, 0.2, 1.0, 4.0])
    ours = activations.ACTIVATIONS[name]
    for s, s_ours in zip(TRIPLES[name], ours, strict=True):
        assert relative_error(s(z), s_ours(z) if s_ours else 0 * z) < ROUNDING


def test_the_textbook_needs_numpy_alone():
    """That it is one page, and that nothing imports it, is a rule of the house."""
    modules = {
        alias.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert modules == {"typing", "numpy"}


def test_its_constants_are_ours():
    assert normalisation.EPSILON == 1e-5
    assert "+ 1e-5) ** -0.5" in SOURCE


# A bug at each tag

DEEP = (3, 7, 6, 4)
# tag: (a line's own text, what is planted, the quantity that must differ)
BUGS = [
    ("(A1)", "lambda z: z * (z.real > 0)", "lambda z: z * (z.real > -1)", "h"),
    ("(A1)", "lambda z: 1 * (z.real > 0)", "lambda z: 1 * (z.real < 0)", "delta"),
    ("(A1)", "lambda z: 0 * z)  # (A1)", "lambda z: 1 + 0 * z)", "delta_dot"),
    ("(A2)", "1 / (1 + np.exp(-z))", "1 / (2 + np.exp(-z))", "h"),
    ("(A2)", "sigma(z) * sigma(-z)", "sigma(z) * sigma(z)", "delta"),
    ("(A2)", "(sigma(-z) - sigma(z)))  # (A2)", "(sigma(z) - sigma(-z)))", "delta_dot"),
    ("(A3)", "np.log(1 + np.exp(z))", "np.log(2 + np.exp(z))", "h"),
    ("(A3)", "sigma, sigma_prime)  # (A3)", "sigma, sigma)", "delta_dot"),
    ("(A4)", "1 - np.tanh(z) ** 2", "1 - np.tanh(z)", "delta"),
    ("(A4)", "-2 * np.tanh(z) * tanh[1](z)", "2 * np.tanh(z) * tanh[1](z)", "delta_dot"),
    ("(A5)", "lambda z: z * z,", "lambda z: z,", "h"),
    ("(A5)", "lambda z: 2 + 0 * z", "lambda z: 1 + 0 * z", "delta_dot"),
    ("(L1)", ".sum() / u.size  # (L1)", ".sum() / len(u)", "meta-value"),
    ("(L1)", "value, 2 * (u - y) / count", "value, (u - y) / count", "delta"),
    ("(L1)", "lambda u_dot: 2 * u_dot / count", "lambda u_dot: u_dot / count", "delta_dot"),
    ("(L2)", "-(np.log(p) * is_y).sum() / n", "-np.log(p).sum() / n", "meta-value"),
    ("(L2)", "(p - is_y) / n,", "p / n,", "delta"),
    ("(L2)", "p * (u_dot - (p * u_dot).sum(1, keepdims=True)) / n", "p * u_dot / n", "delta_dot"),
    ("(N1)", "centred = a - mean(a, axis)", "centred = a", "n"),
    ("(N1)", "r * centred, r, axis  # (N1)", "centred, r, axis", "n"),
    ("(N2)", "(w - mean(w, axis) - q", "(w - q", "c"),
    ("(N2)", " - q * mean(q * w, axis))  # (N2)", ")", "n_dot"),
    ("(N3)", "mean(q * a_dot, axis) * Jw + ", "", "c_dot"),
    ("(N3)", " + mean(q * w, axis) * q_dot", "", "c_dot"),
    ("(N3)", " + q * mean(q_dot * w, axis)", "", "c_dot"),
    ("(N3)", "q, r, axis) - r * bend  # (N3)", "q, r, axis)", "c_dot"),
    ("(F1)", "N[l][0] + b[l]  # (F1)", "N[l][0]", "z"),
    ("(F1)", "net.axis if l < L else None", "net.axis", "n"),
    ("(F2)", "net.activation[0](z[l]) if l < L else z[l]  # (F2)", "z[l]", "h"),
    ("(R1)", "J(a_dot[l], *N[l]) + b_dot[l]  # (R1)", "a_dot[l] + b_dot[l]", "z_dot"),
    ("(R1)", "h_dot[l - 1] @ W[l] + ", "", "a_dot"),
    ("(R2)", "net.activation[1](z[l]) * z_dot[l] if", "z_dot[l] if", "h_dot"),
    ("(B1)", "net.activation[1](z[l - 1]) * e[l - 1]  # (B1)", "e[l - 1]", "delta"),
    ("(B1)", "e[l - 1] = c[l] @ W[l].T", "e[l - 1] = delta[l] @ W[l].T", "e"),
    ("(B2)", "h[l - 1].T @ c[l], delta[l].sum(0)  # (B2)", "h[l - 1].T @ delta[l], c[l].sum(0)",
     "gradient"),
    ("(B2)", "delta[l].sum(0)  # (B2)", "0 * delta[l].sum(0)", "gradient"),
    ("(R3)", "bend + s_prime(z[l - 1]) * e_dot[l - 1]  # (R3)", "s_prime(z[l - 1]) * e_dot[l - 1]",
     "delta_dot"),
    ("(R3)", "bend + s_prime(z[l - 1]) * e_dot[l - 1]  # (R3)", "bend", "delta_dot"),
    ("(R3)", " + c[l] @ W_dot[l].T", "", "e_dot"),
    ("(R3)", "bend = s_second(z[l - 1]) * z_dot[l - 1] * e",
     "bend = s_second(z[l - 1]) * e", "delta_dot"),
    ("(R4)", "h_dot[l - 1].T @ c[l] + ", "", "Hv"),
    ("(R4)", "grad_b_dot[l] = delta_dot[l].sum(0)", "grad_b_dot[l] = delta[l].sum(0)", "Hv"),
    ("(M1)", "phis[-1] - alpha * g)  # (M1)", "theta - alpha * g)", "phi"),
    ("(M1)", "phis[-1] - alpha * g)  # (M1)", "phis[-1] + alpha * g)", "phi"),
    ("(M2)", "linearize(net, phis[-1], query)", "linearize(net, theta, query)", "lambda"),
    ("(M2)", "lams = [gradient]  # (M2)", "lams = [2 * gradient]", "lambda"),
    ("(M3)", "lams[-1] - alpha * hvp(lams[-1]))  # (M3)", "lams[-1])", "lambda"),
    ("(M3)", "lams[-1] - alpha * hvp(lams[-1]))  # (M3)", "lams[-1] - alpha * hvp(gradient))",
     "lambda"),
    ("(M3)", "for hvp in reversed(hvps):", "for hvp in hvps:", "lambda"),
    ("(M4)", "[0][-1]\n        loss, lam_K", "[0][0]\n        loss, lam_K", "first-order"),
    ("(M4)", "gradient / len(tasks)  # (M4)", "gradient", "first-order"),
    ("(M5)", "value / len(tasks), gradient / len(tasks)  # (M5)", "value, gradient / len(tasks)",
     "meta-value"),
    ("(M5)", "gradient / len(tasks)  # (M5)", "gradient", "meta-gradient"),
    ("(O1)", "0.9 * first + 0.1 * gradient", "gradient", "theta"),
    ("(O1)", "0.001 * gradient**2", "0.001 * gradient", "theta"),
    ("(O1)", "(1 - 0.999**t) ** 0.5 / (1 - 0.9**t)", "1", "theta"),
    ("(O1)", "(np.sqrt(second) + 1e-8)  # (O1)", "(second + 1e-8)", "theta"),
]  # fmt: skip
ACTIVATION = {"(A1)": "relu", "(A2)": "sigmoid", "(A3)": "softplus", "(A5)": "square"}


def bent(text, bug):
    """The textbook with one piece of text replaced."""
    assert SOURCE.count(text) == 1, f"{text!r} stands {SOURCE.count(text)} times in the textbook"
    module = ModuleType("bent")
    exec(compile(SOURCE.replace(text, bug), "bent", "exec"), module.__dict__)  # noqa: S102  # ours
    return module


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # bent numbers may overflow
@pytest.mark.parametrize(("tag", "text", "bug", "quantity"), BUGS)
def test_a_planted_bug_is_seen(tag, text, bug, quantity):
    module = bent(text, bug)
    if quantity == "theta":
        assert trained(module) > 1e6 * ROUNDING
        return
    loss = "squared_error" if tag == "(L1)" else "cross_entropy"
    norm = None if tag[1] in "AL" else "batch"
    worst = differences(case(DEEP, ACTIVATION.get(tag, "tanh"), loss, norm), module)
    assert worst[quantity] > 1e6 * ROUNDING, worst


def test_every_tag_of_the_textbook_has_a_bug():
    tags = set(re.findall(r"  # (\([A-Z]\d\))", SOURCE))
    assert tags == {tag for tag, *_ in BUGS}
    assert all(sum(tag == t for t, *_ in BUGS) > 1 for tag in ("(R3)", "(B1)", "(N3)", "(M3)"))
