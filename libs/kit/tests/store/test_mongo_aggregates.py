"""What only the store in MongoDB does: the document's form, the outbox beside a relay, lost races, limits."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest
from opentelemetry.sdk.trace import TracerProvider
from pymongo import MongoClient
from pymongo.collection import Collection

from libs.kit.tests.notes import Note, NoteNotFound, notes_in
from tidemill_core.application import PageRequest, Request
from tidemill_core.errors import Conflict, DependencyUnavailable, RequestIdReused
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.idempotency import entry_of
from tidemill_kit.store.mongo import Database, Document, connect
from tidemill_kit.store.outbox import OutboxLimits, TooLarge
from tidemill_local.addresses import Addresses
from tidemill_testkit.clocks import NOON, FixedClock

RivalCollection: TypeAlias = Collection[Document]


def intent(name: str) -> Request:
    return Request.of(name, b"")


def writing(*lines: str) -> Callable[[Note], None]:
    def change(note: Note) -> None:
        for line in lines:
            note.write(line, now=NOON)

    return change


def a_note(line: str = "first") -> Note:
    note = Note(id="n1", project="acme")
    note.write(line, now=NOON)
    return note


async def stored(database: Database) -> Document:
    document = await database["notes"].find_one({"_id": "acme/n1"})
    assert document is not None
    return document


@pytest.fixture
def rival(stack: Addresses, database: Database) -> Iterator[RivalCollection]:
    """The same collection without the event loop, so that a change can be overtaken while it is being decided."""
    with MongoClient[Document](stack.mongo) as client:
        yield client[database.name]["notes"]


async def test_state_and_event_lie_in_one_document(database: Database) -> None:
    await notes_in(database, clock=FixedClock()).add(a_note(), request=Request(id="r1", digest="d1"))

    document = await stored(database)
    [entry] = document.pop("outbox")
    assert document == {
        "_id": "acme/n1",
        "project": "acme",
        "id": "n1",
        "schema": 2,
        "version": 1,
        "seq": 1,
        "deleted": False,
        "labels": {},
        "create_time": NOON,
        "update_time": NOON,
        "state": {"lines": ["first"], "colour": "white"},
        "requests": [entry_of(Request(id="r1", digest="d1"))],
        "outbox_at": NOON,
    }
    assert json.loads(entry.pop("data"))["seq"] == "1"
    assert len(entry.pop("ce_id")) == 36
    assert entry == {
        "seq": 1,
        "type": "tidemill.notes.note.written.v1",
        "source": "/tidemill/notes",
        "subject": "n1",
        "time": NOON,
        "topic": "tidemill.notes.note.v1",
        "key": "acme/n1",
        "traceparent": "",
    }


async def test_the_payload_has_the_names_of_the_proto_and_its_defaults(database: Database) -> None:
    await notes_in(database).add(a_note(), request=intent("r1"))

    [entry] = (await stored(database))["outbox"]
    assert json.loads(entry["data"]) == {"document": "n1", "seq": "1", "source": "", "key": "first"}


async def test_an_event_carries_the_trace_that_it_happened_in(database: Database) -> None:
    with TracerProvider().get_tracer("test").start_as_current_span("request") as span:
        await notes_in(database).add(a_note(), request=intent("r1"))

    [entry] = (await stored(database))["outbox"]
    assert f"{span.get_span_context().trace_id:032x}" in entry["traceparent"]


async def test_the_relay_is_notified_of_events_and_for_nothing_else(database: Database) -> None:
    enqueued: list[str] = []
    notes = notes_in(database, enqueue=lambda new: enqueued.append(new.document_id))
    await notes.add(a_note(), request=intent("r1"))
    await notes.add(a_note(), request=intent("r1"))
    await notes.update("acme", "n1", lambda note: setattr(note, "colour", "red"), request=intent("r2"))

    assert enqueued == ["acme/n1"]


async def test_event_ids_differ_between_kinds_of_one_service(database: Database) -> None:
    other = MongoAggregates(
        database["other"],
        codec=notes_in(database)._codec,  # noqa: SLF001 - the same codec, another collection
        topic="t",
        source="/tidemill/notes",
        missing=NoteNotFound,
    )
    await notes_in(database).add(a_note(), request=intent("r1"))
    await other.add(a_note(), request=intent("r1"))

    twin = await database["other"].find_one({"_id": "acme/n1"})
    assert twin is not None
    assert twin["outbox"][0]["ce_id"] != (await stored(database))["outbox"][0]["ce_id"]


async def test_a_lost_race_is_decided_again_on_fresh_state(database: Database, rival: RivalCollection) -> None:
    notes = notes_in(database)
    await notes.add(a_note(), request=intent("r1"))
    seen: list[list[str]] = []

    def overtaken_once(note: Note) -> None:
        seen.append(list(note.lines))
        if len(seen) == 1:
            rival.update_one({"_id": "acme/n1"}, {"$set": {"state.lines": ["theirs"]}, "$inc": {"version": 1}})
        note.write("ours", now=NOON)

    saved = await notes.update("acme", "n1", overtaken_once, request=intent("r2"))

    assert seen == [["first"], ["theirs"]]
    assert (saved.lines, saved.version, saved.seq) == (["theirs", "ours"], 3, 2)
    assert await notes.get("acme", "n1") == saved


async def test_a_race_that_is_always_lost_is_a_conflict(database: Database, rival: RivalCollection) -> None:
    notes = notes_in(database)
    await notes.add(a_note(), request=intent("r1"))

    def overtaken(note: Note) -> None:
        rival.update_one({"_id": "acme/n1"}, {"$inc": {"version": 1}})
        note.write("ours", now=NOON)

    with pytest.raises(Conflict):
        await notes.update("acme", "n1", overtaken, request=intent("r2"))
    assert (await notes.get("acme", "n1")).lines == ["first"]


async def test_the_same_request_that_was_faster_elsewhere_has_one_effect(
    database: Database, rival: RivalCollection
) -> None:
    notes = notes_in(database)
    await notes.add(a_note(), request=intent("r1"))
    request = intent("r2")

    def overtaken_by_itself(note: Note) -> None:
        twin = {"$push": {"requests": entry_of(request)}, "$inc": {"version": 1}}
        rival.update_one({"_id": "acme/n1", "requests": {"$ne": entry_of(request)}}, twin)
        note.write("twice", now=NOON)

    saved = await notes.update("acme", "n1", overtaken_by_itself, request=request)

    assert (saved.lines, saved.seq) == (["first"], 1)


async def test_a_relay_that_pulls_meanwhile_loses_nothing_and_disturbs_no_save(database: Database) -> None:
    notes = notes_in(database)
    collection = database["notes"]
    await notes.add(a_note(), request=intent("r1"))
    published: list[int] = []
    writers_done = asyncio.Event()

    async def relay() -> None:
        while not (writers_done.is_set() and not (await stored(database))["outbox"]):
            for entry in (await stored(database))["outbox"]:
                published.append(entry["seq"])
                await collection.update_one({"_id": "acme/n1"}, {"$pull": {"outbox": {"ce_id": entry["ce_id"]}}})
            await collection.update_one({"_id": "acme/n1", "outbox": {"$size": 0}}, {"$unset": {"outbox_at": ""}})

    async def write_all() -> None:
        for number in range(30):
            await notes.update("acme", "n1", writing(f"a{number}", f"b{number}"), request=intent(f"w{number}"))
        writers_done.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(relay())
        group.create_task(write_all())

    document = await stored(database)
    assert published == list(range(1, 62))
    assert (document["seq"], document["version"]) == (61, 31)
    assert "outbox_at" not in document


async def test_a_save_after_the_relay_emptied_the_outbox_asks_for_the_sweep_again(database: Database) -> None:
    notes = notes_in(database, clock=FixedClock())
    await notes.add(a_note(), request=intent("r1"))
    await database["notes"].update_one({"_id": "acme/n1"}, {"$set": {"outbox": []}, "$unset": {"outbox_at": ""}})
    await notes.update("acme", "n1", writing("second"), request=intent("r2"))

    assert (await stored(database))["outbox_at"] == NOON


async def test_too_many_unpublished_events_say_that_kafka_is_missing(database: Database) -> None:
    notes = notes_in(database, limits=OutboxLimits(length=3))
    await notes.add(a_note(), request=intent("r1"))
    await notes.update("acme", "n1", writing("second", "third"), request=intent("r2"))

    with pytest.raises(DependencyUnavailable) as caught:
        await notes.update("acme", "n1", writing("fourth"), request=intent("r3"))
    assert caught.value.dependency == "kafka"
    assert (await notes.get("acme", "n1")).seq == 3

    await database["notes"].update_one({"_id": "acme/n1"}, {"$pull": {"outbox": {"seq": 1}}})
    assert (await notes.update("acme", "n1", writing("fourth"), request=intent("r3"))).seq == 4


@pytest.mark.parametrize(("length", "refused"), [(0, False), (1, True)])
async def test_an_event_is_saved_up_to_its_limit(database: Database, *, length: int, refused: bool) -> None:
    notes = notes_in(database, limits=OutboxLimits(event_bytes=1000))
    await notes.add(Note(id="n1", project="acme"), request=intent("r1"))
    capacity = 1000 - len('{"document": "n1", "seq": "1", "key": "", "source": ""}')
    change = writing("x" * (capacity + length))

    if refused:
        with pytest.raises(TooLarge, match="1001 bytes, and 1000 is the limit"):
            await notes.update("acme", "n1", change, request=intent("r2"))
        assert (await stored(database))["version"] == 1
    else:
        assert (await notes.update("acme", "n1", change, request=intent("r2"))).seq == 1


async def test_a_document_stays_below_what_mongodb_takes(database: Database) -> None:
    notes = notes_in(database)
    note = Note(id="n1", project="acme", lines=["x" * (8 * 1024 * 1024)])

    with pytest.raises(TooLarge, match="8388608 is the limit"):
        await notes.add(note, request=intent("r1"))
    assert OutboxLimits().state_bytes + OutboxLimits().length * OutboxLimits().event_bytes < 15 * 1024 * 1024


async def test_an_older_form_is_read_and_written_anew_with_the_next_change(database: Database) -> None:
    notes = notes_in(database)
    await notes.add(a_note(), request=intent("r1"))
    old = {"schema": 1, "state": {"text": "one\ntwo", "colour": "white"}}
    await database["notes"].update_one({"_id": "acme/n1"}, {"$set": old})

    assert (await notes.get("acme", "n1")).lines == ["one", "two"]
    await notes.update("acme", "n1", lambda _: None, request=intent("r2"))
    assert (await stored(database))["schema"] == 1
    await notes.update("acme", "n1", writing("three"), request=intent("r3"))
    document = await stored(database)
    assert (document["schema"], document["state"]["lines"]) == (2, ["one", "two", "three"])


@pytest.mark.parametrize("newer", [{"schema": 3}, {"state": {"colour": "white"}}], ids=["form", "field gone"])
async def test_what_a_newer_version_wrote_is_waited_for_until_this_one_is_replaced(
    database: Database, newer: Document
) -> None:
    notes = notes_in(database)
    await notes.add(a_note(), request=intent("r1"))
    await database["notes"].update_one({"_id": "acme/n1"}, {"$set": newer})
    before = await stored(database)

    for attempt in (
        lambda: notes.get("acme", "n1"),
        lambda: notes.list("acme", page=PageRequest()),
        lambda: notes.update("acme", "n1", writing("two"), request=intent("r2")),
    ):
        with pytest.raises(DependencyUnavailable) as waits:
            await attempt()
        assert waits.value.dependency == "upgrade"
    assert await stored(database) == before


async def test_fields_that_only_a_newer_version_knows_outlive_the_changes_of_this_one(database: Database) -> None:
    notes = notes_in(database)
    await notes.add(a_note(), request=intent("r1"))
    await database["notes"].update_one({"_id": "acme/n1"}, {"$set": {"state.font": {"size": 3, "of": NOON}}})

    await notes.update("acme", "n1", writing("two"), request=intent("r2"))
    await notes.update("acme", "n1", lambda note: setattr(note, "colour", "red"), request=intent("r3"))

    assert (await stored(database))["state"] == {
        "lines": ["first", "two"],
        "colour": "red",
        "font": {"size": 3, "of": NOON},
    }
    await notes.update("acme", "n1", lambda note: note.erase(now=NOON), request=intent("r4"))
    assert "font" not in (await stored(database))["state"]


async def test_a_server_that_does_not_answer_is_a_missing_dependency() -> None:
    client = connect("mongodb://127.0.0.1:1", timeout_s=0.2)

    with pytest.raises(DependencyUnavailable) as caught:
        await notes_in(client["kit"]).list("acme", page=PageRequest())
    assert caught.value.dependency == "mongodb"
    client.close()


async def test_nothing_is_kept_of_requests_that_cannot_be_repeated(database: Database) -> None:
    notes = notes_in(database)
    await notes.add(a_note(), request=Request.of("", b""))
    for _ in range(3):
        await notes.update("acme", "n1", writing("line"), request=Request.internal())
        await notes.update("acme", "n1", lambda _: None, request=Request.internal())

    document = await stored(database)
    assert (document["requests"], document["version"]) == ([], 4)


async def test_requests_of_older_documents_stay_known(database: Database) -> None:
    notes = notes_in(database)
    await notes.add(a_note(), request=intent("r1"))
    old = [{"id": "r1", "digest": intent("r1").digest}, {"id": "r2", "digest": "another body"}]
    await database["notes"].update_one({"_id": "acme/n1"}, {"$set": {"requests": old}})

    assert (await notes.update("acme", "n1", writing("again"), request=intent("r1"))).lines == ["first"]
    with pytest.raises(RequestIdReused):
        await notes.update("acme", "n1", writing("again"), request=intent("r2"))
    assert (await notes.update("acme", "n1", writing("more"), request=intent("r3"))).lines == ["first", "more"]


async def test_a_request_that_is_remembered_takes_little_space(database: Database) -> None:
    notes = notes_in(database)
    await notes.add(a_note(), request=intent("r" * 100))
    for number in range(60):
        await notes.update("acme", "n1", lambda _: None, request=intent(f"{number:0100}"))

    requests = (await stored(database))["requests"]
    assert (len(requests), max(map(len, requests))) == (50, 32)


async def test_every_list_is_served_by_an_index_in_its_order_and_others_are_refused(database: Database) -> None:
    await database["notes"].create_index([("outbox_at", 1)])
    await database["notes"].create_index([("project", 1), ("create_time", 1), ("id", 1)])
    notes = notes_in(database, lists=[("colour",)])
    for _ in range(2):
        await notes.ensure_indexes()

    indexes = await database["notes"].index_information()
    order = [("create_time", 1), ("id", 1)]
    assert sorted(list(each["key"]) for each in indexes.values()) == sorted(
        [
            [("_id", 1)],
            [("outbox_at", 1), ("_id", 1)],
            [("project", 1), ("deleted", 1), *order],
            [("project", 1), ("deleted", 1), ("state.colour", 1), *order],
        ]
    )
    assert [each for each in indexes.values() if "partialFilterExpression" in each]
    with pytest.raises(TypeError, match="lines"):
        await notes.list("acme", page=PageRequest(), where={"lines": "x"})


async def test_what_is_begun_is_saved_without_being_read_first(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = notes_in(database, usually_new=True)

    async def never(*_: object, **__: object) -> None:
        pytest.fail("it was read")

    monkeypatch.setattr(type(database["notes"]), "find_one", never)
    await notes.add(a_note(), request=intent("r1"))
    fresh = Note(id="n2", project="acme")
    await notes.upsert(fresh, writing("first"), request=Request.internal())
    monkeypatch.undo()

    assert (await notes.upsert(fresh, writing("second"), request=intent("r2"))).lines == ["first", "second"]
