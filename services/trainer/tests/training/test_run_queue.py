import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from services.trainer.tests.training.fakes import Harness, request
from tidemill_core.application import ResourceKey
from tidemill_trainer.training import train_run
from tidemill_trainer.training.domain.run import RunState, TrainingRun
from tidemill_trainer.training.run_queue import QueueRules, RunQueue

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


async def ahead_of(queue: RunQueue, key: ResourceKey) -> str:
    run = await queue.ahead_of(key)
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
