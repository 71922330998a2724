import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from tidemill_core.application import ResourceKey
from tidemill_kit.workers.fair_share import Turns
from tidemill_testkit.clocks import FixedClock
from tidemill_trainer.training.run_capacity import Need, RunCapacity

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
    assert there.enlarge(key("first"), 9 * GIB) == 5 * GIB


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


async def test_a_run_that_capacity_is_kept_for_begins_however_many_of_its_project_are_before_it() -> None:
    there, turns = capacity(), Turns(4)
    clock: Any = there.clock
    assert taken(there, "first", Need(memory_bytes=4 * GIB))

    def waits(name: str, gib: int, rank: float) -> asyncio.Task[None]:
        there.expect(key(name), Need(memory_bytes=gib * GIB))
        return asyncio.create_task(turns.take("acme", rank=rank, needs=Part(there, key(name))))

    large = waits("large", 9, 0)
    await asyncio.sleep(0)
    clock.advance(there.reserve_after)
    before = [waits(f"before-{n}", 8, -1) for n in range(200)]
    await asyncio.sleep(0)

    there.give_back(key("first"))
    turns.serve()
    await asyncio.sleep(0)

    assert large.done()
    assert not any(each.done() for each in before)
    for each in before:
        each.cancel()
    await asyncio.gather(*before, return_exceptions=True)


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
