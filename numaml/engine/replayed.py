"""One call of the mathematics in `maml`, from a recording where there is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .models import identity, leaves
from .recording import Unseen
from .store import Store

Array = np.ndarray[Any, Any]

STORE = Store()
# Error states under which nobody asks which operation overflowed, only that one did.
REPLAYED = {"ignore", "warn"}


def replayed(core: Any, model: Any, theta: Array, *rest: Any) -> Sequence[Any]:
    """``core(model, theta, *batches, alpha, steps)``, from a recording if there is one."""
    if not may_be_replayed(theta):
        return _tuple(core(model, theta, *rest))
    try:
        key, function, arrays = recordable(core, model, theta, *rest)
    except Unseen:
        return _tuple(core(model, theta, *rest))
    return STORE.run(key, function, arrays)


def may_be_replayed(theta: Array) -> bool:
    return STORE.on and theta.dtype.kind == "f" and REPLAYED.issuperset(np.geterr().values())


def recordable(
    core: Any, model: Any, theta: Array, *rest: Any
) -> tuple[Any, Callable[..., Any], list[Array]]:
    """What tells a call from others, the call as a function of arrays alone, and these arrays."""
    *batches, alpha, steps = rest
    whose, (found, rebuilt) = identity(model), leaves(tuple(batches))
    arrays = [np.ascontiguousarray(array) for array in (theta, *found)]
    arrays.insert(1, np.array(alpha, theta.dtype))

    def function(theta: Array, alpha: Array, *arrays: Array) -> Sequence[Any]:
        return _tuple(core(model, theta, *rebuilt(*arrays), alpha, steps))

    shapes = tuple((array.shape, array.dtype) for array in arrays)
    return (core, whose, steps, shapes), function, arrays


def _tuple(results: Any) -> Sequence[Any]:
    return results if isinstance(results, tuple) else (results,)
