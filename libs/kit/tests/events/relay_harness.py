"""Notes with their outbox, and a relay of it: what the tests of the relay are written with."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from libs.kit.tests.events.harness import Topics
from libs.kit.tests.notes import Note, NoteCodec, NoteNotFound
from tidemill_core.application import Request
from tidemill_kit.events.cloudevents import CloudEvent, from_record
from tidemill_kit.events.kafka import read_topic
from tidemill_kit.events.records import Publishing
from tidemill_kit.events.relay import Relay
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Collection, Document
from tidemill_kit.store.outbox import NewEvents

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@dataclass
class Office:
    """Notes in MongoDB, and their topic."""

    notes: Collection
    topics: Topics
    topic: str

    def aggregates(self, enqueue: Callable[[NewEvents], None] = lambda _: None) -> MongoAggregates[Note]:
        return MongoAggregates(
            self.notes,
            codec=NoteCodec(),
            topic=self.topic,
            source="/tidemill/notes",
            missing=NoteNotFound,
            enqueue=enqueue,
        )

    def relay(self, publisher: Publishing, **how: Any) -> Relay:  # noqa: ANN401 - as `Relay` takes it
        relay = Relay(publisher, **how)
        relay.enqueuer(self.notes)
        return relay

    async def published(self) -> list[CloudEvent]:
        records = read_topic(self.topics.bootstrap, self.topic)
        return [from_record(each.value, each.headers, arrive_time=NOW) async for each in records]

    async def stored(self, note: str) -> Document:
        document = await self.notes.find_one({"_id": f"acme/{note}"})
        assert document is not None
        return document

    async def waiting(self) -> int:
        return await self.notes.count_documents({"$or": [{"outbox.0": {"$exists": True}}, {"outbox_at": {"$gt": NOW}}]})

    async def nothing_waits(self) -> bool:
        return await self.waiting() == 0


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[Relay]:
    await relay.start()
    try:
        yield relay
    finally:
        await relay.stop()


def by_subject(events: list[CloudEvent]) -> dict[str, list[int]]:
    """Return the numbers of each subject's events, each as often as it came first."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for event in events:
        assert event.seq is not None
        if event.seq not in numbers[event.subject]:
            numbers[event.subject].append(event.seq)
    return numbers


async def write(notes: MongoAggregates[Note], note: str, line: str, *, now: datetime = NOW) -> None:
    await notes.upsert(
        Note(id=note, project="acme"), lambda each: each.write(line, now=now), request=Request.of("", line.encode())
    )
