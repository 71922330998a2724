"""Periodic work on the graph: the gauges of its nodes, and the deletion of old answers."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from tidemill_core.errors import TidemillError
from tidemill_kit.workers.leases import Leases
from tidemill_monitor.lineage.ports import Graph
from tidemill_monitor.lineage.sweep_inferences import SweepInferences
from tidemill_monitor.metrics import FORGOTTEN, NODES

_log = structlog.get_logger()

OLD = "old_answers"
"""The lease of the process that deletes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphMaintenance:
    """Sets the gauges of nodes and deletes old answers, at startup and periodically."""

    graph: Graph
    leases: Leases
    count_every_s: float
    delete_old: SweepInferences | None
    sweep_every_s: float

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_every(self.count_every_s, "node_counts_read", self.count))
            if self.delete_old is not None:
                tasks.create_task(_every(self.sweep_every_s, "old_answers_deleted", self.sweep))

    async def count(self) -> None:
        """Set the gauges of nodes by kind."""
        for kind, number in (await self.graph.counts()).items():
            NODES.labels(kind.value).set(number)

    async def sweep(self) -> None:
        """Delete old answers, in one process at a time."""
        if self.delete_old is None:
            return
        async with self.leases.held(OLD) as lease:
            if lease is not None:
                FORGOTTEN.inc(await self.delete_old())


async def _every(pause_s: float, event: str, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        started = time.perf_counter()
        try:
            await work()
            _log.debug(event, duration_s=round(time.perf_counter() - started, 3))
        except TidemillError as error:
            _log.warning("graph_maintenance_postponed", reason=error.reason, why=error.message)
        await asyncio.sleep(pause_s)
