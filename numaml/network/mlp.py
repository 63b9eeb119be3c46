"""The multilayer perceptron: four passes over rows of examples.

    (F1) z_l = N(h_{l-1} W_l) + b_l                  (R1) = R{F1}
    (F2) h_l = s(z_l)                                (R2) = R{F2}
    (B1) δ_{l-1} = s′(z_{l-1}) ∘ (c_l W_lᵀ)           (R3) = R{B1}
    (B2) ∂W_l = h_{l-1}ᵀ c_l, ∂b_l = 1ᵀ δ_l, c_l = J_l δ_l   (R4) = R{B2}

N normalises, and J_l is its Jacobian; without a normalisation N(a) = a and c_l = δ_l. The last
layer is linear and never normalised: u = z_L = h_{L-1} W_L + b_L. The code counts layers from 0,
so ``hs[l]`` is the *input* of layer ``l`` and ``zs[l]`` its pre-activation. A pass needs of a
weight only ``h @ W`` and ``c @ W.mT``, and leaves a gradient as pairs (h, c), which `factored` may
or may not multiply out; a task axis, if there is one, leads. Derived in
``derivations/1-backpropagation.md``, ``2-r-operator.md`` and ``6-normalisation.md``.
"""

from __future__ import annotations  # numpy.random is named, not loaded: 8 ms of the import

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..engine.parts import over_blocks
from ..weights.factored import Outer, Vector, Weights, plus, tasks_of, times
from ..weights.theta import Array, Layers, pack, size, unpack
from . import inputs as validation
from .activations import ACTIVATIONS, Activation, Function
from .losses import LOSSES
from .normalisation import AXES, normalise


class Trace(NamedTuple):
    """What `forward` and `backward` computed and the R-passes use again."""

    hs: list[Array]
    zs: list[Array]  # empty, like es, where s″ is 0 and nothing asks for them again
    ns: list[Any]  # N(h_{l-1} W_l) of the hidden layers, None where there is no normalisation
    s1: list[Array]  # s′(z_l) of the hidden layers
    deltas: list[Array]
    es: list[Array]  # e_{l-1}, the cotangent of h_{l-1}
    cs: list[Any]  # (c_l, m_l): J_l δ_l, the cotangent of h_{l-1} W_l, and what R{J_l} needs


def forward(layers: Weights, x: Array, s: Function, axis: int) -> tuple[list[Any], ...]:
    """(F1), (F2): every layer's input h, pre-activation z and N; the last z is u."""
    hs, zs, ns = [x], [], []
    for l, (W, b) in enumerate(layers):
        hidden, a = l < len(layers) - 1, hs[l] @ W
        n = normalise(a, axis) if axis and hidden else None
        ns.append(n)
        zs.append(plus(n.x if n else a, b, spare=l > 0 and not n))  # (F1)
        if hidden:
            hs.append(s(zs[l]))  # (F2)
    return hs, zs, ns


def r_forward(layers: Weights, dots: Weights, trace: Trace) -> tuple[list[Any], ...]:
    """(R1), (R2): the tangents of `forward` along ``dots = [(W_dot, b_dot), …]``, with x fixed."""
    h_dots: list[Any] = [None]  # h_dot_0 = 0 is left out of every product
    z_dots, n_dots = [], []
    for l, ((W, _), (W_dot, b_dot), n) in enumerate(zip(layers, dots, trace.ns, strict=True)):
        a_dot = trace.hs[l] @ W_dot  # (R1) = R{F1}
        if l:
            a_dot += h_dots[l] @ W  # (R1) = R{F1}, second term
        n_dots.append(n.jacobian(a_dot) if n else (a_dot, None))
        z_dots.append(plus(n_dots[l][0], b_dot, spare=not n))  # (R1) = R{F1}, third term
        if l < len(layers) - 1:
            h_dots.append(times(z_dots[l], trace.s1[l], spare=not trace.zs))  # (R2) = R{F2}
    return h_dots, z_dots, n_dots


