"""Runs that wait for memory and GPUs, as a worker begins them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from services.trainer.tests.registry.fakes import ADA
from services.trainer.tests.training.fakes import Harness, request
from services.trainer.tests.training.test_run_capacity import GIB, key, taken
from tidemill_core.application import Page, Requeue, ResourceKey
from tidemill_kit.workers.controller import Controller
from tidemill_testkit.polling import eventually
from tidemill_trainer.errors import TrainingFailed
from tidemill_trainer.training import train_run
from tidemill_trainer.training.domain.fit import Choice, ExampleCounts, Fit
from tidemill_trainer.training.domain.plan import RunLimits
from tidemill_trainer.training.domain.run import RunState, TrainingRun
from tidemill_trainer.training.ports import Fitted
from tidemill_trainer.training.run_capacity import Need
from tidemill_trainer.training.run_queue import QueueRules


@dataclass
class Worker:
    """A worker of four places: which plans' runs began, in their order."""

    harness: Harness
    begun: list[str] = field(default_factory=list)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.controller = Controller[ResourceKey](
            "runs",
            reconcile=self._train,
            pending=self._pending,
            max_concurrent=4,
            poll_interval=timedelta(minutes=1),
            rank=self.harness.queue_of_runs.rank,
            capacity=self.harness.capacity,
        )
        self.harness.capacity.on_left = self.controller.serve

    async def _train(self, name: ResourceKey, _epoch: int) -> Requeue | None:
        self.harness.queue_of_runs.leave(name)
        plan = (await self.harness.run(name)).plan
        self.begun.append(plan)
        await self.gates.setdefault(plan, asyncio.Event()).wait()
        return None

    async def _pending(self, _token: str, /, *, without: frozenset[str]) -> Page[ResourceKey]:
        assert not without
        return Page(items=[], next_token="")

    async def add(self, name: ResourceKey) -> None:
        """Enqueue a run, and return when it has begun or waits."""
        self.controller.enqueue(name)

        async def waits_or_runs() -> bool:
            return name in self.harness.capacity.waiting or (await self.harness.run(name)).plan in self.begun

        await eventually(waits_or_runs)
        await asyncio.sleep(0)

    async def has(self, *plans: str) -> bool:
        return self.begun == list(plans)


@asynccontextmanager
async def worker(harness: Harness) -> AsyncIterator[Worker]:
    working = Worker(harness)
    await working.controller.start()
    yield working
    for gate in working.gates.values():
        gate.set()
    await working.controller.stop()


@pytest.fixture
async def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Harness:
    monkeypatch.setattr(train_run, "POLL_INTERVAL_S", 0.001)
    harness = await Harness(folder=tmp_path).with_base()
    harness.capacity.memory_bytes = 8 * GIB
    return harness


async def queued(harness: Harness, plan: str, gib: int, *, priority: int = 0) -> ResourceKey:
    return await harness.queued(plan=plan, priority=priority, limits=RunLimits(memory_bytes=gib * GIB))


async def test_smaller_runs_begin_beside_others_until_a_larger_one_has_waited_long(harness: Harness) -> None:
    async with worker(harness) as here:
        for plan, gib in (("first", 3), ("large", 7), ("small", 1)):
            await here.add(await queued(harness, plan, gib))
        assert await here.has("first", "small")
        harness.registry.clock.advance(harness.capacity.reserve_after)
        await here.add(await queued(harness, "later", 1))
        here.gates["small"].set()
        await eventually(lambda: _runs(here, 1))
        assert await here.has("first", "small")

        here.gates["first"].set()
        await eventually(lambda: here.has("first", "small", "large", "later"))


async def _runs(here: Worker, count: int) -> bool:
    return here.controller.status.running == count


