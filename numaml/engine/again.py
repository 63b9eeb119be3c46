"""A call whose arrays have the shapes of one that is replayed: only its numbers are looked at.

Whether arrays fit a network follows from the network, their shapes and their dtypes, and these are
the key of a recording. Where there is one, such arrays have passed all checks before: what is left
to look at are the numbers. Whatever is unusual goes the usual way, which says what is wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import maml
from ..data.tasks import Batch, Tasks
from ..network.losses import OF_CLASSES
from ..network.mlp import MLP
from .alpha import LARGEST
from .models import key_of
from .parts import parts_of
from .replayed import STORE, may_be_replayed

Array = np.ndarray[Any, Any]

KNOWN = {Batch, Tasks}


def again(core: Any, model: Any, theta: Any, tasks: Any, alpha: Any, steps: Any) -> Any:
    """The core's results if this is such a call, else None."""
    if type(model) is not MLP or type(theta) is not np.ndarray or type(tasks) not in KNOWN:
        return None
    if type(alpha) is not float or type(steps) is not int or type(model.activation) is not str:
        return None
    batches = (tasks,) if isinstance(tasks, Batch) else (tasks.support, tasks.query)
    if not may_be_replayed(theta) or not 0 <= alpha <= LARGEST:
        return None
    arrays = [theta, np.array(alpha, theta.dtype)]
    for batch in batches:
        if type(batch) is not Batch:
            return None
        arrays += batch.x, batch.y
    try:
        arrays = _of_one_precision(arrays, theta.dtype)
    except FloatingPointError:
        return None
    if not np.isfinite(theta).all():
        return None
    if model.loss in OF_CLASSES and not all(_classes(y, model.sizes[-1]) for y in arrays[3::2]):
        return None
    if core is maml.exact and parts_of(model, theta, batches[0], batches[-1], steps) > 1:
        return None
    return STORE.replay(key_of(core, model, steps, arrays), arrays)


def _of_one_precision(arrays: list[Array], dtype: Any) -> list[Array]:
    """Real numbers in this dtype, or an error if it has no such numbers."""
    if len({array.dtype.char for array in arrays} & {"f", "d"}) < 2:
        return arrays
    with np.errstate(over="raise", under="ignore"):
        return [a.astype(dtype) if a.dtype.char in "fd" else a for a in arrays]


def _classes(y: Array, count: int) -> bool:
    return bool(y.min() >= 0 and y.max() < count)
