import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest

from services.trainer.tests.registry.fakes import ADA
from services.trainer.tests.training.fakes import Harness, request
from tidemill_core.application import Page, Requeue, ResourceKey
from tidemill_kit.workers.controller import Controller
from tidemill_testkit.clocks import NOON
from tidemill_testkit.polling import eventually
from tidemill_trainer.errors import TrainingFailed
from tidemill_trainer.registry.domain.memorisation import Memorisation
from tidemill_trainer.training import train_run
from tidemill_trainer.training.domain.memorisation import MemorisationCheck
from tidemill_trainer.training.domain.run import RunState, TrainingRun
from tidemill_trainer.training.domain.waiting import Waiting
from tidemill_trainer.training.ports import Begun, Memorised, Report
from tidemill_trainer.training.run_capacity import RunCapacity
from tidemill_trainer.training.run_queue import QueueRules, RunQueue
from tidemill_trainer.training.run_reports import RunReports

WAITS = QueueRules().waits


@pytest.fixture
async def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Harness:
    monkeypatch.setattr(train_run, "POLL_INTERVAL_S", 0.001)
    return await Harness(folder=tmp_path).with_base()


async def in_order(harness: Harness, *keys: ResourceKey) -> Sequence[str]:
    """Return the plans of runs in the order in which they get places."""
    ranks = {(await harness.run(key)).plan: await harness.queue_of_runs.rank(key) for key in keys}
    return sorted(ranks, key=ranks.__getitem__)


async def with_one_ahead(harness: Harness, *, low: int = 0, high: int = 5) -> tuple[ResourceKey, ResourceKey]:
    """Queue two runs, of which the second waits for a place long enough."""
    first = await harness.queued(plan="low", priority=low)
    second = await harness.queued(plan="high", priority=high)
    await harness.queue_of_runs.rank(second)
    harness.registry.clock.advance(WAITS)
    return first, second


async def ahead_of(queue: RunQueue, key: ResourceKey, *, computed: timedelta = timedelta(0)) -> str:
    run = await queue.ahead_of(key, computed_s=computed.total_seconds())
    return run.plan if run else ""


async def test_of_waiting_runs_the_highest_priority_is_first_and_then_the_oldest(harness: Harness) -> None:
    old = await harness.queued(plan="old")
    harness.registry.clock.advance(timedelta(minutes=1))
    young, low, high = [
        await harness.queued(plan=name, priority=p) for name, p in [("young", 0), ("low", -1), ("high", 1)]
    ]

    assert await in_order(harness, low, young, high, old) == ["high", "old", "young", "low"]


async def test_a_run_that_has_waited_long_is_ahead_of_a_higher_one(harness: Harness) -> None:
    patient = await harness.queued(plan="patient")
    harness.registry.clock.advance(timedelta(hours=2, seconds=1))
    high, highest = [await harness.queued(plan=f"high{p}", priority=p) for p in (2, 3)]

    assert await in_order(harness, highest, high, patient) == ["high3", "patient", "high2"]


async def test_a_run_gives_way_at_its_checkpoint_and_goes_on_later(harness: Harness) -> None:
    harness.trainings.saves, harness.trainings.gate = True, asyncio.Event()
    low = await harness.queued(plan="low")
    first = asyncio.create_task(harness.train(low))
    await harness.trainings.begun.wait()
    high = await harness.queued(plan="high", priority=5)
    await harness.queue_of_runs.rank(high)
    harness.registry.clock.advance(WAITS)

    assert not await first

    run = await harness.run(low)
    assert (run.state, run.preemptions, run.progress.step, harness.trainings.killed) == (RunState.QUEUED, 1, 1, 1)
    assert run.message == (f"gave way to run {high.id} of priority 5; it goes on from its last checkpoint")
    harness.trainings.gate.set()
    for key in (high, low):
        assert await harness.train(key)
        assert (await harness.run(key)).state is RunState.SUCCEEDED


async def test_a_run_that_only_measures_what_it_memorised_gives_way_and_measures_again(harness: Harness) -> None:
    harness.trainings.saves, harness.trainings.gate, harness.trainings.losses = True, asyncio.Event(), (1.0,)
    harness.trainings.memorisation = Memorisation(candidates=99, planted=1)
    low = await harness.queued(plan="low", memorisation=MemorisationCheck())
    first = asyncio.create_task(harness.train(low))
    await harness.trainings.begun.wait()
    high = await harness.queued(plan="high", priority=5)
    await harness.queue_of_runs.rank(high)
    harness.registry.clock.advance(WAITS)

    assert not await first

    run = await harness.run(low)
    assert (run.state, run.progress.step, run.progress.memorisation) == (RunState.QUEUED, 1, None)
    harness.trainings.gate.set()
    for key in (high, low):
        assert await harness.train(key)
    assert (await harness.run(low)).progress.memorisation == harness.trainings.memorisation