def backward(
    layers: Weights, hs: list[Array], zs: list[Array], ns: list[Any], ss: Activation, delta: Array
) -> tuple[list[Outer], Trace]:
    """(B1), (B2): the gradient as outer products, and the trace, from δ_L; ss is (s, s′, s″)."""
    _, s_prime, s2 = ss
    s1 = [s_prime(z) for z in zs[:-1]]
    outers, deltas, es, cs = [], [delta], [], []
    for l in reversed(range(len(layers))):
        cs.append(ns[l].jacobian(deltas[-1]) if ns[l] else (deltas[-1], None))
        outers.append(([(hs[l], cs[-1][0])], deltas[-1]))  # (B2)
        if l:
            es.append(cs[-1][0] @ layers[l][0].mT)
            deltas.append(times(es[-1], s1[l - 1], spare=not s2))  # (B1)
    zs, es = (zs, es[::-1]) if s2 else ([], [])
    return outers[::-1], Trace(hs, zs, ns, s1, deltas[::-1], es, cs[::-1])


def r_backward(
    layers: Weights, dots: Weights, trace: Trace, tangents: Any, delta_dot: Array, s2: Any
) -> list[Outer]:
    """(R3), (R4): the tangent of the gradient as outer products, from δ_dot_L."""
    hs, zs, ns, s1, deltas, es, cs = trace
    h_dots, z_dots, n_dots = tangents
    outers: list[Outer] = []
    for l in reversed(range(len(layers))):
        (W, _), (W_dot, _), (c, m) = layers[l], dots[l], cs[l]
        c_dot = ns[l].r_jacobian(deltas[l], c, m, delta_dot, *n_dots[l]) if ns[l] else delta_dot
        pairs = [(hs[l], c_dot)]  # (R4) = R{B2}
        if l:
            pairs.append((h_dots[l], c))  # (R4) = R{B2}, second term
        outers.append((pairs, delta_dot))
        if l:
            e_dot = plus(c_dot @ W.mT, c @ W_dot.mT)  # (R3) = R{B1}
            delta_dot = times(e_dot, s1[l - 1])
            if s2:
                delta_dot += s2(zs[l - 1]) * z_dots[l - 1] * es[l - 1]  # (R3) = R{B1}, second term
    return outers[::-1]


