"""What kind of mistake a wrong answer looks like.

An answer is compared with the truth changed as known mistakes change it, and with the answers
that known mistakes would give. It is said to be one of them if it is far closer to it than to the
truth, which is a test without a scale.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .scale import multiple, norm

Array = np.ndarray[Any, Any]

RIGHT, WRONG, UNCLEAR, ZERO = "right", "wrong", "cannot tell", "zero"
ANY_FACTOR = "a constant factor"
CLOSER = 20  # times closer to the mistake than to the truth
CLEARLY = 3  # times closer to a mistake than to one that was thought of before
SURE = 1e-6  # as close as this to one, nothing else is looked for
# A long chain of operations loses more than the last digit: eps^0.6 is 4e-10 in float64 and 7e-5
# in float32. What agrees to that, as far as the method sees, is the same number.
ROUNDING_POWER = 0.6
CUT_OFF = "a gradient that is cut off, zero everywhere (of theta, or of a copy of it?)"
WHOLE = "all of it"  # name of the part whose directions change every block


def tolerance(eps: float) -> float:
    """Relative error that rounding may make in a format with spacing eps."""
    return float(eps**ROUNDING_POWER)


class Part(NamedTuple):
    """A part of an answer beside the truth: derivatives along directions inside one block."""

    name: str
    got: Array
    want: Array
    error: Array  # of want, an estimate
    flipped: Array | None = None  # got, if the block had been stored transposed
    kink: bool = False  # in a direction of this part the point sits on one
    rounding: float = 0.0  # of a number in it, where the other parts are much larger

    @property
    def distance(self) -> float:
        return norm(self.got - self.want)

    @property
    def noise(self) -> float:
        """Norm of the estimated errors of ``want``, and of rounding."""
        return norm(self.error + self.rounding)


class Evidence(NamedTuple):
    """Parts that cover the answer, how they were found, and what could be wrong with it."""

    parts: list[Part]
    eps: float  # of the format that the answer was computed in
    method: str
    step: float
    order: float = math.nan
    # Sentences with the answers that these mistakes would give, part by part; made when needed.
    mistakes: Callable[[], Iterable[tuple[str, list[Array]]]] = tuple
    counts: Mapping[str, int] = {}
    kinks: int = 0  # directions in which the point sits on one
    infinite: bool = False  # beside the point a function was
    coarse: bool = False  # computed in single precision, or as noisy as if
    notes: tuple[str, ...] = ()

    @property
    def want(self) -> Array:
        return np.concatenate([part.want for part in self.parts])

    @property
    def noise(self) -> float:
        """Norm of the estimated errors of ``want``."""
        return norm(np.concatenate([part.error for part in self.parts]))


class Likeness(NamedTuple):
    """What an answer looks like, and how far it is from that, beside its own size."""

    sentence: str = ""
    distance: float = math.nan


def recognise(evidence: Evidence, verdicts: Mapping[str, str]) -> Likeness:
    """The sentence for the mistake that explains the whole answer, or what is known by block."""
    seen = [i for i, part in enumerate(evidence.parts) if verdicts[part.name] != UNCLEAR]
    parts = [evidence.parts[i] for i in seen]
    broken = [part.name for part in parts if not np.isfinite(part.got).all()]
    if broken:
        return Likeness(f"an overflow or 0/0: NaN or infinity in {', '.join(broken)}")
    got, want = _whole(parts, "got"), _whole(parts, "want")
    if not got.any():
        return Likeness(CUT_OFF, 0.0)
    near = norm(got - want) / CLOSER
    if CLOSER * near <= tolerance(evidence.eps) * norm(want):  # but for a block or two it is right
        return Likeness(_by_block(evidence, verdicts))
    factor = _of_factor(_factor(got, want, near), evidence.counts)
    scaled = Likeness(factor, _beside(got, want)) if factor else Likeness()
    if factor and not factor.endswith(ANY_FACTOR):
        return scaled
    like = Likeness()
    for sentence, answers in evidence.mistakes():
        answer = np.concatenate([answers[i] for i in seen])
        distance = norm(got - answer) / norm(got)
        if distance <= near / norm(got) and not CLEARLY * distance >= like.distance:
            like = Likeness(sentence, distance)
            if distance <= max(SURE, tolerance(evidence.eps)):
                return like
        times = _of_factor(_factor(got, answer, near), evidence.counts)
        if times and not scaled.sentence:
            scaled = Likeness(f"{sentence}; and {times}", _beside(got, answer))
    if like.sentence:
        return like
    return scaled if scaled.sentence else Likeness(_by_block(evidence, verdicts))


def _beside(got: Array, answer: Array) -> float:
    """How far it is from the nearest multiple of an answer."""
    return norm(got - multiple(got, answer) * answer) / norm(got)


def _by_block(evidence: Evidence, verdicts: Mapping[str, str]) -> str:
    """Which blocks are off, each with what explains it."""
    first = next(iter(evidence.mistakes()), None)
    found: dict[str, list[str]] = {}
    unexplained = True
    for i, part in enumerate(evidence.parts):
        if part.name == WHOLE:
            continue
        sentence = "right"
        if verdicts[part.name] == WRONG:
            sentence = _of_part(part, first and (first[0].split(":")[0], first[1][i]), evidence)
            unexplained = unexplained and sentence == "wrong"
        if verdicts[part.name] in (RIGHT, WRONG):
            found.setdefault(sentence, []).append(part.name)
    if unexplained:
        return ""
    right = found.pop("right", None)
    text = "; ".join(f"{sentence} in {', '.join(names)}" for sentence, names in found.items())
    return f"a fault in some blocks: {text}" + (f"; right in {', '.join(right)}" if right else "")


def _of_part(part: Part, first_order: tuple[str, Array] | None, evidence: Evidence) -> str:
    near = part.distance / CLOSER
    if not part.got.any():
        return "zero"
    if part.flipped is not None and norm(part.flipped - part.want) <= near:
        return "transposed"
    if first_order and norm(part.got - first_order[1]) <= near:
        return first_order[0]
    factor = _factor(part.got, part.want, near) if len(part.got) > 1 else None
    sentence = _of_factor(factor, evidence.counts)
    # Two numbers prove no factor, unless it is a nice one.
    return sentence if sentence and not sentence.endswith(ANY_FACTOR) else "wrong"


def _whole(parts: list[Part], field: str) -> Array:
    return np.concatenate([getattr(part, field) for part in parts])


def is_clear(part: Part, near: float) -> bool:
    """Whether a part is the truth times −1, n or 1/n, or transposed, as rounding never makes it."""
    if part.distance <= CLOSER * near:
        return False
    if part.flipped is not None and norm(part.flipped - part.want) <= near:
        return True
    sentence = _of_factor(_factor(part.got, part.want, near), {})
    return bool(sentence) and not sentence.endswith(ANY_FACTOR)


def _factor(got: Array, want: Array, near: float) -> float | None:
    """c with ``got = c·want``, if there is one."""
    c = multiple(got, want)
    return c if norm(got - c * want) <= near else None  # NaN is not


def _of_factor(c: float | None, counts: Mapping[str, int]) -> str:
    if not c:
        return ""
    if abs(c + 1) < 0.01:
        return "a flipped sign"
    sign, size = ("minus ", -c) if c < 0 else ("", c)
    for count, text in ((size, "a sum in place of a mean"), (1 / size, "a mean too many")):
        whole = round(count)
        if whole > 1 and abs(count - whole) < 0.01:
            who = [f"there are {n} {name}" for name, n in counts.items() if n == whole]
            times = f"{sign}{whole}" if count == size else f"{sign}1/{whole}"
            return f"{times} times the right one: {text}" + (f" ({who[0]})" if who else "")
    return f"{sign}{size:.4g} times the right one: {ANY_FACTOR}"
