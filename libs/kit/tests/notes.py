"""The aggregate that the tests of the kit's stores save."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from google.protobuf.message import Message

from tidemill.ingest.v1.events_pb2 import DocumentIngested
from tidemill_core.aggregate import Aggregate, Event
from tidemill_core.application import Clock, Request
from tidemill_core.errors import NotFound
from tidemill_core.quotas import Quota
from tidemill_kit.store.aggregates import Identity, MongoAggregates
from tidemill_kit.store.mongo import Database
from tidemill_kit.store.outbox import NewEvents, OutboxLimits
from tidemill_testkit.clocks import NOON

QUOTA = Quota(of="notes", limit=30, setting="NOTES_MAX_NOTES")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteWasWritten(Event):
    line: str


@dataclass(slots=True, kw_only=True)
class Note(Aggregate):
    lines: list[str] = field(default_factory=list)
    colour: str = "white"

    def write(self, line: str, *, now: datetime) -> None:
        self.lines.append(line)
        self.pending.append(NoteWasWritten(occurred_at=now, line=line))

    def erase(self, *, now: datetime) -> None:
        self.write("erased", now=now)
        self.lines = []
        self.deleted = True


class NoteNotFound(NotFound):
    reason = "NOTE_NOT_FOUND"


class NoteCodec:
    """Schema 1 kept the lines as one text."""

    schema = 2

    def encode(self, aggregate: Note) -> dict[str, Any]:
        return {"lines": aggregate.lines, "colour": aggregate.colour}

    def decode(self, identity: Identity, state: dict[str, Any], schema: int) -> Note:
        lines = state["text"].splitlines() if schema == 1 else state["lines"]
        return Note(**identity.fields(), lines=lines, colour=state["colour"])

    def event(self, aggregate: Note, event: Event, seq: int) -> tuple[str, Message]:
        assert isinstance(event, NoteWasWritten)
        return "tidemill.notes.note.written.v1", DocumentIngested(document=aggregate.id, seq=seq, key=event.line)


def notes_in(  # noqa: PLR0913 - what the store takes, and each test names one
    database: Database,
    *,
    clock: Clock | None = None,
    enqueue: Callable[[NewEvents], None] = lambda _: None,
    limits: OutboxLimits | None = None,
    lists: Sequence[Sequence[str]] = (("colour",),),
    usually_new: bool = False,
    quota: Quota | None = None,
) -> MongoAggregates[Note]:
    return MongoAggregates(
        database["notes"],
        codec=NoteCodec(),
        topic="tidemill.notes.note.v1",
        source="/tidemill/notes",
        missing=NoteNotFound,
        enqueue=enqueue,
        limits=limits,
        clock=clock,
        lists=lists,
        usually_new=usually_new,
        quota=quota,
    )


def intent(name: str, *, body: str = "") -> Request:
    return Request.of(name, body.encode())


def a_note(note_id: str = "n1", *, project: str = "acme", line: str = "first", colour: str = "white") -> Note:
    note = Note(id=note_id, project=project, colour=colour, labels={"app.kubernetes.io/name": "notes"})
    note.write(line, now=NOON)
    return note


def write(line: str, note: Note) -> None:
    note.write(line, now=NOON)


def erase(note: Note) -> None:
    note.erase(now=NOON)


def ids_of(notes: list[Note]) -> list[str]:
    return [note.id for note in notes]
