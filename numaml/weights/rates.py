"""Inner learning rates as structures: one for all, for each layer, each block, each parameter.

A structure is what a user writes: a number; a tuple with one entry a layer, each a number, None (no
step moves it, and it has no rate) or a pair for W and b; an array laid out as θ; a list with one of
these for every step; and a dict that adds a momentum or a pull. `described` gives any of them with
every kind named, in numbers, dicts and lists alone: JSON changes nothing of it, and it is a
structure as well. `parsed` gives its numbers as one vector and, apart, which of them goes where.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .factored import Factored, Layered
from .nothing import NOTHING
from .numbers import NO_RING, as_numbers
from .refusals import plain, refuse_kinds
from .scalars import as_real, in_ring
from .theta import Array

WANT = (
    "want a real number; a tuple with a number, None or a pair (W, b) for each layer; an array "
    "(P,) laid out as theta; or a list with one of these for each step"
)
KINDS = ("layers", "parameters", "steps")
EXTRAS = ("momentum", "pull")


Blocks = tuple[tuple[int, int], ...]  # of every layer the lengths of W and b


class Each(NamedTuple):
    """A rate for each parameter: where in the vector of all rates they begin and end."""

    start: int
    stop: int


# Which of the rates a step has: the place of one for all; of every layer the places for W and b,
# None where nothing moves; or those of each parameter.
Entry = int | tuple[tuple[int | None, int | None], ...] | Each


class Form(NamedTuple):
    """Of every inner step its entry; how long W and b are; the places of momentum and pull."""

    steps: tuple[Entry, ...]
    blocks: Blocks = ()
    momentum: int | None = None
    pull: int | None = None

    @property
    def by_parameter(self) -> bool:
        """Whether a parameter has a rate of its own; then every weight is multiplied out."""
        return any(isinstance(entry, Each) for entry in self.steps)


class Rates(NamedTuple):
    """All rates as one vector, in θ's dtype, and what each of them is for."""

    values: Array
    form: Any  # a `Form`, or a rule of the user's own, which has no rates


def described(alpha: Any) -> Any:
    """The same structure in numbers, dicts and lists, with a name for each kind.

    Raises
    ------
    TypeError, ValueError
        If it is no structure, or a number in it is none.

    Examples
    --------
    >>> import numpy as np
    >>> from numaml.weights.rates import described
    >>> described((None, (None, 0.1)))
    {'layers': [None, {'W': None, 'b': 0.1}]}
    >>> described([0.1, np.array([0.2, 0.3])])
    {'steps': [0.1, {'parameters': [0.2, 0.3]}]}
    """
    rates, extras = _apart(alpha)
    found = _described(rates)
    return {"rates": found, **{k: _number(v, k) for k, v in extras.items()}} if extras else found


def _described(alpha: Any, inside: str = "") -> Any:
    kind, content = _kind(alpha, inside)
    if kind == "parameters":
        content = np.asarray(content)
        whole = [_number(one, "a rate in alpha") for one in content.ravel().tolist()]
        return {kind: whole if content.ndim else whole[0]}
    if kind == "pair":
        return dict(zip("Wb", (_or_none(one) for one in content), strict=True))
    if kind in KINDS:
        return {kind: [_described(one, kind) for one in content]}
    return None if content is None else _number(content, "a rate in alpha")


def parsed(alpha: Any, theta: Array, blocks: Callable[[], Blocks], steps: int) -> Rates:
    """A structure's rates for a θ with these blocks, which are asked for if need be, and K steps.

    Raises
    ------
    TypeError, ValueError
        If it is no structure, does not fit θ, its layers or the steps, or moves nothing.
    """
    rates, extras = _apart(alpha)
    reader = _Reader(theta, blocks)
    kind, content = _kind(rates)
    if kind == "steps":
        if not content or len(content) != steps:
            raise ValueError(
                f"alpha has rates for {len(content)} steps; steps is {steps}: want one entry for "
                "each, in order"
            )
        entries = [reader.entry(one, "steps") for one in content]
    else:
        entries = [reader.entry(rates)] * steps
    places = {name: reader.place(value, name) for name, value in extras.items()}
    return Rates(np.concatenate(reader.found), Form(tuple(entries), reader.blocks, **places))


