"""Replaying a recorded program on memory of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .passes import (
    LINE,
    constant,
    constants_first,
    in_rows,
    once,
    placed,
    read,
    unjoined,
    with_arrays,
)
from .recording import Constant, Program, Step, View, copied, reduced

Array = np.ndarray[Any, Any]

# Inputs and results up to this many bytes are copied; larger ones are read and written where the
# caller has them, for a pass over memory costs more than making views anew.
COPIED = 2**14


class Recording:
    """A program made shorter and laid out in memory, to be called with arrays of its shapes.

    Not for two threads at once: the memory is the same at every call.
    """

    def __init__(self, program: Program, arrays: Sequence[Array]) -> None:
        program = in_rows(with_arrays(unjoined(once(read(program)))))
        back = {view.value for view in program.results}  # an input that is a result has memory here
        read_there = [n for n, a in enumerate(arrays) if a.nbytes > COPIED and n not in back]
        written = [v for v in program.results if v.value >= len(arrays) and _large_and_whole(v)]
        self._there = {n: list[tuple[list[Any], int, View]]() for n in read_there}
        self._there |= {view.value: [] for view in written}
        self._read, self._written = read_there, written
        self._own = [(np.empty_like(array, order="C"), n) for n, array in enumerate(arrays)
                     if n not in self._there]  # fmt: skip
        elsewhere = {*self._there, *range(len(arrays))}
        program = constants_first(program, elsewhere)
        size, start = placed(program, elsewhere)
        memory = _aligned(size)
        self.bytes = size + sum(own.nbytes for own, _ in self._own)
        base: dict[int, Any] = {value: memory[first:] for value, first in start.items()}
        base |= {number: own for own, number in self._own}
        steps = [self._laid_out(step, base) for step in program.steps]
        lasting = sum(constant(step, elsewhere) for step in program.steps)
        for function, operands in steps[:lasting]:
            function(*operands)
        self.steps = steps[lasting:]
        self._kept = [None if view.value in self._there else _array(view, base[view.value])
                      for view in program.results]  # fmt: skip

    def __call__(self, *arrays: Array) -> list[Array]:
        """The results for these inputs, in fresh arrays."""
        for own, number in self._own:
            own[...] = arrays[number]
        for number in self._read:
            self._bind(number, np.ascontiguousarray(arrays[number]))
        fresh = [np.empty(view.shape, view.dtype) for view in self._written]
        for view, array in zip(self._written, fresh, strict=True):
            self._bind(view.value, array)
        try:
            for function, operands in self.steps:
                function(*operands)
        finally:
            for places in self._there.values():  # the caller's arrays are not kept
                for operands, place, _ in places:
                    operands[place] = None
        there = iter(fresh)
        return [next(there) if kept is None else kept.copy() for kept in self._kept]

    def _bind(self, value: int, array: Array) -> None:
        for operands, place, view in self._there[value]:
            operands[place] = _array(view, array)

    def _laid_out(self, step: Step, base: dict[int, Any]) -> tuple[Any, Sequence[Any]]:
        function, operands = _arranged(step)
        for place, one in enumerate(operands):
            if isinstance(one, Constant):
                operands[place] = one.array
            elif isinstance(one, View) and one.value in self._there:
                self._there[one.value].append((operands, place, one))
            elif isinstance(one, View):
                operands[place] = _array(one, base[one.value])
        return function, operands if View in map(type, operands) else tuple(operands)


def _arranged(step: Step) -> tuple[Any, list[Any]]:
    """A function of NumPy, and its operands in its own order: nothing of Python in between."""
    if step.function in (np.maximum, np.minimum):  # NumPy wants the result by name here
        return lambda a, b, result: step.function(a, b, out=result), [*step.operands, step.result]
    if step.function is copied:
        return np.ndarray.__setitem__, [step.result, ..., *step.operands]
    if step.function is reduced:
        ufunc, axis, keepdims = step.fixed
        return ufunc.reduce, [*step.operands, axis, None, step.result, keepdims]
    return step.function, [*step.fixed, *step.operands, step.result]


def _array(view: View, memory: Any) -> Array:
    return np.ndarray(view.shape, view.dtype, memory, view.offset, view.strides)


def _aligned(size: int) -> Array:
    """A block of memory that begins with a line of the cache."""
    memory = np.empty(size + LINE, np.uint8)
    start = -memory.__array_interface__["data"][0] % LINE
    return memory[start : start + size]


def _large_and_whole(view: View) -> bool:
    array = np.empty(view.shape, view.dtype)
    return not view.offset and view.strides == array.strides and array.nbytes > COPIED
