"""The exact meta-gradient as people write it elsewhere, on the problems of `speed.py`.

JAX, HIPS autograd (which like numaml needs NumPy alone) and PyTorch.

Every builder takes a `Problem`, puts its arrays where the library wants them, and returns a call to
be timed and a way to read θ's gradient from what it returns. Where there are several good ways to
write a peer they are all here, and whoever measures takes the best.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

ALPHA = 0.01  # small enough for K = 50, large enough that first-order MAML is 20 % off and more
EPS = 1e-5  # of the normalisation
UNROLLED_STEPS = 10  # beyond, JAX's compiler takes minutes over an unrolled inner loop
STACKED_BYTES = (
    1e9  # of all tasks' weights at all steps, of which autograd holds several times that
)
NUMAML, PLAIN, FIRST_ORDER = "numaml", "numaml plain", "first-order MAML"


@dataclass(frozen=True)
class Configuration:
    """One row of the benchmark: a network, T tasks of support/query examples, K inner steps."""

    name: str
    sizes: tuple[int, ...]
    tasks: int
    support: int
    query: int
    steps: int
    loss: str = "cross_entropy"
    norm: str | None = None
    wanted: float | None = None  # how many times faster than the better JAX numaml sets out to be
    iterations: int = 0  # of a whole training, if that is what is timed (training.py)
    alpha: float = ALPHA
    # Of images, (filters, kernel, stride) of the layers before the last; ``sizes`` are then the
    # numbers of an example in each.
    image: tuple[int, ...] = ()
    convolutions: tuple[tuple[int, int, int], ...] = ()

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Of every layer those of its W."""
        if not self.image:
            return list(itertools.pairwise(self.sizes))
        channels = [self.image[-1], *[filters for filters, _, _ in self.convolutions]]
        kernels = [kernel for _, kernel, _ in self.convolutions] + [1]
        return [(k * k * i, o) for k, i, o in zip(
            kernels, channels, [*channels[1:], self.sizes[-1]], strict=True)]  # fmt: skip

    @property
    def positions(self) -> list[int]:
        """Of every layer the rows that an example has in its products."""
        (*hidden, _), filters = self.sizes[1:], [filters for filters, _, _ in self.convolutions]
        return [size // n for size, n in zip(hidden, filters or hidden, strict=True)] + [1]


class Problem(NamedTuple):
    """A configuration with its numbers, float32 and int32."""

    configuration: Configuration
    layers: list[tuple[np.ndarray, np.ndarray]]  # θ as [(W (n_in, n_out), b (n_out,)), …]
    support: tuple[np.ndarray, np.ndarray]  # x (T, n, n_in), y (T, n) or (T, n, n_out)
    query: tuple[np.ndarray, np.ndarray]


class Implementation(NamedTuple):
    """``run()`` does the work and waits for its end; ``read(result)`` is the gradient (P,)."""

    run: Callable[[], Any]
    read: Callable[[Any], np.ndarray]


Builder = Callable[[Problem], Implementation]


def problem(configuration: Configuration) -> Problem:
    """He's initialisation and normal data, from a fixed seed."""
    sizes, rng = configuration.sizes, np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, np.float32)

    def batch(n: int) -> tuple[np.ndarray, np.ndarray]:
        rows = (configuration.tasks, n)
        if configuration.loss == "squared_error":
            return normal(*rows, sizes[0]), normal(*rows, sizes[-1])
        return normal(*rows, sizes[0]), rng.integers(0, sizes[-1], rows, np.int32)

    layers = [
        (normal(i, o) * np.float32(np.sqrt(2 / i)), np.zeros(o, np.float32))
        for i, o in configuration.shapes
    ]
    return Problem(configuration, layers, batch(configuration.support), batch(configuration.query))


def flat(layers: Any) -> np.ndarray:
    """θ's layout from ``[(W, b), …]``."""
    return np.concatenate([np.ravel(block) for layer in layers for block in layer])


def arguments(p: Problem) -> tuple[Any, ...]:
    """(model, theta, tasks, alpha, steps), as numaml's functions take them."""
    import numaml

    c = p.configuration
    model: Any = numaml.MLP(c.sizes, loss=c.loss, norm=c.norm)
    if c.image:
        model = numaml.ConvNet(c.image, c.convolutions, c.sizes[-1], loss=c.loss, norm=c.norm)
    tasks = numaml.Tasks(numaml.Batch(*p.support), numaml.Batch(*p.query))
    return model, model.pack(p.layers), tasks, c.alpha, c.steps


