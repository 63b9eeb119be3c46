"""How much memory there is: the machine's, and what control groups leave of it."""

import math

import pytest

from numaml.experiments import memory
from numaml.experiments.sinusoid import Sinusoid

MAX = str(2**63 - 4096)  # what version 1 says where there is no limit


# The file that says which groups this process is in; their limits; what is allowed.
GROUPS = {
    "version 2": ("0::/a/b\n", {"a/b/memory.max": "5000", "a/memory.max": "max"}, 5000),
    "the outer one is smaller": ("0::/a/b\n", {"a/b/memory.max": "5000", "a/memory.max": "7"}, 7),
    "a container": ("0::/\n", {"memory.max": "6000\n"}, 6000),
    "seen from outside": ("0::/docker/abc\n", {"memory.max": "6000"}, 6000),
    "version 1": (
        "5:cpu,cpuacct:/a\n4:memory:/a\n1:name=systemd:/a\n",
        {"memory/a/memory.limit_in_bytes": "8000", "memory/memory.limit_in_bytes": MAX,
         "cpu,cpuacct/a/memory.limit_in_bytes": "1"}, 8000),
    "both": (
        "4:cpu,memory:/a\n0::/\n",
        {"memory/a/memory.limit_in_bytes": "8000", "memory.max": "9000"}, 8000),
    "no limit": ("0::/a\n", {"a/memory.max": "max"}, math.inf),
    "no files": ("0::/a\n4:memory:/a\n", {}, math.inf),
    "nonsense": ("what\n", {"memory.max": "3"}, math.inf),
    "elsewhere": ("0::/../../..\n", {}, math.inf),
}  # fmt: skip


@pytest.mark.parametrize("how", GROUPS)
def test_what_control_groups_allow(tmp_path, how):
    said, limits, wanted = GROUPS[how]
    (tmp_path / "cgroup").write_text(said)
    for name, limit in limits.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(limit)
    assert memory.groups_memory(tmp_path / "cgroup", tmp_path / "fs") == wanted
    assert memory.groups_memory(tmp_path / "nowhere", tmp_path / "fs") == math.inf


def test_the_smaller_of_both_is_what_there_is(monkeypatch):
    monkeypatch.setattr(memory, "machines_memory", lambda: 8e9)
    monkeypatch.setattr(memory, "groups_memory", lambda: 5e8)
    with pytest.raises(ValueError, match=r"at least 0\.6 GB.*may use \(its cgroup\) 0\.5"):
        memory.check_memory(6e8)
    monkeypatch.setattr(memory, "groups_memory", lambda: math.inf)
    memory.check_memory(6e8)
    with pytest.raises(ValueError, match="9 GB of memory, and the machine has 8"):
        memory.check_memory(9e9)
    monkeypatch.setattr(memory, "groups_memory", lambda: 1e4)
    with pytest.raises(ValueError, match="this needs at least"):
        Sinusoid().prepared()
