"""Which curations are reconciled, and when."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from services.feedback.tests.builders import ADA, SFT, write
from services.feedback.tests.harness import FeedbackHarness
from tidemill_core.errors import DependencyUnavailable
from tidemill_feedback.curations.domain.ledger import CurationRef
from tidemill_feedback.curations.reconcile import PendingCurations
from tidemill_kit.workers.controller import Controller
from tidemill_testkit.polling import eventually


class Names:
    """The curations that there are."""

    def __init__(self, *refs: CurationRef) -> None:
        self.refs = refs

    async def all(self) -> Sequence[CurationRef]:
        return self.refs


@asynccontextmanager
async def running(
    harness: FeedbackHarness, *names: CurationRef, poll_interval: timedelta = timedelta(minutes=1)
) -> AsyncIterator[Controller[CurationRef]]:
    epochs = iter(range(100, 1000))
    controller = Controller[CurationRef](
        "curations",
        reconcile=lambda ref, _: harness.reconcile(ADA, ref, epoch=next(epochs)),
        pending=PendingCurations(curations=Names(*names), ledger=harness.ledger, clock=harness.clock),
        max_concurrent=1,
        poll_interval=poll_interval,
        debounce=timedelta(milliseconds=10),
    )
    await controller.start()
    yield controller
    await controller.stop()


async def three_corrections() -> FeedbackHarness:
    harness = FeedbackHarness()
    await harness.curate()
    for number in range(3):
        await harness.correct(number)
    return harness


async def test_what_is_ready_at_the_start_is_completed() -> None:
    harness = await three_corrections()

    async with running(harness, SFT):
        await eventually(lambda: len(harness.completions) == 1)


async def test_a_correction_enqueues_its_curation() -> None:
    harness = FeedbackHarness()
    await harness.curate()

    async with running(harness) as controller:
        for number in range(3):
            await harness.correct(number)
        controller.enqueue(harness.enqueued[-1])
        await eventually(lambda: len(harness.completions) == 1)


async def test_a_failure_is_tried_again() -> None:
    harness = await three_corrections()
    harness.inferences.failure = DependencyUnavailable("down", dependency="inference")

    async with running(harness, SFT):
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
            await harness.crud.delete(ADA, "sft", write())
    assert len(await harness.ledger.kept()) == 3

    async with running(harness, again):
        await eventually(lambda: {ref for ref, _ in harness.ledger.stored} == harness.ledger.counted.keys() == {again})


async def test_the_first_resync_is_made_again_for_projects_that_it_left_out() -> None:
    harness = await three_corrections()
    await harness.work()
    pending = PendingCurations(curations=Names(SFT), ledger=harness.ledger, clock=harness.clock)

    assert (await pending("", without=frozenset({"acme"}))).items == []
    assert (await pending("", without=frozenset())).items == [SFT]
    assert (await pending("", without=frozenset())).items == []


async def test_time_alone_completes_a_curation() -> None:
    harness = FeedbackHarness()
    await harness.curate(new_examples=100, at_latest_every=timedelta(seconds=2))
    await harness.correct(1)

    async with running(harness, SFT, poll_interval=timedelta(milliseconds=50)):
        await eventually(lambda: bool(harness.inferences.asked))
        harness.clock.advance(timedelta(seconds=10))
        await eventually(lambda: len(harness.completions) == 1)
