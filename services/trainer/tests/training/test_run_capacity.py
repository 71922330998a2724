import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.trainer.tests.registry.fakes import ADA
from services.trainer.tests.training.fakes import Harness, request
from tidemill_core.application import Page, Requeue, ResourceKey
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.fair_share import Turns
from tidemill_testkit.clocks import FixedClock
from tidemill_testkit.polling import eventually
from tidemill_trainer.errors import TrainingFailed
from tidemill_trainer.training import train_run
from tidemill_trainer.training.domain.fit import Choice, ExampleCounts, Fit
from tidemill_trainer.training.domain.plan import RunLimits
from tidemill_trainer.training.domain.run import RunState, TrainingRun
from tidemill_trainer.training.ports import Fitted
from tidemill_trainer.training.run_capacity import Need, RunCapacity
from tidemill_trainer.training.run_queue import QueueRules
from tidemill_trainer.training.worker_devices import visible_devices

GIB = 1024**3


def capacity(
    *, places: int = 4, devices: tuple[str, ...] = (), on_left: Callable[[], None] = lambda: None
) -> RunCapacity:
    return RunCapacity(clock=FixedClock(), memory_bytes=10 * GIB, places=places, devices=devices, on_left=on_left)


def key(name: str, *, project: str = "acme") -> ResourceKey:
    return ResourceKey(project=project, id=name)


def taken(capacity: RunCapacity, name: str, need: Need) -> bool:
    capacity.expect(key(name), need)
    return capacity.take(key(name))


def test_a_run_begins_where_its_memory_is_free() -> None:
    there = capacity()

    assert taken(there, "first", Need(memory_bytes=6 * GIB))
    assert not taken(there, "second", Need(memory_bytes=5 * GIB))
    assert taken(there, "third", Need(memory_bytes=4 * GIB))
    there.give_back(key("first"))
    assert there.take(key("second"))
    assert there.free_bytes == 1 * GIB


def test_what_a_run_was_estimated_not_to_need_is_free_for_others() -> None:
    left = list[str]()
    there = capacity(on_left=lambda: left.append("capacity"))
    assert taken(there, "first", Need(memory_bytes=8 * GIB))

    for needed in (9 * GIB, 3 * GIB, 3 * GIB):
        there.estimated(key("first"), needed)

    assert (there.free_bytes, left) == (7 * GIB, ["capacity"])


def test_a_run_in_work_has_what_it_was_estimated_to_need_also_where_that_is_more_than_before() -> None:
    there = capacity()
    assert taken(there, "first", Need(memory_bytes=2 * GIB))
    assert taken(there, "second", Need(memory_bytes=7 * GIB))

    there.estimated(key("first"), 5 * GIB)

    assert there.free_bytes == -2 * GIB
    assert not taken(there, "third", Need(memory_bytes=1))
    assert there.take_more(key("first"), 9 * GIB) == 5 * GIB


def test_a_run_gives_way_to_none_that_could_not_begin_then_as_capacity_is_kept_for_another() -> None:
    there = capacity()
    clock: Any = there.clock
    low, high, reserved = key("low"), key("high"), key("reserved", project="other")
    assert taken(there, "low", Need(memory_bytes=5 * GIB))
    assert taken(there, "third", Need(memory_bytes=3 * GIB))
    there.expect(reserved, Need(memory_bytes=10 * GIB))
    assert not there.take(reserved)
    assert not taken(there, "high", Need(memory_bytes=4 * GIB))
    assert there.fits_without(high, low)

    clock.advance(there.reserve_after)

    assert not there.fits_without(high, low)
    there.forget(reserved)
    assert there.fits_without(high, low)
    there.give_back(low)
    assert there.take(high)


def test_capacity_is_kept_for_a_run_whose_project_may_have_a_place_more_once_another_has_left() -> None:
    there = capacity(places=1)
    clock: Any = there.clock
    assert taken(there, "low", Need(memory_bytes=5 * GIB))
    assert not taken(there, "reserved", Need(memory_bytes=10 * GIB))
    clock.advance(timedelta(seconds=1))
    assert not taken(there, "high", Need(memory_bytes=6 * GIB))
    clock.advance(there.reserve_after)

    assert not there.fits_without(key("high"), key("low"))
    assert there.fits_without(key("reserved"), key("low"))


def test_a_run_that_is_larger_than_the_worker_waits_for_all_of_it() -> None:
    there = capacity()
    assert taken(there, "small", Need(memory_bytes=1))
    assert not taken(there, "large", Need(memory_bytes=99 * GIB))
    there.give_back(key("small"))

    assert there.take(key("large"))  # its estimate decides whether that is enough


