"""What was erased is in no store of a running ingest, whenever the process is killed."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from grpc.aio import Channel

from services.ingest.tests.datasets.examples import batch_of, completed, lines, message, numbered
from services.ingest.tests.process.harness import CE_SOURCE, IngestProcess
from tidemill.feedback.v1.curation_pb2 import Example
from tidemill.ingest.v1 import dataset_service_pb2
from tidemill.ingest.v1 import document_service_pb2 as pb
from tidemill.ingest.v1.dataset_pb2 import Dataset
from tidemill.ingest.v1.dataset_service_pb2_grpc import DatasetServiceStub
from tidemill.ingest.v1.document_service_pb2_grpc import DocumentServiceStub
from tidemill.ingest.v1.source_pb2 import Masking, Source
from tidemill.ingest.v1.source_service_pb2 import CreateSourceRequest
from tidemill.ingest.v1.source_service_pb2_grpc import SourceServiceStub
from tidemill_core.application import Request
from tidemill_core.errors import TidemillError
from tidemill_core.grpc.client import open_channel
from tidemill_kit.access.revocations import TOPIC
from tidemill_kit.erasure.codec import ErasureCodec
from tidemill_kit.erasure.erasures import COLLECTION, REPORTS, Erasure, ErasureNotFound, State
from tidemill_kit.erasure.steps import Scope
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Database, connect
from tidemill_kit.store.objects import ObjectStore
from tidemill_testkit.access import admin_token, installation
from tidemill_testkit.polling import eventually
from tidemill_testkit.stack import unique_name

REVOKED = "tidemill.monitor.access.credentials_revoked.v1"
CANARY = "canarybird"
ADDRESS = "ada@acme.example"
"""In a document that has a pseudonym in its place."""
MANY = 700
"""Documents, so that their erasure takes several batches."""


class Filled:
    """A project whose documents, dataset and leftovers of crashes say the canary."""

    def __init__(self, process: IngestProcess, database: Database) -> None:
        self.process, self.database = process, database
        self.name, self.document = unique_name("acme"), ""
        s3 = process.stack.s3
        self.store = ObjectStore(s3.endpoint, s3.access_key, s3.secret_key, secure=False)

    @asynccontextmanager
    async def channel(self, token: str = "") -> AsyncIterator[Channel]:
        address, credential = f"127.0.0.1:{self.process.port}", lambda: token or admin_token()
        async with open_channel(address, credential=credential, project=self.name, timeout_s=60) as channel:
            yield channel

    async def fill(self) -> None:
        async with self.channel() as channel:
            await SourceServiceStub(channel).CreateSource(
                CreateSourceRequest(source=Source(id="cms", events=CE_SOURCE, masking=Masking(pseudonyms=True)))
            )
            documents = DocumentServiceStub(channel)
            for text in ("first", "second"):
                spec = pb.DocumentSpec(source="cms", key="kb/1", media_type="text/plain", title=f"{text} {CANARY}")
                spec.metadata.update({"said": CANARY})
                request = pb.CreateDocumentRequest(spec=spec, content=f"{text} {CANARY}".encode())
                self.document = (await documents.CreateDocument(request)).document.id
            other = pb.DocumentSpec(source="cms", key="kb/2", media_type="text/plain")
            await documents.CreateDocument(
                pb.CreateDocumentRequest(spec=other, content=f"another of {ADDRESS}".encode())
            )
            await DatasetServiceStub(channel).CreateDataset(
                dataset_service_pb2.CreateDatasetRequest(dataset=Dataset(id="helpdesk"))
            )
        await self.store.put(
            self.process.quarantine, f"{self.name}/{self.document}/left", CANARY.encode(), media_type="text/plain"
        )
        await self.review()
        await self.curate(
            [
                *numbered(40),
                *(
                    message(f"What is {CANARY} {number}?", f"{CANARY} {number}.", cites=[(self.document, 1)])
                    for number in range(8)
                ),
            ]
        )

    async def review(self) -> None:
        """Do what feedback does when a reviewer has labelled the document, and wait until that is kept."""
        body = {
            "item": "item-1",
            "seq": "1",
            "queue": "quality",
            "subject": {"kind": "SUBJECT_KIND_DOCUMENT", "id": self.document},
            "labels": [{"field": "verdict", "category": CANARY}],
            "reviewers": [f"user:{CANARY}"],
            "resolve_time": datetime.now(UTC).isoformat(),
        }
        await self.publish(
            self.process.reviews, "tidemill.feedback.review.resolved.v1", body, ce_source="/tidemill/feedback"
        )

        async def is_kept() -> bool:
            return bool(await self.database["labels"].find_one({"_id": f"{self.name}/item-1"}))

        await eventually(is_kept)

    async def curate(self, examples: list[Example]) -> None:
        """Do what feedback does, and wait for the version."""
        data = lines(examples)
        batch = batch_of(data, count=len(examples), project=self.name, bucket=self.process.feedback)
        await self.store.ensure_bucket(self.process.feedback)
        await self.store.put(batch.object.bucket, batch.object.key, data, media_type="application/jsonl")
        body = completed(batch, seq=1, dataset="helpdesk")
        await self.publish(
            self.process.curations, "tidemill.feedback.curation.completed.v1", body, ce_source="/tidemill/feedback"
        )

        async def is_made() -> bool:
            return bool(await self.store.list(self.process.datasets, prefix=f"{self.name}/"))

        await eventually(is_made)

    async def publish(self, topic: str, ce_type: str, body: object, *, ce_source: str, subject: str = "s") -> None:
        attributes = {
            "ce_specversion": "1.0",
            "ce_id": str(uuid4()),
            "ce_source": ce_source,
            "ce_type": ce_type,
            "ce_subject": subject,
            "ce_project": self.name,
            "content-type": "application/json",
        }
        producer = AIOKafkaProducer(bootstrap_servers=self.process.stack.kafka, acks="all")
        await producer.start()
        headers = [(name, text.encode()) for name, text in attributes.items()]
        await producer.send_and_wait(topic, json.dumps(body).encode(), key=subject.encode(), headers=headers)
        await producer.stop()

    async def delete_project(self) -> None:
        """Do what monitor does, and wait until the process knows."""
        now = datetime.now(UTC).isoformat()
        body = {"kind": "CREDENTIAL_KIND_PROJECT", "project": self.name, "id": "", "seq": "1", "revoke_time": now}
        await self.publish(TOPIC, REVOKED, body, ce_source="/tidemill/monitor", subject=f"project/{self.name}/")
        token = installation().token(self.name, "viewer")

        async def is_refused() -> bool:
            async with self.channel(token) as channel:
                try:
                    await DocumentServiceStub(channel).ListDocuments(pb.ListDocumentsRequest())
                except Exception as error:  # noqa: BLE001 - which one is not the question
                    return getattr(error, "reason", "") == "CREDENTIAL_REVOKED"
            return False

        await eventually(is_refused)

    def rows(self) -> MongoAggregates[Erasure]:
        return MongoAggregates(
            self.database[COLLECTION],
            codec=ErasureCodec("ingest"),
            topic=REPORTS,
            source="/tidemill/ingest",
            missing=ErasureNotFound,
        )

    async def request(self, scope: Scope, *, subject: str = "") -> Erasure:
        """Store what the consumer of requested erasures stores."""
        now = datetime.now(UTC)
        erasure = Erasure(
            id=str(uuid4()), project=self.name, scope=scope, subject=subject, request_time=now, not_before=now
        )
        return await self.rows().add(erasure, request=Request.internal())

    async def completed(self, erasure: Erasure) -> Erasure:
        async def is_complete() -> bool:
            return (await self.rows().get(self.name, erasure.id)).state is State.COMPLETED

        await eventually(is_complete)
        return await self.rows().get(self.name, erasure.id)

    async def left(self) -> list[str]:
        """Return the names of everything that is stored of the project."""
        kept = {COLLECTION, "audit", "erasure_leases"}
        found = []
        for name in await self.database.list_collection_names():
            if name not in kept:
                ids = {"_id": {"$regex": f"^{self.name}/"}}
                found += [f"{name}: {each['_id']}" async for each in self.database[name].find(ids)]
        for bucket in (self.process.quarantine, self.process.exchange, self.process.datasets):
            found += [f"{bucket}: {each.key}" for each in await self.store.list(bucket, prefix=f"{self.name}/")]
        return found


@pytest.fixture
async def filled(ingest: IngestProcess) -> AsyncIterator[Filled]:
    client = connect(ingest.stack.mongo, timeout_s=10)
    made = Filled(ingest, client[ingest.database])
    await made.fill()
    yield made
    client.close()


async def test_no_store_has_a_word_of_an_erased_document(filled: Filled) -> None:
    stored = await filled.process.everything_stored()
    assert stored.count(CANARY.encode()) > 10
    assert b"another of [EMAIL:" in stored
    assert ADDRESS.encode() not in stored + filled.process.log.read_bytes()

    erasure = await filled.completed(await filled.request(Scope.DOCUMENT, subject=filled.document))

    assert CANARY.encode() not in await filled.process.everything_stored()
    assert CANARY.encode() not in filled.process.log.read_bytes()
    assert {**erasure.counts, "versions to be profiled": 0} == {  # those that were not counted yet when it began
        "documents": 1,
        "quarantined submissions": 1,
        "document texts": 2,
        "dataset examples": 8,
        "labels": 1,
        "fingerprints": 0,
        "counted blocks": 0,
        "versions to be profiled": 0,
    }
    assert len(await filled.store.list(filled.process.exchange, prefix=f"{filled.name}/")) == 1, "of the other document"


async def test_nothing_is_left_of_a_deleted_project_whenever_the_process_is_killed(filled: Filled) -> None:
    one = await filled.database["documents"].find_one({"id": filled.document}) or {}
    copies = [{**one, "_id": f"{filled.name}/copy-{number}", "id": f"copy-{number}"} for number in range(MANY)]
    await filled.database["documents"].insert_many(copies)
    for number in range(60):
        key = f"{filled.name}/copy-{number}/text"
        await filled.store.put(filled.process.exchange, key, CANARY.encode(), media_type="text/plain")
    await filled.delete_project()
    assert any(each.startswith("pseudonym_keys: ") for each in await filled.left())

    erasure = await filled.request(Scope.PROJECT)
    for _ in range(3):
        before = len(await filled.left())

        async def is_erasing(before: int = before) -> bool:
            return not before or len(await filled.left()) < before

        await eventually(is_erasing)
        await asyncio.to_thread(filled.process.kill)
        await asyncio.to_thread(filled.process.start)
    await filled.completed(erasure)

    assert await filled.left() == []
    assert CANARY.encode() not in await filled.process.everything_stored()


@pytest.mark.parametrize(("token_for", "why"), [("*", "was deleted"), ("", "was revoked")])
async def test_an_upload_that_runs_while_its_project_is_deleted_leaves_nothing(
    filled: Filled, token_for: str, why: str
) -> None:
    token = installation().token(token_for or filled.name, "installation_admin" if token_for else "admin")
    goes_on = asyncio.Event()
    start = pb.UploadStart(spec=pb.DocumentSpec(source="cms", key="late", media_type="text/plain"))

    async def pieces() -> AsyncGenerator[pb.UploadDocumentRequest, None]:
        yield pb.UploadDocumentRequest(start=start)
        yield pb.UploadDocumentRequest(chunk=b"first ")
        await goes_on.wait()
        yield pb.UploadDocumentRequest(chunk=CANARY.encode())

    async with filled.channel(token) as channel, aclosing(pieces()) as sent:
        call = asyncio.ensure_future(DocumentServiceStub(channel).UploadDocument(sent))
        await filled.delete_project()
        goes_on.set()
        with pytest.raises(TidemillError) as refused:
            await call
        with pytest.raises(TidemillError, match=why):
            await SourceServiceStub(channel).CreateSource(CreateSourceRequest(source=Source(id="again")))
    await filled.completed(await filled.request(Scope.PROJECT))

    # gRPC may lose the reason of a call that ends while its client writes; the next call has it
    assert any(each in refused.value.message for each in (why, "aborted the call"))
    assert await filled.left() == []