def numaml_builder(p: Problem, name: str = NUMAML) -> Implementation:
    """The subject of the comparison; plain, it turns replaying off in this process."""
    import numaml

    ours = arguments(p)
    numaml.engine.replaying(name != PLAIN)
    if name == FIRST_ORDER:
        return Implementation(lambda: numaml.first_order_meta_gradient(*ours), lambda out: out[1])
    return Implementation(lambda: numaml.meta_gradient(*ours), lambda out: out[1])


def _jax_loss(c: Configuration) -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp

    def convolved(h: Any, W: Any, kernel: int, stride: int) -> Any:
        W = W.reshape(kernel, kernel, h.shape[-1], -1)
        axes = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(h, W, (stride, stride), "SAME", dimension_numbers=axes)

    def loss(layers: Any, h: Any, y: Any) -> Any:
        h = h.reshape(-1, *c.image) if c.image else h
        for l, (W, b) in enumerate(layers):
            h = jax.nn.relu(h) if l else h
            if l < len(c.convolutions):
                z = convolved(h, W, *c.convolutions[l][1:])
            else:
                z = (h.mean((1, 2)) if c.image else h) @ W
            if c.norm and l < len(layers) - 1:
                rows = tuple(range(z.ndim - 1))
                z = (z - z.mean(rows)) * jax.lax.rsqrt(z.var(rows) + EPS)
            h = z + b
        if c.loss == "squared_error":
            return jnp.mean((h - y) ** 2)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(h), y[:, None], 1))

    return loss


def _jax_task_loss(c: Configuration, scan: bool) -> Callable[..., Any]:
    """Query loss of one task after K steps; the inner loop unrolled, or compiled once."""
    import jax

    loss = _jax_loss(c)

    def task_loss(theta: Any, support: Any, query: Any) -> Any:
        def step(phi: Any, _: Any) -> Any:
            gradient = jax.grad(loss)(phi, *support)
            return jax.tree.map(lambda a, g: a - c.alpha * g, phi, gradient), None

        if scan:
            return loss(jax.lax.scan(step, theta, length=c.steps)[0], *query)
        phi = theta
        for _ in range(c.steps):
            phi, _ = step(phi, None)
        return loss(phi, *query)

    return task_loss


def jax_vmap(c: Configuration, scan: bool, mean_first: bool) -> Callable[..., Any]:
    """All tasks at once, by vmap: the gradient of the mean, or the mean of the gradients."""
    import jax
    import jax.numpy as jnp

    task_loss = _jax_task_loss(c, scan)
    over_tasks = partial(jax.vmap, in_axes=(None, 0, 0))
    if mean_first:
        return jax.value_and_grad(lambda *arguments: jnp.mean(over_tasks(task_loss)(*arguments)))
    every = over_tasks(jax.value_and_grad(task_loss))
    return lambda *arguments: jax.tree.map(lambda a: jnp.mean(a, 0), every(*arguments))


def jax_in_turn(c: Configuration, scan: bool) -> Callable[..., Any]:
    """One task after the other inside one compiled loop: less memory, warmer caches."""
    import jax
    import jax.numpy as jnp

    one = jax.value_and_grad(_jax_task_loss(c, scan))

    def meta(theta: Any, support: Any, query: Any) -> Any:
        def add(total: Any, data: Any) -> Any:
            return jax.tree.map(jnp.add, total, one(theta, *data)), None

        zero = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, theta))
        total, _ = jax.lax.scan(add, zero, (support, query))
        return jax.tree.map(lambda a: a / c.tasks, total)

    return meta


def jax_builder(p: Problem, meta: Callable[..., Any], **options: bool) -> Implementation:
    """Compiled in float32, inputs on the device, and blocked until the result is there."""
    import jax

    compiled = jax.jit(meta(p.configuration, **options))
    inputs = jax.block_until_ready(jax.device_put((p.layers, p.support, p.query)))
    return Implementation(
        lambda: jax.block_until_ready(compiled(*inputs)), lambda out: flat(out[1])
    )


