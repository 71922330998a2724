"""MongoDB and S3 themselves."""

import asyncio
import contextlib
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from services.ingest.tests.conftest import NewBucket
from services.ingest.tests.fakes import ACME, Ingest, deletion, spec, submitted
from services.ingest.tests.stores import bindings_in, documents_in, sources_in
from tidemill_core.application import PageRequest, Request, SystemClock
from tidemill_core.errors import NotFound
from tidemill_ingest.anchors import Anchor, AnchorKind
from tidemill_ingest.documents.domain.document import Document
from tidemill_ingest.documents.domain.version import MaskedText, Prepared
from tidemill_ingest.documents.mongo import (
    DOCUMENTS,
    MongoOutbox,
    MongoSweepCursor,
    MongoVersionTexts,
)
from tidemill_ingest.documents.objects import ExchangeTexts, ObjectStoreQuarantine
from tidemill_ingest.documents.ports import SWEEP
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.sources.domain import Source
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import Database, encoded
from tidemill_kit.store.objects import ObjectStore
from tidemill_kit.workers.leases import Leases

PREPARED = Prepared(
    media_type="text/markdown",
    text="# Grüße\n\nDer Text.",
    title="Grüße",
    uri="",
    language="",
    readers=(),
    revision=0,
    metadata={"product": "vpn", "pages": 3.0, "draft": False},
    steps=("clean 1",),
    masked={},
    anchors=(Anchor(start=3, kind=AnchorKind.PAGE, number=2, name="ii"),),
)


@dataclass(frozen=True, kw_only=True)
class Buckets:
    store: ObjectStore
    quarantine: str
    exchange: str


@pytest.fixture
async def buckets(object_store: ObjectStore, new_bucket: NewBucket) -> Buckets:
    return Buckets(store=object_store, quarantine=await new_bucket("quarantine"), exchange=await new_bucket("exchange"))


async def lived() -> Document:
    """Return a document with everything in its state that there can be."""
    ingest = await Ingest().with_source()
    described = replace(spec(revision=3), readers=("b", "a"), metadata={"a.b": "x", "n": 1.0, "ok": True})
    await ingest.accept(ACME, submitted("A ada@acme.example", of=described))
    await ingest.accept(ACME, submitted("B"))
    await ingest.accept(ACME, submitted("B"))
    document = await ingest.delete(ACME, deletion(revision=9, erase=True))
    document.reject(submitted("").submission, reason="R", message="m", now=ingest.clock.now())
    document.pending = []
    return document


async def test_a_document_is_read_as_it_was_saved_and_lists_filter_it(database: Database) -> None:
    enqueued: list[str] = []
    documents = documents_in(database, enqueue=lambda new: enqueued.append(new.document_id))
    await documents.ensure_indexes()
    document = await lived()

    saved = await documents.add(replace(document, version=0, seq=0, create_time=None), request=Request.internal())
    found = await documents.get("acme", document.id)
    listed = await documents.list("acme", page=PageRequest(), where={"source": "cms", "state": "deleted"})
    none = await documents.list("acme", page=PageRequest(), where={"state": "active"})

    assert found == saved
    assert (found.versions, found.steps, found.last_rejection) == (
        document.versions,
        document.steps,
        document.last_rejection,
    )
    assert [each.id for each in listed.items] == [document.id]
    assert not none.items


async def test_the_stored_form_of_a_document_is_stable() -> None:
    document, codec = await lived(), DOCUMENTS
    names = ("id", "project", "labels", "version", "seq", "create_time", "update_time", "deleted")
    identity = Identity(**{name: getattr(document, name) for name in names})

    again = codec.decode(identity, codec.encode(document), codec.schema)

    assert encoded(codec.encode(again)) == encoded(codec.encode(document))


async def test_what_documents_say_of_their_texts_is_read_without_the_rest(database: Database) -> None:
    documents = documents_in(database)
    document = await lived()
    await documents.add(document, request=Request.internal())

    found = await MongoVersionTexts(database["documents"]).of("acme", [document.id, "nope"])

    assert set(found) == {document.id}
    assert replace(found[document.id], uses=()) == replace(document.texts, uses=())
    assert [(use.key, use.text) for use in found[document.id].uses] == [
        (use.key, use.text) for use in document.texts.uses
    ]


async def test_a_sweep_goes_on_where_the_last_one_came_to_unless_another_process_sweeps_by_now(
    database: Database,
) -> None:
    cursor = MongoSweepCursor(database["sweep"])
    leases = Leases(database["sweep"], owner="a", ttl=timedelta(seconds=30), clock=SystemClock())
    async with leases.held(SWEEP.key) as lease:
        assert lease is not None
        assert await cursor.position() == ""
        await cursor.advance("acme/d7/x", epoch=lease.epoch)
        await cursor.advance("acme/d9/x", epoch=lease.epoch - 1)
    assert await cursor.position() == "acme/d7/x"


