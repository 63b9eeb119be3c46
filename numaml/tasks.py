"""Where tasks come from: support/query pairs, MAML's sinusoids, N-way K-shot classification."""

from __future__ import annotations  # numpy.random is named, not loaded: 8 ms of the import

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples ``x`` with targets ``y``; of one task, or of T tasks along a leading axis.

    Parameters
    ----------
    x : (n, n_in) or (T, n, n_in) array
    y : (…, n, n_out) array, or (…, n) integer classes for "cross_entropy"
        The axes before n are those of x.

    Raises
    ------
    TypeError, ValueError
        If the shapes do not match, the batch is empty, or a number is NaN or infinite.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> x = np.linspace(-1, 1, 10)
    >>> numaml.Batch(x[:, None], x**2)
    Traceback (most recent call last):
        ...
    ValueError: y has shape (10,) and holds numbers, not classes; want (10, n_out): y[..., None] ...
    >>> numaml.Batch(x[:, None], x[:, None] ** 2).y.shape
    (10, 1)
    """

    x: Array
    y: Array

    def __post_init__(self) -> None:
        x, y = _numbers(self.x, "x"), _numbers(self.y, "y")
        if x.ndim not in (2, 3):
            raise ValueError(f"x has shape {x.shape}; want (n, n_in), or (T, n, n_in) for T tasks")
        if 0 in x.shape or 0 in y.shape:
            raise ValueError(f"x has shape {x.shape} and y {y.shape}; want at least one of each")
        rows = x.shape[:-1]
        if y.shape == rows and y.dtype.kind not in "iu":
            raise ValueError(
                f"y has shape {y.shape} and holds numbers, not classes; want "
                f"{(*rows, 'n_out')}: y[..., None] for one output".replace("'", "")
            )
        if y.shape != rows and y.shape[:-1] != rows:
            raise ValueError(
                f"x has shape {x.shape} and y {y.shape}; want y {(*rows, 'n_out')}, or {rows} for "
                "integer classes".replace("'", "")
            )
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)


@dataclass(frozen=True, eq=False)
class Tasks:
    """Support and query sets of one task, or of T tasks along the same leading axis.

    Parameters
    ----------
    support, query : Batch
        May differ in their number of examples, in nothing else.

    Raises
    ------
    TypeError, ValueError
        If the number of tasks, features or outputs differs.
    """

    support: Batch
    query: Batch

    def __post_init__(self) -> None:
        for name in ("support", "query"):
            if not isinstance(getattr(self, name), Batch):
                raise TypeError(f"{name} is {type(getattr(self, name)).__name__}; want a Batch")
        axis = self.support.x.ndim - 2  # the examples: the one axis that may differ
        for name in ("x", "y"):
            s, q = getattr(self.support, name).shape, getattr(self.query, name).shape
            if s[:axis] + s[axis + 1 :] != q[:axis] + q[axis + 1 :] or len(s) != len(q):
                raise ValueError(
                    f"{name} has shape {s} in the support and {q} in the query; want the same "
                    f"but for the number of examples (axis {axis})"
                )


def _numbers(array: Any, name: str) -> Array:
    """An array of finite numbers (exact ones in object arrays), or an error."""
    array = np.asarray(array)
    if array.dtype.kind not in "biufcO":
        raise TypeError(f"{name} has dtype {array.dtype}; want numbers")
    if array.dtype.kind in "fc" and not np.isfinite(array).all():
        where = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
        raise ValueError(f"{name}{list(where)} is {array[where]}; want finite numbers")
    return array


def _at_least_1(name: str, number: int) -> None:
    if number < 1:
        raise ValueError(f"{name} is {number}; want at least 1")


def sinusoid(amplitude: Any, phase: Any, x: Array) -> Array:
    """MAML's regression target ``A sin(x − φ)``."""
    return amplitude * np.sin(x - phase)


