"""What a file calls things that it cannot hold: functions, models, sources of tasks."""

import re
from dataclasses import fields, is_dataclass
from types import MethodType
from typing import Any

import numpy as np

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # another one in every process
LONGEST = 2000  # characters of a name
ROOT = __name__.removesuffix("files.names")  # of this package, wherever it was copied to


def name_of(function: Any) -> str:
    """A function's own name, or where it was defined; with "<" in it if that does not tell which.

    A ``__name__`` that was given to it by hand comes first. Functions of this package are called
    by their names alone, wherever in it they are. Lambdas and functions defined inside of others
    have a "<" from Python, objects in whose `repr` is an address keep the one of that.

    Examples
    --------
    >>> from numaml.files.names import name_of
    >>> name_of(re.sub)
    're.sub'
    >>> name_of(lambda: 0)
    '<lambda>'
    """
    name, qualified = (getattr(function, key, None) for key in ("__name__", "__qualname__"))
    if isinstance(function, MethodType):
        owner = function.__self__
        return f"{name_of(owner) if isinstance(owner, type) else described(owner)}.{name}"
    if isinstance(name, str) and name != str(qualified).rpartition(".")[2]:
        return name
    if qualified is None:
        return described(function)
    module = f"{getattr(function, '__module__', None)}."
    return f"{'' if module.startswith(ROOT) else module}{qualified}"


def described(thing: Any) -> str:
    """A thing's type and settings: its fields if it is a dataclass, else its `repr`.

    Addresses are left out: of what says no more in its `repr` than where it is, the type remains.

    Examples
    --------
    >>> import numaml
    >>> from numaml.files.names import described
    >>> described(numaml.MLP((1, 8, 1)))
    "MLP(sizes=(1, 8, 1), activation='relu', loss='squared_error', norm=None)"
    >>> described(object())
    '<object object>'
    """
    if is_dataclass(thing) and not isinstance(thing, type):
        inner = (
            f"{one.name}={_value(getattr(thing, one.name))}" for one in fields(thing) if one.init
        )
        text = f"{type(thing).__qualname__}({', '.join(inner)})"
    else:
        text = ADDRESS.sub("", repr(thing))
    return (
        text if len(text) <= LONGEST else f"{text[:200]} … {_digest(text.encode(errors='replace'))}"
    )


def _value(value: Any) -> str:
    """A setting; an array by its content."""
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return f"{value.dtype.str}{value.shape} {_digest(np.ascontiguousarray(value).tobytes())}"
    return described(value)


def _digest(content: bytes) -> str:
    import hashlib

    return f"sha256 {hashlib.sha256(content).hexdigest()[:16]}"