class _Reader:
    """The rates found so far."""

    def __init__(self, theta: Array, asked: Callable[[], Blocks]) -> None:
        self.theta, self.asked, self.blocks = theta, asked, Blocks()
        self.found, self.count = list[Array](), 0

    def add(self, values: Array) -> int:
        with np.errstate(over="ignore", under="ignore"):
            cast = values.astype(self.theta.dtype)
        if cast.dtype.kind == "f" and not np.isfinite(cast).all():
            raise ValueError(f"alpha holds rates beyond theta's {cast.dtype}; want smaller ones")
        self.found.append(cast)
        self.count += len(values)
        return self.count - len(values)

    def place(self, value: Any, name: str) -> int:
        exact = self.theta.dtype.hasobject
        one = np.empty(1, object if exact else float)
        one[0] = in_ring(name, value, self.theta) if exact else _number(value, name)
        return self.add(one)

    def entry(self, alpha: Any, inside: str = "") -> Entry:
        kind, content = _kind(alpha, inside, self.theta.dtype.hasobject)
        if kind == "parameters":
            return self.each(plain(content, "alpha"))
        if kind == "number":
            return self.place(content, "a rate in alpha")
        self.blocks = self.asked()
        count = len(self.blocks)
        if len(content) != count:
            raise ValueError(
                f"alpha has {len(content)} entries, and the model {count} layers; want one for "
                "each: a number, None or a pair (W, b)"
            )
        pairs = tuple(self.pair(one) for one in content)
        if set().union(*pairs) == {None}:
            raise ValueError("alpha is None in every layer, so no step moves anything; want a rate")
        return pairs

    def pair(self, alpha: Any) -> tuple[int | None, int | None]:
        kind, content = _kind(alpha, "layers", self.theta.dtype.hasobject)
        if kind != "pair":
            place = None if content is None else self.place(content, "a rate in alpha")
            return place, place
        W, b = (None if one is None else self.place(one, "a rate in alpha") for one in content)
        return W, b

    def each(self, rates: Array) -> Each:
        if rates.shape not in ((), self.theta.shape):
            raise ValueError(
                f"alpha has shape {rates.shape} and theta {self.theta.shape}; want one rate, or "
                "one for each parameter, laid out as theta"
            )
        rates = np.broadcast_to(rates, self.theta.shape)
        if self.theta.dtype.hasobject:
            refuse_kinds(rates.astype(object), "alpha", NO_RING)
        elif rates.dtype.kind not in "fiu":
            raise TypeError(f"alpha has dtype {rates.dtype}; want real numbers")
        elif rates.dtype.kind == "f":
            rates = as_numbers(rates, "alpha")
        return Each(self.add(rates), self.count)


def _apart(alpha: Any) -> tuple[Any, dict[str, Any]]:
    """The rates alone, and momentum and pull where they are given."""
    if not isinstance(alpha, dict) or "rates" not in alpha:
        return alpha, {}
    extras = {name: alpha[name] for name in EXTRAS if alpha.get(name) is not None}
    if unknown := set(alpha) - {"rates", *EXTRAS}:
        raise ValueError(f"alpha has {', '.join(map(repr, sorted(unknown)))}; want rates, "
                         "momentum and pull")  # fmt: skip
    return alpha["rates"], extras


