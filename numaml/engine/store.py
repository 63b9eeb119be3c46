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
Bits = tuple[Any, bool]

# Bytes of memory for all recordings: some times what a part of a meta-batch needs (parts.py). And
# how many shapes are remembered: more than a program has kinds of calls. The one that was not used
# for longest goes first.
BOUND, SHAPES = 2**28, 512
SECOND = 2  # the call that is recorded
SEEDS = range(3)  # of the numbers that a recording is tried on
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

    def replay(self, key: Any, arrays: Sequence[Array]) -> Sequence[Any] | None:
        """What a recording gives, where there is one and no other thread is at it."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry.recording is None or not entry.lock.acquire(blocking=False):
                return None
            self._entry(key)
            recording = entry.recording
        try:
            return recording(*arrays)
        finally:
            entry.lock.release()

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
        program = record(function, arrays)[1]
        wanted = [_wanted(program, function, other_numbers(arrays, seed)) for seed in SEEDS]
        recording = Recording(program, arrays)
        for seed, want in zip(SEEDS, wanted, strict=True):
            if bits(recording(*other_numbers(arrays, seed))) != want:
                raise Unseen("the replay gives other bits than the plain run")
    except Unseen:
        raise
    except Exception as error:  # then rather no recording than no result
        raise Unseen(f"the recording failed: {error!r}") from error
    if not any(finite for _, finite in wanted):
        raise Unseen("there are no numbers to try it on")
    return recording


def _wanted(program: Program, function: Function, other: Sequence[Array]) -> Bits:
    """The bits of a plain run, which takes the same course.

    Numbers are drawn again for the replay, and of results only the bits' digest is kept: a trial
    needs little more memory than the plain run or the recording, whichever is larger.
    """
    want = bits(function(*other))
    if record(function, other)[1] != program:
        raise Unseen("the course depends on the numbers, or a constant does")
    return want


def bits(results: Sequence[Any]) -> Bits:
    """What tells results from others that differ in a bit, and whether all numbers are finite."""
    from hashlib import sha256  # 2 ms of the import

    arrays = [np.asarray(result) for result in results]
    told = [(one.dtype, one.shape, sha256(np.ravel(one).data).digest()) for one in arrays]
    return told, all(bool(np.isfinite(one).all()) for one in arrays)


def other_numbers(arrays: Sequence[Array], seed: int) -> list[Array]:
    """Arrays of the same shapes: numbers with other signs and places, integers in other places.

    With the last seed only places change, for those who want numbers of one sign.
    """
    rng = np.random.default_rng(seed)
    others = []
    for array in arrays:
        other = rng.permutation(array.ravel()).reshape(array.shape)
        if array.dtype.kind in "fc" and seed < 2:
            other *= 1 - 2 * rng.integers(0, 2, array.shape, np.int8)
        others.append(other if array.ndim else np.array(array * array.dtype.type(0.75)))
    return others
