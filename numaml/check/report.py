"""Verdicts: parts of an answer are compared with the truth, and what is wrong gets a name."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .diagnosis import (
    RIGHT,
    UNCLEAR,
    WRONG,
    ZERO,
    Evidence,
    Likeness,
    Part,
    is_clear,
    recognise,
    tolerance,
)
from .probe import DOUBLE, SINGLE
from .scale import norm

# Derivatives of unit directions are sums over all of theta: this many eps of the largest.
ROUNDING_OF_SUMS = 16
ROUGH = 64  # times that: what is smaller a deep network may have lost, and only clear faults count
ESTIMATES = 3  # an error estimate is trusted up to this factor
DOUBTFUL = 5  # times what is visible: an error that fits no mistake has to be larger than that
# Where more than this much of a derivative is noise, agreement says nothing.
RESOLUTION = 0.05
# A block hidden in noise is passed over, and named, if it is this small beside the largest one.
BLIND = 1e-3
UNSEEN = 1e-30  # beside the largest: what could be as large is named though both are exactly 0
FORMATS = {SINGLE: "float32", float(np.finfo("f2").eps): "float16"}

NOTHING_KNOWN = "it looks like no mistake that is known here"
LIKE_FLOAT32 = (
    "an error of the size of float32 rounding in float64 numbers: a small mistake, or something in "
    "it runs in float32"
)


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
    distance : float
        How far the answer is from what it looks like, beside its own size: compare it with
        ``error``. NaN where nothing was recognised, or only block by block.
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
    distance: float = math.nan

    def __bool__(self) -> bool:
        return self.verdict == RIGHT

    def __str__(self) -> str:
        width = max(len(block.name) for block in self.blocks)
        lines = [f"{self.what}: {self.verdict.upper()}"]
        if self.looks_like:
            lines.append(f"  it looks like {self.looks_like}")
            if not math.isnan(self.distance):
                right = self.blocks[0].error
                lines.append(f"  sure: {self.distance:.0e} off that, {right:.0e} off the right one")
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
    TypeError
        If it is no `Report`: an `Orders`, say, has no verdict.

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
    if not isinstance(report, Report):
        raise TypeError(f"got {type(report).__name__}; want the Report of a check, e.g. gradient")
    if not report:
        raise AssertionError(str(report))


def judge(what: str, evidence: Evidence) -> Report:
    """Compare and name. Nothing passes because it is small: every error is relative."""
    parts = _with_rounding(evidence)
    allowed = tolerance(evidence.eps)
    largest = max(norm(part.want) for part in parts)
    blocks = tuple(_block(part, allowed, largest) for part in parts)
    notes = [*evidence.notes, *_beforehand(evidence, parts, blocks, largest)]
    verdict, like = _verdict(parts, blocks, largest), Likeness()
    if verdict == WRONG:
        like = recognise(evidence, {block.name: block.verdict for block in blocks})
    if verdict == WRONG and not like.sentence:
        doubt = _doubt(evidence, [block for block in blocks if block.verdict == WRONG])
        verdict = UNCLEAR if doubt else WRONG
        notes.append(doubt or NOTHING_KNOWN)
    elif verdict == UNCLEAR:
        notes.append(_why_unclear(evidence, blocks))
    elif verdict == RIGHT and evidence.eps > DOUBLE:
        name = FORMATS.get(evidence.eps, "")
        notes.append(f"right to the {name} precision it was computed in".replace("  ", " "))
    worst = max(blocks, key=lambda block: (block.verdict == WRONG, block.error))
    return Report(
        what, verdict, worst.error, worst.name, like.sentence, evidence.method, evidence.step,
        evidence.order, blocks, tuple(notes), like.distance,
    )  # fmt: skip


def _doubt(evidence: Evidence, wrong: list[Block]) -> str:
    """Why an error that looks like no known mistake may be none; empty if it is one."""
    error = max(block.error for block in wrong)
    if not evidence.coarse and error < tolerance(SINGLE):
        return LIKE_FLOAT32
    noise = tolerance(evidence.eps)
    hardly = all(noise < block.visible > block.error / DOUBTFUL for block in wrong)
    if not hardly and not (evidence.coarse and error < RESOLUTION):
        return ""
    reason = "a small error, hardly above noise, that looks like no mistake known here"
    return _in_float64(evidence, reason) if evidence.coarse else f"cannot tell: {reason}"


def _in_float64(evidence: Evidence, reason: str) -> str:
    name = FORMATS.get(evidence.eps, "float32, or with noise of that size")
    return f"cannot tell in {name}: use float64 ({reason})"


def _beforehand(
    evidence: Evidence, parts: list[Part], blocks: tuple[Block, ...], largest: float
) -> list[str]:
    """Notes on kinks, and on blocks that are too small to be seen."""
    notes = []
    if evidence.kinks:
        notes.append(
            f"the point sits on a kink in {evidence.kinks} directions (a ReLU at 0?), where there "
            "is no gradient: add a little noise to it and check again"
        )
    hidden = [
        part
        for part, block in zip(parts, blocks, strict=True)
        if _passed_over(part, block, largest)
        and (part.got.any() or part.want.any() or norm(part.error) > UNSEEN * largest)
    ]
    if hidden and largest:
        sizes = [max(ESTIMATES * part.noise, norm(part.got), norm(part.want)) for part in hidden]
        notes.append(
            f"blind below {max(sizes) / largest:.0e} of the largest block: a mistake in "
            f"{', '.join(part.name for part in hidden)} would drown in rounding and noise"
        )
    return notes


def _with_rounding(evidence: Evidence) -> list[Part]:
    """What rounding may do to a part that is small beside the others goes into its error."""
    largest = max(float(np.max(np.abs(part.want), initial=0.0)) for part in evidence.parts)
    rounding = ROUNDING_OF_SUMS * evidence.eps * largest
    return [part._replace(rounding=rounding) for part in evidence.parts]


def _block(part: Part, allowed: float, largest: float) -> Block:
    got, want, noise = norm(part.got), norm(part.want), ESTIMATES * part.noise
    if not np.isfinite(part.got).all():
        return Block(part.name, WRONG, math.inf, allowed)
    if not np.isfinite(part.want).all():
        return Block(part.name, UNCLEAR, math.inf, math.inf)
    if got == want == 0 and (noise <= BLIND * largest or not largest):
        return Block(part.name, ZERO, 0.0, math.inf)
    if max(got, want) <= noise:
        return _hidden(part, allowed, noise <= BLIND * largest)
    error, visible = part.distance / (want or got), noise / (want or got)
    if part.kink:
        return Block(part.name, UNCLEAR, error, math.inf)
    if error > allowed + visible:
        if max(got, want) <= ROUGH * norm(np.full_like(part.want, part.rounding)):
            return _hidden(part, allowed, noise <= BLIND * largest)
        return Block(part.name, WRONG, error, max(allowed, visible))
    verdict = RIGHT if visible <= RESOLUTION else UNCLEAR
    return Block(part.name, verdict, error, max(allowed, visible))


def _hidden(part: Part, allowed: float, small: bool) -> Block:
    """A part that rounding of the others may have made: seen only if its own errors are less.

    Then what agrees is right, and what is the truth times -1 to many digits is wrong.
    """
    want, noise = norm(part.want), ESTIMATES * norm(part.error)
    if want and noise <= RESOLUTION * want:
        error, visible = part.distance / want, max(allowed, noise / want)
        if error <= allowed + visible:
            return Block(part.name, RIGHT, error, visible)
        if is_clear(part, allowed * want + noise):
            return Block(part.name, WRONG, error, visible)
    if small:
        return Block(part.name, ZERO, 0.0, math.inf)
    return Block(part.name, UNCLEAR, math.inf, math.inf)


def _passed_over(part: Part, block: Block, largest: float) -> bool:
    """Whether a block is nothing beside the largest, so that its noise leaves the rest clear."""
    small = ESTIMATES * part.noise <= BLIND * largest and not part.kink
    return block.verdict == ZERO or (block.verdict == UNCLEAR and small)


def _verdict(parts: list[Part], blocks: tuple[Block, ...], largest: float) -> str:
    pairs = zip(parts, blocks, strict=True)
    found = {block.verdict for part, block in pairs if not _passed_over(part, block, largest)}
    if WRONG in found:
        return WRONG
    if UNCLEAR in found:
        return UNCLEAR
    if RIGHT in found or all(part.distance == 0 for part in parts):
        return RIGHT
    return UNCLEAR


def _why_unclear(evidence: Evidence, blocks: tuple[Block, ...]) -> str:
    hidden = [block.name for block in blocks if block.verdict == UNCLEAR]
    if not hidden:
        return "the derivative is zero as far as can be seen: nothing to compare with"
    lost = [part.name for part in evidence.parts if not np.isfinite(part.want + part.error).all()]
    if lost and evidence.infinite:
        return (
            f"beside the point the function is NaN or infinite: no derivative in {', '.join(lost)}"
        )
    what = "a kink is in, or noise" if evidence.kinks else "noise"
    reason = f"{what} is above {100 * RESOLUTION:g} % of the derivative in {', '.join(hidden)}"
    if lost:
        reason = f"no difference settles in {', '.join(lost)}: a kink close by, or noise"
    return _in_float64(evidence, reason) if evidence.coarse else reason