def _autograd_loss(c: Configuration) -> Callable[..., Any]:
    """The loss of one task, or the sum over a stack of tasks; y one-hot if it is of classes."""
    import autograd.numpy as anp
    from autograd.tracer import getval

    def loss(layers: Any, h: Any, y: Any) -> Any:
        for l, (W, b) in enumerate(layers):
            z = (h * (h > 0) if l else h) @ W  # maximum's looks for ties
            if c.norm and l < len(layers) - 1:
                z = z - anp.mean(z, -2, keepdims=True)
                z = z / anp.sqrt(anp.mean(z * z, -2, keepdims=True) + EPS)
            h = z + b
        if c.loss == "squared_error":
            return anp.sum((h - y) ** 2) / (y.shape[-2] * y.shape[-1])
        u = h - getval(h).max(-1, keepdims=True)
        return anp.sum(anp.log(anp.sum(anp.exp(u), -1)) - anp.sum(u * y, -1)) / y.shape[-2]

    return loss


def _autograd(c: Configuration, stacked: bool) -> Callable[..., Any]:
    """Tasks along a leading axis of weights and data, or one after the other."""
    from autograd import grad, value_and_grad

    loss = _autograd_loss(c)
    zeros = np.zeros((c.tasks, 1, 1), np.float32)

    def meta_loss(theta: Any, support: Any, query: Any) -> Any:
        phi = [(W + zeros, b + zeros) for W, b in theta] if support[0].ndim == 3 else theta
        for _ in range(c.steps):
            gradient = grad(loss)(phi, *support)
            phi = [(W - c.alpha * gW, b - c.alpha * gb)
                   for (W, b), (gW, gb) in zip(phi, gradient, strict=True)]  # fmt: skip
        return loss(phi, *query) / c.tasks

    every = value_and_grad(meta_loss)
    if stacked:
        return every

    def in_turn(theta: Any, support: Any, query: Any) -> Any:
        total, gradient = 0, [(0, 0)] * len(theta)
        for *s, xq, yq in zip(*support, *query, strict=True):
            value, own = every(theta, s, (xq, yq))
            total = total + value
            gradient = [(W + gW, b + gb)
                        for (W, b), (gW, gb) in zip(gradient, own, strict=True)]  # fmt: skip
        return total, gradient

    return in_turn


def autograd_builder(p: Problem, meta: Callable[..., Any], **options: bool) -> Implementation:
    """HIPS autograd; biases as rows, so that they may have a task axis, and classes one-hot."""
    run = meta(p.configuration, **options)
    theta = [(W, b[None]) for W, b in p.layers]
    data = (p.support, p.query)
    if p.configuration.loss == "cross_entropy":
        one_hot = np.eye(p.configuration.sizes[-1], dtype=np.float32)
        data = tuple((x, one_hot[y]) for x, y in data)
    return Implementation(lambda: run(theta, *data), lambda out: flat(out[1]))


