"""What every store of aggregates does, in memory and in MongoDB."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest
from bson.errors import InvalidDocument

from libs.kit.tests.notes import (
    QUOTA,
    Note,
    NoteCodec,
    NoteNotFound,
    NoteWasWritten,
    a_note,
    erase,
    ids_of,
    intent,
    write,
)
from tidemill_core.application import Aggregates, PageRequest, Request
from tidemill_core.errors import AlreadyExists, DependencyUnavailable, InvalidInput, NotFound, RequestIdReused
from tidemill_core.quotas import QuotaReached
from tidemill_kit.store.outbox import Outbox, TooLarge
from tidemill_testkit.clocks import NOON, FixedClock
from tidemill_testkit.stores import InMemoryAggregates


async def test_what_is_added_is_found_again_as_it_was_returned(notes: Aggregates[Note]) -> None:
    added = await notes.add(a_note(), request=intent("r1"))

    assert await notes.get("acme", "n1") == added
    assert (added.version, added.seq, added.pending) == (1, 1, [])
    assert added.create_time == added.update_time == NOON
    assert added.labels == {"app.kubernetes.io/name": "notes"}


async def test_what_a_caller_does_to_its_copy_stays_with_the_caller(notes: Aggregates[Note]) -> None:
    given = a_note()
    added = await notes.add(given, request=intent("r1"))
    assert given == a_note()
    given.lines.append("mine")
    added.lines.append("mine")
    (await notes.get("acme", "n1")).lines.append("mine")

    assert (await notes.get("acme", "n1")).lines == ["first"]


async def test_an_id_is_taken_once_in_a_project(notes: Aggregates[Note]) -> None:
    await notes.add(a_note(), request=intent("r1"))

    with pytest.raises(AlreadyExists):
        await notes.add(a_note(), request=intent("r2"))


async def test_two_projects_have_their_own_thing_of_the_same_id(notes: Aggregates[Note]) -> None:
    await notes.add(a_note(line="ours"), request=intent("r1"))
    await notes.add(a_note(project="other", line="theirs"), request=intent("r1", body="x"))

    assert (await notes.get("acme", "n1")).lines == ["ours"]
    assert (await notes.get("other", "n1")).lines == ["theirs"]
    assert ids_of(list((await notes.list("other", page=PageRequest())).items)) == ["n1"]
    with pytest.raises(NotFound):
        await notes.get("third", "n1")


async def test_the_same_add_again_returns_the_thing_as_it_is_now(notes: Aggregates[Note]) -> None:
    await notes.add(a_note(), request=intent("r1"))
    await notes.update("acme", "n1", partial(write, "second"), request=intent("r2"))

    again = await notes.add(a_note(), request=intent("r1"))

    assert (again.lines, again.version, again.seq) == (["first", "second"], 2, 2)


async def test_the_same_request_id_with_another_body_is_refused_at_every_api(notes: Aggregates[Note]) -> None:
    await notes.add(a_note(), request=intent("r1", body="a"))

    with pytest.raises(RequestIdReused):
        await notes.add(a_note(), request=intent("r1", body="b"))
    with pytest.raises(RequestIdReused):
        await notes.update("acme", "n1", partial(write, "x"), request=intent("r1", body="b"))
    with pytest.raises(RequestIdReused):
        await notes.upsert(a_note(), partial(write, "x"), request=intent("r1", body="b"))
    assert (await notes.get("acme", "n1")).version == 1


async def test_an_update_counts_versions_and_events(notes: Aggregates[Note], clock: FixedClock) -> None:
    await notes.add(a_note(), request=intent("r1"))
    clock.advance(timedelta(minutes=1))

    def two_lines(note: Note) -> None:
        assert (note.version, note.seq) == (1, 1)
        write("second", note)
        write("third", note)

    changed = await notes.update("acme", "n1", two_lines, request=intent("r2"))

    assert (changed.version, changed.seq, changed.lines) == (2, 3, ["first", "second", "third"])
    assert changed.create_time == NOON
    assert changed.update_time == NOON + timedelta(minutes=1)
    assert await notes.get("acme", "n1") == changed


async def test_a_known_aggregate_is_changed_as_it_is_by_now(notes: Aggregates[Note], clock: FixedClock) -> None:
    def coloured(colour: str, note: Note) -> None:
        note.colour = f"{note.colour}, {colour}"

    saved = await notes.upsert(Note(id="n1", project="acme"), lambda _: None, request=Request.internal())
    clock.advance(timedelta(minutes=1))
    red = await notes.update("acme", "n1", partial(coloured, "red"), request=Request.internal(), known=saved)
    stale = await notes.update("acme", "n1", partial(coloured, "blue"), request=Request.internal(), known=saved)
    written = await notes.update("acme", "n1", partial(write, "first"), request=Request.internal(), known=stale)

    assert (saved.colour, red.colour, stale.colour) == ("white", "white, red", "white, red, blue")
    assert (red.create_time, written.version, written.seq) == (saved.create_time, 4, 1)
    assert await notes.get("acme", "n1") == written


async def test_the_same_update_again_changes_nothing(notes: Aggregates[Note]) -> None:
    await notes.add(a_note(), request=intent("r1"))
    first = await notes.update("acme", "n1", partial(write, "second"), request=intent("r2"))
    again = await notes.update("acme", "n1", partial(write, "second"), request=intent("r2"))

    assert again == first


async def test_a_request_is_remembered_over_49_others_and_no_longer(notes: Aggregates[Note]) -> None:
    await notes.add(a_note(), request=intent("r0"))
    for number in range(1, 50):
        await notes.update(
            "acme", "n1", lambda note: setattr(note, "colour", note.colour + "r"), request=intent(f"r{number}")
        )
    assert (await notes.add(a_note(), request=intent("r0"))).version == 50

    await notes.update("acme", "n1", lambda note: setattr(note, "colour", "red"), request=intent("r50"))
    with pytest.raises(AlreadyExists):
        await notes.add(a_note(), request=intent("r0"))


async def test_a_request_that_changed_nothing_changes_nothing_later_either(notes: Aggregates[Note]) -> None:
    def paint(colour: str) -> Callable[[Note], None]:
        return lambda note: setattr(note, "colour", colour)

    await notes.add(a_note(), request=intent("r1"))
    await notes.update("acme", "n1", paint("white"), request=intent("r2"))
    await notes.update("acme", "n1", paint("red"), request=intent("r3"))

    again = await notes.update("acme", "n1", paint("white"), request=intent("r2"))

    assert again.colour == "red"


async def test_a_change_that_changes_nothing_is_no_new_version(notes: Aggregates[Note]) -> None:
    added = await notes.add(a_note(), request=intent("r1"))

    same = await notes.update("acme", "n1", lambda note: setattr(note, "colour", "white"), request=intent("r2"))

    assert same == added == await notes.get("acme", "n1")


async def test_an_event_alone_is_a_change(notes: Aggregates[Note]) -> None:
    await notes.add(a_note(), request=intent("r1"))

    reported = await notes.update(
        "acme", "n1", lambda note: note.pending.append(NoteWasWritten(occurred_at=NOON, line="")), request=intent("r2")
    )

    assert (reported.version, reported.seq, reported.lines) == (2, 2, ["first"])


async def test_a_change_that_refuses_leaves_everything_as_it_was(notes: Aggregates[Note]) -> None:
    added = await notes.add(a_note(), request=intent("r1"))

    def refuse(note: Note) -> None:
        write("never", note)
        raise InvalidInput(note.id)

    with pytest.raises(InvalidInput):
        await notes.update("acme", "n1", refuse, request=intent("r2"))
    assert await notes.get("acme", "n1") == added


async def test_an_update_of_nothing_is_not_found(notes: Aggregates[Note]) -> None:
    with pytest.raises(NoteNotFound):
        await notes.update("acme", "n1", partial(write, "x"), request=intent("r1"))


async def test_a_tombstone_is_not_found_but_answers_the_request_that_made_it(notes: Aggregates[Note]) -> None:
    await notes.add(a_note(), request=intent("r1"))
    erased = await notes.update("acme", "n1", erase, request=intent("r2"))

    assert erased.deleted
    assert (await notes.update("acme", "n1", erase, request=intent("r2"))) == erased
    with pytest.raises(NoteNotFound):
        await notes.get("acme", "n1")
    with pytest.raises(NoteNotFound):
        await notes.update("acme", "n1", erase, request=intent("r3"))
    assert await notes.get_many("acme", ["n1"]) == {}


async def test_an_id_taken_up_again_counts_on(notes: Aggregates[Note], clock: FixedClock) -> None:
    await notes.add(a_note(), request=intent("r1"))
    await notes.update("acme", "n1", erase, request=intent("r2"))
    clock.advance(timedelta(hours=1))

    again = await notes.add(a_note(line="anew"), request=intent("r3"))

    assert (again.version, again.seq, again.lines, again.deleted) == (3, 3, ["anew"], False)
    assert again.create_time == NOON + timedelta(hours=1)
    assert await notes.get("acme", "n1") == again


async def test_upsert_makes_what_is_not_there_and_changes_what_is(notes: Aggregates[Note]) -> None:
    fresh = Note(id="n1", project="acme")
    made = await notes.upsert(fresh, partial(write, "first"), request=intent("r1"))
    changed = await notes.upsert(fresh, partial(write, "second"), request=intent("r2"))
    again = await notes.upsert(fresh, partial(write, "second"), request=intent("r2"))

    assert (made.version, made.seq, made.lines) == (1, 1, ["first"])
    assert (changed.version, changed.seq, changed.lines) == (2, 2, ["first", "second"])
    assert again == changed
    assert fresh == Note(id="n1", project="acme")


async def test_upsert_sees_a_tombstone_and_counts_on(notes: Aggregates[Note]) -> None:
    await notes.add(a_note(), request=intent("r1"))
    await notes.update("acme", "n1", erase, request=intent("r2"))

    def back(note: Note) -> None:
        assert note.deleted
        note.deleted = False
        write("back", note)

    again = await notes.upsert(Note(id="n1", project="acme"), back, request=intent("r3"))

    assert (again.version, again.seq, again.lines, again.deleted) == (3, 3, ["back"], False)


async def test_concurrent_updates_all_happen_and_are_numbered_without_gaps(notes: Aggregates[Note]) -> None:
    await notes.add(a_note(), request=intent("r0"))
    lines = [f"line {number}" for number in range(6)]

    async with asyncio.TaskGroup() as group:
        for line in lines:
            group.create_task(notes.update("acme", "n1", partial(write, line), request=intent(line)))

    note = await notes.get("acme", "n1")
    assert sorted(note.lines) == sorted(["first", *lines])
    assert (note.version, note.seq) == (7, 7)


async def test_concurrent_upserts_of_a_new_thing_make_one(notes: Aggregates[Note]) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(4):
            fresh = Note(id="n1", project="acme")
            group.create_task(notes.upsert(fresh, partial(write, f"{number}"), request=intent(f"r{number}")))

    note = await notes.get("acme", "n1")
    assert sorted(note.lines) == ["0", "1", "2", "3"]
    assert (note.version, note.seq) == (4, 4)


async def test_one_of_concurrent_adds_wins(notes: Aggregates[Note]) -> None:
    outcomes = await asyncio.gather(
        *(notes.add(a_note(line=f"{n}"), request=intent(f"r{n}")) for n in range(4)), return_exceptions=True
    )

    assert len([each for each in outcomes if isinstance(each, Note)]) == 1
    assert len([each for each in outcomes if isinstance(each, AlreadyExists)]) == 3


async def test_many_are_read_at_once(notes: Aggregates[Note]) -> None:
    for name in ("a", "b", "c"):
        await notes.add(a_note(name), request=intent(name))

    assert set(await notes.get_many("acme", ["a", "c", "missing"])) == {"a", "c"}
    assert await notes.get_many("acme", []) == {}


async def test_a_request_id_is_short(notes: Aggregates[Note]) -> None:
    with pytest.raises(InvalidInput, match="request_id"):
        await notes.add(a_note(), request=intent("r" * 129))


async def test_an_event_that_outgrows_its_record_is_refused(notes: Aggregates[Note]) -> None:
    with pytest.raises(TooLarge, match="65536 is the limit"):
        await notes.add(a_note(line="x" * 65536), request=intent("r1"))


async def test_more_events_than_an_outbox_holds_are_refused(notes: Aggregates[Note]) -> None:
    def write_much(note: Note) -> None:
        for number in range(101):
            note.write(str(number), now=NOON)

    await notes.add(a_note(), request=intent("r1"))
    with pytest.raises(DependencyUnavailable, match="wait until Kafka has accepted"):
        await notes.update("acme", "n1", write_much, request=intent("r2"))


async def test_times_are_returned_as_they_are_read(notes: Aggregates[Note], clock: FixedClock) -> None:
    clock.advance(timedelta(microseconds=1234))

    added = await notes.add(a_note(), request=intent("r1"))

    assert added.update_time == NOON + timedelta(milliseconds=1)
    assert await notes.get("acme", "n1") == added


async def test_the_fake_refuses_a_change_that_differs_when_it_is_decided_again() -> None:
    notes, lines = InMemoryAggregates(a_note(), codec=NoteCodec(), missing=NoteNotFound), iter("ab")

    with pytest.raises(AssertionError, match="it has to be pure"):
        await notes.update("acme", "n1", lambda note: note.write(next(lines), now=NOON), request=intent("r1"))


async def test_the_fake_reports_what_was_published() -> None:
    notes = InMemoryAggregates(a_note(), codec=NoteCodec(), missing=NoteNotFound)
    await notes.update("acme", "n1", partial(write, "second"), request=intent("r1"))

    assert notes.published == [NoteWasWritten(occurred_at=NOON, line="second")]


async def test_the_fake_refuses_an_event_that_a_server_could_not_store(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = InMemoryAggregates(a_note(), codec=NoteCodec(), missing=NoteNotFound)
    monkeypatch.setattr(Outbox, "entries", lambda *_, **__: [{"data": {"a", "set"}}])

    with pytest.raises(InvalidDocument):
        await notes.update("acme", "n1", partial(write, "second"), request=intent("r1"))


@pytest.mark.parametrize("labels", [{"": "a"}, {"$ref": "a", "$id": "b"}, {"a\0b": "c"}])
async def test_a_label_key_that_cannot_be_read_back_is_refused(notes: Aggregates[Note], labels: dict[str, str]) -> None:
    added = await notes.add(a_note(), request=intent("r1"))

    def mark(note: Note) -> None:
        note.labels = labels

    with pytest.raises(InvalidInput, match="labels: has the key") as refused:
        await notes.update("acme", "n1", mark, request=intent("r2"))

    assert [violation.field for violation in refused.value.violations] == ["labels"]
    assert (await notes.get("acme", "n1")).labels == added.labels


async def test_label_keys_with_dots_and_dollars_within_are_stored_as_given(notes: Aggregates[Note]) -> None:
    note, labels = a_note(), {"a.b/c": "1", ".": "2", "us$": "3", "_id": "4"}
    note.labels = dict(labels)
    await notes.add(note, request=intent("r1"))

    assert (await notes.get("acme", "n1")).labels == labels


async def test_a_project_has_only_so_many_things_that_are_not_deleted(notes: Aggregates[Note]) -> None:
    for number in range(QUOTA.limit):
        await notes.add(a_note(f"n{number}"), request=intent(f"r{number}"))

    with pytest.raises(QuotaReached, match=r"project acme has 30 notes, which is the limit.*NOTES_MAX_NOTES"):
        await notes.add(a_note("more"), request=intent("more"))
    with pytest.raises(QuotaReached):
        await notes.upsert(a_note("more"), partial(write, "x"), request=intent("upsert"))
    await notes.add(a_note("more", project="other"), request=intent("other"))
    assert (await notes.add(a_note("n0"), request=intent("r0"))).id == "n0"
    with pytest.raises(AlreadyExists):
        await notes.add(a_note("n0"), request=intent("again"))
    await notes.update("acme", "n0", partial(write, "x"), request=intent("u0"))

    await notes.update("acme", "n0", erase, request=intent("d0"))
    await notes.add(a_note("more"), request=intent("more"))
    with pytest.raises(QuotaReached):
        await notes.add(a_note("n0"), request=intent("r0 again"))
