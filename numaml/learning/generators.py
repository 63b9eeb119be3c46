"""A random generator as plain numbers, and from them again: the same draws, the same children."""

from __future__ import annotations  # numpy.random is named, not loaded: 8 ms of the import

import operator
from typing import Any

import numpy as np

KINDS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")  # all that NumPy has
LARGEST_POOL = 64  # words; NumPy's own has 4


def recorded(rng: np.random.Generator) -> dict[str, Any]:
    """All that a generator will draw and spawn depends on, in numbers, lists and arrays of them.

    Raises
    ------
    TypeError, ValueError
        If its bit generator or the seed sequence in it is none of NumPy's.
    """
    bits = rng.bit_generator
    kind, seeds = type(bits), bits.seed_seq
    if kind.__name__ not in KINDS or kind is not getattr(np.random, kind.__name__):
        raise TypeError(f"rng draws from {kind.__name__}; want one of NumPy's: {', '.join(KINDS)}")
    if seeds is None:  # of a RandomState: it spawns nothing
        return {"bits": bits.state, "seeds": None}
    if type(seeds) is not np.random.SeedSequence or seeds.pool_size > LARGEST_POOL:
        raise TypeError(
            f"rng was seeded by {type(seeds).__name__}; want numpy.random.SeedSequence, with a "
            f"pool of at most {LARGEST_POOL}"
        )
    known = {key: _plain(value) for key, value in seeds.state.items()}
    return {"bits": bits.state, "seeds": known}


def restored(record: dict[str, Any]) -> np.random.Generator:
    """The generator that `recorded` gave this of.

    Raises
    ------
    Exception
        Of any kind, if no generator did.
    """
    state, seeds = record["bits"], record["seeds"]
    kind = state["bit_generator"]
    if kind not in KINDS:
        raise ValueError(f"unknown bit generator {kind!r}")
    # NumPy takes positions outside its buffers, and lists too short, and then reads there.
    inside = state.get("buffer_pos", 0) in range(5)
    if kind == "MT19937":
        inside = state["state"]["pos"] in range(625)
    if not (inside and _alike(state, getattr(np.random, kind)(0).state)):
        raise ValueError(f"not a state of {kind}")
    if seeds is not None:
        if not 0 < seeds["pool_size"] <= LARGEST_POOL:
            raise ValueError(f"a seed sequence with a pool of {seeds['pool_size']}")
        seeds = np.random.SeedSequence(**{**seeds, "spawn_key": tuple(seeds["spawn_key"])})
    bits = getattr(np.random, kind)(seeds or 0)
    bits.state = state
    if seeds is None:
        bits.__setstate__((bits.state, None))  # as a pickle does
    return np.random.Generator(bits)


def _alike(one: Any, other: Any) -> bool:
    """Whether two states have the same entries, and lists of the same length."""
    if isinstance(other, dict):
        return set(one) == set(other) and all(_alike(one[name], other[name]) for name in other)
    return np.shape(one) == np.shape(other)


def _plain(numbers: Any) -> Any:
    """An integer, or integers in lists."""
    if hasattr(numbers, "__index__") and np.ndim(numbers) == 0:
        return operator.index(numbers)
    return [_plain(one) for one in numbers]
