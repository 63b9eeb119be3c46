"""Passes over the steps of a program: shorter lists and less memory, the same bits.

Each is a function of a few lines from a program to a program; the last decides where in memory the
values lie.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from .recording import Constant, Program, Step, View, copied, joined

# Up to so many bytes of a result, a number that meets an array is written out as large as that;
# not where NumPy has a shorter way for one number, such as 2 as an exponent.
WRITTEN_OUT = 2**12
LASTING = 2**14  # bytes of a value that may have memory of its own
LINE = 64  # bytes: values begin where a line of the cache does
MOST = 2**62  # bytes
BOOL = np.dtype(bool)
ARITHMETIC = {np.add, np.subtract, np.multiply, np.divide, np.greater, np.less}


def views_of(step: Step) -> list[View]:
    """What a step reads."""
    return [one for one in step.operands if isinstance(one, View)]


def read(program: Program) -> Program:
    """Without what nobody reads: the support losses' values, s″ where no Hessian is asked for."""
    wanted, kept = {view.value for view in program.results}, []
    for step in reversed(program.steps):
        if step.result.value in wanted:
            wanted |= {view.value for view in views_of(step)}
            kept.append(step)
    return program._replace(steps=kept[::-1])


def once(program: Program) -> Program:
    """Without what was computed before from the same arrays: x W at every step, Gram matrices."""
    known: dict[Any, int] = {}
    same: dict[int, int] = {}

    def renamed(one: Any) -> Any:
        return one._replace(value=same.get(one.value, one.value)) if isinstance(one, View) else one

    kept = []
    for step in program.steps:
        step = step._replace(operands=tuple(renamed(one) for one in step.operands))
        key = step.function, step.fixed, *((type(one), one) for one in step.operands)
        if key in known:
            same[step.result.value] = known[key]
        else:
            known[key] = step.result.value
            kept.append(step)
    return program._replace(steps=kept, results=tuple(renamed(one) for one in program.results))


def unjoined(program: Program) -> Program:
    """Without most concatenations: what only they read is written into its place at once."""
    readers = Counter(view.value for step in program.steps for view in views_of(step))
    readers.update(view.value for view in program.results)
    steps: list[list[Step]] = [[step] for step in program.steps]
    maker = {step.result.value: number for number, step in enumerate(program.steps)}
    for number, step in enumerate(program.steps):
        if step.function is not joined:
            continue
        steps[number] = []
        for part, place in _places(step):
            makers = steps[maker[part.value]] if getattr(part, "value", None) in maker else []
            moved = _moved(makers[0], part, place) if len(makers) == 1 else None
            if moved and readers[part.value] == 1 and makers[0].function is not joined:
                makers[0] = makers[0]._replace(result=moved)
            else:
                steps[number].append(Step(copied, (), (part,), place))
    return program._replace(steps=[step for some in steps for step in some])


def _places(step: Step) -> list[tuple[Any, View]]:
    """Every operand of a concatenation, and where in the result it comes to lie."""
    whole, places, stop = step.result, [], 0
    (axis,) = step.fixed
    for part in step.operands:
        shape = part.shape if isinstance(part, View) else part.array.shape
        start, stop = stop, stop + shape[axis]
        offset = whole.offset + start * whole.strides[axis]
        places.append((part, whole._replace(offset=offset, shape=shape)))
    return places


def _moved(maker: Step, part: View, place: View) -> View | None:
    """The maker's result, of which ``part`` is a reshaped view, in ``place`` if it can be."""
    made = maker.result
    if part.offset or not (contiguous(made) and contiguous(part)) or part.dtype != place.dtype:
        return None
    if np.prod(made.shape) != np.prod(part.shape):
        return None
    there = place._replace(offset=0)
    memory = np.ndarray(
        place.shape, place.dtype, np.empty(extent(there), np.uint8), 0, place.strides
    )
    view = memory.reshape(made.shape)
    if not np.may_share_memory(view, memory):  # it could not be without a copy
        return None
    return place._replace(shape=made.shape, strides=view.strides)


def elementwise(step: Step) -> bool:
    """Whether the step is a universal function that takes arrays number by number."""
    return isinstance(step.function, np.ufunc) and step.function.signature is None


def contiguous(view: Any) -> bool:
    """Whether an array lies in memory as one row, in C order."""
    wanted = view.dtype.itemsize
    for n, stride in zip(reversed(view.shape), reversed(view.strides), strict=True):
        if n > 1 and stride != wanted:
            return False
        wanted *= n
    return True


def with_arrays(program: Program) -> Program:
    """With arrays in place of numbers: NumPy makes one of each at every call (0.9 μs, then 0.3)."""
    return program._replace(steps=[_with_arrays(step) for step in program.steps])


def _with_arrays(step: Step) -> Step:
    numbers = [not hasattr(one, "strides") or isinstance(one, np.generic) for one in step.operands]
    if not any(numbers) or not elementwise(step):
        return step
    kinds = (type(one) if type(one) in (int, float, complex) else getattr(one, "dtype", BOOL)
             for one in step.operands)  # fmt: skip
    ufunc: Any = step.function
    small = step.result.dtype.itemsize * math.prod(step.result.shape) <= WRITTEN_OUT
    shape = step.result.shape if small and ufunc in ARITHMETIC else ()
    *dtypes, _ = ufunc.resolve_dtypes((*kinds, None))
    told = zip(step.operands, dtypes, numbers, strict=True)
    return step._replace(operands=tuple(
        Constant(np.full(shape, one, dtype)) if number else one for one, dtype, number in told
    ))  # fmt: skip


