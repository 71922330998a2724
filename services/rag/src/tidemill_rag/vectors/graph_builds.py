"""Builds the graphs of large index versions beside searches and writes, one at a time on a machine."""

import asyncio
import fcntl
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from tidemill_core.errors import DependencyUnavailable
from tidemill_rag.metrics import GRAPH_BUILDING, GRAPH_BUILDS
from tidemill_rag.vectors import edge_graphs
from tidemill_rag.vectors.edge import QdrantEdgeVectors
from tidemill_rag.vectors.edge_graphs import BuildGone, Due

T = TypeVar("T")

POLL_INTERVAL_S = 30.0
RETRY_PAUSE_S = 600.0
"""Pause after a build that failed."""
MAX_BUILD_S = 6 * 3600.0
SPARE_BYTES = 1024**3
"""Disk space that a build leaves free."""
COPIES = 3
"""Disk space of a build in sizes of the shard: the copy, and the graph's segment beside it while it is built."""
WATCH_S = 5.0
"""How often a running build is checked: its shard may be dropped, the disk may fill up."""
_PROCESS = "tidemill_rag.vectors.build_graph"

_log = structlog.get_logger()


class GraphBuilds:
    """Finds shards of which a graph should be built, and builds it; searches switch to it when it is complete.

    A build that fails or is interrupted leaves the shard as it was. What is left of it on disk is deleted, after a
    crash by the next start of the store.
    """

    def __init__(
        self, vectors: QdrantEdgeVectors, *, min_chunks: int, command: Sequence[str] = (sys.executable, "-m", _PROCESS)
    ) -> None:
        self._vectors = vectors
        self._min_chunks = min_chunks
        self._command = command
        self._failed: dict[str, float] = {}
        """When shards whose builds failed are due again; others are built meanwhile."""

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await asyncio.sleep(POLL_INTERVAL_S)
            await self.build_next()

    async def build_next(self) -> bool:
        """Build the graph of one shard, if there is one that should have it; return False if that failed."""
        now = time.monotonic()
        self._failed = {name: again_at for name, again_at in self._failed.items() if again_at > now}
        try:
            due = await self._vectors.call(partial(edge_graphs.due, self._min_chunks, without=frozenset(self._failed)))
        except DependencyUnavailable:
            return True  # the store says so itself, to everyone who needs it
        if due is None:
            return True
        index = self._vectors.index_of(due.name)
        with machine_lock() as free:
            if not free:
                return True  # another process builds one: it is this one's turn at a later poll
            async with self._vectors.copying:
                return await self._build(due, _log.bind(index=index, chunks=due.points))

    async def _build(self, due: Due, log: structlog.typing.FilteringBoundLogger) -> bool:
        begun = time.monotonic()
        GRAPH_BUILDING.set(due.points)
        try:
            await asyncio.to_thread(_refuse_if_full, self._vectors.folder, due.name)
            log.info("graph_build_started")
            async with asyncio.timeout(MAX_BUILD_S):
                await self._replace(due)
        except (BuildGone, DependencyUnavailable, OSError) as error:
            self._failed[due.name] = time.monotonic() + RETRY_PAUSE_S
            GRAPH_BUILDS.labels(outcome="failed").inc()
            log.warning("graph_build_failed", why=str(error) or type(error).__name__, retry_s=RETRY_PAUSE_S)
            return False
        finally:
            GRAPH_BUILDING.set(0)
            with suppress(DependencyUnavailable):  # a store that starts again deletes what is left
                if left := await self._vectors.call(edge_graphs.discard):
                    await asyncio.to_thread(shutil.rmtree, left, ignore_errors=True)
        GRAPH_BUILDS.labels(outcome="finished").inc()
        log.info("graph_build_finished", seconds=round(time.monotonic() - begun, 1))
        return True

    async def _replace(self, due: Due) -> None:
        folder, dimensions = await self._vectors.call(partial(edge_graphs.begin, due.name))
        while await self._beside_searches(partial(edge_graphs.copy, due.name)):
            pass
        await self._run_process(due, folder, dimensions)
        while await self._beside_searches(partial(edge_graphs.catch_up, due.name)) > edge_graphs.SLICE:
            pass
        await self._vectors.call(partial(edge_graphs.flush, due.name))
        await self._vectors.call(partial(edge_graphs.swap, due.name))

    async def _beside_searches(self, work: Callable[[], T]) -> T:
        """Leave the store to others for as long as the work took."""
        begun = time.monotonic()
        done = await self._vectors.call(work)
        await asyncio.sleep(time.monotonic() - begun)
        return done

    async def _run_process(self, due: Due, folder: str, dimensions: int) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            *(folder, str(dimensions), str(int(due.graph)), str(os.getpid())),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            env={},
        )
        try:
            while process.returncode is None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), WATCH_S)
                if not await self._vectors.call(partial(edge_graphs.building, due.name)):
                    message = "the index version was dropped, or the process of the vectors was restarted"
                    raise BuildGone(message)
                _refuse_below(SPARE_BYTES // 2, self._vectors.folder)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            message = f"the process that builds it ended with exit code {process.returncode}"
            raise BuildGone(message)


@contextmanager
def machine_lock() -> Iterator[bool]:
    """Hold the lock of this machine's builds, by file; yield False if another process holds it."""
    path = Path(tempfile.gettempdir()) / f"tidemill-graph-build-{os.getuid()}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _refuse_if_full(folder: Path, name: str) -> None:
    """Check that the disk has space for a build.

    Raises:
        OSError: says how much is missing.

    """
    blocks = 0
    for shard in folder.glob(f"{name}*"):
        for parent, _, files in os.walk(shard):
            for file in files:
                with suppress(FileNotFoundError):  # the store replaces files and folders as it works
                    blocks += Path(parent, file).stat().st_blocks
    _refuse_below(COPIES * blocks * 512 + SPARE_BYTES, folder)


def _refuse_below(needed: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        message = f"RAG_DATA_DIR has {free} bytes free, a build needs {needed}: free disk space"
        raise OSError(message)
