"""Peak memory of the local stack's processes."""

from pathlib import Path

from tidemill_local.stack import LocalStack

KILOBYTE = 1024


def peak_memory(folder: Path) -> dict[str, int]:
    """Return the peak resident memory of every process in MB, by its name (VmHWM of proc(5))."""
    return {process.name: _peak_mb(process.pid) for process in LocalStack(folder).status().programs if process.pid}


def _peak_mb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) // KILOBYTE for line in lines if line.startswith("VmHWM:"))
