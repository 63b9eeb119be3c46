"""Verdicts: parts of an answer are compared with the truth, and what is wrong gets a name."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .diagnosis import RIGHT, UNCLEAR, WRONG, ZERO, Evidence, Part, norm, recognise
from .probe import DOUBLE, SINGLE

# A long chain of operations loses more than the last digit: eps^0.6 is 4e-10 in float64 and 7e-5
# in float32. What agrees to that, as far as the method sees, is the same number.
ROUNDING_POWER = 0.6
# Derivatives of unit directions are sums over all of theta: this many eps of the largest.
ROUNDING_OF_SUMS = 16
ESTIMATES = 3  # an error estimate is trusted up to this factor
# Where more than this much of a derivative is noise, agreement says nothing.
RESOLUTION = 0.05


def tolerance(eps: float) -> float:
    """Relative error that rounding may make in a format with spacing eps."""
    return float(eps**ROUNDING_POWER)


class Block(NamedTuple):
    """Verdict on one block."""

    name: str
    verdict: str  # "right", "wrong", "cannot tell"; "zero": both are, as far as can be seen
    error: float  # relative
    visible: float  # the smallest relative error that the method would have seen


@dataclass(frozen=True)
class Report:
    """What a check found; true as a condition only if the verdict is "right".

    Parameters
    ----------
    what : str
        What was checked.
    verdict : str
        "right", "wrong", or "cannot tell" if rounding or a kink hides the answer.
    error, where : float, str
        The worst block's relative error, and its name.
    looks_like : str
        The kind of mistake, if it is wrong and one was recognised.
    method, step : str, float
        How the truth was found, and the smallest step taken.
    order : float
        Order of the Taylor remainder with the slope under test: 2 if right, 1 if wrong, NaN if
        rounding hides it or it was not looked at.
    blocks : tuple of Block
        ``name, verdict, error, visible`` of every block.
    notes : tuple of str
    """

    what: str
    verdict: str
    error: float
    where: str
    looks_like: str
    method: str
    step: float
    order: float
    blocks: tuple[Block, ...]
    notes: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.verdict == RIGHT

    def __str__(self) -> str:
        width = max(len(block.name) for block in self.blocks)
        lines = [f"{self.what}: {self.verdict.upper()}"]
        if self.looks_like:
            lines.append(f"  it looks like {self.looks_like}")
        lines.append(f"  {'':{width}}    error  visible from")
        for name, verdict, error, visible in self.blocks:
            lines.append(f"  {name:{width}}  {error:7.0e}       {visible:7.0e}  {verdict}")
        lines.append(f"  by {self.method}, step {self.step:.0e}")
        if not math.isnan(self.order):
            lines.append(
                f"  the Taylor remainder falls with order {self.order:.1f} (2 if right, 1 if not)"
            )
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])


def assert_right(report: Report) -> None:
    """Raise an AssertionError with the whole report unless its verdict is "right".

    "cannot tell" fails too: a test that cannot tell is no test.

    Parameters
    ----------
    report : Report
        What a function of `numaml.check` returned.

    Raises
    ------
    AssertionError

    Examples
    --------
    >>> import numpy as np
    >>> from numaml import check
    >>> x = np.array([0.3, 0.4, 0.5])
    >>> check.assert_right(check.gradient(lambda x: np.sin(x) @ np.sin(x), np.sin(2 * x), x))
    >>> check.assert_right(check.gradient(lambda x: np.sin(x) @ np.sin(x), np.sin(x), x))
    Traceback (most recent call last):
        ...
    AssertionError: gradient: WRONG
    ...
    """
    if not report:
        raise AssertionError(str(report))


def judge(what: str, evidence: Evidence) -> Report:
    """Compare and name. Nothing passes because it is small: every error is relative."""
    parts, notes = _with_rounding(evidence), list(evidence.notes)
    allowed = tolerance(evidence.eps)
    largest = max(norm(part.want) for part in parts)
    blocks = tuple(_block(part, allowed, largest) for part in parts)
    verdict, looks_like = _verdict(parts, blocks), ""
    if evidence.kinks:
        notes.append(
            f"the point sits on a kink in {evidence.kinks} directions (a ReLU at 0?), where there "
            "is no gradient: add a little noise to it and check again"
        )
    if verdict == RIGHT and evidence.eps > DOUBLE:
        name = {SINGLE: "float32 "}.get(evidence.eps, "")
        notes.append(f"right to the {name}precision it was computed in")
    if verdict == UNCLEAR:
        notes.append(_why_unclear(blocks))
    if verdict == WRONG:
        looks_like = recognise(evidence, {block.name: block.verdict for block in blocks})
        largest = max(block.error for block in blocks if block.verdict == WRONG)
        if not looks_like and evidence.eps == DOUBLE and largest < tolerance(SINGLE):
            verdict = UNCLEAR
            notes.append(
                "an error of the size of float32 rounding in float64 numbers: a small mistake, or "
                "something in it runs in float32"
            )
    worst = max(blocks, key=lambda block: (block.verdict == WRONG, block.error))
    return Report(
        what, verdict, worst.error, worst.name, looks_like,
        evidence.method, evidence.step, evidence.order, blocks, tuple(notes),
    )  # fmt: skip


def _with_rounding(evidence: Evidence) -> list[Part]:
    """What rounding may do to a part that is small beside the others goes into its error."""
    largest = max(float(np.max(np.abs(part.want), initial=0.0)) for part in evidence.parts)
    rounding = ROUNDING_OF_SUMS * evidence.eps * largest
    return [part._replace(error=part.error + rounding) for part in evidence.parts]


def _block(part: Part, allowed: float, largest: float) -> Block:
    got, want, noise = norm(part.got), norm(part.want), ESTIMATES * norm(part.error)
    if not np.isfinite(part.want).all():
        return Block(part.name, UNCLEAR, math.inf, math.inf)
    if not np.isfinite(part.got).all():
        return Block(part.name, WRONG, math.inf, allowed)
    if got == want == 0 or max(got, want) <= noise <= RESOLUTION * largest:
        return Block(part.name, ZERO, 0.0, math.inf)
    if max(got, want) <= noise:
        return Block(part.name, UNCLEAR, math.inf, math.inf)
    error, visible = part.distance / (want or got), noise / (want or got)
    if error > allowed + visible:
        return Block(part.name, WRONG, error, max(allowed, visible))
    verdict = RIGHT if visible <= RESOLUTION else UNCLEAR
    return Block(part.name, verdict, error, max(allowed, visible))


def _verdict(parts: list[Part], blocks: tuple[Block, ...]) -> str:
    found = {block.verdict for block in blocks}
    if WRONG in found:
        return WRONG
    if UNCLEAR in found:
        return UNCLEAR
    if RIGHT in found or all(part.distance == 0 for part in parts):
        return RIGHT
    return UNCLEAR


def _why_unclear(blocks: tuple[Block, ...]) -> str:
    hidden = [block.name for block in blocks if block.verdict == UNCLEAR]
    if not hidden:
        return "the derivative is zero as far as can be seen: nothing to compare with"
    return f"noise is above {100 * RESOLUTION:g} % of the derivative in {', '.join(hidden)}"
