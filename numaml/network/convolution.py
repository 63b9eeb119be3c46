"""A network of convolutions: a layer's weight sees patches of an image, under the same four passes.

    (C1) h @ W = G(h) W,   c @ W.mT = Gᵀ(c Wᵀ),   ∂W = G(h)ᵀ c

G is fixed and linear: it puts the k × k pixels around every position into one row, or takes the
mean over all positions. Rows are examples and positions, columns channels, so that a batch's
normalisation, the biases and all else are those of any network. Where the largest of a window is
taken, the activation decides which that is and makes 0 of the others, and a sum is part of G:

    (C2) h = [z is the largest of its window] ∘ s(z),   s′ and s″ alike

Derived in ``derivations/10-convolution.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..weights.factored import Outer, Vector
from ..weights.nothing import NOTHING
from ..weights.products import row_sum
from ..weights.theta import Array, Shapes
from . import settings
from .activations import Activation, Function
from .network import Network


class Patches(NamedTuple):
    """The k × k patches of images, ``stride`` pixels apart; beyond the edge all is 0.

    Those of a window of pool × pool positions follow each other.
    """

    height: int
    width: int
    channels: int
    kernel: int
    stride: int
    pool: int = 1

    @property
    def out(self) -> tuple[int, int]:
        """Positions downwards and to the right."""
        return -(-self.height // self.stride), -(-self.width // self.stride)

    @property
    def positions(self) -> int:
        """Of an image."""
        return math.prod(self.out)

    def gathered(self, h: Array) -> Array:
        """G(h): images (…, n·H·W, C) as patches (…, n·positions, k·k·C)."""
        if h is NOTHING:
            return h
        spots = _with_a_zero(h, self.height * self.width).take(reads(self), -2)
        return spots.reshape(*h.shape[:-2], -1, self.kernel**2 * self.channels)

    def scattered(self, c: Array, WT: Any) -> Array:
        """Gᵀ(c Wᵀ): of every pixel the sum over the patches that it is in."""
        c = _with_a_zero(c, self.positions)
        e = c.reshape(*c.shape[:-3], -1, c.shape[-1]) @ WT  # its last rows of each image are 0
        each = (self.positions + 1) * self.kernel**2
        spots = e.reshape(*e.shape[:-2], -1, each, self.channels)
        first, *others = readers(self)
        total = spots.take(first, -2)
        for places in others:
            total = total + spots.take(places, -2)
        return total.reshape(*e.shape[:-2], -1, self.channels)


class Mean(NamedTuple):
    """The mean over all positions."""

    positions: int

    def gathered(self, h: Array) -> Array:
        """G(h): (…, n·positions, C) as (…, n, C)."""
        if h is NOTHING:
            return h
        return _summed(h, self.positions) / self.positions

    def scattered(self, c: Array, WT: Any) -> Array:
        """Gᵀ(c Wᵀ): to every position its share."""
        return _spread((c @ WT) / self.positions, self.positions)


class Windows(NamedTuple):
    """The sum over every window, and what follows."""

    each: int  # positions of a window
    then: Patches | Mean

    def gathered(self, h: Array) -> Array:
        """G(h): of the sums (…, n·windows, C) what follows makes."""
        return h if h is NOTHING else self.then.gathered(_summed(h, self.each))

    def scattered(self, c: Array, WT: Any) -> Array:
        """Gᵀ(c Wᵀ): to every position of a window the same."""
        return _spread(self.then.scattered(c, WT), self.each)


class Convolution:
    """A weight W that is multiplied by G(h)."""

    __array_ufunc__ = None  # so that h @ weight asks __rmatmul__

    def __init__(self, G: Patches | Mean | Windows, W: Any) -> None:
        self.G, self.W = G, W

    def __rmatmul__(self, h: Array) -> Any:
        return self.G.gathered(h) @ self.W  # (C1)

    @property
    def mT(self) -> Transposed:
        """The transpose, Gᵀ after Wᵀ."""
        return Transposed(self.G, self.W.mT)


class Transposed(Convolution):
    """Its transpose."""

    def __rmatmul__(self, c: Array) -> Any:
        return self.G.scattered(c, self.W)  # (C1)


@lru_cache(64)
def reads(G: Patches) -> Array:
    """The pixel of every spot of every patch, H·W for what is beyond the edge."""
    found = []
    for size, out in zip((G.height, G.width), G.out, strict=True):
        beyond = max((out - 1) * G.stride + G.kernel - size, 0)
        start = G.stride * np.arange(out) - beyond // 2  # of an odd number the larger half behind
        found.append(start[:, None] + np.arange(G.kernel))
    down, right = found[0][:, None, :, None], found[1][None, :, None, :]
    inside = (down >= 0) & (down < G.height) & (right >= 0) & (right < G.width)
    pixel = np.where(inside, down * G.width + right, G.height * G.width)
    (rows, columns), p = G.out, G.pool
    return _kept(pixel.reshape(rows // p, p, columns // p, p, -1).swapaxes(1, 2).ravel())


@lru_cache(64)
def readers(G: Patches) -> Array:
    """The spots that read every pixel, (times, H·W); behind the last spot there is a zero."""
    pixel, pixels = reads(G), G.height * G.width
    spots = np.flatnonzero(pixel < pixels)
    spots = spots[np.argsort(pixel[spots], kind="stable")]
    counts = np.bincount(pixel[spots], minlength=pixels)
    time = np.arange(len(spots)) - np.repeat(np.cumsum(counts) - counts, counts)
    found = np.full((counts.max(), pixels), len(pixel))
    found[time, pixel[spots]] = spots
    return _kept(found)


def among(f: Function, s: Function, each: int) -> Function:
    """f(z) where s(z) is the largest of its window, the first of those alike; elsewhere 0."""
    before = np.tri(each, k=-1)

    def of_the_largest(z: Array) -> Array:
        h = s(z)
        windows = h.real.reshape(*h.shape[:-2], -1, each, h.shape[-1])
        largest = windows == np.maximum.reduce(windows, -2, keepdims=True)
        first = largest & (before @ largest == 0)
        return f(z) * first.astype(h.dtype).reshape(h.shape)  # (C2)

    return of_the_largest


def _summed(rows: Array, each: int) -> Array:
    """(…, n·each, C) as (…, n, C)."""
    *lead, _, C = rows.shape
    return row_sum(rows.reshape(*lead, -1, each, C)).reshape(*lead, -1, C)


def _spread(rows: Array, each: int) -> Array:
    """(…, n, C) as (…, n·each, C), each row so many times."""
    zeros = np.zeros((each, 1), rows.dtype)
    return (rows[..., None, :] + zeros).reshape(*rows.shape[:-2], -1, rows.shape[-1])


def _kept(array: Array) -> Array:
    array.flags.writeable = False
    return array


def _with_a_zero(rows: Array, each: int) -> Array:
    """(…, n·each, C) as (…, n, each + 1, C), the last row of each being 0."""
    rows = rows.reshape(*rows.shape[:-2], -1, each, rows.shape[-1])
    zeros = np.zeros((*rows.shape[:-2], 1, rows.shape[-1]), rows.dtype)
    return np.concatenate([rows, zeros], -2)


@dataclass(frozen=True)
class ConvNet(Network):
    """Convolutions ``z_l = N(G(h_{l-1}) W_l) + b_l``, then the mean over positions and a head.

    Parameters
    ----------
    image : (height, width, channels)
        Of the inputs. A row of x is an image in C order, its channels together:
        ``x[i].reshape(height, width, channels)``.
    layers : sequence of (filters, kernel, stride)
        Of every convolution its number of outputs at each position, the width k of its k × k
        patches, and how many pixels they are apart. A layer has ⌈height/stride⌉ · ⌈width/stride⌉
        positions. Beyond the edges there are zeros, as many as that takes, half of them before and
        half behind, of an odd number the one more behind ("SAME" in TensorFlow).
    n_out : int
        Outputs of the head, which sees the mean of every filter over all positions.
    activation, loss, norm
        As for `numaml.MLP`. "batch" normalises over the examples *and* positions of the batch at
        hand, "layer" over the filters at each position; the head is never normalised.
    pool : int
        Of every layer the next one sees, of windows of pool × pool positions side by side, the
        largest number of each filter ("max pooling"). A layer's positions downwards and to the
        right must be multiples of it.

    Raises
    ------
    TypeError, ValueError
        If a number is no integer >= 1, windows do not fit, or a name is unknown.

    Notes
    -----
    Theta is one vector as that of `numaml.MLP`, W being (k·k·C, filters): the rows of a patch from
    the top, in each the pixels from the left, of each the channels. So
    ``W.reshape(k, k, C, filters)`` is a kernel of TensorFlow. ``sizes`` are the numbers that an
    example has in every layer, (height·width·channels, positions·filters, …, n_out).

    References
    ----------
    Finn, Abbeel, Levine 2017, section 5.2: four layers of 64 filters with kernel 3 and stride 2 for
    Omniglot, ``ConvNet((28, 28, 1), ((64, 3, 2),) * 4, ways, "relu", "cross_entropy", "batch")``.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> model = numaml.ConvNet((6, 5, 1), ((4, 3, 2), (3, 2, 1)), 2, loss="cross_entropy")
    >>> model.sizes, model.size
    ((30, 36, 27, 2), 99)
    >>> [(W.shape, b.shape) for W, b in model.unpack(model.init(0))]
    [((9, 4), (4,)), ((16, 3), (3,)), ((3, 2), (2,))]
    >>> rng = np.random.default_rng(0)
    >>> batch = numaml.Batch(rng.normal(size=(7, 5, 30)), np.tile([0, 1, 1, 0, 1], (7, 1)))
    >>> tasks = numaml.Tasks(batch, batch)                # 7 tasks of 5 images
    >>> value, gradient = numaml.meta_gradient(model, model.init(0), tasks, alpha=0.1, steps=2)
    >>> gradient.shape
    (99,)
    """

    image: tuple[int, int, int]
    layers: tuple[tuple[int, int, int], ...]
    n_out: int
    activation: str | Activation = "relu"
    loss: str = "squared_error"
    norm: str | None = None
    pool: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "image", settings.as_image(self.image))
        object.__setattr__(self, "layers", settings.as_convolutions(self.layers))
        object.__setattr__(self, "n_out", settings.as_outputs(self.n_out))
        object.__setattr__(self, "pool", settings.as_count("pool", self.pool))
        settings.check_names(self.activation, self.loss, self.norm, self.n_out)
        for l, G in enumerate(self.patches):
            if any(n % self.pool for n in G.out):
                raise ValueError(
                    f"layers[{l}] has {G.out[0]} × {G.out[1]} positions, and pool is {self.pool}; "
                    "want multiples of it: another image, stride or pool"
                )

    @cached_property
    def patches(self) -> tuple[Patches, ...]:
        """G of every convolution."""
        (height, width, channels), found = self.image, list[Patches]()
        for filters, kernel, stride in self.layers:
            G = Patches(height, width, channels, kernel, stride, self.pool)
            (height, width), channels = (n // self.pool for n in G.out), filters
            found.append(G)
        return tuple(found)

    @property
    def maps(self) -> tuple[Patches | Mean | Windows, ...]:
        """G of every layer but the first, whose h is G(x) already."""
        each = self.pool**2
        mean = Mean(self.patches[-1].positions // each)
        maps: tuple[Patches | Mean, ...] = (*self.patches[1:], mean)
        return maps if each == 1 else tuple(Windows(each, G) for G in maps)

    @property
    def _activation(self) -> Activation:
        s, s_prime, s_second = super()._activation
        if self.pool == 1:
            return s, s_prime, s_second
        each = self.pool**2
        bend = None if s_second is None else among(s_second, s, each)
        return among(s, s, each), among(s_prime, s, each), bend

    @cached_property
    def sizes(self) -> tuple[int, ...]:  # type: ignore[override]  # computed, not given
        """Numbers of an example in every layer: (H·W·C, positions·filters, …, n_out)."""
        hidden = zip(self.patches, self.layers, strict=True)
        return (math.prod(self.image), *[G.positions * n for G, (n, _, _) in hidden], self.n_out)

    @cached_property
    def shapes(self) -> Shapes:  # type: ignore[override]  # computed, not given
        """Of every layer the shape (k·k·C, filters) of its weight W."""
        rows = [G.kernel**2 * G.channels for G in self.patches]
        filters = [filters for filters, _, _ in self.layers]
        return (*zip(rows, filters, strict=True), (filters[-1], self.n_out))

    def rows(self, n: int) -> tuple[int, ...]:
        """Rows of every layer's products for n examples: one for each position of each.

        Parameters
        ----------
        n : int
        """
        return (*[n * G.positions for G in self.patches], n)

    def trace_size(self, n: int, m: int, steps: int) -> int:
        """Numbers that one task's traces hold; an estimate, right within a factor of two.

        Of every layer at every step h, q, z, s′, δ, c and the patches; φ_k; and the query's pass.

        Parameters
        ----------
        n, m, steps : int
            Support and query examples; inner steps.
        """
        seen = zip(self.patches, self.shapes, strict=False)  # the head sees few
        each = 6 * sum(self.sizes[1:]) + sum(G.positions * n_in for G, (n_in, _) in seen)
        return steps * (n * each + self.size) + m * each

    def _columns(self, vector: Vector) -> tuple[list[Any], list[Any]]:
        W, b = super()._columns(vector)
        seen = [
            one if one is NOTHING else Convolution(G, one)
            for G, one in zip(self.maps, W[2:], strict=True)
        ]
        return [*W[:2], *seen], b

    def _input(self, x: Array) -> Array:
        return super()._input(self.patches[0].gathered(x.reshape(*x.shape[:-2], -1, self.image[2])))

    def _gradient(self, outers: Sequence[Outer], theta: Vector) -> Vector:
        rest = zip(self.maps, outers[1:], strict=True)
        seen = [([(G.gathered(h), c) for h, c in pairs], delta) for G, (pairs, delta) in rest]
        return super()._gradient([outers[0], *seen], theta)  # (C1)
