"""One call of the mathematics in `maml`, from a recording where there is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..maml import Lifting, Result, offers
from .arguments import number
from .models import identity, leaves, rebuilt
from .own import Own
from .recording import Unseen
from .store import Store
from .through import through

Array = np.ndarray[Any, Any]

STORE = Store()
# Error states under which nobody asks which operation overflowed, only that one did.
REPLAYED = {"ignore", "warn"}


def replayed(core: Any, model: Any, theta: Array, *rest: Any) -> Sequence[Any]:
    """``core(model, theta, *batches, alpha, steps)``, from a recording if there is one.

    A model of one's own is looked at wherever it is run.
    """
    own = looked_at(model)
    *batches, alpha, steps = rest
    if type(alpha) is not float:
        core, alpha = through(core, alpha)
        rest = *batches, alpha, steps
    if may_be_replayed(theta):
        try:
            key, arrays = of_arrays(core, model, theta, *rest)
        except Unseen:
            pass
        else:
            return STORE.run(key, lambda: _function(core, own, *rest), arrays)
    with np.errstate(under="ignore"):  # a number too small to matter
        return _tuple(core(own, theta, *rest))


def value_and_gradient(core: Any, model: Any, theta: Array, *rest: Any) -> Result:
    """The results of such a core, the value as a Python number."""
    value, gradient = replayed(core, model, theta, *rest)
    return number(value), gradient


def looked_at(model: Any) -> Any:
    """The model, held to what it promises if it does not look at its arguments itself."""
    return model if offers(model, Lifting) else Own(model)


def may_be_replayed(theta: Array) -> bool:
    """Whether replaying is on, numbers are real, and nobody asks which operation overflowed."""
    return STORE.on and theta.dtype.kind == "f" and REPLAYED.issuperset(np.geterr().values())


def of_arrays(core: Any, model: Any, theta: Array, *rest: Any) -> tuple[Any, list[Array]]:
    """What tells a call from others, and the arrays it is a function of."""
    *batches, alpha, steps = rest
    arrays = [theta, np.array(alpha, theta.dtype)]
    for batch in batches:
        leaves(batch, arrays)
    arrays = [np.ascontiguousarray(array) if array.ndim else array for array in arrays]
    shapes = tuple([(array.shape, array.dtype) for array in arrays])
    return (core, identity(model), steps, shapes), arrays


def _function(core: Any, model: Any, *rest: Any) -> Callable[..., Sequence[Any]]:
    """The call as a function of arrays alone."""
    *batches, _, steps = rest

    def function(theta: Array, alpha: Array, *arrays: Array) -> Sequence[Any]:
        found = iter(arrays)
        return _tuple(core(model, theta, *(rebuilt(one, found) for one in batches), alpha, steps))

    return function


def _tuple(results: Any) -> Sequence[Any]:
    return results if isinstance(results, tuple) else (results,)