async def test_the_outbox_reports_which_events_wait(database: Database) -> None:
    documents = documents_in(database)
    document = await lived()

    def reject(each: Document) -> None:
        each.reject(submitted("").submission, reason="R", message="m", now=datetime(2026, 1, 1, tzinfo=UTC))

    fresh = Document(id=document.id, project="acme", source="cms", key="kb/1")
    for number in range(2):
        await documents.upsert(fresh, reject, request=Request.of(f"r{number}", b""))

    outbox = MongoOutbox(database["documents"])
    assert await outbox.waiting("acme", document.id) == {1, 2}
    assert await outbox.waiting("acme", "unknown") == frozenset()


async def test_sources_and_bindings_are_read_as_they_were_saved(database: Database) -> None:
    sources, bindings = sources_in(database), bindings_in(database)
    source = Source(
        id="cms", project="acme", events="urn:kb", masking=Masking.of(["email"], none=False), retention_days=3
    )
    saved = await sources.add(source, request=Request.internal())
    ingest = Ingest()
    ingest.events = replace(ingest.events, sources=sources, bindings=bindings)
    await ingest.events.bind(ACME, "urn:kb", "cms")

    assert await sources.get("acme", "cms") == saved
    assert (await ingest.events.find(ACME, "urn:kb")).id == "cms"


async def test_quarantine_holds_the_bytes_only_inside_its_block(buckets: Buckets) -> None:
    quarantine = ObjectStoreQuarantine(buckets.store, buckets.quarantine)

    async with quarantine.hold("acme", "d", b"unmasked"):
        (held,) = await buckets.store.list(buckets.quarantine)
        assert held.key.startswith("acme/d/")
        assert await buckets.store.get(buckets.quarantine, held.key) == b"unmasked"

    assert not await buckets.store.list(buckets.quarantine)


async def test_quarantine_is_empty_after_a_call_was_cancelled(buckets: Buckets) -> None:
    quarantine, inside = ObjectStoreQuarantine(buckets.store, buckets.quarantine), asyncio.Event()

    async def work() -> None:
        async with quarantine.hold("acme", "d", b"unmasked"):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    assert not await buckets.store.list(buckets.quarantine)


async def test_what_a_crash_left_in_quarantine_is_swept_by_age(buckets: Buckets) -> None:
    quarantine = ObjectStoreQuarantine(buckets.store, buckets.quarantine)
    for key in ("acme/left", "acme/d/left", "globex/left", "held/left"):  # the first as it was named before
        await buckets.store.put(buckets.quarantine, key, b"x", media_type="text/plain")
    now = datetime.now(UTC)
    until = {"acme": now + timedelta(minutes=5), "globex": now - timedelta(minutes=5), "held": None}

    assert await quarantine.sweep(until.__getitem__) == 2
    assert [each.key for each in await buckets.store.list(buckets.quarantine)] == ["globex/left", "held/left"]


async def test_the_object_store_takes_a_lifecycle_for_quarantine(buckets: Buckets) -> None:
    await buckets.store.expire_after(buckets.quarantine, days=1)


async def test_a_text_is_found_by_its_reference_until_it_is_deleted(buckets: Buckets) -> None:
    texts = ExchangeTexts(buckets.store, buckets.exchange)

    ref = await texts.put("acme", "d1", PREPARED, submission_id="s1")
    same = await texts.put("acme", "d1", PREPARED, submission_id="s1")
    later = await texts.put("acme", "d1", PREPARED, submission_id="s2")
    other = await texts.put("acme", "d2", PREPARED, submission_id="s1")
    found = {document_id: stored async for project, document_id, stored in texts.by_document() if project == "acme"}

    assert ref == same
    assert later.key != ref.key
    assert ref.key == f"acme/d1/{ref.sha256}"
    assert await texts.get(ref) == MaskedText(text=PREPARED.text, anchors=PREPARED.anchors)
    assert {key: [each.key for each in stored] for key, stored in found.items()} == {
        "d1": sorted([ref.key, later.key]),
        "d2": [other.key],
    }
    assert await texts.of_document("acme", "d1") == found["d1"]
    after = max(ref.key, later.key)
    assert [each async for _, each, _ in texts.by_document(after=after)] == ["d2"]
    await texts.delete([ref.key, "acme/d1/never-there"])
    with pytest.raises(NotFound):
        await texts.get(ref)


async def test_the_exchange_object_is_the_contract_as_proto_json(buckets: Buckets) -> None:
    texts = ExchangeTexts(buckets.store, buckets.exchange)

    ref = await texts.put("acme", "d1", replace(PREPARED, language="de", readers=("a", "b")), submission_id="s1")

    assert json.loads(await buckets.store.get(ref.bucket, ref.key)) == {
        "media_type": "text/markdown",
        "text": PREPARED.text,
        "title": "Grüße",
        "uri": "",
        "language": "de",
        "readers": ["a", "b"],
        "metadata": {"product": "vpn", "pages": 3.0, "draft": False},
        "submission_id": "s1",
        "anchors": [{"start": 3, "kind": "ANCHOR_KIND_PAGE", "number": 2, "name": "ii"}],
        "boilerplate": [],
    }
