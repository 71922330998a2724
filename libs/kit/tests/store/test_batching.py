"""Calls that are made together."""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

import pytest

from libs.kit.tests.notes import Note, NoteCodec, NoteNotFound
from tidemill_core.application import Request
from tidemill_core.errors import AlreadyExists, DependencyUnavailable
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.batching import Batched, BatchedByKey, each_of
from tidemill_kit.store.mongo import Database


class Doubling:
    """Doubles numbers once its gate is open; refuses a negative one."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.calls: list[list[int]] = []

    async def __call__(self, items: Sequence[int]) -> Sequence[int]:
        self.calls.append(list(items))
        await self.gate.wait()
        if min(items) < 0:
            raise ValueError(items)
        return [2 * item for item in items]


async def begun(batched: Batched[int, int], *items: int) -> list[asyncio.Task[int]]:
    async def one(item: int) -> int:
        return await batched(item)

    tasks = [asyncio.create_task(one(item)) for item in items]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_what_comes_alone_is_called_at_once_and_what_comes_meanwhile_together() -> None:
    call = Doubling()
    batched = Batched(call, max_concurrent=2)

    tasks = [*await begun(batched, 1), *await begun(batched, 2), *await begun(batched, 3, 4, 5)]
    assert call.calls == [[1], [2]]
    call.gate.set()

    assert await asyncio.gather(*tasks) == [2, 4, 6, 8, 10]
    assert call.calls == [[1], [2], [3, 4, 5]]


async def test_what_comes_at_the_same_time_is_one_call() -> None:
    call = Doubling()
    call.gate.set()

    assert await asyncio.gather(*await begun(Batched(call, max_concurrent=2), 1, 2, 3)) == [2, 4, 6]
    assert call.calls == [[1, 2, 3]]


async def test_a_batch_has_a_limit() -> None:
    call = Doubling()
    tasks = await begun(Batched(call, max_concurrent=2, max_batch=2), 1, 2, 3, 4, 5)
    assert call.calls == [[1, 2], [3, 4]]
    call.gate.set()

    assert await asyncio.gather(*tasks) == [2, 4, 6, 8, 10]
    assert call.calls == [[1, 2], [3, 4], [5]]


async def test_an_error_is_that_of_all_in_its_call_and_of_no_other() -> None:
    call = Doubling()
    batched = Batched(call, max_concurrent=1)
    tasks = [*await begun(batched, 1), *await begun(batched, -2, 3)]
    call.gate.set()

    assert await tasks[0] == 2
    for task in tasks[1:]:
        with pytest.raises(ValueError, match="-2"):
            await task


async def test_of_what_may_be_repeated_one_that_cannot_be_stored_fails_alone() -> None:
    call = Doubling()
    batched = Batched(call, max_concurrent=1, repeatable=True)
    tasks = [*await begun(batched, 1), *await begun(batched, -2, 3)]
    call.gate.set()

    done = await asyncio.gather(*tasks, return_exceptions=True)

    assert [str(each) for each in done] == ["2", "[-2]", "6"]
    assert call.calls == [[1], [-2, 3], [-2], [3]]


async def test_a_store_that_is_down_is_asked_once_for_all() -> None:
    calls = list[int]()

    gate = asyncio.Event()

    async def down(items: Sequence[int]) -> Sequence[int]:
        calls.append(len(items))
        await gate.wait()
        message = "down"
        raise DependencyUnavailable(message, dependency="mongodb")

    batched = Batched(down, max_concurrent=1, repeatable=True)
    tasks = [*await begun(batched, 1), *await begun(batched, 2, 3)]
    gate.set()

    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in done] == [DependencyUnavailable] * 3
    assert calls == [1, 2]


async def test_a_caller_that_leaves_takes_nothing_from_the_others() -> None:
    call = Doubling()
    batched = Batched(call, max_concurrent=1)
    first, second, third = [*await begun(batched, 1), *await begun(batched, 2, 3)]
    first.cancel()
    second.cancel()
    call.gate.set()

    assert await third == 6
    assert call.calls == [[1], [3]], "what no caller waits for is not done"


async def test_of_callers_that_have_all_left_nothing_is_done() -> None:
    call = Doubling()
    batched = Batched(call, max_concurrent=1)
    first, *left = [*await begun(batched, 1), *await begun(batched, *range(2, 200))]
    for each in left:
        each.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    call.gate.set()
    assert await first == 2

    assert await asyncio.gather(*await begun(batched, 7)) == [14]
    assert call.calls == [[1], [7]]


async def test_what_is_repeated_alone_is_not_done_for_a_caller_that_has_left() -> None:
    call = Doubling()
    batched = Batched(call, max_concurrent=1, repeatable=True)
    second, third = await begun(batched, -2, 3)
    third.cancel()
    call.gate.set()

    with pytest.raises(ValueError, match="-2"):
        await second
    assert call.calls == [[-2, 3], [-2]]


async def test_what_comes_at_once_is_spread_over_the_calls_that_may_run() -> None:
    call = Doubling()
    batched = Batched(call, max_concurrent=3, max_batch=16, spread=True)
    tasks = await begun(batched, *range(8))
    assert call.calls == [[0, 1, 2], [3, 4, 5], [6, 7]]
    call.gate.set()

    assert await asyncio.gather(*tasks) == [2 * item for item in range(8)]


async def test_a_call_holds_what_weighs_no_more_than_it_takes() -> None:
    call = Doubling()
    call.gate.set()
    batched = Batched(call, max_concurrent=1, weigh=lambda item: item / 10)

    await asyncio.gather(*await begun(batched, 4, 5, 3, 20, 1))

    assert call.calls == [[4, 5], [3], [20], [1]]


async def test_a_call_for_several_has_the_context_of_none() -> None:
    seen: list[str] = []
    asked = ContextVar("asked", default="")

    async def call(items: Sequence[int]) -> Sequence[int]:
        seen.append(asked.get())
        await asyncio.sleep(0)
        return items

    batched = Batched(call, max_concurrent=1)

    async def one(item: int) -> int:
        asked.set(f"caller {item}")
        return await batched(item)

    await asyncio.create_task(one(1))
    await asyncio.gather(one(2), one(3))
    await asyncio.create_task(one(4))

    assert seen == ["caller 1", "", "caller 4"]


async def test_of_calls_that_are_made_together_all_have_ended_when_one_has_failed() -> None:
    ended: list[int] = []

    async def call(item: int) -> None:
        await asyncio.sleep(0)
        if item == 1:
            raise ValueError(item)
        await asyncio.sleep(0)
        ended.append(item)

    with pytest.raises(ValueError, match="1"):
        await each_of(call, range(7), max_concurrent=3)

    assert ended == [0, 2]


async def test_aggregates_that_are_added_at_the_same_time_are_each_there_and_an_id_is_taken_once(
    database: Database,
) -> None:
    notes: MongoAggregates[Note] = MongoAggregates(
        database["notes"], codec=NoteCodec(), topic="", source="/tidemill/notes", missing=NoteNotFound
    )
    added = await asyncio.gather(
        *(notes.add(Note(id=f"n{number % 20}", project="acme"), request=Request.internal()) for number in range(30)),
        return_exceptions=True,
    )

    stored = [note.id for note in added if isinstance(note, Note)]
    refused = [note for note in added if not isinstance(note, Note)]
    assert sorted(stored) == sorted(f"n{number}" for number in range(20))
    assert [type(each) for each in refused] == [AlreadyExists] * 10
    assert await database["notes"].count_documents({}) == 20


async def test_what_comes_for_one_key_waits_for_no_other_key_and_a_key_is_forgotten_after_its_calls() -> None:
    gates, calls = {"a": asyncio.Event(), "b": asyncio.Event()}, list[tuple[str, list[int]]]()

    async def call(key: str, items: Sequence[int]) -> Sequence[str]:
        calls.append((key, list(items)))
        await gates[key].wait()
        return [f"{key}{item}" for item in items]

    batched = BatchedByKey(call, max_concurrent=1)

    async def one(key: str, item: int) -> str:
        return await batched(key, item)

    tasks = []
    for key, item in (("a", 1), ("a", 2), ("b", 3)):
        tasks.append(asyncio.create_task(one(key, item)))
        for _ in range(3):
            await asyncio.sleep(0)
    assert calls == [("a", [1]), ("b", [3])]
    gates["b"].set()
    assert await tasks[2] == "b3"
    gates["a"].set()
    assert await asyncio.gather(*tasks) == ["a1", "a2", "b3"]

    assert calls[2] == ("a", [2])
    assert not batched._of_key  # noqa: SLF001 - or each project that ever came would be kept


async def test_callers_of_a_key_that_leave_have_no_more_calls_begin_than_may_run() -> None:
    gate, now, most = asyncio.Event(), 0, 0

    async def call(_key: str, items: Sequence[int]) -> Sequence[int]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await gate.wait()
        now -= 1
        return items

    batched = BatchedByKey(call, max_concurrent=1)

    async def one(item: int) -> int:
        return await batched("a", item)

    for number in range(5):
        task = asyncio.create_task(one(number))
        for _ in range(4):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    last = asyncio.create_task(one(7))
    await asyncio.sleep(0)
    gate.set()

    assert await last == 7
    assert most == 1
    for _ in range(3):
        await asyncio.sleep(0)
    assert not batched._of_key  # noqa: SLF001 - ditto
