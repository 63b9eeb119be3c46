"""Whether the machine has the memory that a training cannot do without."""

import os


def check_memory(need: float) -> None:
    """Refuse to begin what so many bytes are needed for, and are not there.

    Raises
    ------
    ValueError
        With what is needed, and what there is.
    """
    have = machines_memory()
    if need > have:
        raise ValueError(
            f"this needs at least {need / 1e9:.0f} GB of memory, and the machine has "
            f"{have / 1e9:.0f}: fewer tasks, shots, queries or steps, or a smaller hidden"
        )


def machines_memory() -> float:
    """Bytes of memory the machine has, or infinity where it does not say (Windows)."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):
        return float("inf")
