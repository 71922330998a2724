"""Controllers: reads batches of examples, reads counts, deletes old answers."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from tidemill_core.errors import TidemillError, isolated
from tidemill_kit.workers.fair_share import Turns
from tidemill_kit.workers.leases import Leases
from tidemill_monitor.application.link_examples import LinkExamples
from tidemill_monitor.application.ports import Batches, BatchName, Graph
from tidemill_monitor.application.sweep_inferences import SweepInferences
from tidemill_monitor.entrypoints.metrics import FORGOTTEN, LoopMetrics

_log = structlog.get_logger()

OLD = "old_answers"
"""The lease of the process that deletes them."""


class ExamplesWorker:
    """Reads pending batches when notified and periodically; each is retried until it is finished."""

    def __init__(self, *, batches: Batches, link: LinkExamples, max_concurrent: int, retry_after_s: float) -> None:
        self._batches = batches
        self._link = link
        self._turns = Turns(max_concurrent)
        self._retry_after_s = retry_after_s
        self._enqueued = asyncio.Event()
        self._running: set[BatchName] = set()

    def enqueue(self, _name: BatchName) -> None:
        """Notify the worker of a new batch."""
        self._enqueued.set()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._enqueued.clear()
                for name in await self._waiting():
                    self._running.add(name)
                    tasks.create_task(self._read(name))
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._retry_after_s):
                        await self._enqueued.wait()

    async def _waiting(self) -> list[BatchName]:
        try:
            names = await self._batches.waiting(without=self._turns.crowded)
            return [name for name in names if name not in self._running]
        except TidemillError as error:
            _log.warning("batches_not_found", reason=error.reason, why=error.message)
            return []

    async def _read(self, name: BatchName) -> None:
        facts = {"project": name.project, "curation": name.curation}
        try:
            with isolated():
                async with self._turns.of(name.project):
                    done = await self._link(name)
                _log.info("examples_linked" if done else "examples_left_to_others", **facts)
        except TidemillError as error:
            _log.warning("examples_not_linked", reason=error.reason, why=error.message, **facts)
        except Exception as error:  # noqa: BLE001 - one batch that breaks must not end the others; it is tried again
            _log.error("examples_linking_broken", exc_info=error, **facts)
        finally:
            self._running.discard(name)


class HouseKeeper:
    """Reads the counts and deletes old answers, at startup and periodically."""

    def __init__(  # noqa: PLR0913 - what it is put together of, once
        self,
        *,
        graph: Graph,
        leases: Leases,
        metrics: LoopMetrics,
        count_every_s: float,
        sweep: SweepInferences | None,
        sweep_every_s: float,
    ) -> None:
        self._graph = graph
        self._leases = leases
        self._metrics = metrics
        self._count_every_s = count_every_s
        self._sweep = sweep
        self._sweep_every_s = sweep_every_s

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_every(self._count_every_s, "history_counted", self.count))
            if self._sweep is not None:
                tasks.create_task(_every(self._sweep_every_s, "old_answers_forgotten", self.sweep))

    async def count(self) -> None:
        """Set the gauges of nodes by kind."""
        self._metrics.counted(await self._graph.counts())

    async def sweep(self) -> None:
        """Delete old answers, in one process at a time."""
        if self._sweep is None:
            return
        async with self._leases.held(OLD) as lease:
            if lease is not None:
                FORGOTTEN.inc(await self._sweep())


async def _every(pause_s: float, event: str, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        started = time.perf_counter()
        try:
            await work()
            _log.debug(event, duration_s=round(time.perf_counter() - started, 3))
        except TidemillError as error:
            _log.warning("housekeeping_postponed", reason=error.reason, why=error.message)
        await asyncio.sleep(pause_s)