async def test_a_run_that_is_cancelled_while_it_waits_keeps_no_capacity(harness: Harness) -> None:
    async with worker(harness) as here:
        keys = [await queued(harness, plan, gib) for plan, gib in (("first", 3), ("large", 7), ("small", 1))]
        for each in keys[:2]:
            await here.add(each)
        harness.registry.clock.advance(harness.capacity.reserve_after)
        await here.add(keys[2])
        assert await here.has("first")

        await harness.run_crud.cancel(ADA, keys[1].id, request=request())
        await harness.queue_of_runs.refresh()
        here.controller.serve()

        await eventually(lambda: here.has("first", "large", "small"))  # the cancelled one needs nothing, and ends


async def test_a_run_that_is_retried_while_it_waits_as_cancelled_needs_what_it_did(harness: Harness) -> None:
    harness.capacity.devices = ("4", "5", "6", "7")
    async with worker(harness) as here:
        keys = [await queued(harness, plan, 2) for plan in ("one", "two", "three", "large")]
        for each in keys:
            await here.add(each)
        assert await here.has("one", "two", "three")  # which are all that one project may have
        await harness.run_crud.cancel(ADA, keys[3].id, request=request())
        await harness.queue_of_runs.refresh()
        await harness.run_crud.retry(ADA, keys[3].id, request=request())
        await harness.queue_of_runs.refresh()

        here.gates["one"].set()
        await eventually(lambda: here.has("one", "two", "three", "large"))

        assert harness.capacity.free_bytes == 2 * GIB
        assert harness.capacity.devices_of(keys[3]) == ("4",)


async def test_a_run_that_is_retried_once_it_was_begun_as_cancelled_begins_again_with_capacity(
    harness: Harness,
) -> None:
    name = await queued(harness, "lora", 2)
    await harness.run_crud.cancel(ADA, name.id, request=request())
    await harness.queue_of_runs.rank(name)
    assert harness.capacity.take(name)
    await harness.run_crud.retry(ADA, name.id, request=request())

    assert await harness.train_run(name, epoch=1) == Requeue(after=timedelta(0))

    assert (await harness.run(name)).state is RunState.QUEUED
    assert not harness.trainings.jobs
    harness.capacity.give_back(name)
    await harness.queue_of_runs.rank(name)
    assert harness.capacity.take(name)
    assert harness.capacity.free_bytes == 6 * GIB


async def test_a_run_that_does_not_exist_takes_nothing_and_ends(harness: Harness) -> None:
    await harness.queue_of_runs.rank(key("none"))
    assert harness.capacity.take(key("none"))

    assert await harness.train_run(key("none"), epoch=1) is None


async def test_what_a_run_does_not_need_is_given_to_the_next_as_soon_as_it_is_estimated(harness: Harness) -> None:
    fit = Fit(choice=Choice(batch_size=1, accumulation_steps=1, checkpointing=False), needed_bytes=GIB, limit_bytes=0)
    harness.trainings.fitted = Fitted(fit=fit, examples=ExampleCounts(offered=9, fitted=9))
    harness.trainings.gate = asyncio.Event()
    first = await queued(harness, "first", 6)
    harness.capacity.expect(first, Need(memory_bytes=6 * GIB))
    assert harness.capacity.take(first)
    training = asyncio.create_task(harness.train(first))

    async def left() -> bool:
        return harness.capacity.free_bytes == 7 * GIB

    await eventually(left)
    harness.trainings.gate.set()
    assert await training


async def test_a_run_that_waits_again_needs_what_it_was_estimated_to(harness: Harness) -> None:
    waiting = await queued(harness, "lora", 6)
    fit = Fit(choice=Choice(batch_size=1, accumulation_steps=1, checkpointing=False), needed_bytes=GIB, limit_bytes=0)

    def estimated(run: TrainingRun) -> None:
        run.fit = fit

    await harness.runs.update("acme", waiting.id, estimated, request=request())
    await harness.queue_of_runs.rank(waiting)
    assert harness.capacity.take(waiting)

    assert harness.capacity.free_bytes == 7 * GIB


