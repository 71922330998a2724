"""Published events stay readable, and consumed events are decoded as their producers publish them."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToJson, Parse
from google.protobuf.message import Message

from services.rag.tests.fakes import Rag
from tidemill_kit.events.cloudevents import CloudEvent, to_headers
from tidemill_kit.events.engine import Engine
from tidemill_kit.events.records import OutgoingRecord
from tidemill_rag.collections.domain.collection import Collection, IndexRef
from tidemill_rag.collections.domain.events import (
    CollectionDeleted,
    IndexBecameReady,
    IndexBuildStarted,
    IndexRetired,
    IndexWentLive,
)
from tidemill_rag.collections.domain.index_version import Chunking
from tidemill_rag.collections.mongo import COLLECTIONS
from tidemill_rag.indexing.events import documents

EXAMPLES = Path(__file__).parents[4] / "protos" / "examples"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HANDBOOK = Collection(id="handbook", project="acme", sources=("cms",), embedding="minilm", chunking=Chunking())


def started() -> tuple[str, Message]:
    return COLLECTIONS.event(HANDBOOK, IndexBuildStarted(occurred_at=NOON, index=2, embedding="minilm@3"), 3)


def live() -> tuple[str, Message]:
    return COLLECTIONS.event(HANDBOOK, IndexWentLive(occurred_at=NOON, index=2, replaced=1, documents=1000), 4)


def ready() -> tuple[str, Message]:
    return COLLECTIONS.event(HANDBOOK, IndexBecameReady(occurred_at=NOON, index=2, live=1, documents=1000), 4)


def retired() -> tuple[str, Message]:
    return COLLECTIONS.event(HANDBOOK, IndexRetired(occurred_at=NOON, index=1), 6)


def deleted() -> tuple[str, Message]:
    return COLLECTIONS.event(HANDBOOK, CollectionDeleted(occurred_at=NOON), 5)


@pytest.mark.parametrize("publish", [started, live, ready, retired, deleted])
def test_an_event_is_published_as_its_golden_example(publish: Callable[[], tuple[str, Message]]) -> None:
    ce_type, payload = publish()

    example = (EXAMPLES / f"{ce_type}.json").read_text(encoding="utf-8")

    published = MessageToJson(payload, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    assert published + "\n" == example
    assert Parse(example, type(payload)()) == payload


class Letters:
    """Keeps what would be dead letters."""

    def __init__(self) -> None:
        self.records: list[OutgoingRecord] = []

    async def publish(self, record: OutgoingRecord) -> None:
        self.records.append(record)


class Read:
    """A record as Kafka gives it."""

    topic = "tidemill.ingest.document.v1"
    partition = 0
    timestamp = 0
    key: bytes | None = None

    def __init__(self, happened: str, *, seq: int, offset: int, project: str = "acme") -> None:
        ce_type = f"tidemill.ingest.document.{happened}.v1"
        data = (EXAMPLES / f"{ce_type}.json").read_bytes()
        event = CloudEvent(
            id=f"{happened}{seq}",
            source="/tidemill/ingest",
            type=ce_type,
            subject="fd7cd860-8890-5ce0-b214-11327d930201",
            project=project,
            time=NOON,
            data=data,
            content_type="application/json",
            seq=seq,
            traceparent="",
            extensions={},
        )
        self.offset = offset
        self.value: bytes | None = data
        self.headers: Sequence[tuple[str, bytes]] = to_headers(event)


async def consume(rag: Rag, *records: Read) -> Letters:
    letters = Letters()
    batch = Engine(documents(rag.record), dead_letters=letters).take(records)
    assert await batch.wait(10)
    return letters


async def test_an_update_that_came_together_with_the_document_still_hides_what_was_there_before() -> None:
    rag = Rag()
    await rag.handbook()

    await consume(rag, Read("ingested", seq=4, offset=0), Read("updated", seq=5, offset=1))

    [row] = rag.ledger.stored.values()
    assert row.desired.version_time is not None
    assert row.hidden_below == row.desired.seq


async def test_what_ingest_publishes_fills_the_ledger() -> None:
    rag = Rag()
    await rag.handbook()

    letters = await consume(rag, Read("ingested", seq=2, offset=0))

    [row] = rag.ledger.stored.values()
    assert letters.records == []
    assert (row.desired.source, row.desired.key, row.desired.version) == ("cms", "kb/4711", 1)
    assert row.desired.content
    assert row.desired.content.size == 2048


async def test_a_rejection_does_not_supersede_the_version_before_it() -> None:
    rag = Rag()
    await rag.handbook()

    await consume(rag, Read("ingested", seq=2, offset=0), Read("rejected", seq=3, offset=1))

    assert [row.desired.content is not None for row in rag.ledger.stored.values()] == [True]


async def test_a_deletion_behind_it_supersedes_a_version() -> None:
    rag = Rag()
    await rag.handbook()

    await consume(rag, Read("ingested", seq=1, offset=0), Read("deleted", seq=9, offset=1))

    [row] = rag.ledger.stored.values()
    assert row.desired.content is None


async def test_content_of_another_project_is_a_dead_letter() -> None:
    rag = Rag()
    await rag.handbook()

    letters = await consume(rag, Read("ingested", seq=2, offset=0, project="other"))

    assert len(letters.records) == 1
    assert rag.ledger.stored == {}
    assert IndexRef(project="other", collection="handbook", number=1) not in rag.enqueued
