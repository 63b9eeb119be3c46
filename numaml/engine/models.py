"""What a recording is of: a model that cannot change unseen, and batches made of arrays."""

from __future__ import annotations

from collections.abc import Callable
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from ..data.tasks import Batch
from .recording import Unseen

Array = np.ndarray[Any, Any]
PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic, np.dtype, np.ufunc,
         type, BuiltinFunctionType, ModuleType)  # fmt: skip


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
        return kind, model
    methods = [value for value in vars(kind).values() if isinstance(value, FunctionType)]
    state = tuple(sorted((k, _plain(v, f"its {k}")) for k, v in vars(model).items()))
    return kind, state, tuple(_plain(method, method.__name__) for method in methods)


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, PLAIN):
        return type(value), value
    if isinstance(value, tuple):
        return tuple(_plain(one, where) for one in value)
    if isinstance(value, FunctionType):
        around = [(f"{where} of {name}", cell.cell_contents) for name, cell in _cells(value)]
        around += [(name, value.__globals__[name]) for name in _names(value.__code__)
                   if name in value.__globals__]  # fmt: skip
        around = [(name, one) for name, one in around if not isinstance(one, FunctionType)]
        return value, tuple(_plain(one, f"{name} around its methods") for name, one in around)
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


def leaves(batch: Any) -> tuple[list[Array], Callable[..., Any]]:
    """The arrays of a batch, and what makes such a batch of others.

    Raises
    ------
    Unseen
        If it is neither a `numaml.Batch` nor made of arrays, tuples and dicts.
    """
    if isinstance(batch, np.ndarray):
        return [batch], lambda array: array
    if isinstance(batch, Batch):
        return [batch.x, batch.y], _batch
    if isinstance(batch, dict):
        return _together(list(batch.values()), lambda *parts: dict(zip(batch, parts, strict=True)))
    if isinstance(batch, tuple):
        make = type(batch)._make if hasattr(batch, "_make") else type(batch)
        return _together(list(batch), lambda *parts: make(parts))
    if batch is None:
        return [], lambda: None
    raise Unseen(f"the batch is a {type(batch).__name__}; want a numaml.Batch, arrays, or tuples")


def _together(parts: list[Any], make: Callable[..., Any]) -> tuple[list[Array], Callable[..., Any]]:
    found = [leaves(part) for part in parts]

    def rebuilt(*arrays: Array) -> Any:
        rest, made = list(arrays), []
        for own, one in found:
            made.append(one(*rest[: len(own)]))
            del rest[: len(own)]
        return make(*made)

    return [array for own, _ in found for array in own], rebuilt


def _batch(x: Array, y: Array) -> Batch:
    """A batch of arrays that have been looked at before."""
    batch = object.__new__(Batch)
    object.__setattr__(batch, "x", x)
    object.__setattr__(batch, "y", y)
    return batch
