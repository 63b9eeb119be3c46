"""A NumPy program run once under watch, and from then on without Python in between.

`record` runs a function on arrays of a subclass that notes every operation of NumPy it sees. What
comes of it is a straight list of steps on memory of its own. A few passes make the list shorter and
its memory smaller, and none changes a bit of the result. A `Recording` replays it on other numbers.

A recording is only worth what was seen. An operation that is not known, a number taken out of an
array, a branch on a value, a write into an array: each raises `Unseen`, and there is no recording.
What sheds the subclass (`numpy.asarray`) leaves an array that looks like a constant: two recordings
of the same function on different numbers are alike in all constants, or neither is any good.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from weakref import ref

import numpy as np
from numpy.lib.array_utils import byte_bounds

Array = np.ndarray[Any, Any]


class Unseen(Exception):  # noqa: N818  # it is no error: the call stays plain
    """Something that a recorder does not see, or does not know how to do again."""


class View(NamedTuple):
    """An array in the memory of a value: the value's number, and how the array lies in it."""

    value: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]


class Step(NamedTuple):
    """``function(*fixed, *operands, result)``, each `View` standing for an array."""

    function: Callable[..., Any]
    fixed: tuple[Any, ...]
    operands: tuple[Any, ...]
    result: View


class Program(NamedTuple):
    """The steps, and the views of the results. The first values are the inputs."""

    steps: list[Step]
    results: tuple[View, ...]


def record(function: Callable[..., Any], arrays: Sequence[Array]) -> tuple[list[Array], Program]:
    """``function(*arrays)``, a tuple of arrays, and the program that computed it.

    Raises
    ------
    Unseen
        If anything was done that cannot be done again.
    """
    recorder = Recorder()
    try:
        results = function(*[recorder.value(array) for array in _apart(arrays)])
        views = tuple(recorder.view(result) for result in results)
        return [np.array(result) for result in results], Program(recorder.steps, views)
    finally:
        recorder.forget()


def _apart(arrays: Sequence[Array]) -> list[Array]:
    """The arrays, each in memory of its own, so that a place in memory tells the array."""
    return [np.array(one) if any(np.may_share_memory(one, before) for before in arrays[:n]) else one
            for n, one in enumerate(arrays)]  # fmt: skip


