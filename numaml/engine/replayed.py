"""One call of the mathematics in `maml`, from a recording where there is one."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ..maml import Array, Lifting, Result, offers
from .arguments import number
from .models import key_and_arrays, of_arrays
from .own import Own
from .recording import Unseen
from .store import Store
from .through import through

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
            key, arrays = key_and_arrays(core, model, theta, *rest)
        except Unseen:
            pass
        else:
            return STORE.run(key, lambda: of_arrays(partial(_run, core, own), *rest), arrays)
    with np.errstate(under="ignore"):  # a number too small to matter
        return _run(core, own, theta, *rest)


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


def _run(core: Any, model: Any, theta: Array, *rest: Any) -> Sequence[Any]:
    """The core's results, as a tuple also where it has one alone."""
    results = core(model, theta, *rest)
    return results if isinstance(results, tuple) else (results,)