def _torch_loss(c: Configuration) -> Callable[..., Any]:
    from torch.nn import functional

    def loss(phi: Any, h: Any, y: Any) -> Any:
        for l in range(len(phi) // 2):
            weight, bias = phi[2 * l : 2 * l + 2]  # weight (n_out, n_in), as PyTorch has it
            h = functional.relu(h) if l else h
            if c.norm and l < len(phi) // 2 - 1:
                h = (
                    functional.batch_norm(
                        functional.linear(h, weight), None, None, training=True, eps=EPS
                    )
                    + bias
                )
            else:
                h = functional.linear(h, weight, bias)
        return (
            functional.mse_loss(h, y)
            if c.loss == "squared_error"
            else functional.cross_entropy(h, y)
        )

    return loss


def _torch_func(c: Configuration, mean_first: bool) -> Callable[..., Any]:
    """All tasks at once, by vmap: the gradient of the mean, or the mean of the gradients."""
    from torch.func import grad, grad_and_value, vmap

    loss = _torch_loss(c)

    def task_loss(phi: Any, xs: Any, ys: Any, xq: Any, yq: Any) -> Any:
        for _ in range(c.steps):
            phi = [a - c.alpha * g for a, g in zip(phi, grad(loss)(phi, xs, ys), strict=True)]
        return loss(phi, xq, yq)

    axes = (None, 0, 0, 0, 0)
    if mean_first:
        return grad_and_value(lambda *arguments: vmap(task_loss, axes)(*arguments).mean())
    every = vmap(grad_and_value(task_loss), axes)

    def meta(*arguments: Any) -> Any:
        gradients, values = every(*arguments)
        return [g.mean(0) for g in gradients], values.mean()

    return meta


def _torch_loop(c: Configuration) -> Callable[..., Any]:
    """Task after task with ``create_graph``, each freeing its graph before the next begins."""
    import torch

    loss = _torch_loss(c)

    def meta(theta: Any, *data: Any) -> Any:
        theta = [a.detach().requires_grad_() for a in theta]
        value = torch.zeros(())
        for xs, ys, xq, yq in zip(*data, strict=True):
            phi = theta
            for _ in range(c.steps):
                gradient = torch.autograd.grad(loss(phi, xs, ys), phi, create_graph=True)
                phi = [a - c.alpha * g for a, g in zip(phi, gradient, strict=True)]
            query_loss = loss(phi, xq, yq) / c.tasks
            query_loss.backward()  # adds to theta's .grad
            value += query_loss.detach()
        return [a.grad for a in theta], value

    return meta


def torch_builder(p: Problem, meta: Callable[..., Any], **options: bool) -> Implementation:
    """Eager PyTorch, weights laid out as its own layers have them."""
    import torch

    run = meta(p.configuration, **options)
    theta = [torch.tensor(np.ascontiguousarray(a.T)) for layer in p.layers for a in layer]
    data = [torch.tensor(a) for a in (*p.support, *p.query)]
    data = [a.long() if a.dtype == torch.int32 else a for a in data]  # classes
    return Implementation(
        lambda: run(theta, *data), lambda out: np.concatenate([a.numpy().T.ravel() for a in out[0]])
    )


def _variants(builder: Any, meta: Any, *options: str) -> dict[str, Builder]:
    """Every combination of the options, by name."""
    chosen = itertools.product((True, False), repeat=len(options))
    return {
        ", ".join(f"{name}={value}" for name, value in zip(options, values, strict=True)): partial(
            builder, meta=meta, **dict(zip(options, values, strict=True))
        )
        for values in chosen
    }


PEERS: dict[str, dict[str, Builder]] = {  # name: {way to write it: builder}
    "JAX vmap": _variants(jax_builder, jax_vmap, "scan", "mean_first"),
    "JAX in turn": _variants(jax_builder, jax_in_turn, "scan"),
    "autograd": _variants(autograd_builder, _autograd, "stacked"),
    "torch.func": _variants(torch_builder, _torch_func, "mean_first"),
    "PyTorch loop": _variants(torch_builder, _torch_loop),
}
# autograd has no convolutions, and PyTorch's have no zeros that lie around the edges like these.
NO_IMAGES = {"autograd", "torch.func", "PyTorch loop"}
NEEDS = {
    "JAX vmap": "jax", "JAX in turn": "jax", "autograd": "autograd",
    "torch.func": "torch", "PyTorch loop": "torch",
}  # fmt: skip


def builders(name: str, c: Configuration) -> dict[str, Builder]:
    """The ways to write ``name`` that are worth trying on this configuration."""
    if name in (NUMAML, PLAIN, FIRST_ORDER):
        return {"": partial(numaml_builder, name=name)}
    if c.image and name in NO_IMAGES:
        return {}
    skipped = {"scan=True": c.steps < 2, "scan=False": c.steps > UNROLLED_STEPS}
    weights = sum(i * o for i, o in c.shapes)
    stacked = 4 * weights * c.tasks * c.steps < STACKED_BYTES
    skipped |= {"stacked=True": not stacked}
    skipped |= {"stacked=False": stacked and c.steps > UNROLLED_STEPS}  # not the faster then
    out = [option for option, is_out in skipped.items() if is_out]
    return {way: one for way, one in PEERS[name].items() if not any(o in way for o in out)}


def missing() -> dict[str, str]:
    """Peers that cannot run here, and the package that each lacks."""
    return {name: p for name, p in NEEDS.items() if importlib.util.find_spec(p) is None}
