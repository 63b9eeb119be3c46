"""The audit of the installed gradients: one row per tagged formula, each by a method that does not
use the formula.

`numaml check` prints it, the tests assert it, and the planted-bug tests run it on copies of the
package with one term removed and see it fail.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from ..data.tasks import Batch, Tasks
from ..engine import calls
from ..engine.shards import sharded
from ..learning.outer import adam
from ..learning.state import Moments
from ..maml import inner_loop, pull_back, push_forward
from ..network import losses
from ..network.activations import ACTIVATIONS
from ..network.convolution import ConvNet, Convolution, Mean, Patches
from ..network.mlp import MLP
from ..network.normalisation import EPSILON, NORMS
from ..network.passes import Tangents, Trace, backward, forward, r_backward, r_forward
from ..weights.choice import pays
from ..weights.factored import Factored, Layered, Vector
from ..weights.factored import gradient as weights_gradient
from . import TINY, Mod, complex_step, dual_gradient, relative_error
from .audit_family import ROWS as FAMILY
from .audit_policies import ROWS as POLICIES

Array = np.ndarray[Any, Any]

# Complex-step derivatives are exact to rounding, so all that is allowed is the rounding of two
# evaluations of a small network in float64 (2e-16 each operation, some hundred operations).
ROUNDING = 1e-13
ALPHA = 0.3  # large enough that curvature, α H λ, is as large as λ itself


class Row(NamedTuple):
    """One line of the audit."""

    formula: str
    method: str
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        return self.error <= self.bound


def audit() -> Iterator[Row]:
    """Yield a `Row` for every tagged formula, in the order of the derivations.

    Examples
    --------
    >>> from numaml.check.audit import audit
    >>> all(row.passed for row in audit())
    True
    """
    for formula, (method, bound, error) in CHECKS.items():
        yield Row(formula, method, error(), bound)


# A small network in which every axis has a size of its own.
SIZES, T, N_SUPPORT, N_QUERY = (2, 5, 4, 3), 6, 7, 8


def _model(loss: str = "squared_error", norm: str | None = None) -> MLP:
    return MLP(SIZES, "tanh", loss, norm)


def _theta(seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 0.7, _model().size)


def _batch(
    n: int,
    seed: int,
    loss: str = "squared_error",
    tasks: tuple[int, ...] = (T,),
    n_out: int = SIZES[-1],
) -> Batch:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(*tasks, n, SIZES[0]))
    if loss == "cross_entropy":
        return Batch(x, rng.integers(0, SIZES[-1], (*tasks, n)))
    return Batch(x, rng.normal(size=(*tasks, n, losses.target_width(loss, n_out))))


def _tasks() -> Tasks:
    return Tasks(_batch(N_SUPPORT, 1), _batch(N_QUERY, 2))


def _gradient(f: Callable[[Array], Any], theta: Array) -> Array:
    """Gradient of f, which maps a stack of rows to a stack of numbers, by complex steps."""
    return np.asarray(complex_step(f, theta, np.eye(len(theta))))


# Activations and losses


def _activation(name: str, reference: Callable[[float], float]) -> float:
    s, s_prime, s_second = ACTIVATIONS[name]
    z = np.array([-30.0, -2.5, -1.0, -0.1, 0.2, 0.7, 3.0, 30.0])
    second = s_second(z) if s_second else np.zeros_like(z)
    return max(
        _worst_element(s(z), [reference(value) for value in z.tolist()]),
        _worst_element(s_prime(z), complex_step(s, z, 1.0)),
        _worst_element(second, complex_step(s_prime, z, 1.0)),
    )


def _worst_element(got: Array, want: Any) -> float:
    """Each number on its own: a wrong tail must not hide behind a large middle."""
    return max(relative_error(a, b) for a, b in zip(got, want, strict=True))


def _loss(loss: str, reference: Callable[[Array, Any], float]) -> float:
    rng = np.random.default_rng(3)
    n_out = 10 if loss in losses.OF_POLICIES else SIZES[-1]
    u, u_dot = rng.normal(0, 3, (2, T, N_SUPPORT, n_out)) / (3 if n_out == 10 else 1)
    y = _batch(N_SUPPORT, 4, loss, n_out=n_out).y
    function = losses.LOSSES[loss]
    value, delta, hessian = function(u, y)

    def row(flat: Array) -> Any:  # the loss of task 0 for a stack of outputs
        return function(flat.reshape(-1, *u.shape[1:]), y[0])[0]

    return max(
        relative_error(value, [reference(u[t], y[t]) for t in range(T)]),
        relative_error(delta[0].ravel(), _gradient(row, u[0].ravel())),
        relative_error(hessian(u_dot), complex_step(lambda u: function(u, y)[1], u, u_dot)),
    )


def _squared_error(u: Array, y: Array) -> float:
    return math.fsum((a - b) ** 2 for a, b in zip(u.flat, y.flat, strict=True)) / u.size


def _cross_entropy(u: Array, y: Array) -> float:
    rows = zip(u.tolist(), y.tolist(), strict=True)
    return math.fsum(math.log(math.fsum(map(math.exp, r))) - r[c] for r, c in rows) / len(u)


def _gaussian_nll(u: Array, y: Array) -> float:
    d, terms = u.shape[1] // 2, []
    for row, (*action, weight) in zip(u.tolist(), y.tolist(), strict=True):
        for mu, log_sigma, a in zip(row[:d], row[d:], action, strict=True):
            sigma = math.exp(log_sigma)
            density = math.exp(-(((a - mu) / sigma) ** 2) / 200) / (sigma * math.sqrt(math.tau))
            # 99 hundredths of the exponent apart: the density itself may underflow
            terms.append(weight * (99 / 200 * ((a - mu) / sigma) ** 2 - math.log(density)))
    return math.fsum(terms) / len(u)


def _gaussian_kl(u: Array, y: Array) -> float:
    """E ln(p/q) by a rule of three points, which is exact for polynomials of up to degree five."""
    d, terms = u.shape[1] // 2, []
    points = [(-math.sqrt(3), 1 / 6), (0.0, 2 / 3), (math.sqrt(3), 1 / 6)]
    for row, (*given, weight) in zip(u.tolist(), y.tolist(), strict=True):
        for mu, log_sigma, m, log_s in zip(row[:d], row[d:], given[:d], given[d:], strict=True):
            for x, share in points:
                z = (m + math.exp(log_s) * x - mu) / math.exp(log_sigma)
                terms.append(weight * share * (log_sigma - log_s + (z * z - x * x) / 2))
    return math.fsum(terms) / len(u)


# Normalisation


def _normalised(a: Array, norm: str | None) -> Array:
    """N(a) of one task's rows in plain Python loops."""
    if norm is None:
        return a
    x = np.empty_like(a)
    for into, line in zip(x.T, a.T, strict=True) if norm == "batch" else zip(x, a, strict=True):
        mean = math.fsum(line) / len(line)
        variance = math.fsum((number - mean) ** 2 for number in line) / len(line)
        into[:] = [(number - mean) / math.sqrt(variance + EPSILON) for number in line]
    return x


