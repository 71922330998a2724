"""Memory usage of a process."""

from pathlib import Path


def taken_bytes(pid: int | str = "self") -> int:
    """Return the anonymous memory (RssAnon) of a process, 0 after it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return sum(int(fields.get(name, "0").split()[0]) * 1024 for name in ("RssAnon", "RssShmem"))
