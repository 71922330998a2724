import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from services.monitor.tests.fakes import Monitor
from services.monitor.tests.story import Story, a_turn
from tidemill_core.errors import DependencyUnavailable
from tidemill_kit.store.mongo import Database
from tidemill_kit.workers.leases import Leases
from tidemill_monitor.application.ports import BatchName
from tidemill_monitor.application.record_event import RecordEvent
from tidemill_monitor.application.sweep_inferences import SweepInferences
from tidemill_monitor.domain.kinds import Kind
from tidemill_monitor.entrypoints.metrics import NODES, LoopMetrics
from tidemill_monitor.entrypoints.workers import OLD, ExamplesWorker, HouseKeeper
from tidemill_testkit.clocks import FixedClock


async def while_running(work: Callable[[], Coroutine[Any, Any, None]], check: Callable[[], bool]) -> None:
    task = asyncio.create_task(work())
    deadline = time.monotonic() + 10
    try:
        while not check():
            assert time.monotonic() < deadline
            assert not task.done()
            await asyncio.sleep(0.01)
    finally:
        task.cancel()


async def test_a_completed_curation_enqueues_work_which_reads_it() -> None:
    monitor, story = Monitor(), Story()
    story.curate(seq=1, examples=[("fb-1", "inf-1")])
    monitor.examples.by_key |= story.batches
    worker = ExamplesWorker(batches=monitor.batches, link=monitor.link, max_concurrent=1, retry_after_s=600)
    record = RecordEvent(graph=monitor.graph, batches=monitor.batches, enqueue=worker.enqueue)

    async def updates() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(worker.run())
            await asyncio.sleep(0)
            for event in story.events:
                await record("acme", event.meta, event.body)

    await while_running(updates, lambda: bool(monitor.batches.finished))


async def test_a_batch_is_tried_again_when_the_store_was_down() -> None:
    monitor = Monitor()
    monitor.examples.failure = DependencyUnavailable("down", dependency="s3")
    story = Story()
    story.curate(seq=1, examples=[("fb-1", "inf-1")])
    (event,) = story.events
    await monitor.record("acme", event.meta, event.body)
    worker = ExamplesWorker(batches=monitor.batches, link=monitor.link, max_concurrent=1, retry_after_s=0.02)
    heals = asyncio.get_running_loop().call_later(0.1, lambda: heal(monitor, story))

    await while_running(worker.run, lambda: monitor.batches.finished == {BatchName("acme", "helpdesk_sft@1"): ""})
    heals.cancel()


def heal(monitor: Monitor, story: Story) -> None:
    monitor.examples.by_key |= story.batches
    monitor.examples.failure = None


async def test_the_counts_are_read_for_the_metrics_and_one_process_forgets_what_is_old(database: Database) -> None:
    monitor = Monitor()
    await monitor.consume(a_turn())
    keeper = HouseKeeper(
        graph=monitor.graph,
        leases=Leases(database["leases"], owner="me", ttl=timedelta(seconds=30), clock=FixedClock()),
        metrics=LoopMetrics(max_projects=1),
        count_every_s=600,
        sweep=SweepInferences(graph=monitor.graph, clock=monitor.clock, keep=timedelta(days=30)),
        sweep_every_s=600,
    )
    gauge = NODES.labels(Kind.INFERENCE.value)
    gauge.set(-1)

    await while_running(keeper.run, lambda: gauge._value.get() == 6)  # noqa: SLF001 - no other way

    monitor.clock.advance(timedelta(days=31))
    async with Leases(database["leases"], owner="other", ttl=timedelta(seconds=30), clock=FixedClock()).held(OLD):
        await keeper.sweep()
    assert (await monitor.graph.counts())[Kind.INFERENCE] == 6
    await keeper.sweep()
    assert (await monitor.graph.counts())[Kind.INFERENCE] == 3
