"""How many threads may compute without waiting for a processor, measured while they compute.

Threads that share an operation wait for the last of them. Where other processes use the processors, each operation
lasts until the operating system has let every thread run, and two threads answer several times slower than one.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_WINDOW_S = 0.25
_PAUSE_S = 0.25
"""A window with a longer pause in it begins again: in a pause processors are idle."""
_TOO_MUCH_WAITING = 0.5
_FREE = 0.8


@dataclass(frozen=True, slots=True)
class ProcessorTimes:
    """Seconds since some start: what this process's threads waited for a processor, and what processors were idle."""

    waited_s: float
    idle_s: float


def processor_times() -> ProcessorTimes | None:
    """Return what Linux has counted; None elsewhere."""
    try:
        waited_ns = sum(int(_text(task / "schedstat").split()[1]) for task in Path("/proc/self/task").iterdir())
        idle = int(Path("/proc/stat").read_text().split(maxsplit=5)[4])
    except (OSError, IndexError, ValueError):
        return None
    return ProcessorTimes(waited_s=waited_ns / 1e9, idle_s=idle / os.sysconf("SC_CLK_TCK"))


class FreeProcessors:
    """Decides on the number of threads: fewer by those that wait, more by the processors that are idle.

    With one thread fewer than processors, no thread waits and one processor is idle, so that the number rises again; it
    does not where another process uses that processor. Not safe for use by several threads at once.
    """

    def __init__(
        self,
        total: int,
        *,
        read: Callable[[], ProcessorTimes | None] = processor_times,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with all threads."""
        self.threads = total
        """How many to compute with now."""
        self._total = total
        self._read = read
        self._clock = clock
        self._window: tuple[float, ProcessorTimes | None] | None = None
        self._ended = 0.0

    def begin(self) -> None:
        """Note that a computation begins."""
        now = self._clock()
        if self._window is None or now - self._ended > _PAUSE_S:
            self._window = now, self._read()

    def end(self) -> None:
        """Note that it has ended, and decide once enough was seen."""
        now = self._ended = self._clock()
        if self._window is None or now - self._window[0] < _WINDOW_S:
            return
        (since, before), after = self._window, self._read()
        self._window = None
        if before is not None and after is not None:
            change = _change(before, after, now - since)
            self.threads = min(self._total, max(1, self.threads + change))


def _change(before: ProcessorTimes, after: ProcessorTimes, took_s: float) -> int:
    waiting = (after.waited_s - before.waited_s) / took_s
    if waiting > _TOO_MUCH_WAITING:
        return -round(waiting)
    return int((after.idle_s - before.idle_s) / took_s + 1 - _FREE)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the thread has ended
        return "0 0 0"
