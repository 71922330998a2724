"""Peak memory of the local stack's processes."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tidemill_local.stack import LocalStack

KILOBYTE = 1024
VLLM, GUARDIAN = "vllm", b"tidemill_vllm.guardian"
"""The name of vLLM's processes together, and what the command of the first of them has in it."""


def peak_memory(folder: Path) -> dict[str, int]:
    """Return the peak resident memory of every process in MB, by its name (VmHWM of proc(5)); `vllm` is all of vLLM's.

    What several of vLLM's processes share is counted for each of them.
    """
    pids = {process.name: process.pid for process in LocalStack(folder).status().programs if process.pid}
    vllm = sum(_peak_mb(each) for pid in pids.values() for each in vllm_of(pid))
    return {name: _peak_mb(pid) for name, pid in pids.items()} | ({VLLM: vllm} if vllm else {})


def vllm_of(pid: int) -> Iterator[int]:
    """Yield the processes of each vLLM that a process has started."""
    for child in _children(pid):
        with suppress(OSError):
            if GUARDIAN in Path(f"/proc/{child}/cmdline").read_bytes():
                yield child
                yield from _descendants(child)


def _descendants(pid: int) -> Iterator[int]:
    for child in _children(pid):
        yield child
        yield from _descendants(child)


def _children(pid: int) -> Iterator[int]:
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # it has ended
            yield from map(int, listed.read_text(encoding="ascii").split())


def _peak_mb(pid: int) -> int:
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) // KILOBYTE for line in lines if line.startswith("VmHWM:")), 0)
    return 0
