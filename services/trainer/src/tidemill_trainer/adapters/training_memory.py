"""How much memory this machine, or the container of this process, has left."""

from collections.abc import Iterator
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def available_bytes(*, meminfo: Path = MEMINFO, cgroups: Path = CGROUPS, own_cgroup: Path = OWN_CGROUP) -> int:
    """Return the least of what the kernel could give and what each control group above this process still allows.

    Raises:
        OSError: the machine does not tell, because it is no Linux.

    """
    lines = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines() if ":" in line)
    left = int(lines["MemAvailable"].split()[0]) * 1024
    return max(0, min([left, *_left_in_groups(cgroups, own_cgroup)]))


def _left_in_groups(cgroups: Path, own_cgroup: Path) -> Iterator[int]:
    """Yield what is left in each group with a limit, of cgroup v2 and of v1; page cache that nobody uses is free."""
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


def _up(root: Path, path: str, *, limit: str, usage: str, idle: str) -> Iterator[int]:
    """Yield what is left in a group and in those above; in a container only the root may be there to be seen."""
    group = root / path.lstrip("/")
    for folder in (group, *group.parents):
        try:
            maximum, used = (int((folder / name).read_text(encoding="ascii")) for name in (limit, usage))
            stat = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
        except (OSError, ValueError):  # no such file, or "max"
            pass
        else:
            facts = dict(line.split(maxsplit=1) for line in stat)
            yield maximum - used + int(facts.get(idle, 0))
        if folder == root:
            return
