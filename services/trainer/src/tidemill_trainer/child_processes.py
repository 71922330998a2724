"""Child processes that compute: without the service's secrets, within limits of memory and time."""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path

from tidemill_trainer.learning.process_memory import taken_by_all

WATCH_EVERY_S = 0.25
STARTED_WITHIN_S = 0.02
LONGEST_LINE = 1024 * 1024
PASSED_ON = (
    "ATEN_CPU_CAPABILITY",
    "CUDA_VISIBLE_DEVICES",
    "LANG",
    "LD_LIBRARY_PATH",
    "ONEDNN_MAX_CPU_ISA",
    "PATH",
    "PYTHONPATH",
    "TMPDIR",
    "VIRTUAL_ENV",
)
"""Variables that a process inherits; the service's secrets are not among them."""
MMAP_FROM_BYTES = str(1024**2)
"""glibc returns freed blocks from this size on to the system; otherwise fragmentation nearly doubles the peak."""


class Exceeded(Enum):
    """The limit by which a process was killed."""

    MEMORY = "memory"
    TIME = "time"


async def started(
    command: Sequence[str], folder: Path, *, variables: Mapping[str, str] | None = None
) -> asyncio.subprocess.Process:
    """Start a process in a folder, to which its standard error is written; standard output is read by the caller.

    `variables` are added to those that it inherits.
    """
    with await asyncio.to_thread((folder / "stderr.log").open, "wb") as log:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env=child_environment(folder) | dict(variables or {}),
            limit=LONGEST_LINE,
            start_new_session=True,
        )


async def killed_above(
    process: asyncio.subprocess.Process,
    *,
    memory_bytes: int,
    seconds: float,
    timed: Callable[[], bool] = lambda: True,
    saw: Callable[[int], None] = lambda _taken: None,
) -> tuple[Exceeded, int]:
    """Watch a process, kill it when it exceeds a limit, and return which one, with the memory that it had taken.

    What it started counts, and is killed with it. The limit of time holds as long as `timed` returns True; `saw` is
    called with the memory that it takes. Waits forever for a process that stays within its limits.
    """
    clock = asyncio.get_running_loop()
    deadline = clock.time() + seconds
    while True:
        taken = taken_by_all(process.pid)
        if taken > memory_bytes:  # a process that is being started has its parent's memory for a moment
            await asyncio.sleep(STARTED_WITHIN_S)
            taken = taken_by_all(process.pid)
        saw(taken)
        if taken > memory_bytes or (clock.time() >= deadline and timed()):
            kill_all(process)
            return Exceeded.MEMORY if taken > memory_bytes else Exceeded.TIME, taken
        await asyncio.sleep(WATCH_EVERY_S)


def kill_all(process: asyncio.subprocess.Process) -> None:
    """Kill a process that `started` made, and those that it started: all of its session."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def described_exit(status: int, *, what: str) -> str:
    """Return why a process that reported nothing has ended; `what` is it."""
    if status >= 0:
        return f"{what} exited with code {status} without a report"
    name = signal.Signals(-status).name
    return f"{what} was killed, exit code {status} ({name}): retry it; the machine may be out of memory"


def child_environment(folder: Path) -> dict[str, str]:
    """Return the variables of a process that computes in a folder, without the service's secrets."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return kept | {
        "HF_HOME": str(folder / "hugging_face"),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HOME": str(folder),
        "GOMP_SPINCOUNT": "20000",  # waiting threads sleep soon, since other processes need the CPU
        "MALLOC_MMAP_THRESHOLD_": MMAP_FROM_BYTES,
        "MALLOC_TRIM_THRESHOLD_": MMAP_FROM_BYTES,
        "TOKENIZERS_PARALLELISM": "false",
    }