def _kind(alpha: Any, inside: str = "", ring: bool = False) -> tuple[str, Any]:
    """Which kind of structure, and what it is made of."""
    kind, content = "number", alpha
    if isinstance(alpha, dict):
        if set(alpha) == {"W", "b"}:
            kind, content = "pair", (alpha["W"], alpha["b"])
        elif len(alpha) == 1 and set(alpha) <= set(KINDS):
            ((kind, content),) = alpha.items()
        else:
            kind = "no structure"
    elif isinstance(alpha, tuple):
        kind = "pair" if inside == "layers" else "layers"
    elif isinstance(alpha, list):
        kind = "steps"
    elif isinstance(alpha, np.ndarray) and not isinstance(alpha, np.ma.MaskedArray) and alpha.ndim:
        kind = "parameters"
    fits = {"": ("number", *KINDS), "steps": ("number", "layers", "parameters"),
            "layers": ("number", "pair")}[inside]  # fmt: skip
    sound = kind == "number" or kind == "parameters" or isinstance(content, tuple | list)
    if kind not in fits or not sound or (kind == "pair" and len(content) != 2):
        raise TypeError(f"alpha{f', in its {inside},' * bool(inside)} is {alpha!r:.200}; {WANT}")
    if kind == "number" and content is None and inside != "layers":
        raise TypeError(f"alpha is None; {WANT}")
    return kind, content


def _number(rate: Any, name: str) -> float:
    """A rate as Python's number; it may be negative."""
    return as_real(name, rate, meant="a real number")


def _or_none(rate: Any) -> float | None:
    return None if rate is None else _number(rate, "a rate in alpha")


class Blockwise:
    """A number for each block of a vector that is kept layer by layer; NOTHING where none moves."""

    def __init__(self, numbers: Sequence[tuple[Any, Any]]) -> None:
        self.numbers = numbers

    def __mul__(self, vector: Layered) -> Layered:
        both = zip(self.numbers, vector.layers, strict=True)
        return Layered([(of_W * W, of_b * b) for (of_W, of_b), (W, b) in both])


def factor(entry: Entry, values: Array, blocks: Blocks, layered: bool) -> Any:
    """What to multiply a vector like θ by, so that each parameter meets its rate."""
    if isinstance(entry, Each):
        return values[entry.start : entry.stop]
    if isinstance(entry, int):
        return values[entry, ...]
    if layered:
        return Blockwise([(_of(values, W), _of(values, b)) for W, b in entry])
    flat = [block for both in zip(entry, blocks, strict=True) for block in zip(*both, strict=True)]
    ones = [(place, np.ones(length, values.dtype)) for place, length in flat]
    return np.concatenate([
        0 * one if place is None else values[place : place + 1] * one for place, one in ones
    ])  # fmt: skip


def _of(values: Array, place: int | None) -> Any:
    return NOTHING if place is None else values[place, ...]


def by_rates(entry: Entry, a: Any, b: Any, blocks: Blocks) -> list[tuple[Any, Any]]:
    """a ∘ b, added up over what shares a rate: [(place, sum for each task), …]."""
    if isinstance(entry, Each):
        return [(entry, a * b)]
    if isinstance(a, Layered):
        axes: Any = (-2, -1)
        flat, others = ([block for layer in one.layers for block in layer] for one in (a, b))
    elif isinstance(entry, int):
        return [(entry, np.add.reduce(a * b, -1))]
    else:
        axes, ends = -1, np.cumsum([length for both in blocks for length in both])[:-1].tolist()
        flat, others = (np.split(one, ends, -1) for one in (a, b))
    places = [entry] * len(flat) if isinstance(entry, int) else [p for pair in entry for p in pair]
    three = zip(places, flat, others, strict=True)
    sums = [(place, inner(one, other, axes)) for place, one, other in three if place is not None]
    return [(place, total) for place, total in sums if total is not NOTHING]


def inner(a: Any, b: Any, axes: Any) -> Any:
    """⟨a, b⟩ of two blocks for each task; a's pairs are not multiplied out."""
    if a is NOTHING or b is NOTHING:
        return NOTHING
    if not isinstance(a, Factored):
        return np.add.reduce(a * b, axes)
    total = NOTHING if a.base is None else np.add.reduce(a.base * b.multiplied_out(), axes)
    for h, c in a.pairs:
        total = total + np.add.reduce(c * (h @ b), axes)  # (G4)
    return total