@pytest.mark.parametrize(
    ("memorises", "measured", "may"), [(False, False, False), (True, False, True), (True, True, False)]
)
async def test_a_run_that_only_has_to_be_saved_gives_way_to_none(
    harness: Harness, *, memorises: bool, measured: bool, may: bool
) -> None:
    key = await harness.queued(memorisation=MemorisationCheck() if memorises else None)
    watch = RunReports(await harness.run(key), base_digest="")

    async def reports() -> AsyncIterator[Report]:
        yield Begun(step=2, steps=2, versions={})
        if measured:
            yield Memorised(memorisation=Memorisation(candidates=99))

    await watch.read(reports())

    assert watch.may_stop == may


async def test_the_place_of_a_run_that_gave_way_stays_in_its_project(harness: Harness) -> None:
    begun, other = list[str](), ResourceKey(project="globex", id="other")

    async def train(key: ResourceKey, _epoch: int) -> Requeue | None:
        begun.append(key.id)
        harness.epoch += 1
        return await harness.train_run(key, epoch=harness.epoch)

    async def pending(_token: str, /, *, without: frozenset[str]) -> Page[ResourceKey]:
        assert not without
        return Page(items=[], next_token="")

    harness.trainings.saves, harness.trainings.gate = True, asyncio.Event()
    controller = Controller(
        "runs",
        reconcile=train,
        pending=pending,
        max_concurrent=1,
        poll_interval=timedelta(minutes=1),
        rank=harness.queue_of_runs.rank,
    )
    await controller.start()
    low = await harness.queued(plan="low")
    controller.enqueue(low)
    await harness.trainings.begun.wait()
    high = await harness.queued(plan="high", priority=5)
    for key in (other, high):
        controller.enqueue(key)
    await eventually(lambda: harness.queue_of_runs.waits == 1)
    harness.registry.clock.advance(WAITS)
    await eventually(lambda: len(begun) > 1)
    harness.trainings.gate.set()
    await eventually(lambda: len(begun) > 3 and controller.status.running == 0)
    await controller.stop()

    assert begun == [low.id, high.id, other.id, low.id]
    assert [(await harness.run(key)).state for key in (low, high)] == [RunState.SUCCEEDED] * 2


async def test_a_run_goes_on_to_its_next_checkpoint_before_it_gives_way(harness: Harness) -> None:
    harness.trainings.gate = asyncio.Event()
    low = await harness.queued(plan="low")
    training = asyncio.create_task(harness.train(low))
    await harness.trainings.begun.wait()
    high = await harness.queued(plan="high", priority=5)
    await harness.queue_of_runs.rank(high)
    harness.registry.clock.advance(WAITS)
    await asyncio.sleep(0.02)
    assert not training.done()

    harness.registry.clock.advance(QueueRules().checkpoint)

    assert not await training
    assert (await harness.run(low)).preemptions == 1


async def test_a_run_gives_way_only_where_the_other_is_higher_and_ahead(harness: Harness) -> None:
    low, _ = await with_one_ahead(harness, low=5, high=5)

    with harness.queue_of_runs.working(low, await harness.run(low)):
        assert await ahead_of(harness.queue_of_runs, low) == ""


async def test_a_run_that_gave_way_often_keeps_its_place(harness: Harness) -> None:
    low, _ = await with_one_ahead(harness)

    def gave_way(run: TrainingRun) -> None:
        run.preemptions = QueueRules().max_preemptions

    run = await harness.runs.update("acme", low.id, gave_way, request=request())
    with harness.queue_of_runs.working(low, run):
        assert await ahead_of(harness.queue_of_runs, low) == ""


async def test_a_run_does_not_give_way_to_one_that_another_worker_has_taken(harness: Harness) -> None:
    low, high = await with_one_ahead(harness)

    def taken(run: TrainingRun) -> None:
        run.claim(1, now=harness.registry.clock.now())

    with harness.queue_of_runs.working(low, await harness.run(low)):
        assert await ahead_of(harness.queue_of_runs, low) == "high"
        await harness.runs.update("acme", high.id, taken, request=request())
        assert await ahead_of(harness.queue_of_runs, low) == ""


async def test_one_run_gives_way_to_one_waiting_and_it_is_the_last_in_the_order(harness: Harness) -> None:
    lower, _ = await with_one_ahead(harness)
    middle = await harness.queued(plan="middle", priority=1)
    queue = harness.queue_of_runs

    with ExitStack() as working:
        for key in (lower, middle):
            working.enter_context(queue.working(key, await harness.run(key)))
        assert await ahead_of(queue, middle) == ""
        assert await ahead_of(queue, lower) == "high"
        assert await ahead_of(queue, middle) == ""
    with queue.working(middle, await harness.run(middle)):  # the other has stopped, and what waits has not begun
        assert await ahead_of(queue, middle) == ""


