"""What a recording is of: a function of arrays.

The model must be one that cannot change unseen, and the batches made of arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from ..data.tasks import Batch, trusted
from .recording import Unseen

Array = np.ndarray[Any, Any]
PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic, np.dtype, np.ufunc,
         type, BuiltinFunctionType, ModuleType)  # fmt: skip


def key_and_arrays(core: Any, model: Any, theta: Array, *rest: Any) -> tuple[Any, list[Array]]:
    """What tells a call from others, and the arrays it is a function of.

    Raises
    ------
    Unseen
        If there are no such.
    """
    *batches, alpha, steps = rest
    arrays = [theta, np.array(alpha, theta.dtype)]
    for batch in batches:
        leaves(batch, arrays)
    arrays = [np.ascontiguousarray(array) if array.ndim else array for array in arrays]
    return key_of(core, model, steps, arrays), arrays


def key_of(core: Any, model: Any, steps: int, arrays: Sequence[Array]) -> Any:
    """What tells a call that is a function of these arrays from others."""
    return core, identity(model), steps, tuple([(array.shape, array.dtype) for array in arrays])


def of_arrays(call: Callable[..., Any], *rest: Any) -> Callable[..., Any]:
    """The call ``call(theta, *rest)`` as a function of these arrays alone."""
    *batches, _, steps = rest

    def function(theta: Array, alpha: Array, *arrays: Array) -> Any:
        found = iter(arrays)
        return call(theta, *(rebuilt(one, found) for one in batches), alpha, steps)

    return function


def identity(model: Any) -> Any:
    """What tells two models apart, if that is all there is to them.

    A model that is hashable by its value, such as a frozen dataclass, is its own. Any other must
    hold nothing but numbers, names and functions of these; what its methods read besides, around
    them or in their module, likewise.

    Raises
    ------
    Unseen
        If the model holds something that may change unseen.
    """
    kind = type(model)
    by_value: Any = kind.__hash__
    if by_value not in (None, object.__hash__):
        held = _functions(model)
        return kind, model, held and _plain(held, "a function it holds")
    methods = [value for value in vars(kind).values() if isinstance(value, FunctionType)]
    state = tuple(sorted((k, _plain(v, f"its {k}")) for k, v in vars(model).items()))
    return kind, state, tuple(_plain(method, method.__name__) for method in methods)


@lru_cache(256)
def _functions(model: Any) -> tuple[FunctionType, ...]:
    """Functions of Python that a model holds, which may read what changes."""
    found, waiting = list[FunctionType](), list(getattr(model, "__dict__", {}).values())
    while waiting:
        one = waiting.pop()
        if isinstance(one, tuple):
            waiting += one
        elif isinstance(one, FunctionType):
            found.append(one)
    return tuple(found)


def _plain(value: Any, where: str, within: tuple[Any, ...] = ()) -> Any:
    if isinstance(value, FunctionType) and value in within:  # it reads itself
        return value
    if isinstance(value, PLAIN):
        return type(value), value
    if isinstance(value, tuple):
        return tuple(_plain(one, where, within) for one in value)
    if isinstance(value, FunctionType):
        around = [(f"{where} of {name}", cell.cell_contents) for name, cell in _cells(value)]
        around += [(name, value.__globals__[name]) for name in _names(value.__code__)
                   if name in value.__globals__]  # fmt: skip
        around = [(name, one) for name, one in around if not isinstance(one, FunctionType)]
        inside = (*within, value)
        return value, tuple(
            _plain(one, f"{name} around its methods", inside) for name, one in around
        )
    raise Unseen(
        f"the model may change unseen: {where} is a {type(value).__name__}; want a frozen "
        "dataclass, or numbers, names and functions alone"
    )


def _cells(function: FunctionType) -> list[tuple[str, Any]]:
    cells = function.__closure__ or ()
    return list(zip(function.__code__.co_freevars, cells, strict=True))


def _names(code: CodeType) -> set[str]:
    """Names that a function, and those inside of it, look up in their module."""
    inner = [one for one in code.co_consts if isinstance(one, CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def leaves(batch: Any, found: list[Array]) -> None:
    """Add the arrays of a batch to those found.

    Raises
    ------
    Unseen
        If it is neither a `numaml.Batch` nor made of arrays, tuples and dicts.
    """
    if isinstance(batch, np.ndarray):
        found.append(batch)
    elif isinstance(batch, tuple):
        for part in batch:
            leaves(part, found)
    elif isinstance(batch, Batch):
        found += batch.x, batch.y
    elif isinstance(batch, dict):
        leaves(tuple(batch.values()), found)
    elif batch is not None:
        raise Unseen(f"the batch is a {type(batch).__name__}; want a numaml.Batch, arrays, tuples")


def rebuilt(batch: Any, arrays: Iterator[Array]) -> Any:
    """Such a batch of the next of these arrays, in the order of `leaves`."""
    if isinstance(batch, np.ndarray):
        return next(arrays)
    if isinstance(batch, tuple):
        parts = [rebuilt(part, arrays) for part in batch]
        return batch._make(parts) if hasattr(batch, "_make") else tuple(parts)
    if isinstance(batch, Batch):
        return trusted(next(arrays), next(arrays))
    if isinstance(batch, dict):
        return {name: rebuilt(part, arrays) for name, part in batch.items()}
    return None