async def test_a_run_that_needs_more_than_the_worker_has_fails_with_all_figures(harness: Harness) -> None:
    harness.trainings.error = TrainingFailed("the training needs 9 bytes; its limit is 8", reason="OUT_OF_MEMORY")
    harness.capacity.memory_bytes = 2 * GIB
    name = await queued(harness, "lora", 4)

    assert await harness.train(name)

    run = await harness.run(name)
    assert (run.state, run.reason) == (RunState.FAILED, "OUT_OF_MEMORY")
    assert run.message == (
        "the training needs 9 bytes; its limit is 8; this worker's runs have 2147483648 bytes together "
        "(TRAINER_RUN_TOTAL_MEMORY_BYTES), fewer than the run may take (4294967296)"
    )
    assert harness.trainings.jobs[0].memory_bytes == 2 * GIB


async def test_a_run_of_more_processes_than_there_are_gpus_fails_at_once(harness: Harness) -> None:
    harness.capacity.devices = ("0",)
    name = await harness.queued(processes=2, args={"per_device_train_batch_size": 2.0})

    assert await harness.train(name)

    assert (await harness.run(name)).reason == "TOO_MANY_PROCESSES"
    assert not harness.trainings.jobs


async def test_memory_auto_has_what_other_runs_left(harness: Harness) -> None:
    other = key("other")
    harness.capacity.expect(other, Need(memory_bytes=5 * GIB))
    assert harness.capacity.take(other)
    name = await harness.queued(limits=RunLimits(memory_bytes=6 * GIB, memory_auto=True))

    assert await harness.train(name)

    assert harness.trainings.jobs[0].memory_bytes == 3 * GIB


async def test_memory_auto_takes_what_it_may_choose_from_until_it_is_estimated_again(harness: Harness) -> None:
    fit = Fit(choice=Choice(batch_size=1, accumulation_steps=4, checkpointing=True), needed_bytes=GIB, limit_bytes=GIB)
    name = await harness.queued(limits=RunLimits(memory_bytes=6 * GIB, memory_auto=True))

    def gave_way(run: TrainingRun) -> None:
        run.fit = fit

    await harness.runs.update("acme", name.id, gave_way, request=request())
    await harness.queue_of_runs.rank(name)
    assert harness.capacity.take(name)

    assert harness.queue_of_runs.memory_of(name, await harness.run(name)) == 6 * GIB

    assert not taken(harness.capacity, "other", Need(memory_bytes=6 * GIB))
    harness.capacity.estimated(name, 2 * GIB)
    assert harness.capacity.take(key("other"))


async def test_a_run_gives_way_only_where_that_makes_enough_capacity(harness: Harness) -> None:
    low, other = await queued(harness, "low", 2), await queued(harness, "other", 3)
    high = await queued(harness, "high", 6, priority=5)
    queue = harness.queue_of_runs
    for each in (low, other, high):
        await queue.rank(each)
    assert [harness.capacity.take(each) for each in (low, other, high)] == [True, True, False]
    harness.registry.clock.advance(QueueRules().waits)

    with queue.working(low, await harness.run(low)), queue.working(other, await harness.run(other)):
        assert await queue.ahead_of(low, computed_s=0.0) is None  # 5 GiB would be free
        ahead = await queue.ahead_of(other, computed_s=0.0)

    assert ahead
    assert ahead.id == high.id


async def test_a_waiting_run_that_another_worker_has_begun_needs_what_it_did(harness: Harness) -> None:
    low, high = await queued(harness, "low", 6), await queued(harness, "high", 5, priority=5)
    queue = harness.queue_of_runs
    for each in (low, high):
        await queue.rank(each)
    assert [harness.capacity.take(each) for each in (low, high)] == [True, False]
    harness.registry.clock.advance(QueueRules().waits)
    await harness.runs.update(
        "acme", high.id, lambda run: run.claim(7, now=harness.registry.clock.now()), request=request()
    )

    with queue.working(low, await harness.run(low)):
        assert await queue.ahead_of(low, computed_s=0.0) is None

    assert harness.capacity.waiting == {high}
    harness.capacity.give_back(low)
    assert harness.capacity.take(high)
    assert harness.capacity.free_bytes == 3 * GIB
