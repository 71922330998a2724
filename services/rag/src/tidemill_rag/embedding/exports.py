"""Graphs of embedding models on this machine's disk: made once by a process with limits, beside the model's folder."""

import asyncio
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import structlog

from tidemill_kit.models.numeric_format import processor_flags
from tidemill_kit.workers.bounded_processes import WorkEndedError
from tidemill_rag.embedding.export import export
from tidemill_rag.errors import GraphMissing

R = TypeVar("R")

_VERSION = 2
"""In the name of a graph: it changes with what is exported of a model."""
_X86 = frozenset({"x86_64", "AMD64"})
_ADDS_EXACTLY = frozenset({"avx512_vnni", "avx_vnni"})
"""What /proc/cpuinfo says of x86 processors that add products of 8 bits in 32. Others do in 16, which overflow."""
_REFUSED = ".refused"
_AGAIN_AFTER_S = 60.0
"""When an export is tried again that may have failed for the machine's sake."""
_log = structlog.get_logger()


class Processes(Protocol):
    """What `BoundedProcesses` does."""

    async def run(self, project: str, work: Callable[..., R], *arguments: object) -> R:
        """Return what the work returns."""
        ...


@dataclass(frozen=True, slots=True)
class Exports:
    """Keeps `<project>/<digest>.int<bits>-<version>.onnx` beside the folder `<project>/<digest>`, and goes with it.

    Of a model that has no graph, a file in its place says why: it is not tried again.
    """

    processes: Processes
    bits: int
    """Of a weight."""
    _making: dict[Path, asyncio.Lock] = field(default_factory=dict)
    _ended: dict[Path, "_Ended"] = field(default_factory=dict)
    """Exports that failed lately, perhaps for the machine's sake."""

    async def graph_of(self, project: str, folder: Path, reference: str) -> Path:
        """Return the graph of a verified folder's model.

        Raises:
            GraphMissing: there is none, which is logged.
            RateLimited: too many models of the project wait to be exported.

        """
        graph = folder.with_name(f"{folder.name}.int{self.bits}-{_VERSION}.onnx")
        try:
            async with self._making.setdefault(graph, asyncio.Lock()):
                why = await asyncio.to_thread(_known, graph)
                if why is None:
                    why = await self._made(project, folder, graph, reference)
        finally:
            self._making.pop(graph, None)
        if why:
            _log.warning("embedding_model_not_exported", model=reference, why=why)
            raise GraphMissing(reference, why, passing=False)
        return graph

    async def _made(self, project: str, folder: Path, graph: Path, reference: str) -> str:
        """Make a graph, and return why there can be none, "" where there is."""
        now = time.monotonic()
        if (ended := self._ended.pop(graph, None)) and now < ended.until_s:
            self._ended[graph] = ended
            raise GraphMissing(reference, ended.why, passing=ended.passing)
        try:
            why = await self.processes.run(project, export, str(folder), str(graph), self.bits)
        except WorkEndedError as error:
            why = f"cannot be exported: the export {error.why}"
            if error.cause not in {"cpu", "crashed"}:  # which may be the machine's doing
                _log.warning("embedding_model_not_exported", model=reference, why=why)
                passing = error.cause != "failed"
                self._ended[graph] = _Ended(time.monotonic() + _AGAIN_AFTER_S, why, passing)
                raise GraphMissing(reference, why, passing=passing) from error
        if why:
            await asyncio.to_thread(_refuse, graph, why)
        return why


@dataclass(frozen=True, slots=True)
class _Ended:
    until_s: float
    why: str
    passing: bool


def weight_bits() -> int:
    """Return how many bits of a weight this processor takes."""
    exact = platform.machine() not in _X86 or not _ADDS_EXACTLY.isdisjoint(processor_flags())
    return 8 if exact else 7


def discard(graph: Path) -> None:
    """Remove a graph that cannot be read: the next load makes it anew."""
    graph.unlink(missing_ok=True)


def _known(graph: Path) -> str | None:
    """Return why there is no graph, "" where there is one, None where that is not known."""
    if graph.exists():
        return ""
    try:
        return graph.with_suffix(_REFUSED).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _refuse(graph: Path, why: str) -> None:
    with suppress(OSError):  # the project was erased, or the disk is full: it is tried again
        graph.with_suffix(_REFUSED).write_text(why, encoding="utf-8")