@dataclass(frozen=True)
class MLP:
    """Multilayer perceptron ``u = s(… s(x W_1 + b_1) …) W_L + b_L`` and its loss, without state.

    Parameters
    ----------
    sizes : sequence of int
        Widths (n_in, hidden …, n_out), at least two, each >= 1.
    activation : str or triple of callables
        "relu", "tanh", "softplus", "sigmoid", "identity", "square", or (s, s′, s″), each taking
        and returning an array; None for an s″ that is zero everywhere. Not applied to the output.
        relu′(0) is 0.
    loss : str
        "squared_error": the mean over examples *and* outputs of (u − y)².
        "cross_entropy": the mean over examples of −ln softmax(u)[y], natural logarithm.
    norm : None, "batch" or "layer"
        Normalisation of the hidden layers, ``z_l = N(h_{l-1} W_l) + b_l`` with
        ``N(a) = (a − mean) / √(variance + 1e-5)``, the variance being the plain mean of squares.
        "batch": over the examples of the batch at hand, per task and feature, in training *and* at
        test, as MAML's own code does; no running statistics exist, so a prediction depends on the
        other examples in its batch, and a batch of one example is mapped to b_l whatever it is.
        "layer": over the features of each example. Either has no parameters: b plays the part of
        the shift, and theta's layout does not change. A constant feature is mapped to b_l.

    Raises
    ------
    TypeError, ValueError
        If sizes are not integers >= 1, or a name is unknown.

    Notes
    -----
    Theta is one vector of P numbers, ``[W1.ravel(), b1, W2.ravel(), b2, …]`` in C order, W being
    (n_in, n_out). The dtype of every result follows theta: float32, float64, complex128 (for the
    complex step) or object (for exact arithmetic, with polynomial activations; x and y are object
    arrays too, or integers).

    References
    ----------
    Pearlmutter 1994, "Fast Exact Multiplication by the Hessian", section 4.1 for the R-passes.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> model = numaml.MLP((2, 16, 3), activation="tanh", loss="cross_entropy")
    >>> model.size
    99
    >>> theta = model.init(0)
    >>> batch = numaml.Batch(np.eye(2), np.array([0, 2]))
    >>> value, gradient, hvp = model.linearize(theta, batch)
    >>> ahead, _, _ = model.linearize(theta + 1e-6 * gradient, batch)
    >>> bool(np.isclose((ahead - value) / 1e-6, gradient @ gradient, rtol=1e-4))
    True
    """

    sizes: tuple[int, ...]
    activation: str | Activation = "relu"
    loss: str = "squared_error"
    norm: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", validation.as_sizes(self.sizes))
        validation.check_activation(self.activation, ACTIVATIONS)
        validation.check_name("loss", self.loss, LOSSES)
        validation.check_name("norm", self.norm, AXES)

    @property
    def size(self) -> int:
        """Length P of theta."""
        return size(self.sizes)

    @property
    def _activation(self) -> Activation:
        return ACTIVATIONS[self.activation] if isinstance(self.activation, str) else self.activation

    def init(self, rng: np.random.Generator | int, dtype: Any = np.float64) -> Array:
        """Random theta (P,): W ~ N(0, g/n_in), g = 2 for relu and 1 otherwise; b = 0.

        Parameters
        ----------
        rng : numpy Generator or int
            Where the numbers come from, or a seed.
        dtype : dtype
            float32, float64 or complex128; the same numbers, rounded.

        Returns
        -------
        theta : (P,) array

        References
        ----------
        He et al. 2015, "Delving Deep into Rectifiers", equation 10 (relu).

        Examples
        --------
        >>> import numaml
        >>> numaml.MLP((3, 4, 2)).init(0).shape
        (26,)
        """
        validation.check_inexact(dtype)
        rng, gain = np.random.default_rng(rng), 2 if self.activation == "relu" else 1
        theta = np.zeros(self.size)
        for W, _ in self.unpack(theta):
            W[...] = rng.normal(0, np.sqrt(gain / W.shape[0]), W.shape)
        return theta.astype(dtype)

    def unpack(self, theta: Array) -> Layers:
        """Views ``[(W, b), …]`` into theta, W (…, n_in, n_out) and b (…, n_out); nothing is copied.

        Parameters
        ----------
        theta : (…, P) array

        Raises
        ------
        TypeError, ValueError
            If the dtype or the last axis is wrong.

        Examples
        --------
        >>> import numaml
        >>> model = numaml.MLP((3, 4, 2))
        >>> theta = model.init(0)
        >>> [(W.shape, b.shape) for W, b in model.unpack(theta)]
        [((3, 4), (4,)), ((4, 2), (2,))]
        >>> bool((model.pack(model.unpack(theta)) == theta).all())
        True
        """
        return unpack(validation.as_vector(theta, self.size, self.sizes), self.sizes)

    def pack(self, layers: Sequence[tuple[Any, Any]]) -> Array:
        """Theta (…, P) from ``[(W, b), …]``, the inverse of `unpack`.

        Parameters
        ----------
        layers : sequence of (W, b)
            Blocks of exactly the shapes (…, n_in, n_out) and (…, n_out), the same task axes in
            front of all.

        Raises
        ------
        TypeError, ValueError
            If a block has any other shape (nothing is broadcast or transposed) or dtype.
        """
        theta = pack(validation.as_layers(layers, self.sizes))
        return validation.as_vector(theta, self.size, self.sizes)

    def predict(self, theta: Any, x: Array) -> Array:
        """Output u (…, n, n_out) of the network: scores before softmax for "cross_entropy".

        Parameters
        ----------
        theta : (P,) or (T, P) array
        x : (n, n_in) or (T, n, n_in) array

        Raises
        ------
        TypeError, ValueError
            If shapes or dtypes do not fit.

        Examples
        --------
        >>> import numpy as np, numaml
        >>> model = numaml.MLP((1, 1), activation="identity")
        >>> model.predict(np.array([2.0, 1.0]), np.array([[3.0], [4.0]]))
        array([[7.],
               [9.]])
        """
        if not isinstance(theta, Vector):
            (theta,), x = self.lift(theta), validation.as_inputs(x, np.asarray(theta), self.sizes)
        return forward(theta.layers, x, self._activation[0], AXES[self.norm])[1][-1]

    def value(self, theta: Any, batch: Any) -> Any:
        """Loss: a scalar, or (T,) for a stack of T tasks.

        Parameters
        ----------
        theta : (P,) or (T, P) array
            Shared by all tasks, or one row per task.
        batch : Batch

        Raises
        ------
        TypeError, ValueError
            If shapes, dtypes or classes do not fit.
        """
        if not isinstance(theta, Vector):
            theta, batch = self.lift(theta, batch)
        return LOSSES[self.loss](self.predict(theta, batch.x), batch.y)[0]

    def linearize(self, theta: Any, batch: Any) -> tuple[Any, Array, Callable[[Any], Array]]:
        """Loss, its gradient, and its Hessian-vector product ``hvp(v) = H v``, from one trace.

        Parameters
        ----------
        theta : (P,) or (T, P) array
            Shared by all tasks, or one row per task.
        batch : Batch

        Returns
        -------
        value : scalar or (T,) array
        gradient : (P,) or (T, P) array
            One row per task, also when theta is shared.
        hvp : callable
            Takes v (P,) or (T, P) and returns H v of the gradient's shape, for every task its own
            H. With one task, v may be a stack (m, P) of vectors. May be called any number of times.

        Raises
        ------
        TypeError, ValueError
            If shapes, dtypes or classes do not fit.

        References
        ----------
        Pearlmutter 1994, "Fast Exact Multiplication by the Hessian", section 4.1.

        Examples
        --------
        >>> import numpy as np, numaml
        >>> model = numaml.MLP((2, 4, 3), activation="tanh")
        >>> rng = np.random.default_rng(0)
        >>> batch = numaml.Batch(rng.normal(size=(5, 2)), rng.normal(size=(5, 3)))
        >>> _, _, hvp = model.linearize(model.init(0), batch)
        >>> H = hvp(np.eye(model.size))
        >>> bool(np.allclose(H, H.T, rtol=0, atol=1e-15))
        True
        """
        if isinstance(theta, Vector):
            return self._linearize(theta, batch)
        value, gradient, hvp = self._linearize(*self.lift(theta, batch))

        def flat_hvp(v: Array) -> Array:
            v = validation.as_direction(v, np.asarray(theta), np.shape(value), self.sizes)
            return np.asarray(hvp(Vector(self.sizes, flat=v)))

        return value, np.asarray(gradient), flat_hvp

    def lift(self, theta: Array, *batches: Any) -> tuple[Any, ...]:
        """Check theta and batches and give them in the form that is fast to adapt, W + UᵀV.

        `numaml.adapt` and its kin call this once, before any work. ``value`` and ``linearize``
        take the vector that comes back in place of theta, with a batch of the same call.

        Parameters
        ----------
        theta : (P,) or (T, P) array
        *batches : Batch

        Returns
        -------
        theta, *batches

        Raises
        ------
        TypeError, ValueError
            If shapes, dtypes or classes do not fit.
        """
        theta = validation.as_vector(theta, self.size, self.sizes)
        rows = [validation.as_rows(batch, theta, self) for batch in batches]
        return Vector.lift(theta, self.sizes, tasks_of(rows[0].x) if rows else 1), *rows

    over_blocks = over_blocks

    def _linearize(self, theta: Vector, batch: Any) -> tuple[Any, Any, Callable[[Any], Any]]:
        layers, (s, _, s_second) = theta.layers, self._activation
        hs, zs, ns = forward(layers, batch.x, s, AXES[self.norm])
        value, delta, hessian = LOSSES[self.loss](zs[-1], batch.y)
        outers, trace = backward(layers, hs, zs, ns, self._activation, delta)

        def hvp(v: Vector) -> Vector:
            tangents = r_forward(layers, v.layers, trace)
            delta_dot = hessian(tangents[1][-1])
            outers = r_backward(layers, v.layers, trace, tangents, delta_dot, s_second)
            return Vector.of(outers, self.sizes, theta.known)

        return value, Vector.of(outers, self.sizes, theta.known), hvp
