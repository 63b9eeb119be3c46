"""What a vector like θ must be: finite numbers of a known dtype, or the elements of a ring."""

from typing import Any

import numpy as np

from .refusals import DTYPES, made_native, refuse_kinds, refuse_not_finite

Array = np.ndarray[Any, Any]

# What no exact arithmetic is made of; and integers, which may be meant but cannot be divided.
NO_RING = (bool, float, complex, str, bytes, np.generic, np.ndarray, type(None))
NO_FIELD = (*NO_RING, int)


def as_numbers(array: Any, name: str) -> Array:
    """An array of numbers that one can calculate with, or an error: got, wanted, fix."""
    if type(array) is not np.ndarray or array.dtype not in DTYPES:
        array = made_native(array, name)
    check_numbers(array, name, NO_FIELD)
    return array


def check_numbers(array: Array, name: str, out: tuple[type, ...] = NO_RING) -> None:
    """Refuse what is not finite, and in object arrays what is ``out`` of every ring."""
    if array.dtype.hasobject:
        refuse_kinds(array, name, out)
    elif not np.isfinite(array).all():
        refuse_not_finite(array, name)
