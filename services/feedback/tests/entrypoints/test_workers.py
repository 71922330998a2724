"""When curations are reconciled, and by which worker."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

from services.feedback.tests.builders import ADA, SFT, request
from services.feedback.tests.fakes import FakeLeases, InMemoryLedger
from services.feedback.tests.harness import FeedbackHarness
from tidemill_core.errors import DependencyUnavailable
from tidemill_feedback.application.ports import Ledger
from tidemill_feedback.domain.ledger import CurationRef
from tidemill_feedback.entrypoints.workers import CurationWorker
from tidemill_testkit.clocks import FixedClock
from tidemill_testkit.polling import eventually


class Names:
    """The curations that there are."""

    def __init__(self, *refs: CurationRef) -> None:
        self.refs = refs

    async def all(self) -> Sequence[CurationRef]:
        return self.refs


@asynccontextmanager
async def running(harness: FeedbackHarness, worker: CurationWorker) -> AsyncIterator[None]:
    task = asyncio.create_task(worker.run(harness.reconcile))
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def worker_of(
    leases: FakeLeases,
    *names: CurationRef,
    ledger: Ledger | None = None,
    clock: FixedClock | None = None,
    poll_interval_s: float = 60,
) -> CurationWorker:
    return CurationWorker(
        curations=Names(*names),
        ledger=ledger or InMemoryLedger(),
        leases=leases,
        clock=clock or FixedClock(),
        max_concurrent=2,
        debounce_s=0.01,
        poll_interval_s=poll_interval_s,
    )


async def three_corrections() -> FeedbackHarness:
    harness = FeedbackHarness()
    await harness.curate()
    for number in range(3):
        await harness.correct(number)
    return harness


async def test_what_is_ready_at_the_start_is_completed() -> None:
    harness = await three_corrections()

    async with running(harness, worker_of(FakeLeases(), SFT)):
        await eventually(lambda: len(harness.completions) == 1)


async def test_a_correction_enqueues_work() -> None:
    harness = FeedbackHarness()
    worker = worker_of(FakeLeases())
    await harness.curate()

    async with running(harness, worker):
        for number in range(3):
            await harness.correct(number)
        worker.enqueue(SFT)
        await eventually(lambda: len(harness.completions) == 1)


async def test_one_that_another_worker_held_is_tried_again() -> None:
    harness, leases = await three_corrections(), FakeLeases()
    leases.elsewhere = True
    worker = worker_of(leases)
    worker.enqueue(SFT)

    async with running(harness, worker):
        await asyncio.sleep(0.1)
        leases.elsewhere = False
        await eventually(lambda: len(harness.completions) == 1)


async def test_a_failure_is_tried_again() -> None:
    harness = await three_corrections()
    harness.inferences.failure = DependencyUnavailable("down", dependency="inference")
    worker = worker_of(FakeLeases())
    worker.enqueue(SFT)

    async with running(harness, worker):
        await eventually(lambda: len(harness.inferences.asked) >= 3)
        harness.inferences.failure = None
        await eventually(lambda: len(harness.completions) == 1)


async def test_what_a_crash_left_of_deleted_curations_is_dropped_at_the_start_and_a_living_one_stays() -> None:
    harness = FeedbackHarness()
    again = CurationRef("acme", "sft", 3)
    for incarnation in (1, 2, 3):
        await harness.curate(new_examples=100)
        await harness.correct(incarnation)
        await harness.work(CurationRef("acme", "sft", incarnation))
        if incarnation < again.incarnation:
            await harness.delete(ADA, "sft", version=0, request=request())
    assert len(await harness.ledger.kept()) == 3

    async with running(harness, worker_of(FakeLeases(), again, ledger=harness.ledger)):
        await eventually(lambda: {ref for ref, _ in harness.ledger.stored} == harness.ledger.counted.keys() == {again})


async def test_time_alone_completes_a_curation() -> None:
    harness = FeedbackHarness()
    await harness.curate(new_examples=100, at_latest_every=timedelta(seconds=2))
    await harness.correct(1)

    worker = worker_of(FakeLeases(), SFT, ledger=harness.ledger, clock=harness.clock, poll_interval_s=0.05)
    async with running(harness, worker):
        await eventually(lambda: bool(harness.inferences.asked))
        harness.clock.advance(timedelta(seconds=10))
        await eventually(lambda: len(harness.completions) == 1)
