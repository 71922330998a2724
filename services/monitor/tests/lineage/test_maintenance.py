import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any

from services.monitor.tests.fakes import Monitor
from services.monitor.tests.story import a_turn
from tidemill_kit.store.mongo import Database
from tidemill_kit.workers.leases import Leases
from tidemill_monitor.lineage.domain.kinds import Kind
from tidemill_monitor.lineage.maintenance import OLD, GraphMaintenance
from tidemill_monitor.lineage.sweep_inferences import SweepInferences
from tidemill_monitor.metrics import NODES
from tidemill_testkit.clocks import FixedClock


async def while_running(work: Callable[[], Coroutine[Any, Any, None]], check: Callable[[], bool]) -> None:
    task = asyncio.create_task(work())
    deadline = time.monotonic() + 60
    try:
        while not check():
            assert time.monotonic() < deadline
            assert not task.done()
            await asyncio.sleep(0.01)
    finally:
        task.cancel()


async def test_the_counts_are_read_for_the_metrics_and_one_process_forgets_what_is_old(database: Database) -> None:
    monitor = Monitor()
    await monitor.consume(a_turn())
    maintenance = GraphMaintenance(
        graph=monitor.graph,
        leases=Leases(database["leases"], owner="me", ttl=timedelta(seconds=30), clock=FixedClock()),
        count_every_s=600,
        delete_old=SweepInferences(graph=monitor.graph, clock=monitor.clock, keep=timedelta(days=30)),
        sweep_every_s=600,
    )
    gauge = NODES.labels(Kind.INFERENCE.value)
    gauge.set(-1)

    await while_running(replace(maintenance, delete_old=None).run, lambda: gauge._value.get() == 6)  # noqa: SLF001 - no other way

    monitor.clock.advance(timedelta(days=31))
    async with Leases(database["leases"], owner="other", ttl=timedelta(seconds=30), clock=FixedClock()).held(OLD):
        await maintenance.sweep()
    assert (await monitor.graph.counts())[Kind.INFERENCE] == 6
    await maintenance.sweep()
    assert (await monitor.graph.counts())[Kind.INFERENCE] == 3
