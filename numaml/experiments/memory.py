"""Whether there is the memory that a training cannot do without."""

import os
from contextlib import suppress
from pathlib import Path

OWN, MOUNT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def check_memory(need: float) -> None:
    """Refuse to begin what so many bytes are needed for, and are not there.

    Raises
    ------
    ValueError
        With what is needed, and what there is.
    """
    machine, allowed = machines_memory(), groups_memory()
    if need > min(machine, allowed):
        who = "the machine has" if machine <= allowed else "this process may use (its cgroup)"
        raise ValueError(
            f"this needs at least {need / 1e9:.2g} GB of memory, and {who} "
            f"{min(machine, allowed) / 1e9:.2g}: fewer tasks, shots, queries or steps, or a "
            "smaller hidden"
        )


def machines_memory() -> float:
    """Bytes of memory the machine has, or infinity where it does not say (Windows)."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):
        return float("inf")


def groups_memory(own: Path = OWN, mount: Path = MOUNT) -> float:
    """Bytes that this process's control groups allow it, or infinity where there are none.

    Parameters
    ----------
    own : path
        Which groups it is in: a line ``0::/path`` (version 2), or ``4:memory:/path`` (version 1).
    mount : path
        Where they are. A group may not use more than those that it is in; in a container its path
        may be seen from outside, while its own limits stand at the top.
    """
    limits = [float("inf")]
    with suppress(OSError, ValueError):
        for line in own.read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            if not kinds:
                limits += _limits(mount, path, "memory.max")
            elif "memory" in kinds.split(","):
                limits += _limits(mount / "memory", path, "memory.limit_in_bytes")
    return min(limits)


def _limits(top: Path, path: str, name: str) -> list[float]:
    """The limits that stand in a group and in all above it."""
    group, found = top / path.lstrip("/"), []
    for folder in (group, *group.parents):
        with suppress(OSError, ValueError):  # "max" is no number: no limit
            found.append(float(int((folder / name).read_text())))
        if folder == top:
            break
    return found
