"""N-way K-shot classification tasks from labelled examples, and the split of their classes."""

from __future__ import annotations  # numpy.random is named, not loaded: 8 ms of the import

import operator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..network.settings import as_count, as_real, is_integer
from . import given
from .tasks import Batch, Tasks

Array = np.ndarray[Any, Any]

SINGLE = 2**24  # from here on float32 leaves integers out


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
        the bytes of pixels, become float32 as they are drawn, or float64 where there are some
        beyond 2^24, which float32 does not tell apart. float16 becomes float32.
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
    within : (n,) array, optional
        Labels of any kind, the same for all examples of a class, such as the alphabet of a
        character: each task has its classes from one of these, every one of them equally likely.

    Raises
    ------
    TypeError, ValueError
        If x and y are not as said, x holds integers beyond 2^53, a label is missing, a cell is
        masked, a number is below 1, there are fewer classes than ways, in all or within one of
        the labels, or fewer than shots + queries examples of a class; or a class is in two.

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
    within: Array | None = None
    # Examples of the class number c: rows[starts[c]:][:counts[c]].
    _rows: Array = field(init=False, repr=False)
    _starts: Array = field(init=False, repr=False)
    _counts: Array = field(init=False, repr=False)
    # Classes that may be in one task: classes[firsts[g]:][:sizes[g]].
    _classes: Array = field(init=False, repr=False)
    _firsts: Array = field(init=False, repr=False)
    _sizes: Array = field(init=False, repr=False)
    _dtype: np.dtype[Any] = field(init=False, repr=False)  # of x as it is drawn

    def __post_init__(self) -> None:
        groups = {} if self.within is None else {"within": self.within}
        given.same_rows(self.x, y=self.y, **groups)
        x, y = given.array(self.x, "x"), given.labels(self.y, "y")
        if x.dtype.kind == "O" or given.beyond(x, given.WHOLE):
            given.numbers(x, "x")  # says where
        if x.dtype.kind not in "biuf" or y.dtype.kind not in "iu":
            raise TypeError(
                f"x has dtype {x.dtype} and y {y.dtype}; want real numbers and integer labels"
            )
        if x.ndim < 2 or y.shape != x.shape[:1]:
            raise ValueError(
                f"x has shape {x.shape} and y {y.shape}; want (n, …) examples and (n,) labels"
            )
        for name in ("ways", "shots", "queries", "tasks"):
            as_count(name, getattr(self, name))
        as_real("scale", self.scale)
        labels, counts = np.unique(y, return_counts=True)
        self._check_counts(labels, counts)
        rows, starts = np.argsort(y, kind="stable"), np.cumsum(counts) - counts
        own = {"_rows": rows, "_starts": starts, "_counts": counts, "_dtype": _drawn(x)}
        own |= self._together(labels, rows, counts)
        for name, value in {"x": x.reshape(len(x), -1), "y": y, **own}.items():
            object.__setattr__(self, name, value)

    def _check_counts(self, labels: Array, counts: Array) -> None:
        if len(labels) < self.ways:
            raise ValueError(f"y has {len(labels)} classes; {self.ways}-way tasks need as many")
        wanted, fewest = self.shots + self.queries, counts.argmin()
        if counts[fewest] < wanted:
            raise ValueError(
                f"class {labels[fewest]} has {counts[fewest]} examples; shots = {self.shots} and "
                f"queries = {self.queries} need {wanted}: ask for fewer, or leave the class out"
            )

    def _together(self, labels: Array, rows: Array, counts: Array) -> dict[str, Array]:
        """Which classes may be in one task; without ``within``, all."""
        known, of_row = np.zeros(1), np.zeros(len(rows), int)
        if self.within is not None:
            known, of_row = given.numbered(self.within, "within")
        if len(of_row) != len(rows):
            raise ValueError(f"within has {len(of_row)} labels and y {len(rows)}; want as many")
        starts = np.cumsum(counts) - counts
        of_class = of_row[rows[starts]]
        if (torn := of_row[rows] != np.repeat(of_class, counts)).any():
            label = labels[np.repeat(np.arange(len(counts)), counts)[torn.argmax()]]
            raise ValueError(f"class {label} is within several; want the same for all its examples")
        sizes = np.bincount(of_class, minlength=len(known))
        if (sizes < self.ways).any():
            least = sizes.argmin()
            raise ValueError(
                f"within {known[least]} there are {sizes[least]} classes; {self.ways}-way tasks "
                "need as many: leave it out"
            )
        order = np.argsort(of_class, kind="stable")
        return {"_classes": order, "_firsts": np.cumsum(sizes) - sizes, "_sizes": sizes}

    def __call__(self, rng: np.random.Generator) -> Tasks:
        group = rng.integers(0, len(self._sizes), self.tasks)
        places = distinct(rng, self._sizes[group], self.ways)
        classes = self._classes[self._firsts[group][:, None] + places]  # (T, ways)
        examples = distinct(rng, self._counts[classes], self.shots + self.queries)
        rows = self._rows[self._starts[classes][..., None] + examples]  # (T, ways, n)
        return Tasks(self._batch(rows[..., : self.shots]), self._batch(rows[..., self.shots :]))

    def _batch(self, rows: Array) -> Batch:
        """The examples in these rows (T, ways, n), those of class 0 first."""
        x = self.x.take(rows.reshape(self.tasks, -1), axis=0)
        y = np.broadcast_to(np.arange(self.ways)[:, None], rows.shape)
        with np.errstate(under="ignore"):
            x = np.multiply(x, self.scale, dtype=self._dtype)
        return Batch(x, y.reshape(self.tasks, -1))


def _drawn(x: Array) -> np.dtype[Any]:
    """The dtype in which numbers that differ still do."""
    if x.dtype.kind == "f":
        return x.dtype
    return np.dtype(np.float64 if given.beyond(x, SINGLE) else np.float32)


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
    labels : (n,) array
        Class labels, each once or any number of times, in any order: the split depends on which
        there are and on nothing else.
    train, validation : int or float
        Number of classes for training, at least 1, and for validation, or their shares of all
        classes, rounded, such as 0.6 and 0.2; the others are the test's.
    seed : int
        Of the split.

    Returns
    -------
    train, validation, test : arrays
        Labels.

    Raises
    ------
    TypeError, ValueError
        If a label is missing, or no class is left for the test.

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
    known, _ = given.numbered(labels, "labels")
    return split(known, train, validation, seed, ("class", "classes"))


def split(
    known: Array, train: Any, validation: Any, seed: int, called: tuple[str, str]
) -> tuple[Array, ...]:
    """Split what is known (``called`` is its name, for one and for many) at random into three."""
    one, many = called
    first, second = _count("train", train, len(known)), _count("validation", validation, len(known))
    if first < 1 or second < 0 or first + second >= len(known):
        raise ValueError(
            f"got {len(known)} {many} for train = {train} and validation = {validation}; want "
            f"train >= 1, validation >= 0 and at least one {one} left for the test"
        )
    shuffled = np.random.default_rng(seed).permutation(known)
    return tuple(np.split(shuffled, [first, first + second]))


def _count(name: str, said: Any, total: int) -> int:
    """A number of so many, said as it is or as a share of them."""
    if isinstance(said, (float, np.floating)):
        if not 0 <= said < 1:
            raise ValueError(f"{name} is {said}; want a whole number, or a share from 0 to 1")
        return round(float(said) * total)
    if not is_integer(said):
        raise TypeError(f"{name} is {said!r}; want a whole number, or a share such as 0.6")
    return operator.index(said)
