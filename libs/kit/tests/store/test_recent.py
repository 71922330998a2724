"""Aggregates that are read again from memory for a moment."""

import asyncio
from collections.abc import Sequence
from functools import partial

import pytest

from libs.kit.tests.notes import Note, NoteCodec, NoteNotFound, a_note, erase, intent, write
from tidemill_core.application import Request
from tidemill_core.errors import DependencyUnavailable
from tidemill_kit.store.recent import RecentAggregates
from tidemill_testkit.polling import run_ready_tasks
from tidemill_testkit.stores import InMemoryAggregates


class CountedNotes(InMemoryAggregates[Note]):
    """Counts reads, which may be made to wait."""

    def __init__(self, *notes: Note) -> None:
        super().__init__(*notes, codec=NoteCodec(), missing=NoteNotFound)
        self.reads = 0
        self.down = False
        self.begun, self.gate = asyncio.Event(), asyncio.Event()
        self.gate.set()

    async def get(self, project: str, aggregate_id: str) -> Note:
        self.reads += 1
        if self.down:
            message = "down"
            raise DependencyUnavailable(message, dependency="mongodb")
        read = await super().get(project, aggregate_id)
        self.begun.set()
        await self.gate.wait()
        return read


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def recent(notes: CountedNotes, time: Time, *, max_age_s: float = 1.0, max_kept: int = 10) -> RecentAggregates[Note]:
    return RecentAggregates(notes, max_age_s=max_age_s, max_kept=max_kept, monotonic=time)


async def lines(notes: RecentAggregates[Note]) -> Sequence[str]:
    return (await notes.recent("acme", "n1")).lines


async def test_what_was_read_a_moment_ago_is_not_read_again() -> None:
    notes, time = CountedNotes(a_note()), Time()
    kept = recent(notes, time)

    for _ in range(3):
        assert await lines(kept) == ["first"]
    assert notes.reads == 1
    await notes.update("acme", "n1", partial(write, "elsewhere"), request=intent("r2"))
    assert await lines(kept) == ["first"]
    time.now = 1.0
    assert await lines(kept) == ["first", "elsewhere"]


async def test_what_is_in_use_is_read_again_beside_its_readers_before_its_time_is_over() -> None:
    notes, time = CountedNotes(a_note()), Time()
    kept = recent(notes, time)
    await lines(kept)
    await notes.update("acme", "n1", partial(write, "elsewhere"), request=intent("r2"))
    notes.gate.clear()

    time.now = 0.6
    assert [await lines(kept), await lines(kept)] == [["first"], ["first"]]
    notes.gate.set()
    await run_ready_tasks()
    assert notes.reads == 2

    time.now = 1.5  # what was read first is too old, and what was read at 0.6 is not
    assert await lines(kept) == ["first", "elsewhere"]


async def test_a_store_that_is_down_is_noticed_once_what_is_kept_is_too_old() -> None:
    notes, time = CountedNotes(a_note()), Time()
    kept = recent(notes, time)
    await lines(kept)
    notes.down = True

    time.now = 0.6
    assert await lines(kept) == ["first"]
    time.now = 1.0
    with pytest.raises(DependencyUnavailable):
        await lines(kept)


async def test_those_who_change_it_see_the_latest_state() -> None:
    notes, time = CountedNotes(a_note()), Time()
    kept = recent(notes, time)
    await lines(kept)
    await notes.update("acme", "n1", partial(write, "elsewhere"), request=intent("r2"))

    assert (await kept.get("acme", "n1")).lines == ["first", "elsewhere"]


async def test_a_change_made_here_is_seen_at_once() -> None:
    notes, time = CountedNotes(), Time()
    kept = recent(notes, time)
    with pytest.raises(NoteNotFound):
        await lines(kept)

    await kept.add(a_note(), request=intent("r1"))
    assert await lines(kept) == ["first"]
    await kept.update("acme", "n1", partial(write, "second"), request=intent("r2"))
    assert await lines(kept) == ["first", "second"]
    await kept.upsert(a_note(), partial(write, "third"), request=intent("r3"))
    assert await lines(kept) == ["first", "second", "third"]
    await kept.update("acme", "n1", erase, request=Request.internal())
    with pytest.raises(NoteNotFound):
        await lines(kept)


async def test_what_was_read_before_a_change_is_not_kept_after_it() -> None:
    notes, time = CountedNotes(a_note()), Time()
    kept = recent(notes, time)
    notes.gate.clear()
    reading = asyncio.create_task(lines(kept))
    await notes.begun.wait()
    await kept.update("acme", "n1", partial(write, "second"), request=intent("r2"))
    notes.gate.set()

    assert await reading == ["first"]
    assert await lines(kept) == ["first", "second"]


async def test_of_several_who_read_at_the_same_time_one_asks_also_where_the_first_of_them_leaves() -> None:
    notes, time = CountedNotes(a_note()), Time()
    kept = recent(notes, time)
    notes.gate.clear()
    first, *others = [asyncio.create_task(lines(kept)) for _ in range(5)]
    await notes.begun.wait()
    first.cancel()
    await asyncio.wait([first])
    notes.gate.set()

    assert await asyncio.gather(*others) == [["first"]] * 4
    assert notes.reads == 1


async def test_what_cannot_be_read_is_an_error_for_all_who_ask_and_is_asked_for_again() -> None:
    notes = CountedNotes()
    kept = recent(notes, Time())

    for _ in range(2):
        errors = await asyncio.gather(*(lines(kept) for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in errors] == [NoteNotFound] * 3
    assert notes.reads == 2


async def test_only_so_many_are_kept_and_none_where_none_may_be() -> None:
    notes = CountedNotes(*(a_note(f"n{number}") for number in range(3)))
    kept, time = recent(notes, Time(), max_kept=2), Time()
    for number in (0, 1, 2, 2, 0):
        await kept.recent("acme", f"n{number}")
    assert notes.reads == 4

    none = recent(notes, time, max_age_s=0)
    await none.recent("acme", "n0")
    assert none.projects == set()


async def test_a_deleted_project_is_forgotten() -> None:
    notes = CountedNotes(a_note(), a_note(project="other"))
    kept = recent(notes, Time())
    for project in ("acme", "other"):
        await kept.recent(project, "n1")

    assert (kept.projects, await kept.forget("acme"), kept.projects) == ({"acme", "other"}, 1, {"other"})