def _normalisation(error: Callable[[str, Array, Array, Array], float]) -> float:
    """The worst error over the axes, at a stack of tasks with a feature that is constant."""
    a, w, a_dot = np.random.default_rng(9).normal(size=(3, T, N_SUPPORT, SIZES[1]))
    a[0, :, 0] = 2.0
    return max(error(norm, a, w, a_dot) for norm in NORMS if norm)


def _n1(norm: str, a: Array, _w: Array, _a_dot: Array) -> float:
    return relative_error(NORMS[norm](a).q, [_normalised(a[t], norm) for t in range(T)])


def _n2(norm: str, a: Array, w: Array, _a_dot: Array) -> float:
    return relative_error(NORMS[norm](a).J(w), complex_step(lambda a: NORMS[norm](a).q, a, w))


def _n3(norm: str, a: Array, w: Array, a_dot: Array) -> float:
    n, w_dot = NORMS[norm](a), np.cos(w)

    def Jw(point: Array) -> Array:
        return np.asarray(NORMS[norm](point[0]).J(point[1]))

    got = n.R_J(w, n.J(w), w_dot, a_dot, n.J(a_dot))
    return relative_error(got, complex_step(Jw, np.stack([a, w]), np.stack([a_dot, w_dot])))


# The four passes


def _worst_norm(error: Callable[[str | None], float]) -> float:
    return max(error(norm) for norm in NORMS)


