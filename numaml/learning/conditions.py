"""What the last bits of a number depend on, besides the program: a checkpoint records it."""

import os
from importlib import import_module
from typing import Any

import numpy as np

# What BLAS libraries call it, by the way they are built.
THREADS = (
    "scipy_openblas_get_num_threads64_", "scipy_openblas_get_num_threads",
    "openblas_get_num_threads64_", "openblas_get_num_threads", "MKL_Get_Max_Threads",
)  # fmt: skip
KERNELS = (
    "scipy_openblas_get_corename64_", "scipy_openblas_get_corename",
    "openblas_get_corename64_", "openblas_get_corename",
)  # fmt: skip
VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def conditions() -> dict[str, str]:
    """Processor, NumPy, and the number of BLAS threads, each in words.

    Examples
    --------
    >>> from numaml.learning.conditions import conditions
    >>> list(conditions())
    ['processor', 'NumPy', 'BLAS threads']
    """
    kernels, threads = _of_blas(KERNELS, text=True), _of_blas(THREADS)
    return {
        "processor": f"{_processor()}{f', BLAS for {kernels}' if kernels else ''}",
        "NumPy": np.__version__,
        "BLAS threads": str(threads or _threads_wanted()),
    }


def changes(before: dict[str, str], now: dict[str, str]) -> str:
    """What is not as it was, in words; nothing if all is."""
    names = [name for name in before | now if before.get(name) != now.get(name)]
    return ", ".join(f"{name} {before.get(name)}, now {now.get(name)}" for name in names)


def _processor() -> str:
    """Its name, and what NumPy makes use of in it."""
    import platform

    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:  # where `platform` does not know, it is there
            lines = [line for line in file if line.startswith("model name")]
        name = lines[0].partition(":")[2].strip()
    except (OSError, IndexError):
        pass
    found: Any = np.show_config(mode="dicts")
    return " ".join([name, *found.get("SIMD Extensions", {}).get("found", [])])


def _of_blas(names: tuple[str, ...], text: bool = False) -> Any:
    """What the BLAS library of NumPy says itself, if it has one of these functions."""
    try:
        import ctypes

        library = ctypes.CDLL(import_module("numpy._core._multiarray_umath").__file__)
        function = next(getattr(library, name) for name in names if hasattr(library, name))
        function.restype = ctypes.c_char_p if text else ctypes.c_int
        said = function()
    except (ImportError, OSError, AttributeError, StopIteration):
        return None
    return said.decode() if text else said


def _threads_wanted() -> int | str:
    """What the library was told, or else the number of processors."""
    return next((os.environ[name] for name in VARIABLES if name in os.environ), os.cpu_count() or 1)
