import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import cast

from services.ingest.tests.dataset_fakes import NAME, Datasets
from services.ingest.tests.examples import FEEDBACK, numbered
from tidemill_ingest.application.dataset_ports import DatasetName
from tidemill_ingest.entrypoints.workers import DatasetWorker
from tidemill_testkit.polling import eventually


async def published(datasets: Datasets, count: int) -> None:
    await eventually(lambda: len(datasets.datasets.published) == count)


class WaitingInMemory:
    """Names the one dataset while something is offered to it."""

    def __init__(self, datasets: Datasets) -> None:
        self._datasets = datasets
        self.asked = 0

    async def datasets(self, *, without: Collection[str] = ()) -> Sequence[DatasetName]:
        self.asked += 1
        return [NAME] if (await self._datasets.dataset()).offers and NAME.project not in without else []


@asynccontextmanager
async def working(datasets: Datasets, *, retry_after_s: float) -> AsyncIterator[tuple[DatasetWorker, WaitingInMemory]]:
    waiting = WaitingInMemory(datasets)
    worker = DatasetWorker(waiting=waiting, publish=datasets.publish, retry_after_s=retry_after_s, max_concurrent=2)
    running = asyncio.create_task(worker.run())
    await eventually(lambda: waiting.asked > 0)
    yield worker, waiting
    running.cancel()
    await asyncio.wait([running])


async def test_a_notified_worker_publishes_at_once_and_then_rests() -> None:
    datasets = await Datasets().declared()
    async with working(datasets, retry_after_s=30) as (worker, waiting):
        for seq in (1, 2):
            await datasets.offered(numbered(10 * seq), seq=seq)
            worker.enqueue()
            await published(datasets, seq)
        asked = waiting.asked
        await asyncio.sleep(0.05)

    assert waiting.asked - asked <= 1
    assert (await datasets.dataset()).version_count == 2


async def test_work_that_fails_is_tried_again_by_itself() -> None:
    datasets = await Datasets().declared()
    await datasets.offered(numbered(10))
    bucket = datasets.objects.buckets.pop(FEEDBACK)
    async with working(datasets, retry_after_s=0.02) as (_, waiting):
        await eventually(lambda: waiting.asked > 3)
        datasets.objects.buckets[FEEDBACK] = bucket
        await published(datasets, 1)


async def test_a_mistake_in_one_dataset_does_not_end_the_worker() -> None:
    datasets = await Datasets().declared()
    await datasets.offered(numbered(10))
    bucket = datasets.objects.buckets.pop(FEEDBACK)
    broken = cast("bytes", None)  # what no store returns
    datasets.objects.buckets[FEEDBACK] = dict.fromkeys(bucket, broken)
    async with working(datasets, retry_after_s=0.02) as (_, waiting):
        await eventually(lambda: waiting.asked > 3)
        datasets.objects.buckets[FEEDBACK] = bucket
        await published(datasets, 1)
