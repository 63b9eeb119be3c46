"""Steps that move the head alone (ANIL), through the head alone.

The body is θ's at every step, so the head's inputs h are computed once, and everything that leads
to φ_K is a network of one layer on them. What is left for the body is the cotangent of h, added up
over all steps, and one backward pass. Derived in ``derivations/8-family.md``.

Both are run through the passes with one more layer between them, whose weight is ONE: the body's
output is h, and δ of the layer below the head is the cotangent of h.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..maml import exact
from ..network.inputs import Rows
from ..network.losses import LOSSES
from ..network.mlp import MLP
from ..network.normalisation import NORMS
from ..network.passes import Plain, backward, forward, r_backward, r_forward
from ..weights.factored import Layered, Vector, gradient, layers_of, lift
from ..weights.nothing import NOTHING, ONE
from ..weights.rates import Form
from .inner import Stepped

Array = np.ndarray[Any, Any]


def moves_the_head(model: Any, form: Any) -> bool:
    """Whether that is all that moves, of a network in which there is more."""
    if type(model) is not MLP or len(model.sizes) < 3 or not isinstance(form, Form):
        return False
    entries: Any = form.steps
    if form.by_parameter or not entries or any(isinstance(entry, int) for entry in entries):
        return False
    return all(pair == (None, None) for entry in entries for pair in entry[:-1])


class Head:
    """The last layer as a model, which adds up the adjoints of its inputs."""

    def __init__(self, net: MLP) -> None:
        self.loss, self.shapes = LOSSES[net.loss], net.shapes[-1:]
        self.of_support, self.of_query = NOTHING, NOTHING

    def checked(self, theta: Array, *batches: Any) -> tuple[Any, ...]:
        """As they are."""
        return theta, *batches

    def lift(self, theta: Array, *batches: Any) -> tuple[Any, ...]:
        """θ in the form that is fast to adapt."""
        tasks, n, _ = (1, *batches[0].x.shape)[-3:]
        return lift(theta, self.shapes, tasks, n), *batches

    def value(self, theta: Any, batch: Rows) -> Any:
        """The loss."""
        return self.linearize(theta, batch)[0]

    def linearize(self, theta: Any, batch: Rows) -> tuple[Any, Any, Callable[[Any], Any]]:
        """The loss, the gradient by the head, and its Hessian product."""
        ((weight, bias),) = layers_of(theta, self.shapes)
        W, b = [None, ONE, weight], [None, NOTHING, bias]
        h, N, z = forward(W, b, batch.x, lambda z: z, Plain)
        value, delta, hessian = self.loss(z[-1], batch.y)
        ((_, e), outer), trace = backward(W, h, N, z, lambda _: ONE, delta)
        self.of_query = e  # (G7), for the query comes last

        def hvp(v: Any) -> Any:
            ((weight, bias),) = layers_of(v, self.shapes)
            W_dot, b_dot = [None, NOTHING, weight], [None, NOTHING, bias]
            tangents = r_forward(W, W_dot, b_dot, trace)
            delta_dot = hessian(tangents.z_dot[-1])
            (_, e_dot), outer = r_backward(W, W_dot, trace, tangents, None, delta_dot)
            self.of_support = self.of_support - e_dot  # (G7)
            return gradient([outer], theta)

        return value, gradient([outer], theta), hvp


def through_the_head(
    net: MLP, form: Form, theta: Array, S: Any, Q: Any, values: Array, steps: int
) -> tuple[Any, Array]:
    """`numaml.maml.exact` for such steps."""
    s, s_prime, _ = net._activation
    vector, *batches = net.lift(theta, S, Q)
    W, b = net._columns(vector)
    W, b = [*W[:-1], ONE], [*b[:-1], NOTHING]
    passes = [forward(W, b, batch.x, s, NORMS[net.norm]) for batch in batches]
    support, query = (
        Rows(z[-1], batch.y) for (_, _, z), batch in zip(passes, batches, strict=True)
    )
    head, entries, blocks = Head(net), form.steps, form.blocks[-1:]
    entries = tuple(entry[-1:] for entry in entries)  # type: ignore[index, misc]  # pairs, all of them
    stepped = Stepped(head, values, Form(entries, blocks, form.momentum, form.pull))
    value, of_head = exact(stepped, theta[-sum(blocks[-1]) :], support, query, 1, steps)
    bodies = []
    for (h, N, z), e in zip(passes, (head.of_support, head.of_query), strict=True):
        outers, _ = backward(W, h, N, z, s_prime, e)
        bodies.append(_mean(gradient(outers[:-1], vector), e.ndim > 2))
    return value, np.concatenate([bodies[0] + bodies[1], of_head])


def _mean(vector: Vector, tasks: bool) -> Array:
    """Over the tasks, if there are any; as one array."""
    if tasks:
        return vector.mean(0)
    return vector.flat() if isinstance(vector, Layered) else vector