@dataclass(frozen=True)
class Sinusoids:
    """Source of MAML's sinusoid tasks: called with a Generator, it draws fresh `Tasks`.

    ``y = A sin(x − φ)``, amplitude A ~ U[0.1, 5], phase φ ~ U[0, π], x ~ U[−5, 5].

    Parameters
    ----------
    tasks : int
        Number T of tasks per call.
    shots : int
        Support examples per task.
    queries : int
        Query examples per task.

    Raises
    ------
    ValueError
        If a number is below 1.

    References
    ----------
    Finn, Abbeel, Levine 2017, section 5.1. (The JAX and functorch tutorials draw A from
    U[0.1, 0.5] and call it the paper's task.)

    Examples
    --------
    >>> import numpy as np, numaml
    >>> tasks = numaml.Sinusoids(tasks=25, shots=10)(np.random.default_rng(0))
    >>> tasks.support.x.shape, tasks.query.y.shape
    ((25, 10, 1), (25, 10, 1))
    """

    tasks: int = 25
    shots: int = 10
    queries: int = 10

    def __post_init__(self) -> None:
        for name in ("tasks", "shots", "queries"):
            _at_least_1(name, getattr(self, name))

    def draw(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw amplitudes and phases, each (T, 1, 1).

        Parameters
        ----------
        rng : numpy Generator
            It is advanced.
        """
        shape = (self.tasks, 1, 1)
        return rng.uniform(0.1, 5.0, shape), rng.uniform(0.0, np.pi, shape)

    def __call__(self, rng: np.random.Generator) -> Tasks:
        amplitude, phase = self.draw(rng)
        x = rng.uniform(-5.0, 5.0, (self.tasks, self.shots + self.queries, 1))
        y = sinusoid(amplitude, phase, x)
        shots = self.shots
        return Tasks(Batch(x[:, :shots], y[:, :shots]), Batch(x[:, shots:], y[:, shots:]))


@dataclass(frozen=True, eq=False)
class FewShot:
    """Source of N-way K-shot tasks from labelled examples: called with a Generator, draws `Tasks`.

    Every task has its own classes, drawn without replacement and numbered 0 … ways − 1 in the order
    drawn, and of each class its own examples, drawn without replacement: ``shots`` of them for the
    support set, ``queries`` others for the query set.

    Parameters
    ----------
    x : (n, …) array
        Examples; further axes (of images) are flattened. Kept as it is, not copied. Integers, e.g.
        the bytes of pixels, become float32 as they are drawn.
    y : (n,) array
        Integer labels, any integers. Classes may differ in their number of examples.
    ways : int
        Classes per task.
    shots, queries : int
        Support and query examples per class.
    tasks : int
        Number T of tasks per call.
    scale : float
        Factor on x as it is drawn, e.g. 1/255.

    Raises
    ------
    TypeError, ValueError
        If x and y are not as said, a number is below 1, there are fewer classes than ways, or
        fewer than shots + queries examples of a class.

    References
    ----------
    Vinyals et al. 2016, "Matching Networks for One Shot Learning", section 4; Finn, Abbeel, Levine
    2017, section 5.2.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> rng = np.random.default_rng(0)
    >>> images, labels = rng.integers(0, 256, (60, 8, 8), np.uint8), np.repeat(np.arange(12), 5)
    >>> source = numaml.FewShot(images, labels, ways=4, shots=2, queries=3, tasks=7, scale=1 / 255)
    >>> tasks = source(rng)
    >>> tasks.support.x.shape, tasks.query.x.shape
    ((7, 8, 64), (7, 12, 64))
    >>> tasks.support.y[0]
    array([0, 0, 1, 1, 2, 2, 3, 3])
    """

    x: Array
    y: Array
    ways: int = 5
    shots: int = 1
    queries: int = 1
    tasks: int = 32
    scale: float = 1.0
    # Examples of the class number c: rows[starts[c]:][:counts[c]].
    _rows: Array = field(init=False, repr=False)
    _starts: Array = field(init=False, repr=False)
    _counts: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        x, y = np.asarray(self.x), np.asarray(self.y)
        if x.dtype.kind not in "biuf" or y.dtype.kind not in "iu":
            raise TypeError(
                f"x has dtype {x.dtype} and y {y.dtype}; want real numbers and integer labels"
            )
        if x.ndim < 2 or y.shape != x.shape[:1]:
            raise ValueError(
                f"x has shape {x.shape} and y {y.shape}; want (n, …) examples and (n,) labels"
            )
        for name in ("ways", "shots", "queries", "tasks"):
            _at_least_1(name, getattr(self, name))
        if not math.isfinite(self.scale):
            raise ValueError(f"scale is {self.scale}; want a finite number")
        labels, counts = np.unique(y, return_counts=True)
        self._check_counts(labels, counts)
        rows, starts = np.argsort(y, kind="stable"), np.cumsum(counts) - counts
        own = {"_rows": rows, "_starts": starts, "_counts": counts}
        for name, array in {"x": x.reshape(len(x), -1), "y": y, **own}.items():
            object.__setattr__(self, name, array)

    def _check_counts(self, labels: Array, counts: Array) -> None:
        if len(labels) < self.ways:
            raise ValueError(f"y has {len(labels)} classes; {self.ways}-way tasks need as many")
        wanted, fewest = self.shots + self.queries, counts.argmin()
        if counts[fewest] < wanted:
            raise ValueError(
                f"class {labels[fewest]} has {counts[fewest]} examples; shots = {self.shots} and "
                f"queries = {self.queries} need {wanted}: ask for fewer, or leave the class out"
            )

    def __call__(self, rng: np.random.Generator) -> Tasks:
        classes = distinct(rng, np.full(self.tasks, len(self._counts)), self.ways)  # (T, ways)
        examples = distinct(rng, self._counts[classes], self.shots + self.queries)
        rows = self._rows[self._starts[classes][..., None] + examples]  # (T, ways, n)
        return Tasks(self._batch(rows[..., : self.shots]), self._batch(rows[..., self.shots :]))

    def _batch(self, rows: Array) -> Batch:
        """The examples in these rows (T, ways, n), those of class 0 first."""
        x = self.x.take(rows.reshape(self.tasks, -1), axis=0)
        dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
        y = np.broadcast_to(np.arange(self.ways)[:, None], rows.shape)
        return Batch(np.multiply(x, self.scale, dtype=dtype), y.reshape(self.tasks, -1))


def distinct(rng: np.random.Generator, below: Array, count: int) -> Array:
    """``count`` distinct integers in [0, below), every ordered choice equally likely.

    ``below`` is (…), the result (…, count).
    """
    drawn = rng.integers(0, below[..., None] - np.arange(count))
    # drawn[i] counts among the numbers that those before i left over: the digits of a Lehmer code.
    for i in reversed(range(count - 1)):
        drawn[..., i + 1 :] += drawn[..., i + 1 :] >= drawn[..., i : i + 1]
    return drawn


def split_classes(labels: Any, train: int, validation: int, seed: int) -> tuple[Array, ...]:
    """Split classes at random into those for training, for validation, and for the test.

    Parameters
    ----------
    labels : array
        Class labels, each once or any number of times, in any order: the split depends on which
        there are and on nothing else.
    train, validation : int
        Number of classes for training, at least 1, and for validation; the others are the test's.
    seed : int
        Of the split.

    Returns
    -------
    train, validation, test : arrays
        Labels.

    Raises
    ------
    ValueError
        If no class is left for the test.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> y = np.repeat(np.arange(10), 4)
    >>> train, validation, test = numaml.split_classes(y, train=6, validation=1, seed=0)
    >>> len(train), len(validation), len(test)
    (6, 1, 3)
    >>> sorted(np.concatenate([train, validation, test]).tolist()) == list(range(10))
    True
    """
    known = np.unique(labels)
    if train < 1 or validation < 0 or train + validation >= len(known):
        raise ValueError(
            f"got {len(known)} classes for train = {train} and validation = {validation}; want "
            "train >= 1, validation >= 0 and at least one class left for the test"
        )
    shuffled = np.random.default_rng(seed).permutation(known)
    return tuple(np.split(shuffled, [train, train + validation]))


def glyphs(
    rng: np.random.Generator | int, classes: int = 100, examples: int = 20
) -> tuple[Array, Array]:
    """Handwriting without a download: 8×8-pixel drawings of random characters, and their labels.

    A character is a line through four random points; every drawing of it moves each of them a
    little.

    Parameters
    ----------
    rng : numpy Generator or int
        Where the numbers come from, or a seed.
    classes : int
        Characters.
    examples : int
        Drawings of each.

    Returns
    -------
    x : (classes · examples, 8, 8) uint8 array
        Ink 255 on 0.
    y : (classes · examples,) array
        Labels 0 … classes − 1.

    Examples
    --------
    >>> import numpy as np, numaml
    >>> x, y = numaml.glyphs(0, classes=30, examples=6)
    >>> for row in x[0]:
    ...     print("".join(".:+#"[ink // 64] for ink in row))
    +.......
    ##:.....
    #+#+....
    :#:##:..
    .#+.+##:
    .....:#+
    ........
    ........
    >>> source = numaml.FewShot(x, y, ways=5, shots=1, scale=1 / 255)
    >>> source(np.random.default_rng(0)).query.x.shape
    (32, 5, 64)
    """
    rng = np.random.default_rng(rng)
    corners = rng.uniform(0.5, 6.5, (classes, 1, 4, 1, 2))
    points = corners + rng.normal(0, 0.4, (classes, examples, 4, 1, 2))
    start, way = points[..., :-1, :, :], np.diff(points, axis=2)  # of the three strokes
    pixels = np.indices((8, 8)).reshape(2, 64).T
    along = ((pixels - start) * way).sum(-1, keepdims=True) / (way**2).sum(-1, keepdims=True)
    nearest = start + along.clip(0, 1) * way  # point of each stroke to each pixel
    distance = ((pixels - nearest) ** 2).sum(-1).min(2)  # squared; (classes, examples, 64)
    ink = np.exp(-distance / 0.8)
    x = np.round(255 * ink).astype(np.uint8).reshape(-1, 8, 8)
    return x, np.repeat(np.arange(classes), examples)
