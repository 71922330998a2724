"""Whose turn it is at places that all projects share."""

import asyncio
import threading

from tidemill_kit.workers.fair_share import Turns


async def test_projects_take_turns_at_one_place_however_much_one_has_to_do() -> None:
    turns, served = Turns(1), list[str]()

    async def work(project: str) -> None:
        async with turns.of(project):
            await asyncio.sleep(0)
            served.append(project)

    async with asyncio.TaskGroup() as tasks:
        for project in [*(["busy"] * 150), "small", "other"]:
            tasks.create_task(work(project))
        await asyncio.sleep(0)  # each has asked for its place, and the first has one
        assert turns.crowded == {"busy"}

    assert len(served) == 152
    assert {"small", "other"} <= set(served[:8])
    assert turns.crowded == frozenset()


async def test_within_a_project_the_lowest_rank_is_first_and_then_who_came_first() -> None:
    turns, served = Turns(1), list[str]()

    async def work(project: str, name: str, rank: float) -> None:
        async with turns.of(project, rank=rank):
            await asyncio.sleep(0)
            served.append(name)

    async with asyncio.TaskGroup() as tasks:
        for name, rank in [("first", 0.0), ("late", 3.0), ("one", 1.0), ("same", 1.0), ("urgent", -1.0)]:
            tasks.create_task(work("busy", name, rank))
        tasks.create_task(work("other", "of another project", 9.0))

    assert [name for name in served if name != "of another project"] == ["first", "urgent", "one", "same", "late"]
    assert served.index("of another project") < 3


async def test_a_place_that_is_handed_on_stays_in_its_project() -> None:
    turns, served = Turns(1), list[str]()

    async def work(project: str, name: str, *, hands_on: bool = False, rank: float = 0.0) -> None:
        async with turns.of(project, rank=rank) as turn:
            await asyncio.sleep(0)
            served.append(name)
            if hands_on:
                turn.hand_on()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(work("one", "first", hands_on=True))
        tasks.create_task(work("other", "of another project"))
        tasks.create_task(work("one", "late", rank=1.0))
        tasks.create_task(work("one", "urgent"))
    async with turns.of("one") as turn:
        turn.hand_on()  # to none

    assert served == ["first", "urgent", "of another project", "late"]


class Memory:
    """What all works together may take."""

    def __init__(self, free: int) -> None:
        self.free = free

    def of(self, size: int) -> "Part":
        return Part(self, size)


class Part:
    def __init__(self, memory: Memory, size: int) -> None:
        self._memory, self._size = memory, size

    def take(self) -> bool:
        if self._size > self._memory.free:
            return False
        self._memory.free -= self._size
        return True

    def give_back(self) -> None:
        self._memory.free += self._size


async def test_a_work_that_needs_more_than_there_is_is_passed_over_until_it_is_there() -> None:
    turns, memory, begun = Turns(4), Memory(4), list[str]()
    ends = {name: asyncio.Event() for name in ("first", "large", "small", "late")}

    async def work(name: str, size: int) -> None:
        async with turns.of("one", needs=memory.of(size)):
            begun.append(name)
            await ends[name].wait()

    async with asyncio.TaskGroup() as tasks:
        for name, size in (("first", 2), ("large", 3), ("small", 1), ("late", 2)):
            tasks.create_task(work(name, size))
        await asyncio.sleep(0)
        assert (begun, memory.free) == (["first", "small"], 1)
        memory.free += 2
        turns.serve()
        await asyncio.sleep(0)
        assert begun == ["first", "small", "large"]
        for end in ends.values():
            end.set()

    assert (begun[-1], memory.free) == ("late", 6)


async def test_what_was_taken_for_a_work_that_is_cancelled_before_it_begins_is_given_back() -> None:
    turns, memory = Turns(1), Memory(4)
    async with turns.of("one", needs=memory.of(3)):
        waiting = asyncio.create_task(turns.take("one", needs=memory.of(2)))
        await asyncio.sleep(0)
    waiting.cancel()  # it has its place, and has not gone on yet
    await asyncio.gather(waiting, return_exceptions=True)

    assert memory.free == 4
    async with turns.of("other", needs=memory.of(4)):
        assert memory.free == 0


async def test_work_in_threads_of_one_project_leaves_a_place_to_others_also_when_its_callers_leave() -> None:
    turns, ended = Turns(4), threading.Event()
    left = [asyncio.create_task(turns.in_thread("busy", lambda: ended.wait(10))) for _ in range(8)]
    await asyncio.sleep(0)
    for caller in left:
        caller.cancel()
    await asyncio.gather(*left, return_exceptions=True)

    late = asyncio.create_task(turns.in_thread("busy", lambda: "late"))
    assert await asyncio.wait_for(turns.in_thread("other", lambda: "done"), 10) == "done"
    assert not late.done()

    ended.set()
    assert await asyncio.wait_for(late, 10) == "late"