def test_after_a_while_nothing_smaller_begins_before_a_large_run() -> None:
    there = capacity()
    clock: Any = there.clock
    assert taken(there, "first", Need(memory_bytes=4 * GIB))
    assert not taken(there, "large", Need(memory_bytes=8 * GIB))
    assert taken(there, "small", Need(memory_bytes=1 * GIB))
    there.give_back(key("small"))

    clock.advance(there.reserve_after)

    assert not taken(there, "small", Need(memory_bytes=1 * GIB))
    assert not taken(there, "larger", Need(memory_bytes=9 * GIB))
    there.give_back(key("first"))
    assert not there.take(key("larger"))
    assert there.take(key("large"))
    assert there.take(key("small"))


def test_capacity_is_kept_for_no_run_that_another_worker_may_compute_or_whose_project_may_have_no_more_places() -> None:
    there = capacity(places=2)
    clock: Any = there.clock
    other = key("small", project="other")
    there.expect(other, Need(memory_bytes=GIB))
    assert taken(there, "first", Need(memory_bytes=4 * GIB))
    assert not taken(there, "elsewhere", Need(memory_bytes=8 * GIB, reserves=False))
    assert not taken(there, "large", Need(memory_bytes=8 * GIB))
    clock.advance(there.reserve_after)
    assert not there.take(other)

    there.places = 1
    assert there.take(other)
    there.give_back(other)
    there.places = 2
    there.expect(other, Need(memory_bytes=GIB))
    assert not there.take(other)
    there.expect(key("large"), Need(memory_bytes=8 * GIB, reserves=False))  # its worker was lost

    assert there.take(other)


@pytest.mark.parametrize("project", ["acme", "other"])
async def test_a_large_run_begins_also_where_all_places_are_full_until_a_run_ends(project: str) -> None:
    there, turns = capacity(places=2), Turns(2)
    clock: Any = there.clock
    begun, ends = list[str](), dict[str, asyncio.Event]()

    async def work(name: ResourceKey, gib: int, rank: float) -> None:
        there.expect(name, Need(memory_bytes=gib * GIB))
        async with turns.of(name.project, rank=rank, needs=Part(there, name)):
            begun.append(name.id)
            await ends.setdefault(name.id, asyncio.Event()).wait()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(work(key("small-0"), 2, 0))
        tasks.create_task(work(key("small-1"), 2, 1))
        tasks.create_task(work(key("large", project=project), 9, 2))
        waiting = [tasks.create_task(work(key(f"small-{n}"), 2, n + 1)) for n in range(2, 40)]
        await asyncio.sleep(0)
        for n in range(6):
            for _ in range(60):
                clock.advance(timedelta(seconds=10))
                turns.serve()
            ends[begun[n]].set()
            for _ in range(4):
                await asyncio.sleep(0)
            if "large" in begun:
                break
        assert begun[2].startswith("small")
        assert begun[-1] == "large"
        for each in waiting:
            each.cancel()
        for end in ends.values():
            end.set()


@dataclass(frozen=True)
class Part:
    there: RunCapacity
    name: ResourceKey

    def take(self) -> bool:
        return self.there.take(self.name)

    def give_back(self) -> None:
        self.there.give_back(self.name)


def test_each_run_has_gpus_of_its_own() -> None:
    there = capacity(devices=("0", "GPU-a", "2"))

    assert taken(there, "two", Need(devices=2))
    assert not taken(there, "also", Need(devices=2))
    assert taken(there, "one", Need(devices=1))
    assert [list(there.devices_of(key(name))) for name in ("two", "one", "also")] == [["0", "GPU-a"], ["2"], []]
    there.give_back(key("two"))
    assert there.take(key("also"))
    there.estimated(key("also"), 0)
    assert there.devices_of(key("also")) == ("0", "GPU-a")


def test_a_run_with_more_processes_than_the_worker_has_gpus_is_refused_by_both_numbers() -> None:
    assert capacity(devices=("0", "1")).refusal(2) == capacity().refusal(9) == ""
    assert "has 3 processes" in (why := capacity(devices=("0", "1")).refusal(3))
    assert "this worker has 2 (TRAINER_RUN_DEVICES)" in why


@pytest.mark.parametrize(
    ("named", "found"), [(None, ("0", "1")), ("1", ("1",)), ("GPU-a, GPU-b", ("GPU-a", "GPU-b")), ("", ()), ("-1", ())]
)
def test_gpus_are_those_that_the_driver_and_the_variable_name(
    tmp_path: Path, named: str | None, found: Sequence[str]
) -> None:
    for each in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / each).mkdir()
    variables = {} if named is None else {"CUDA_VISIBLE_DEVICES": named}

    assert visible_devices(variables=variables, driver=tmp_path) == tuple(found)
    assert visible_devices(variables=variables, driver=tmp_path / "none") == ()


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
