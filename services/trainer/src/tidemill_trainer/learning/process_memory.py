"""Memory usage of a process."""

from pathlib import Path


def taken_by_all(pid: int) -> int:
    """Return the anonymous memory of a process and of those that it started, as far as they are alive."""
    total, processes = 0, [pid]
    while processes:
        each = processes.pop()
        total += taken_bytes(each)
        processes += _started_by(each)
    return total


def _started_by(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []


def taken_bytes(pid: int | str = "self") -> int:
    """Return the anonymous memory (RssAnon) of a process, 0 after it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return sum(int(fields.get(name, "0").split()[0]) * 1024 for name in ("RssAnon", "RssShmem"))