def in_rows(program: Program) -> Program:
    """With rows in place of whole arrays of one shape that a step goes through number by number.

    Numbers are arrays already. NumPy walks along one axis with less ado than along three: 0.3 μs
    for 0.5.
    """
    return program._replace(steps=[_in_rows(step) for step in program.steps])


def _in_rows(step: Step) -> Step:
    places = (*step.operands, step.result)
    if not (elementwise(step) or step.function is copied) or not all(
        _like(step.result, one) for one in places
    ):
        return step
    *operands, result = (_row(one) if one.shape else one for one in places)
    return step._replace(operands=tuple(operands), result=result)


def _like(result: View, one: Any) -> bool:
    return one.shape == () or (one.shape == result.shape and contiguous(one))


def _row(one: Any) -> Any:
    if isinstance(one, Constant):
        return Constant(one.array.ravel())
    return one._replace(shape=(math.prod(one.shape),), strides=(one.dtype.itemsize,))


def constants_first(program: Program, elsewhere: set[int]) -> Program:
    """With what copies the same numbers at every replay in front: it need be done only once.

    An outer product is one of matrices, with a second column of zeros: 14 copies of 161 steps.
    """
    steps = sorted(program.steps, key=lambda step: not constant(step, elsewhere))
    return program._replace(steps=steps)


def constant(step: Step, elsewhere: set[int]) -> bool:
    """Whether a step writes the same at every replay, into memory that can be its value's own."""
    copy = step.function is copied and isinstance(step.operands[0], Constant)
    return copy and step.result.value not in elsewhere and extent(step.result) <= LASTING


class Placement(NamedTuple):
    """Bytes of memory for all values, and where in it each begins."""

    bytes: int
    start: dict[int, int]


def placed(program: Program, elsewhere: set[int]) -> Placement:
    """A place for every value but those elsewhere, given away again after the value's last reader.

    Where an elementwise step is the last reader of an operand, the result takes its place.
    """
    size, last = _sizes_and_ends(program)
    last |= {step.result.value: np.inf for step in program.steps if constant(step, elsewhere)}
    start, holes, end = dict[int, int](), [(0, MOST)], 0
    for number, step in enumerate(program.steps):
        mine, dying = step.result.value, {v for v in _values(step) if last[v] == number}
        if mine not in start and mine not in elsewhere:
            taken = [v.value for v in views_of(step)
                     if v.value in dying and v.value in start and _over(step, v)
                     and size[v.value] == size[mine]]  # fmt: skip
            if taken:
                start[mine] = start[taken[0]]
                dying.discard(taken[0])
            else:
                start[mine] = _taken(lines(size[mine]), holes)
                end = max(end, start[mine] + lines(size[mine]))
        for value in sorted(dying & start.keys()):
            _given_back(start[value], start[value] + lines(size[value]), holes)
    return Placement(end, start)


def lines(size: int) -> int:
    """So many bytes, up to the end of a line of the cache."""
    return -(-size // LINE) * LINE


def _taken(size: int, holes: list[tuple[int, int]]) -> int:
    """Where so many bytes begin: in the smallest hole that is large enough."""
    start, stop = min((b - a, (a, b)) for a, b in holes if b - a >= size)[1]
    holes.remove((start, stop))
    if start + size < stop:
        insort(holes, (start + size, stop))
    return start


def _given_back(start: int, stop: int, holes: list[tuple[int, int]]) -> None:
    """A hole more, or larger ones where it borders on others."""
    for a, b in [hole for hole in holes if stop in hole or start in hole]:
        holes.remove((a, b))
        start, stop = min(start, a), max(stop, b)
    insort(holes, (start, stop))


def _values(step: Step) -> set[int]:
    return {view.value for view in (*views_of(step), step.result)}


def _sizes_and_ends(program: Program) -> tuple[dict[int, int], dict[int, float]]:
    """Of every value its bytes, and the number of the last step that reads or writes it."""
    size: Counter[int] = Counter()
    last: dict[int, float] = {}
    for number, step in enumerate(program.steps):
        for view in (*views_of(step), step.result):
            size[view.value] = max(size[view.value], extent(view))
            last[view.value] = number
    return size, last | dict.fromkeys((view.value for view in program.results), np.inf)


def extent(view: View) -> int:
    """Bytes of the value up to the end of the view."""
    steps = ((n - 1) * stride for n, stride in zip(view.shape, view.strides, strict=True))
    return view.offset + sum(steps) + view.dtype.itemsize


def _over(step: Step, operand: View) -> bool:
    """Whether the result of the step may take the place of an operand: it lies in the same way."""
    mine = {view for view in views_of(step) if view.value == operand.value}
    return elementwise(step) and mine == {step.result._replace(value=operand.value)}
