"""What all networks share: layers, loss, and the four passes put together.

The passes stand in ``passes.py``, what is known of θ, activations, losses and normalisation each in
a file of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..weights.factored import Outer, Vector, gradient, layers_of, lift
from ..weights.numbers import check_numbers
from ..weights.theta import Array
from . import inputs
from .activations import ACTIVATIONS, Activation
from .inputs import Lifted, Rows
from .losses import LOSSES
from .normalisation import NORMS, centred, not_alone
from .parameters import Parameters
from .passes import Plain, backward, forward, r_backward, r_forward


class Network(Parameters):
    """A loss of layers ``z_l = N(h_{l-1} W_l) + b_l``, ``h_l = s(z_l)``, without state.

    It has of each layer the width and the shape of its matrix, and an activation, a loss and a
    normalisation, as `numaml.MLP` explains them.
    """

    loss: str
    norm: str | None

    def rows(self, n: int) -> tuple[int, ...]:
        """Rows of every layer's products for n examples.

        Parameters
        ----------
        n : int
        """
        return (n,) * len(self.shapes)

    @property
    def _activation(self) -> Activation:
        return ACTIVATIONS[self.activation] if isinstance(self.activation, str) else self.activation

    def predict(self, theta: Any, x: Array) -> Array:
        """Output u (…, n, n_out) of the network: scores before softmax for "cross_entropy".

        Parameters
        ----------
        theta : (P,) or (T, P) array
        x : (n, n_in) or (T, n, n_in) array
            Or a batch that `lift` gave, of which nothing is checked again.

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
        if isinstance(x, Lifted):
            return self._output(theta, x.x)
        theta = inputs.as_vector(theta, self.size, self.sizes)
        x = not_alone(inputs.as_inputs(x, theta, self), self)
        check_numbers(x, "x")
        return self._output(theta, self._input(x))

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
        if not isinstance(batch, Lifted):
            theta, batch = self.lift(theta, batch)
        with np.errstate(under="ignore"):
            return LOSSES[self.loss](self._output(theta, batch.x), batch.y)[0]

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
            H. With one task, v may be a stack (…, P) of vectors. May be called any number of times.

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
        if isinstance(batch, Lifted):
            with np.errstate(under="ignore"):
                return self._linearize(theta, batch)
        # Copies, for the product must be that of now whatever the caller's arrays become.
        theta, (x, y) = self._rows(theta, [batch])
        theta, rows = theta.copy(), Rows(x.copy(), y.copy())
        with np.errstate(under="ignore"):
            value, gradient, hvp = self._linearize(*self.lift(theta, rows))

        def flat_hvp(v: Array) -> Array:
            v = inputs.as_direction(v, theta, np.shape(value), self.sizes)
            return np.asarray(hvp(v))

        return value, np.asarray(gradient), flat_hvp

    def checked(self, theta: Any, *batches: Any) -> tuple[Any, ...]:
        """Theta and batches as arrays that fit each other, or an error before any work.

        Parameters
        ----------
        theta : (P,) or (T, P) array
        *batches : Batch

        Returns
        -------
        theta, *batches
            Batches as ``Rows(x, y)`` in theta's dtype, which `value` and `linearize` take as they
            are.

        Raises
        ------
        TypeError, ValueError
            If shapes, dtypes or classes do not fit, or norm is "batch" and one has a single row.
        """
        theta, *rows = self._rows(theta, batches)
        if self.norm == "batch":
            for batch in rows:
                not_alone(batch.x, self)
        return theta, *rows

    def lift(self, theta: Any, *batches: Any) -> tuple[Any, ...]:
        """Theta in the form that is fast to adapt on the first of the batches; and the batches.

        Where it pays (`numaml.engine.plan` tells) weights are kept as sums W + Σ UᵀV. ``value``
        and ``linearize`` take the vector that comes back in place of theta, with these batches.

        Parameters
        ----------
        theta : (P,) or (T, P) array
        *batches : Batch
            Checked, if they are not yet.

        Returns
        -------
        theta, *batches

        Raises
        ------
        TypeError, ValueError
            If shapes, dtypes or classes do not fit.
        """
        if not all(isinstance(batch, Rows) for batch in batches) or not batches:
            theta, *batches = self._rows(theta, batches)  # type: ignore[assignment]  # a list
        if not batches:
            return (theta,)
        rows = [Lifted(self._input(batch.x), batch.y) for batch in batches]
        tasks, n, _ = (1, *rows[0].x.shape)[-3:]
        return lift(theta, self.shapes, tasks, n), *rows

    def trace_size(self, n: int, m: int, steps: int) -> int:
        """Numbers that one task's traces hold; an estimate, right within a factor of two.

        Of every layer at every step h, s′, δ and a product; φ_k − θ as the c of all steps, or where
        that is fewer numbers multiplied out; and the query's pass.

        Parameters
        ----------
        n, m, steps : int
            Support and query examples; inner steps.
        """
        width = sum(self.sizes[1:])
        return steps * (4 * n * width + min(self.size, steps * n * width)) + 4 * m * width

    def _rows(self, theta: Any, batches: Sequence[Any]) -> tuple[Any, ...]:
        """As `checked` gives them; a loss may be of a single row."""
        theta = inputs.as_vector(theta, self.size, self.sizes)
        return theta, *inputs.alike([inputs.as_rows(batch, theta, self) for batch in batches])

    def _columns(self, vector: Vector) -> tuple[list[Any], list[Any]]:
        """W and b of every layer, counted from 1, b as a row (…, 1, n_out)."""
        W, b = zip(*layers_of(vector, self.shapes), strict=True)
        return [None, *W], [None, *b]

    def _input(self, x: Array) -> Array:
        return centred(x) if self.norm == "batch" and len(self.sizes) > 2 else x

    def _output(self, theta: Vector, x: Array) -> Array:
        with np.errstate(under="ignore"):  # a number too small to matter
            return forward(*self._columns(theta), x, self._activation[0], NORMS[self.norm])[2][-1]

    def _linearize(self, theta: Vector, batch: Rows) -> tuple[Any, Any, Callable[[Any], Any]]:
        (W, b), (s, s_prime, s_second) = self._columns(theta), self._activation
        h, N, z = forward(W, b, batch.x, s, NORMS[self.norm])
        value, delta_L, hessian = LOSSES[self.loss](z[-1], batch.y)
        outers, trace = backward(W, h, N, z, s_prime, delta_L)
        if s_second is None:  # then nobody asks for z and e again
            trace = trace._replace(z=(), e=())
        if self.norm is None:  # nor for q, whose Jacobian is 1 wherever it is
            trace = trace._replace(N=[Plain(None)] * len(N))

        def hvp(v: Vector) -> Any:
            W_dot, b_dot = self._columns(v)
            with np.errstate(under="ignore"):
                tangents = r_forward(W, W_dot, b_dot, trace)
                delta_dot_L = hessian(tangents.z_dot[-1])
                outers = r_backward(W, W_dot, trace, tangents, s_second, delta_dot_L)
                return self._gradient(outers, theta)

        return value, self._gradient(outers, theta), hvp

    def _gradient(self, outers: Sequence[Outer], theta: Vector) -> Vector:
        return gradient(outers, theta)