def _by_hand(theta: Array, x: Array, s: Callable[[float], float], model: MLP) -> Array:
    """The network's output on one task's rows, product by product."""
    layers, rows = model.unpack(theta), x
    for number, (W, b) in enumerate(layers, 1):
        a = np.array([[math.fsum(row * column) for column in W.T] for row in rows])
        if number == len(layers):
            return a + b
        rows = np.vectorize(s)(_normalised(a, model.norm) + b)
    raise ValueError("no layers")


def _f1(norm: str | None) -> float:
    model, theta, x = MLP(SIZES, "identity", norm=norm), _theta(), _batch(N_SUPPORT, 1).x
    want = [_by_hand(theta, x[t], float, model) for t in range(T)]
    return relative_error(model.predict(theta, x), want)


def _f2() -> float:
    x, theta = _batch(N_SUPPORT, 1).x, _theta()
    want = [_by_hand(theta, x[t], math.tanh, _model()) for t in range(T)]
    return relative_error(_model().predict(theta, x), want)


class _Passes:
    """One task's passes laid open, at θ and along v."""

    def __init__(self, norm: str | None) -> None:
        self.norm, self.model = NORMS[norm], _model(norm=norm)
        self.batch = _batch(N_SUPPORT, 1, "cross_entropy", ())
        self.theta, self.v = _theta(), _theta(1)
        self.trace = self.at(self.theta)

    def columns(self, theta: Array) -> tuple[list[Any], list[Any]]:
        layers = self.model.unpack(theta)
        return [None, *(W for W, _ in layers)], [None, *(b[..., None, :] for _, b in layers)]

    def at(self, theta: Array) -> Trace:
        """Forward and backward; softplus, whose every derivative differs from the others."""
        s, s_prime, _ = ACTIVATIONS["softplus"]
        W, b = self.columns(theta)
        h, N, z = forward(W, b, self.batch.x, s, self.norm)
        delta_L = losses.cross_entropy(z[-1], self.batch.y)[1]
        return backward(W, h, N, z, s_prime, delta_L)[1]

    def along_v(self, part: str, l: int) -> Array:
        """Derivative along v of a part of the trace, by a complex step."""
        return np.asarray(
            complex_step(lambda theta: getattr(self.at(theta), part)[l], self.theta, self.v)
        )

    def r_forward(self) -> Tangents:
        return r_forward(self.columns(self.theta)[0], *self.columns(self.v), self.trace)

    def r_backward(self) -> list[Any]:
        W, W_dot = self.columns(self.theta)[0], self.columns(self.v)[0]
        tangents, s_second = self.r_forward(), ACTIVATIONS["softplus"][2]
        hessian = losses.cross_entropy(self.trace.z[-1], self.batch.y)[2]
        return r_backward(W, W_dot, self.trace, tangents, s_second, hessian(tangents.z_dot[-1]))


def _r1(norm: str | None) -> float:
    passes = _Passes(norm)
    z_dot = passes.r_forward().z_dot
    return max(relative_error(z_dot[l], passes.along_v("z", l)) for l in (1, 2, 3))


def _r2(norm: str | None) -> float:
    passes = _Passes(norm)
    h_dot = passes.r_forward().h_dot
    return max(relative_error(h_dot[l], passes.along_v("h", l)) for l in (1, 2))


def _b1(norm: str | None) -> float:
    """δ_l is the gradient by a bias that is each example's own."""
    passes = _Passes(norm)
    return max(relative_error(passes.trace.delta[l].ravel(), _by_bias(passes, l)) for l in (1, 2))


def _by_bias(passes: _Passes, l: int) -> Array:
    n, width = N_SUPPORT, SIZES[l]

    def value(flat: Array) -> Any:
        W, b = passes.columns(passes.theta)
        b[l] = b[l] + flat.reshape(-1, n, width)
        x = passes.batch.x + 0 * flat[..., :1, None]  # as many, and as complex, as the biases
        _, _, z = forward(W, b, x, ACTIVATIONS["softplus"][0], passes.norm)
        return losses.cross_entropy(z[-1], passes.batch.y)[0]

    return _gradient(value, np.zeros(n * width))


