"""Who tends curations, and when."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

from services.feedback.tests.fakes import ADA, SFT, FakeLeases, FeedbackWorld, InMemoryLedger, request
from tidemill_feedback.application.ports import Ledger
from tidemill_feedback.domain.ledger import CurationRef
from tidemill_feedback.entrypoints.workers import CurationWorker
from tidemill_kit.errors import DependencyUnavailable
from tidemill_testkit.clocks import FixedClock
from tidemill_testkit.polling import eventually


class Names:
    """The curations that there are."""

    def __init__(self, *refs: CurationRef) -> None:
        self.refs = refs

    async def all(self) -> Sequence[CurationRef]:
        return self.refs


@asynccontextmanager
async def running(world: FeedbackWorld, worker: CurationWorker) -> AsyncIterator[None]:
    task = asyncio.create_task(worker.run(world.tend))
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def worker_of(
    leases: FakeLeases,
    *names: CurationRef,
    ledger: Ledger | None = None,
    clock: FixedClock | None = None,
    look_every_s: float = 60,
) -> CurationWorker:
    return CurationWorker(
        curations=Names(*names),
        ledger=ledger or InMemoryLedger(),
        leases=leases,
        clock=clock or FixedClock(),
        at_once=2,
        settle_s=0.01,
        look_every_s=look_every_s,
    )


async def three_corrections() -> FeedbackWorld:
    world = FeedbackWorld()
    await world.curate()
    for number in range(3):
        await world.correct(number)
    return world


async def test_what_is_ready_at_the_start_is_completed() -> None:
    world = await three_corrections()

    async with running(world, worker_of(FakeLeases(), SFT)):
        await eventually(lambda: len(world.completions) == 1)


async def test_a_correction_wakes_the_worker() -> None:
    world = FeedbackWorld()
    worker = worker_of(FakeLeases())
    await world.curate()

    async with running(world, worker):
        for number in range(3):
            await world.correct(number)
        worker.wake(SFT)
        await eventually(lambda: len(world.completions) == 1)


async def test_one_that_somebody_else_held_is_tried_again() -> None:
    world, leases = await three_corrections(), FakeLeases()
    leases.elsewhere = True
    worker = worker_of(leases)
    worker.wake(SFT)

    async with running(world, worker):
        await asyncio.sleep(0.1)
        leases.elsewhere = False
        await eventually(lambda: len(world.completions) == 1)


async def test_a_failure_is_tried_again() -> None:
    world = await three_corrections()
    world.inferences.failure = DependencyUnavailable("down", dependency="inference")
    worker = worker_of(FakeLeases())
    worker.wake(SFT)

    async with running(world, worker):
        await eventually(lambda: len(world.inferences.asked) >= 3)
        world.inferences.failure = None
        await eventually(lambda: len(world.completions) == 1)


async def test_what_a_crash_left_of_deleted_curations_is_dropped_at_the_start_and_a_living_one_stays() -> None:
    world = FeedbackWorld()
    again = CurationRef("acme", "sft", 3)
    for life in (1, 2, 3):
        await world.curate(new_examples=100)
        await world.correct(life)
        await world.work(CurationRef("acme", "sft", life))
        if life < again.life:
            await world.delete(ADA, "sft", version=0, request=request())
    assert len(await world.ledger.kept()) == 3

    async with running(world, worker_of(FakeLeases(), again, ledger=world.ledger)):
        await eventually(lambda: {ref for ref, _ in world.ledger.stored} == world.ledger.counted.keys() == {again})


async def test_time_alone_completes_a_curation() -> None:
    world = FeedbackWorld()
    await world.curate(new_examples=100, at_latest_every=timedelta(seconds=2))
    await world.correct(1)

    worker = worker_of(FakeLeases(), SFT, ledger=world.ledger, clock=world.clock, look_every_s=0.05)
    async with running(world, worker):
        await eventually(lambda: bool(world.inferences.asked))
        world.clock.advance(timedelta(seconds=10))
        await eventually(lambda: len(world.completions) == 1)
