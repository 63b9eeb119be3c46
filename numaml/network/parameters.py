"""θ of a network: how long it is, how the layers lie in it, where it starts."""

from __future__ import annotations  # numpy.random is named, not loaded: 8 ms of the import

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ..weights.theta import Array, Layers, Shapes, pack, size, unpack
from . import inputs, settings
from .activations import GAINS, Activation


class Parameters:
    """What a network of these layers is made of, as one vector."""

    sizes: tuple[int, ...]  # numbers of an example in every layer, (n_in, …, n_out)
    shapes: Shapes  # of every layer's W
    activation: str | Activation

    @cached_property
    def size(self) -> int:
        """Length P of theta."""
        return size(self.shapes)

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
        settings.check_inexact(dtype)
        rng = np.random.default_rng(rng)
        gain = GAINS.get(self.activation, 1) if isinstance(self.activation, str) else 1
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
        return unpack(inputs.as_vector(theta, self.size, self.sizes), self.shapes)

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
        theta = pack(settings.as_layers(layers, self.shapes, self.sizes))
        return inputs.as_vector(theta, self.size, self.sizes)