def _b2(norm: str | None) -> float:
    model, theta, batch = _model(norm=norm), _theta(), _batch(N_SUPPORT, 1)
    _, gradient, _ = model.linearize(theta, batch)
    want = [_task_gradient(theta, batch, t, model) for t in range(T)]
    return relative_error(gradient, want)


def _task_gradient(theta: Array, batch: Batch, t: int, model: MLP | None = None) -> Array:
    """Gradient of one task's loss alone, by complex steps of its value."""
    one = Batch(batch.x[t], batch.y[t])
    return _gradient(lambda theta: (model or _model()).value(theta, one), theta)


def _r3(norm: str | None) -> float:
    passes = _Passes(norm)
    delta_dots = [None, *(delta_dot for _, delta_dot in passes.r_backward())]
    return max(relative_error(delta_dots[l], passes.along_v("delta", l)) for l in (1, 2, 3))


def _r4(norm: str | None) -> float:
    errors = []
    for loss in losses.LOSSES.keys() - losses.OF_POLICIES:
        model, theta, batch = _model(loss, norm=norm), _theta(), _batch(N_SUPPORT, 1, loss)
        v = np.random.default_rng(5).normal(size=(T, model.size))
        hvp = model.linearize(theta, batch)[2]
        ahead = model.linearize(theta + 1j * TINY * v, batch)[1]
        errors.append(relative_error(hvp(v), ahead.imag / TINY))
    return max(errors)


# Convolutions

IMAGE, FILTERS, KERNEL, STRIDE = (5, 4, 2), 7, 3, 2  # beyond the edges 1 + 1 rows, 0 + 1 columns