async def test_of_several_workers_one_stops_a_run_for_one_that_waits_until_it_had_the_time(harness: Harness) -> None:
    low, high = await with_one_ahead(harness)
    other = await harness.queued(plan="other")
    here, rules = harness.queue_of_runs, QueueRules()
    capacity = RunCapacity(clock=harness.registry.clock, memory_bytes=2**34, places=4)
    there = RunQueue(runs=harness.runs, clock=harness.registry.clock, capacity=capacity, default_memory_bytes=2**32)
    await there.rank(high)
    harness.registry.clock.advance(WAITS)

    with here.working(low, await harness.run(low)), there.working(other, await harness.run(other)):
        assert await ahead_of(here, low) == "high"
        assert await ahead_of(there, other) == ""
        assert await ahead_of(here, low) == "high"
        harness.registry.clock.advance(rules.checkpoint + rules.waits)
        assert await ahead_of(there, other) == "high"
        assert await ahead_of(here, low) == ""
    assert (await harness.run(high)).waiting.given_by == other.id


def test_of_two_workers_that_ask_at_once_the_first_that_is_stored_is_the_one() -> None:
    until = NOON + WAITS
    first = Waiting().given(by="first", now=NOON, until=until)

    assert first.given(by="second", now=NOON, until=until) == first
    assert first.given(by="second", now=until, until=until + WAITS).given_by == "second"


async def test_computing_is_no_waiting(harness: Harness) -> None:
    low = await harness.queued(plan="low")
    harness.registry.clock.advance(timedelta(hours=6))
    high = await harness.queued(plan="high", priority=2)
    await harness.queue_of_runs.rank(high)
    harness.registry.clock.advance(WAITS)

    with harness.queue_of_runs.working(low, await harness.run(low)):
        assert await ahead_of(harness.queue_of_runs, low, computed=timedelta(hours=3)) == ""
        assert await ahead_of(harness.queue_of_runs, low, computed=timedelta(hours=5)) == "high"


async def test_a_run_that_gave_way_is_behind_the_one_that_it_gave_way_to(harness: Harness) -> None:
    low = await harness.queued(plan="low")
    harness.registry.clock.advance(timedelta(minutes=90))
    high = await harness.queued(plan="high", priority=1)

    def computed(run: TrainingRun) -> None:
        run.claim(1, now=harness.registry.clock.now())
        run.advance(replace(run.progress, step=1, steps=9, seconds=7200.0), epoch=1)
        run.give_way("", now=harness.registry.clock.now(), epoch=1)

    await harness.runs.update("acme", low.id, computed, request=request())

    assert await in_order(harness, low, high) == ["high", "low"]


async def test_a_run_whose_worker_was_lost_goes_on_before_later_ones(harness: Harness) -> None:
    interrupted = await harness.queued(plan="interrupted")

    def computed(run: TrainingRun) -> None:
        run.claim(1, now=harness.registry.clock.now())
        run.advance(replace(run.progress, step=1, steps=9, seconds=7200.0), epoch=1)

    await harness.runs.update("acme", interrupted.id, computed, request=request())
    harness.registry.clock.advance(timedelta(hours=1))
    later = await harness.queued(plan="later")

    assert await in_order(harness, later, interrupted) == ["interrupted", "later"]


async def test_a_run_that_is_retried_waits_anew(harness: Harness) -> None:
    retried = await harness.queued(plan="retried")
    await harness.run_crud.cancel(ADA, retried.id, request=request())
    harness.registry.clock.advance(timedelta(days=3))
    await harness.run_crud.retry(ADA, retried.id, request=request())
    high = await harness.queued(plan="high", priority=1)

    assert await in_order(harness, retried, high) == ["high", "retried"]


async def test_what_another_worker_took_or_was_deleted_is_not_kept(harness: Harness) -> None:
    queue, keys = harness.queue_of_runs, [await harness.queued(plan=name) for name in ("taken", "deleted")]
    for key in keys:
        await queue.rank(key)

    def taken(run: TrainingRun) -> None:
        run.claim(1, now=harness.registry.clock.now())

    def deleted(run: TrainingRun) -> None:
        run.deleted = True

    await harness.runs.update("acme", keys[0].id, taken, request=request())
    await harness.runs.update("acme", keys[1].id, deleted, request=request())
    for key in keys:
        await queue.rank(key)

    assert queue.waits == 0  # else each worker would keep all runs ever queued


async def test_a_run_that_gave_way_at_another_worker_is_seen_to_wait_again_here(harness: Harness) -> None:
    name, queue, now = await harness.queued(), harness.queue_of_runs, harness.registry.clock.now()

    def taken(run: TrainingRun) -> None:
        run.claim(1, now=now)

    def gave_way(run: TrainingRun) -> None:
        run.give_way("", now=now, epoch=1)

    waits = list[int]()
    await queue.rank(name)
    for change in (taken, gave_way):
        await harness.runs.update("acme", name.id, change, request=request())
        await queue.refresh()
        waits.append(queue.waits)

    assert waits == [0, 1]
    assert name in harness.capacity.waiting


async def test_a_run_that_failed_does_not_give_way(harness: Harness) -> None:
    class Fails(asyncio.Event):
        async def wait(self) -> Literal[True]:
            message = "why"
            raise TrainingFailed(message, reason="DIVERGED")

    harness.trainings.saves, harness.trainings.gate = True, Fails()
    low, _ = await with_one_ahead(harness)

    assert await harness.train(low)

    run = await harness.run(low)
    assert (run.state, run.reason, run.preemptions) == (RunState.FAILED, "DIVERGED", 0)
