"""Memory of this machine or this process's container: what it has, and what is available of it."""

from collections.abc import Iterator
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def available_bytes(*, meminfo: Path = MEMINFO, cgroups: Path = CGROUPS, own_cgroup: Path = OWN_CGROUP) -> int:
    """Return the minimum of MemAvailable and what each control group above this process still allows.

    Raises:
        OSError: the machine does not report it, since it is not Linux.

    """
    left = _of_machine(meminfo, "MemAvailable")
    return max(0, min([left, *(limit - used for limit, used in _groups(cgroups, own_cgroup))]))


def total_bytes(*, meminfo: Path = MEMINFO, cgroups: Path = CGROUPS, own_cgroup: Path = OWN_CGROUP) -> int:
    """Return the minimum of MemTotal and the limit of each control group above this process.

    Raises:
        OSError: as `available_bytes`.

    """
    return min([_of_machine(meminfo, "MemTotal"), *(limit for limit, _ in _groups(cgroups, own_cgroup))])


def _of_machine(meminfo: Path, name: str) -> int:
    lines = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines() if ":" in line)
    return int(lines[name].split()[0]) * 1024


def _groups(cgroups: Path, own_cgroup: Path) -> Iterator[tuple[int, int]]:
    """Yield limit and use of each cgroup (v2 and v1) with a limit, in bytes; inactive page cache is not used."""
    try:
        lines = own_cgroup.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _up(cgroups, path, limit="memory.max", usage="memory.current", idle="inactive_file")
        elif "memory" in controllers.split(","):
            names = {"limit": "memory.limit_in_bytes", "usage": "memory.usage_in_bytes", "idle": "total_inactive_file"}
            yield from _up(cgroups / "memory", path, **names)


def _up(root: Path, path: str, *, limit: str, usage: str, idle: str) -> Iterator[tuple[int, int]]:
    """Yield limit and use of a group and its ancestors; in a container only the root may be visible."""
    group = root / path.lstrip("/")
    for folder in (group, *group.parents):
        try:
            maximum, used = (int((folder / name).read_text(encoding="ascii")) for name in (limit, usage))
            stat = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
        except (OSError, ValueError):  # the file does not exist or contains "max"
            pass
        else:
            facts = dict(line.split(maxsplit=1) for line in stat)
            yield maximum, used - int(facts.get(idle, 0))
        if folder == root:
            return