def _convolved(h: Array, W: Array, kernel: int, stride: int) -> Array:
    """Every output of one image in plain loops, zeros around it as TensorFlow's "SAME" has them."""
    size, rows = h.shape[:2], []
    out = [math.ceil(n / stride) for n in size]
    before = [max((o - 1) * stride + kernel - n, 0) // 2 for o, n in zip(out, size, strict=True)]
    for top, left in itertools.product(*map(range, out)):
        terms = []
        for row, (down, right) in zip(
            W.reshape(kernel * kernel, -1, W.shape[1]),
            itertools.product(range(kernel), repeat=2),
            strict=True,
        ):
            i, j = top * stride + down - before[0], left * stride + right - before[1]
            if 0 <= i < size[0] and 0 <= j < size[1]:
                terms += list(h[i, j][:, None] * row)
        rows.append([math.fsum(column) for column in zip(*terms, strict=True)])
    return np.array(rows)


def _c1() -> float:
    return max(_c1_products(), *map(_c1_gradient, NORMS))


def _c1_products() -> float:
    """A weight with patches, and one with means: its product, and by all images its transpose's."""
    rng, pixels = np.random.default_rng(14), IMAGE[0] * IMAGE[1]
    W, c = rng.normal(size=(KERNEL**2 * IMAGE[2], FILTERS)), rng.normal(size=(T, 3 * 6, FILTERS))
    head, c_head = rng.normal(size=(IMAGE[2], FILTERS)), rng.normal(size=(T, 3, FILTERS))
    h = rng.normal(size=(T, 3 * pixels, IMAGE[2]))  # three images of each task
    images = h.reshape(-1, *IMAGE)
    want = np.stack([_convolved(one, W, KERNEL, STRIDE) for one in images])
    means = [[math.fsum(x) / pixels for x in one.reshape(pixels, -1).T] for one in images]
    weight, mean = Convolution(Patches(*IMAGE, KERNEL, STRIDE), W), Convolution(Mean(pixels), head)
    basis = np.eye(h[0].size).reshape(-1, *h.shape[1:])  # c · (h W) is linear in h
    return max(
        relative_error(h @ weight, want.reshape(c.shape)),
        relative_error(h @ mean, (np.array(means) @ head).reshape(c_head.shape)),
        relative_error((c @ weight.mT)[0].ravel(), (basis @ weight * c[0]).sum((1, 2))),
        relative_error((c_head @ mean.mT)[0].ravel(), (basis @ mean * c_head[0]).sum((1, 2))),
    )


def _c1_gradient(norm: str | None) -> float:
    model = ConvNet(IMAGE, ((3, 3, 2), (4, 2, 1)), 2, "tanh", norm=norm)
    rng = np.random.default_rng(15)
    theta = rng.normal(0, 0.7, model.size)
    batch = Batch(rng.normal(size=(N_SUPPORT, model.sizes[0])), rng.normal(size=(N_SUPPORT, 2)))
    want = _gradient(lambda theta: model.value(theta, batch), theta)
    return relative_error(model.linearize(theta, batch)[1], want)


def _largest(z: Array, height: int, width: int, pool: int) -> Array:
    """Of every window the largest tanh(z), one image's positions in plain loops."""
    h = np.tanh(z).reshape(height, width, -1)
    tops = itertools.product(range(0, height, pool), range(0, width, pool))
    return np.array([
        [max(one) for one in h[i : i + pool, j : j + pool].reshape(pool * pool, -1).T.tolist()]
        for i, j in tops
    ])  # fmt: skip


def _c2() -> float:
    """Two layers with windows of 2 × 2; of an image a part is empty, so that numbers are alike."""
    model = ConvNet((12, 4, 2), ((3, 3, 1), (4, 2, 1)), 2, "tanh", pool=2)
    rng = np.random.default_rng(16)
    theta, x = rng.normal(0, 0.7, model.size), rng.normal(size=(3, 12, 4, 2))
    x[1, :7] = 0
    (W1, b1), (W2, b2), (W3, b3) = model.unpack(theta)
    u = []
    for one in x:
        h = _largest(_convolved(one, W1, 3, 1) + b1, 12, 4, 2).reshape(6, 2, 3)
        h = _largest(_convolved(h, W2, 2, 1) + b2, 6, 2, 2)
        u.append(np.array([math.fsum(column) / 3 for column in h.T]) @ W3 + b3)
    batch, v = Batch(x.reshape(3, -1), rng.normal(size=(3, 2))), rng.normal(size=model.size)
    _, gradient, hvp = model.linearize(theta, batch)
    ahead = model.linearize(theta + 1j * TINY * v, batch)[1]
    return max(
        relative_error(model.predict(theta, batch.x), np.array(u)),
        relative_error(gradient, _gradient(lambda theta: model.value(theta, batch), theta)),
        relative_error(hvp(v), ahead.imag / TINY),
    )


# Factored weights

N_IN, N_OUT = 90, 80  # large enough that factors pay


def _factors(n_out: int = N_OUT) -> tuple[list[tuple[Array, Array]], Array]:
    """Pairs (U, V) of which the first two share U, and per task the matrix Σ UᵀV."""
    rng = np.random.default_rng(10)
    U, U_ = rng.normal(size=(T, 2, N_IN)), rng.normal(size=(T, 1, N_IN))
    pairs = [(one, rng.normal(size=(T, one.shape[1], n_out))) for one in (U, U, U_)]
    matrices = np.zeros((T, N_IN, n_out))
    for U, V in pairs:
        for t in range(T):
            for u, v in zip(U[t], V[t], strict=True):
                matrices[t] += np.multiply.outer(u, v)
    return pairs, matrices


def _w1() -> float:
    return max(_products(n_out) for n_out in (N_OUT, 8))


def _products(n_out: int) -> float:
    """Worst error of products with a weight and its transpose, while it collects pairs."""
    pairs, matrices = _factors(n_out)
    shapes = (N_IN, n_out), (T, N_IN, n_out), (T, 6, N_IN), (T, 6, n_out)
    base, other, h, c = (np.random.default_rng(11).normal(size=shape) for shape in shapes)
    errors = []

    def compare(weight: Any, want: Array) -> None:
        errors.append(relative_error(h @ weight, [h[t] @ want[t] for t in range(T)]))
        errors.append(relative_error(c @ weight.mT, [c[t] @ want[t].T for t in range(T)]))
        errors.append(relative_error(weight.multiplied_out(), want))

    weight, want = Factored(base), np.stack([base] * T)
    for pair in pairs:
        weight = weight - 0.5 * Factored(None, [pair])
        want = want - 0.5 * np.matmul(pair[0].mT, pair[1])
    compare(weight, base - 0.5 * matrices)
    for step, more in (
        (Factored(None), np.zeros_like(other)),
        (
            Factored(None, [(h, c)]),
            np.matmul(h.mT, c),
        ),  # then those of a narrow matrix are too many
        (Factored(other), other),
    ):
        compare(weight - 2 * step, want - 2 * more)
    compare(2 * Factored(None, pairs) - Factored(other, [(h, c)]), 2 * matrices - other - h.mT @ c)
    return max(errors)


def _w2() -> float:
    """Multiplications of one row, counted; the number of cases in which the rule is wrong."""
    wrong = 0
    for rank, n_in, n_out in itertools.product(range(1, 9), range(1, 9), range(1, 9)):
        through_factors = sum(1 for _ in itertools.product(range(rank), range(n_in)))
        through_factors += sum(1 for _ in itertools.product(range(rank), range(n_out)))
        directly = sum(1 for _ in itertools.product(range(n_in), range(n_out)))
        wrong += pays(rank, n_in, n_out) != (through_factors < directly)
    return float(wrong)


def _w3() -> float:
    pairs, matrices = _factors()
    theta = np.random.default_rng(12).normal(size=(T, (N_IN + 1) * N_OUT))
    W, b = theta[:, : N_IN * N_OUT].reshape(T, N_IN, N_OUT), theta[:, None, N_IN * N_OUT :]
    errors = []
    for start in (0.0, 1.0):
        vector: Vector = Layered([(Factored(start * W), start * b)])
        want = start * theta
        for pair in pairs:
            vector = vector - 2 * weights_gradient([([pair], pair[1])], vector)
            want[:, N_IN * N_OUT :] -= 2 * np.array([pair[1][t].sum(0) for t in range(T)])
        vector, want = vector - 2 * Layered([(Factored(W), b)]), want - 2 * theta
        want[:, : N_IN * N_OUT] -= 2 * matrices.reshape(T, -1)
        flat = np.asarray(weights_gradient([(pairs, pairs[0][1])], theta))  # multiplied out at once
        errors += [relative_error(vector.mean(0), sum(want) / T), relative_error(vector, want),
                   relative_error(flat[:, : N_IN * N_OUT], matrices.reshape(T, -1))]  # fmt: skip
    few = Layered([(Factored(None, [(U[:1], V[:1]) for U, V in pairs]), pairs[0][1][:1])])
    errors.append(
        relative_error(few.mean(0)[: N_IN * N_OUT], matrices[0].ravel())
    )  # in one product
    return max(errors)


# The meta-gradient


def _m1() -> float:
    model, tasks = _model(), _tasks()
    want = np.empty((T, model.size))
    for t in range(T):
        phi = _theta()
        for _ in range(3):
            phi = phi - ALPHA * _task_gradient(phi, tasks.support, t)
        want[t] = phi
    return relative_error(calls.adapt(model, _theta(), tasks.support, ALPHA, 3), want)


def _m2() -> float:
    """Without inner steps the meta-gradient is the gradient of the task-averaged query loss."""
    model, query = _model(), _tasks().query
    value, gradient = calls.meta_gradient(model, _theta(), _tasks(), ALPHA, 0)
    losses = [model.value(_theta(), Batch(query.x[t], query.y[t])) for t in range(T)]
    want = [_task_gradient(_theta(), query, t) for t in range(T)]
    return max(
        relative_error(value, math.fsum(losses) / T),
        relative_error(gradient, np.mean(want, axis=0)),
    )


def _meta_directions(gradient: Array, alpha: float, steps: int, count: int = 5) -> float:
    """Distance of a gradient from complex steps of the meta-value along random directions."""
    model, tasks = _model(), _tasks()
    directions = np.random.default_rng(6).normal(size=(count, model.size))

    def value(theta: Array) -> Any:
        return calls.meta_value(model, theta, tasks, alpha, steps)

    want = [complex_step(value, _theta(), v) for v in directions]
    return relative_error(directions @ gradient, want)


def _m3(alpha: float, steps: int) -> float:
    gradient = calls.meta_gradient(_model(), _theta(), _tasks(), alpha, steps)[1]
    return _meta_directions(gradient, alpha, steps)


def _m3_field() -> float:
    """Over GF(2^61 − 1) against dual numbers through the value alone: equal or not."""
    model, steps = MLP((2, 2, 1), "square"), 2
    rng = np.random.default_rng(7)

    def elements(*shape: int) -> Array:
        flat = [Mod(n) for n in rng.integers(Mod.p, size=math.prod(shape)).tolist()]
        return np.array(flat, object).reshape(shape)

    theta, alpha = elements(model.size), elements(1)[0]
    support, query = (Batch(elements(n, 2), elements(n, 1)) for n in (2, 3))

    def value(theta: Array) -> Any:
        phi = theta
        for _ in range(steps):
            phi = phi - alpha * dual_gradient(lambda p: model.value(p, support), phi)
        return model.value(phi, query)

    got = calls.meta_gradient(model, theta, Tasks(support, query), alpha, steps)[1]
    return float(np.sum(got != dual_gradient(value, theta)))


def _j1() -> float:
    """J v against complex steps of φ_K, and J for all of them against Jᵀ."""
    model, tasks, hvps = _model(), _tasks(), list[Any]()
    inner_loop(model, _theta(), tasks.support, ALPHA, 3, hvps)
    v, w = np.random.default_rng(14).normal(size=(2, T, model.size))

    def phi(theta: Array) -> Array:
        return np.asarray(calls.adapt(model, theta, tasks.support, ALPHA, 3))

    got = push_forward(hvps, ALPHA, v[0])
    back = pull_back(reversed(hvps), ALPHA, w)
    both = [w[t] @ push_forward(hvps, ALPHA, v)[t] for t in range(T)]
    return max(
        relative_error(got, complex_step(phi, _theta(), v[0])),
        relative_error(both, [back[t] @ v[t] for t in range(T)]),
    )


def _j1_field() -> float:
    """⟨w, J v⟩ = ⟨Jᵀ w, v⟩ over GF(2^61 − 1), and J v by dual numbers: equal or not."""
    model, rng, hvps = MLP((2, 2, 1), "square"), np.random.default_rng(15), list[Any]()

    def elements(*shape: int) -> Array:
        flat = [Mod(n) for n in rng.integers(Mod.p, size=math.prod(shape)).tolist()]
        return np.array(flat, object).reshape(shape)

    (theta, v, w), alpha = elements(3, model.size), elements(1)[0]
    support = Batch(elements(2, 2), elements(2, 1))
    inner_loop(model, theta, support, alpha, 2, hvps)

    def along(theta: Array) -> Any:
        return w @ calls.adapt(model, theta, support, alpha, 2)

    pushed, pulled = push_forward(hvps, alpha, v), pull_back(reversed(hvps), alpha, w)
    wrong = np.sum(pulled != dual_gradient(along, theta))
    return float(wrong + (w @ pushed != pulled @ v))


def _m4() -> float:
    """The mean over tasks of ∇L_Q(φ_K), and not the gradient of the meta-value."""
    model, tasks = _model(), _tasks()
    gradient = calls.first_order_meta_gradient(model, _theta(), tasks, ALPHA, 3)[1]
    phi = calls.adapt(model, _theta(), tasks.support, ALPHA, 3)
    want = [_task_gradient(phi[t], tasks.query, t) for t in range(T)]
    if _meta_directions(gradient, ALPHA, 3) < 0.1:
        return math.inf
    return relative_error(gradient, np.mean(want, axis=0))


def _m5() -> float:
    """Six tasks in four shards, whose sizes cannot be equal."""
    model, tasks = _model(), _tasks()
    with ThreadPoolExecutor(1) as executor:
        value, gradient = sharded(executor, 4)(model, _theta(), tasks, ALPHA, 3)
    want = calls.meta_value(model, _theta(), tasks, ALPHA, 3)
    return max(abs(value / want - 1), _meta_directions(gradient, ALPHA, 3))


def _o1() -> float:
    """Adam against its own definition, coordinate by coordinate."""
    gradients = np.random.default_rng(8).normal(size=(4, 3))
    theta, moments = np.ones(3), Moments(np.zeros(3), np.zeros(3), 0)
    for gradient in gradients:
        theta, moments = adam(theta, gradient, moments, 0.01)
    want = []
    for series in gradients.T.tolist():
        position = 1.0
        for t in range(1, len(series) + 1):
            first = sum(0.1 * 0.9 ** (t - 1 - i) * series[i] for i in range(t))
            second = sum(0.001 * 0.999 ** (t - 1 - i) * series[i] ** 2 for i in range(t))
            # Kingma and Ba's efficient form has ε outside the bias correction.
            rate = 0.01 * math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            position -= rate * first / (math.sqrt(second) + 1e-8)
        want.append(position)
    return relative_error(theta, want)


Check = tuple[str, float, Callable[[], float]]
CHECKS: dict[str, Check] = {
    "(A1) relu": ("its definition, complex step", ROUNDING, lambda: _activation(
        "relu", lambda z: max(z, 0.0))),
    "(A2) sigmoid": ("its definition, complex step", ROUNDING, lambda: _activation(
        "sigmoid", lambda z: 1 / (1 + math.exp(-z)))),
    "(A3) softplus": ("its definition, complex step", ROUNDING, lambda: _activation(
        "softplus", lambda z: math.log1p(math.exp(z)))),
    "(A4) tanh": ("its definition, complex step", ROUNDING, lambda: _activation(
        "tanh", math.tanh)),
    "(A5) square": ("its definition, complex step", ROUNDING, lambda: _activation(
        "square", lambda z: z**2)),
    "(L1) squared error": ("plain sums, complex step", ROUNDING, lambda: _loss(
        "squared_error", _squared_error)),
    "(L2) cross-entropy": ("plain sums, complex step", ROUNDING, lambda: _loss(
        "cross_entropy", _cross_entropy)),
    "(L3) Gaussian likelihood": ("densities, complex step", ROUNDING, lambda: _loss(
        "gaussian_nll", _gaussian_nll)),
    "(L4) Gaussian KL": ("Gauss's quadrature, complex step", ROUNDING, lambda: _loss(
        "gaussian_kl", _gaussian_kl)),
    "(N1) normalisation": ("plain loops", ROUNDING, lambda: _normalisation(_n1)),
    "(N2) its Jacobian": ("complex step of (N1)", ROUNDING, lambda: _normalisation(_n2)),
    "(N3) tangent of J w": ("complex step of (N2)", ROUNDING, lambda: _normalisation(
        _n3)),
    "(F1) pre-activation": ("plain loops", ROUNDING, lambda: _worst_norm(_f1)),
    "(F2) activation": ("plain loops", ROUNDING, _f2),
    "(B1) cotangent": ("complex step in each example's bias", ROUNDING, lambda: _worst_norm(_b1)),
    "(B2) gradient": ("complex step of the loss", ROUNDING, lambda: _worst_norm(_b2)),
    "(R1) tangent of z": ("complex step of (F1)", ROUNDING, lambda: _worst_norm(_r1)),
    "(R2) tangent of h": ("complex step of (F2)", ROUNDING, lambda: _worst_norm(_r2)),
    "(R3) tangent of δ": ("complex step of (B1)", ROUNDING, lambda: _worst_norm(_r3)),
    "(R4) Hessian product": ("complex step of the gradient", ROUNDING, lambda: _worst_norm(_r4)),
    "(C1) convolution": ("plain loops, all images, complex step", ROUNDING, _c1),
    "(C2) largest of a window": ("plain loops, complex step", ROUNDING, _c2),
    "(W1) product with W + UᵀV": ("outer products added up", ROUNDING, _w1),
    "(W2) when factors pay": ("multiplications counted", 0.0, _w2),
    "(W3) mean over tasks": ("task by task", ROUNDING, _w3),
    "(M1) inner step": ("gradients by complex step", ROUNDING, _m1),
    "(M2) task-averaged loss": ("complex step of each task's loss", ROUNDING, _m2),
    "(M3) meta-gradient, K = 3": ("complex step of the meta-value", ROUNDING, lambda: _m3(
        ALPHA, 3)),
    "(M3) meta-gradient, K = 50": ("complex step of the meta-value", ROUNDING, lambda: _m3(
        ALPHA / 3, 50)),
    "(M3) meta-gradient, K = 2": ("dual numbers over GF(2^61 − 1)", 0.0, _m3_field),
    "(M4) first-order": ("complex step at φ_K; differs from (M3)", ROUNDING, _m4),
    "(M5) tasks in shards": ("complex step of the meta-value", ROUNDING, _m5),
    "(O1) Adam": ("its definition as a sum", ROUNDING, _o1),
    "(J1) forward, K = 3": ("complex step of φ_K", ROUNDING, _j1),
    "(J1) forward, K = 2": ("dual numbers over GF(2^61 − 1)", 0.0, _j1_field),
    **FAMILY,
    **POLICIES,
}  # fmt: skip
