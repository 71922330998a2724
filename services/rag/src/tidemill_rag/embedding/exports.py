"""Graphs of embedding models on this machine's disk: made once by a process with limits, beside the model's folder."""

import asyncio
import platform
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import structlog

from tidemill_kit.models.numeric_format import processor_flags
from tidemill_kit.workers.bounded_processes import WorkEndedError
from tidemill_rag.embedding.export import export
from tidemill_rag.metrics import EMBEDDING_MODELS

R = TypeVar("R")

_VERSION = 1
"""In the name of a graph: it changes with what is exported of a model."""
_X86 = frozenset({"x86_64", "AMD64"})
_ADDS_EXACTLY = frozenset({"avx512_vnni", "avx_vnni"})
"""What /proc/cpuinfo says of x86 processors that add products of 8 bits in 32. Others do in 16, which overflow."""
_REFUSED = ".refused"
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

    async def graph_of(self, project: str, folder: Path, reference: str) -> Path | None:
        """Return the graph of a verified folder's model; None where there is none, which is logged and counted.

        Raises:
            RateLimited: too many models of the project wait to be exported.

        """
        graph = folder.with_name(f"{folder.name}.int{self.bits}-{_VERSION}.onnx")
        async with self._making.setdefault(graph, asyncio.Lock()):
            why = await asyncio.to_thread(_known, graph)
            if why is None:
                why = await self._made(project, folder, graph)
        self._making.pop(graph, None)
        EMBEDDING_MODELS.labels(runtime="torch" if why else "onnx").inc()
        if why:
            _log.warning("embedding_model_not_exported", model=reference, why=why)
        return None if why else graph

    async def _made(self, project: str, folder: Path, graph: Path) -> str:
        """Make a graph, and return why there is none, "" where there is."""
        try:
            why = await self.processes.run(project, export, str(folder), str(graph), self.bits)
        except WorkEndedError as ended:
            why = f"cannot be exported: the export {ended.why}"
            if ended.cause not in {"cpu", "crashed"}:
                return why  # which may be the machine's doing: the next load tries it again
        if why:
            await asyncio.to_thread(_refuse, graph, why)
        return why


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
