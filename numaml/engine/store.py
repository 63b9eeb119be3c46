"""When a call is replayed: the recordings kept, and what is asked of one before it is used.

A call of some shapes is run plainly the first time and recorded the second. No recording is trusted
before it has been tried on other numbers: there the program must take the same course, with the
same constants, and the replay must give the same bits as the plain run. What fails stays plain for
good, and the reason is kept.
"""

from __future__ import annotations

import os
from _thread import allocate_lock  # threading itself is 3 ms of the import
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .recording import Program, Unseen, record
from .replay import Recording

Array = np.ndarray[Any, Any]
Function = Callable[..., Any]  # of arrays, to a tuple of arrays
Trial = tuple[Sequence[Array], Sequence[Array]]  # arrays, and what the function makes of them

# Bytes of memory for all recordings: some times what a part of a meta-batch needs (parts.py). And
# how many shapes are remembered: more than a program has kinds of calls. The one that was not used
# for longest goes first.
BOUND, SHAPES = 2**28, 512
SECOND = 2  # the call that is recorded
LATER = 32  # calls until what had to go is recorded again, for recording costs some ten


class Entry:
    """What is known of calls of some shapes."""

    def __init__(self) -> None:
        self.calls, self.due, self.reason = 0, SECOND, ""
        self.recording: Recording | None = None
        self.lock = allocate_lock()


class Store:
    """Recordings by what was called, within a bound of memory."""

    def __init__(self, bound: int = BOUND, shapes: int = SHAPES) -> None:
        self.bound, self.shapes, self.on = bound, shapes, True
        self.clear()
        if hasattr(os, "register_at_fork"):  # a child must not wait for a thread it has not
            os.register_at_fork(after_in_child=self.clear)

    def clear(self) -> None:
        """Forget everything."""
        self._entries: OrderedDict[Any, Entry] = OrderedDict()
        self._lock = allocate_lock()

    def run(self, key: Any, made: Callable[[], Function], arrays: Sequence[Array]) -> Sequence[Any]:
        """``made()(*arrays)``, replayed if it may be."""
        with self._lock:
            entry = self._entry(key)
        if not entry.reason and entry.lock.acquire(blocking=False):  # else another thread is at it
            try:
                if entry.recording is None and entry.calls >= entry.due:
                    self._record(entry, made(), arrays)
                if entry.recording is not None:
                    return entry.recording(*arrays)
            finally:
                entry.lock.release()
        return made()(*arrays)

    def known(self) -> list[tuple[Any, tuple[int, int, int, str]]]:
        """Of every key how often it was called, its recording's steps and bytes, and the reason."""
        with self._lock:
            entries = [(key, e, e.recording) for key, e in self._entries.items()]
        return [
            (key, (e.calls, len(r.steps) if r else 0, r.bytes if r else 0, e.reason))
            for key, e, r in entries
        ]

    def state(self, key: Any) -> str:
        """What becomes of the next call of this key, in words."""
        with self._lock:
            entry = self._entries.get(key, Entry())
        if entry.reason:
            return f"plain: {entry.reason}"
        return "recorded" if entry.calls else "first"

    def _entry(self, key: Any) -> Entry:
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = Entry()
            if len(self._entries) > self.shapes:
                self._entries.popitem(last=False)
        self._entries.move_to_end(key)
        entry.calls += 1
        return entry

    def _used(self) -> int:
        return sum(e.recording.bytes for e in list(self._entries.values()) if e.recording)

    def _record(self, entry: Entry, function: Function, arrays: Sequence[Array]) -> None:
        try:
            with np.errstate(all="ignore"):
                recording = tried(function, arrays)
        except Unseen as error:
            entry.reason = str(error)
            return
        if recording.bytes > self.bound:
            entry.reason = f"it needs {recording.bytes} bytes, more than all recordings may have"
            return
        with self._lock:
            entry.recording = recording
            for other in list(self._entries.values()):
                if self._used() > self.bound and other is not entry:
                    other.recording, other.due = None, other.calls + LATER


def tried(function: Function, arrays: Sequence[Array]) -> Recording:
    """A recording of ``function`` that gave the same bits as the plain run on other numbers.

    Raises
    ------
    Unseen
        If the function cannot be recorded, takes another course on other numbers, or does not give
        the same bits.
    """
    try:
        _, program = record(function, arrays)
        trials = [_plain(program, function, other_numbers(arrays, seed)) for seed in range(3)]
        return _tried(Recording(program, arrays), trials)
    except Unseen:
        raise
    except Exception as error:  # then rather no recording than no result
        raise Unseen(f"the recording failed: {error!r}") from error


def _plain(program: Program, function: Function, other: Sequence[Array]) -> Trial:
    """Other numbers, and the results of a plain run, which takes the same course.

    All plain runs come before the first replay: the memory of the two never lies side by side.
    """
    want = [np.array(result) for result in function(*other)]
    if record(function, other)[1] != program:
        raise Unseen("the course depends on the numbers, or a constant does")
    return other, want


def _tried(recording: Recording, trials: Sequence[Trial]) -> Recording:
    told = False
    for other, want in trials:
        for got, wanted in zip(recording(*other), want, strict=True):
            if got.dtype != wanted.dtype or got.tobytes() != wanted.tobytes():
                raise Unseen("the replay gives other bits than the plain run")
            told |= bool(np.isfinite(wanted).all())
    if not told:
        raise Unseen("there are no numbers to try it on")
    return recording


def other_numbers(arrays: Sequence[Array], seed: int) -> list[Array]:
    """Arrays of the same shapes: numbers with other signs and places, integers in other places.

    With the last seed only places change, for those who want numbers of one sign.
    """
    rng = np.random.default_rng(seed)
    others = []
    for array in arrays:
        other = rng.permutation(array.ravel()).reshape(array.shape)
        if array.dtype.kind in "fc" and seed < 2:
            other = other * rng.choice([-1.0, 1.0], array.shape).astype(array.dtype.name)
        others.append(other if array.ndim else array * array.dtype.type(0.75))
    return others