class Recorder:
    """What has been seen so far: steps, and where in memory the values lie that still live."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.values = 0
        self._living: list[tuple[int, int, int]] = []  # (first byte, byte behind the last, value)
        self._guards: list[Any] = []

    def value(self, array: Array) -> Traced:
        """A new value, in memory that no other has."""
        start, stop = byte_bounds(array)
        place = (start, stop, self.values)
        insort(self._living, place)
        owner = array.base if isinstance(array.base, np.ndarray) else array
        self._guards.append(ref(owner, lambda _: self._dead(place)))
        self.values += 1
        traced = array.view(Traced)
        traced.recorder = self
        return traced

    def _dead(self, place: tuple[int, int, int]) -> None:
        if place in self._living:
            self._living.remove(place)

    def forget(self) -> None:
        """Let go of all arrays, and of what waits for their end."""
        self._guards.clear()
        self._living.clear()

    def view(self, array: Any) -> View:
        """Where an array lies among the values."""
        found = self._found(array)
        if found is None:
            raise Unseen("an array made by something that is not known")
        return found

    def _found(self, array: Any) -> View | None:
        if not isinstance(array, np.ndarray) or not array.size:
            return None
        low, high = byte_bounds(array)
        at = bisect_right(self._living, (low, np.inf, 0)) - 1
        start, stop, value = self._living[at] if at >= 0 else (0, 0, 0)
        if not start <= low <= high <= stop:
            return None
        first = array.__array_interface__["data"][0]
        return View(value, first - start, array.shape, array.strides, array.dtype)

    def operand(self, given: Any) -> Any:
        """A view, or what is the same at every replay: a number, or an array that was not made."""
        if isinstance(given, (bool, int, float, complex, np.generic, type(None))):
            return given
        if isinstance(given, np.ndarray):
            found = self._found(given)
            if found is None and isinstance(given, Traced):
                raise Unseen("an array made by something that is not known")
            return Constant(given) if found is None else found
        raise Unseen(f"an operand of type {type(given).__name__}")

    def note(
        self, function: Callable[..., Any], fixed: Any, operands: Sequence[Any], result: Any
    ) -> Traced:
        """Note a step and its result, and give the result."""
        array = np.asarray(result)
        if array.dtype.hasobject or not array.size:
            raise Unseen(f"an array of {array.size} {array.dtype}")
        known = tuple(self.operand(one) for one in operands)
        made = self.value(array)
        self.steps.append(Step(function, fixed, known, self.view(made)))
        return made


class Constant:
    """An array that was there before; the same bytes at every replay."""

    def __init__(self, array: Array) -> None:
        self.array, self.shape, self.strides, self.dtype = (
            array, array.shape, array.strides, array.dtype,
        )  # fmt: skip
        self.key = array.shape, array.strides, array.dtype, array.tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


class Traced(np.ndarray[Any, Any]):
    """An array whose operations are noted."""

    recorder: Any = None

    def __array_finalize__(self, parent: Any) -> None:
        self.recorder = getattr(parent, "recorder", None)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        recorder = next(one.recorder for one in inputs if isinstance(one, Traced))
        plain = [_plain(one) for one in inputs]
        if method == "__call__" and not options and ufunc.nout == 1:
            return recorder.note(ufunc, (), inputs, ufunc(*plain))
        usual = {"dtype": None, "where": True}
        asked = {k: v for k, v in options.items() if k not in usual or v is not usual[k]}
        if method == "reduce" and set(asked) <= {"axis", "keepdims"}:
            axis, keep = asked.get("axis", 0), asked.get("keepdims", False)
            result = ufunc.reduce(*plain, axis=axis, keepdims=keep)
            return recorder.note(reduced, (ufunc, axis, keep), inputs, result)
        raise Unseen(f"{ufunc.__name__}, {method} with {', '.join(options) or 'two results'}")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function in LIKE:  # of the array only shape and dtype count
            return function(np.broadcast_to(np.zeros((), self.dtype), self.shape), *args[1:])
        if function is np.concatenate:
            return _concatenate(*args, **kwargs)
        return super().__array_function__(function, types, args, kwargs)

    def astype(self, dtype: Any, *options: Any, **more: Any) -> Any:
        """A copy in another dtype."""
        if options or more:
            raise Unseen("astype with options")
        return self.recorder.note(copied, (), (self,), _plain(self).astype(dtype))

    def copy(self, order: Any = "C") -> Any:
        """A copy."""
        return self.recorder.note(copied, (), (self,), _plain(self).copy(order))

    def take(self, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
        """Some places along an axis, which are the same at every replay."""
        if axis is None or out is not None or mode != "raise" or isinstance(indices, Traced):
            raise Unseen("take without an axis, into an array, or from places that were computed")
        places = np.asarray(indices)
        return self.recorder.note(taken, (axis,), (self, places), _plain(self).take(places, axis))

    def mean(  # type: ignore[override]  # other options are unseen
        self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False
    ) -> Any:
        """The mean; NumPy's own takes two universal functions and some Python."""
        if self.dtype.kind not in "fc" or dtype is not None or out is not None:
            raise Unseen("a mean of integers, or in another dtype, or into an array")
        total: Any = np.add.reduce(self, axis=axis, keepdims=keepdims)  # type: ignore[call-overload]  # Traced is an array
        return total / (self.size // total.size)

    def _written(self, *_: Any, **__: Any) -> Any:
        raise Unseen("a write into an array")

    __setitem__ = sort = partition = fill = put = resize = setfield = byteswap = _written

    def _number(self, *_: Any) -> Any:
        raise Unseen("a number taken out of an array, or a branch on its value")

    __bool__ = __int__ = __float__ = __complex__ = __index__ = _number
    item = tolist = tobytes = tofile = dump = dumps = _number  # type: ignore[assignment]  # they only raise


def _noted(name: str) -> Callable[..., Any]:
    """A method of arrays that NumPy does not do by universal functions alone."""

    def method(self: Traced, axis: Any = None, **options: Any) -> Any:
        options = {k: v for k, v in options.items() if v is not None}
        if set(options) - {"keepdims", "ddof"}:
            raise Unseen(f"{name} with {', '.join(options)}")
        result = getattr(_plain(self), name)(axis, **options)
        fixed = name, axis, tuple(options.items())
        return self.recorder.note(called, fixed, (self,), result)

    return method


for _name in ("var", "std", "argmax", "argmin", "cumsum", "cumprod"):
    setattr(Traced, _name, _noted(_name))

LIKE = (np.zeros_like, np.ones_like, np.full_like, np.empty_like)


def _plain(array: Any) -> Any:
    return array.view(np.ndarray) if isinstance(array, Traced) else array


def _concatenate(arrays: Sequence[Any], axis: int = 0, **options: Any) -> Any:
    if options:
        raise Unseen("concatenate with options")
    recorder = next(one.recorder for one in arrays if isinstance(one, Traced))
    result = np.concatenate([_plain(one) for one in arrays], axis)
    return recorder.note(joined, (axis,), arrays, result)


# Functions of steps whose result is the last operand.


def reduced(ufunc: Any, axis: Any, keepdims: bool, array: Array, result: Array) -> None:
    ufunc.reduce(array, axis, None, result, keepdims)


def called(name: str, axis: Any, options: Any, array: Array, result: Array) -> None:
    getattr(array, name)(axis, out=result, **dict(options))


def taken(axis: int, array: Array, places: Array, result: Array) -> None:
    array.take(places, axis, result, "wrap")  # NumPy copies what is to be taken only after a look


def copied(array: Array, result: Array) -> None:
    np.copyto(result, array, "unsafe")


def joined(axis: int, *arrays: Array) -> None:
    np.concatenate(arrays[:-1], axis, arrays[-1])
