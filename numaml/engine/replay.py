"""Replaying a recorded program on memory of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .passes import once, placed, read, unjoined
from .recording import Constant, Program, View

Array = np.ndarray[Any, Any]

LINE = 64  # bytes: blocks begin where a line of the cache does
# Inputs and results up to this many bytes are copied; larger ones are read and written where the
# caller has them, for a pass over memory costs more than making views anew.
COPIED = 2**14


# NumPy wants the result of these two by name.
NAMED: dict[Any, Any] = {
    np.maximum: lambda a, b, result: np.maximum(a, b, out=result),
    np.minimum: lambda a, b, result: np.minimum(a, b, out=result),
}


class Recording:
    """A program made shorter and laid out in memory, to be called with arrays of its shapes.

    Not for two threads at once: the memory is the same at every call.
    """

    def __init__(self, program: Program, arrays: Sequence[Array]) -> None:
        program = unjoined(once(read(program)))
        self.results = program.results
        loose = {n for n, array in enumerate(arrays) if array.nbytes > COPIED}
        loose |= {
            view.value
            for view in program.results
            if _whole(view) and _bytes(view) > COPIED and view.value >= len(arrays)
        }
        sizes, block = placed(program, loose | set(range(len(arrays))))
        memory = [_aligned(size) for size in sizes]
        self.bytes = sum(sizes)
        own = [None if n in loose else np.empty_like(a, order="C") for n, a in enumerate(arrays)]
        self._own = own
        base = {value: memory[number] for value, number in block.items()}
        base |= {n: array for n, array in enumerate(own) if array is not None}
        self.steps: list[tuple[Any, list[Any]]] = []
        self._loose: dict[int, list[tuple[list[Any], int, View]]] = {n: [] for n in loose}
        for step in program.steps:
            operands = [*step.fixed, *step.operands, step.result]
            for place, one in enumerate(operands):
                if isinstance(one, Constant):
                    operands[place] = one.array
                elif isinstance(one, View) and one.value in loose:
                    self._loose[one.value].append((operands, place, one))
                elif isinstance(one, View):
                    operands[place] = _array(one, base[one.value])
            self.steps.append((NAMED.get(step.function, step.function), operands))
        self._kept = [None if v.value in loose else _array(v, base[v.value]) for v in self.results]

    def __call__(self, *arrays: Array) -> list[Array]:
        """The results for these inputs, in fresh arrays."""
        for number, (array, own) in enumerate(zip(arrays, self._own, strict=True)):
            if own is None:
                self._bind(number, array)
            else:
                np.copyto(own, array)
        results = [
            self._fresh(v) if kept is None else kept
            for v, kept in zip(self.results, self._kept, strict=True)
        ]
        try:
            for function, operands in self.steps:
                function(*operands)
        finally:
            for places in self._loose.values():
                for operands, place, _ in places:
                    operands[place] = None  # the caller's arrays are not kept
        return [
            result if kept is None else kept.copy()
            for result, kept in zip(results, self._kept, strict=True)
        ]

    def _fresh(self, view: View) -> Array:
        array = np.empty(view.shape, view.dtype)
        self._bind(view.value, array)
        return array

    def _bind(self, value: int, array: Array) -> None:
        for operands, place, view in self._loose[value]:
            operands[place] = _array(view, array)


def _array(view: View, memory: Any) -> Array:
    return np.ndarray(view.shape, view.dtype, memory, view.offset, view.strides)


def _aligned(size: int) -> Array:
    """A block of memory that begins with a line of the cache."""
    memory = np.empty(size + LINE, np.uint8)
    start = -memory.__array_interface__["data"][0] % LINE
    return memory[start : start + size]


def _bytes(view: View) -> int:
    return int(np.prod(view.shape)) * view.dtype.itemsize


def _whole(view: View) -> bool:
    return not view.offset and view.strides == np.empty(view.shape, view.dtype).strides
