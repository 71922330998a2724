"""rag as a whole: its own process, on real Kafka, MongoDB and S3, with the real MiniLM; stubs of ingest and trainer.

Its graphs of 8 bits compute as the processor can: no variable makes it a weaker one.

What is killed here is the process, between any two of its steps; what it promised must hold afterwards.
"""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from google.protobuf.json_format import MessageToJson

from tidemill.ingest.v1 import document_pb2, events_pb2
from tidemill.ingest.v1.document_service_pb2_grpc import add_DocumentServiceServicer_to_server
from tidemill.rag.v1 import collection_pb2, collection_service_pb2, retrieval_service_pb2
from tidemill.rag.v1.collection_service_pb2_grpc import CollectionServiceStub
from tidemill.rag.v1.retrieval_service_pb2_grpc import RetrievalServiceStub
from tidemill.trainer.v1 import model_pb2
from tidemill.trainer.v1.model_registry_service_pb2_grpc import add_ModelRegistryServiceServicer_to_server
from tidemill_core.errors import TidemillError
from tidemill_core.models.manifest import Manifest
from tidemill_kit.events.cloudevents import CloudEvent, to_headers
from tidemill_kit.events.kafka import Publisher
from tidemill_kit.events.records import OutgoingRecord
from tidemill_kit.grpc.server import GrpcServer, timestamp_of
from tidemill_kit.runtime.settings import ServiceSettings
from tidemill_kit.store.objects import ExchangeBucket, ObjectStore
from tidemill_local import Addresses
from tidemill_local.models import EMBEDDINGS
from tidemill_local.places import MODELS
from tidemill_testkit.access import access_of, admin_channel, installation
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.clocks import NOON
from tidemill_testkit.crash_suite import PIECES, outlives_a_kill
from tidemill_testkit.polling import eventually
from tidemill_testkit.service_process import ServiceProcess
from tidemill_testkit.stack import unique_name
from tidemill_testkit.stubs.ingest import StubDocuments
from tidemill_testkit.stubs.trainer import StubModelRegistry

TOPIC = "tidemill.ingest.document.v1"


@dataclass(kw_only=True)
class RagProcess(ServiceProcess):
    """Started, killed and started again on the same database and folder of data."""

    service = "rag"

    stub_services: str
    buckets: Mapping[str, str]

    def _settings(self) -> dict[str, str]:
        return {
            "DATA_DIR": str(self.folder / "data"),
            "INGEST_ADDRESS": self.stub_services,
            "INGEST_BUCKET": self.buckets["ingest"],
            "TRAINER_ADDRESS": self.stub_services,
            "TRAINER_BUCKET": self.buckets["trainer"],
        }


@dataclass(kw_only=True)
class Harness:
    """A rag process, and what it depends on."""

    project: str
    process: RagProcess
    ingest: StubDocuments
    contents: ExchangeBucket
    publisher: Publisher
    seqs: dict[str, int] = field(default_factory=dict)
    channel: grpc.aio.Channel | None = None

    async def start(self) -> None:
        """Start rag, and call it from then on."""
        await asyncio.to_thread(self.process.start)
        await self.hang_up()
        self.channel = admin_channel(f"127.0.0.1:{self.process.port}", project=self.project, timeout_s=20)
        self.collections, self.retrieval = CollectionServiceStub(self.channel), RetrievalServiceStub(self.channel)

    async def hang_up(self) -> None:
        """Close the connection to rag."""
        if self.channel is not None:
            await self.channel.close()

    async def put(self, key: str, text: str, *, received: bool = True) -> None:
        """Let a version be accepted by ingest, and its event be published unless rag is to find it by itself."""
        seq = self.seqs[key] = self.seqs.get(key, 0) + 1
        content = events_pb2.VersionContent(media_type="text/plain", text=text, title=key)
        data = MessageToJson(content, preserving_proto_field_name=True).encode()
        ref = await self.contents.put(self.project, key, data, media_type="application/json")
        stored = document_pb2.ObjectRef(bucket=ref.bucket, key=ref.key, size=ref.size, sha256=ref.sha256)
        self.ingest.add(
            document_pb2.Document(
                id=key,
                seq=seq,
                source="cms",
                key=key,
                state=document_pb2.DOCUMENT_STATE_ACTIVE,
                current=document_pb2.DocumentVersion(number=seq, object=stored),
            )
        )
        if received:
            facts = events_pb2.VersionFacts(number=seq, object=stored, create_time=timestamp_of(NOON))
            await self._publish(
                key, "updated", events_pb2.DocumentUpdated(document=key, seq=seq, source="cms", key=key, version=facts)
            )

    async def remove(self, key: str) -> None:
        """Let ingest delete a document, and publish it."""
        seq = self.seqs[key] = self.seqs[key] + 1
        await self._publish(key, "deleted", events_pb2.DocumentDeleted(document=key, seq=seq, source="cms", key=key))

    async def _publish(
        self, key: str, happened: str, body: events_pb2.DocumentUpdated | events_pb2.DocumentDeleted
    ) -> None:
        data = MessageToJson(body, preserving_proto_field_name=True).encode()
        event = CloudEvent(
            id=f"{key}-{body.seq}",
            source="/tidemill/ingest",
            type=f"tidemill.ingest.document.{happened}.v1",
            subject=key,
            project=self.project,
            time=NOON,
            data=data,
            content_type="application/json",
            seq=body.seq,
            traceparent="",
            extensions={},
        )
        record = OutgoingRecord(
            topic=TOPIC, key=f"{self.project}/{key}".encode(), value=data, headers=tuple(to_headers(event))
        )
        await self.publisher.publish(record)

    async def found(self, query: str) -> list[tuple[str, int]]:
        request = retrieval_service_pb2.SearchRequest(collection="handbook", query=query, top_k=3)
        answer = await self.retrieval.Search(request)
        return [(passage.document, passage.version) for passage in answer.passages]


async def minilm(bucket: ExchangeBucket, project: str, folder: Path) -> model_pb2.ModelVersion:
    """Store the model as trainer does."""
    shutil.copytree(MODELS / EMBEDDINGS, folder)
    manifest = Manifest.from_folder(folder)
    artifacts = []
    for file in manifest.files:
        ref = await bucket.put(project, "minilm@1", folder / file.path, media_type="application/octet-stream")
        artifacts.append(
            model_pb2.Artifact(
                path=file.path, size=file.size, sha256=file.sha256, bucket=ref.bucket, key=ref.key, stored=True
            )
        )
    return model_pb2.ModelVersion(
        id="minilm@1",
        model="minilm",
        number=1,
        state=model_pb2.MODEL_VERSION_STATE_READY,
        source=model_pb2.ModelSource(folder=model_pb2.FolderSource()),
        artifacts=artifacts,
        digest=manifest.digest,
    )


@pytest.fixture
async def harness(stack: Addresses, tmp_path: Path) -> AsyncIterator[Harness]:
    project = unique_name("acme")
    store = ObjectStore(stack.s3.endpoint, stack.s3.access_key, stack.s3.secret_key, secure=False)
    buckets = {name: unique_name(name) for name in ("ingest", "trainer")}
    for bucket in buckets.values():
        await store.ensure_bucket(bucket)
    version = await minilm(ExchangeBucket(store, buckets["trainer"]), project, tmp_path / "model")
    trainer = StubModelRegistry()  # type: ignore[abstract]  # it has what others call
    trainer.add(version)
    ingest = StubDocuments()  # type: ignore[abstract]  # it has what others call
    unused = dict.fromkeys(("mongo_uri", "mongo_database", "s3_endpoint", "s3_access_key", "s3_secret_key"), "unused")
    settings = ServiceSettings.model_validate(
        unused | {"grpc_port": 0, "kafka_bootstrap_servers": "unused", "access_issuers": (installation().setting,)}
    )
    stubs = GrpcServer(
        settings,
        [
            (add_DocumentServiceServicer_to_server, ingest),
            (add_ModelRegistryServiceServicer_to_server, trainer),
        ],
        access=access_of(),
        audit=RecordedCalls(),
    )
    await stubs.start()
    publisher = Publisher(stack.kafka)
    process = RagProcess(
        stack=stack,
        folder=tmp_path,
        stub_services=f"127.0.0.1:{stubs.port}",
        buckets=buckets,
    )
    made = Harness(
        project=project,
        process=process,
        ingest=ingest,
        contents=ExchangeBucket(store, buckets["ingest"]),
        publisher=publisher,
    )
    await made.start()
    yield made
    await made.hang_up()
    await asyncio.to_thread(process.kill)
    await publisher.stop()
    await stubs.stop(1)


async def create_handbook(harness: Harness) -> None:
    collection = collection_pb2.Collection(
        id="handbook", sources=["cms"], embedding="minilm", go_live=collection_pb2.GO_LIVE_BY_ROLLOUT
    )
    await harness.collections.CreateCollection(
        collection_service_pb2.CreateCollectionRequest(collection=collection, request_id="r1")
    )


async def promote_a_rebuild(harness: Harness) -> None:
    """Have a second index version built, which waits, and promote it; the process dies after each."""
    service, get = collection_service_pb2, collection_service_pb2.GetCollectionRequest(id="handbook")
    await harness.collections.RebuildIndex(service.RebuildIndexRequest(id="handbook", request_id="r2"))
    await asyncio.to_thread(harness.process.kill)
    await harness.start()

    async def waits() -> bool:
        states = [index.state for index in (await harness.collections.GetCollection(get)).collection.indexes]
        return states == [collection_pb2.INDEX_STATE_LIVE, collection_pb2.INDEX_STATE_READY]

    await eventually(waits, despite=(TidemillError,))
    await harness.collections.PromoteIndex(service.PromoteIndexRequest(id="handbook", index=2, request_id="r3"))
    await asyncio.to_thread(harness.process.kill)
    await harness.start()

    async def answers() -> bool:
        live = (await harness.collections.GetCollection(get)).collection.live_index
        return live == 2 and (await harness.found("zebras in Berlin"))[0] == ("zebra", 2)

    await eventually(answers, despite=(TidemillError,))


@dataclass(frozen=True)
class Documents:
    """Documents whose events ingest publishes, some of them twice."""

    harness: Harness
    topics: Sequence[str] = ()

    @property
    def process(self) -> RagProcess:
        return self.harness.process

    @property
    def project(self) -> str:
        return self.harness.project

    async def send(self, piece: str) -> None:
        self.harness.seqs[piece] = 0
        await self.harness.put(piece, _text(piece))

    async def done(self) -> Sequence[str]:
        async with admin_channel(f"127.0.0.1:{self.process.port}", project=self.project, timeout_s=20) as channel:
            stub, found = RetrievalServiceStub(channel), list[str]()
            for number in range(PIECES):
                query = _text(f"piece-{number}")
                request = retrieval_service_pb2.SearchRequest(collection="handbook", query=query, top_k=PIECES)
                passages = (await stub.Search(request)).passages
                found += [each.document for each in passages if each.document == f"piece-{number}"]
        return found


def _text(piece: str) -> str:
    return f"Note {piece}: " + hashlib.sha256(piece.encode()).hexdigest()


@pytest.mark.timeout(400)
async def test_what_was_received_is_searchable_however_often_the_process_dies(harness: Harness) -> None:
    await harness.put("zebra", "Zebras are striped horses that live in Africa.", received=False)
    await create_handbook(harness)
    await harness.put("tax", "Tax forms are due at the end of May.")

    async def both_found() -> bool:
        return {document for document, _ in await harness.found("striped animals")} == {"zebra", "tax"}

    await eventually(both_found, despite=(TidemillError,))
    assert (await harness.found("striped animals"))[0] == ("zebra", 1)

    for number in range(20):
        text = f"Note {number}: " + hashlib.sha256(str(number).encode()).hexdigest()
        await harness.put(f"note{number}", text)
    await harness.put("zebra", "Zebras were moved to the zoo of Berlin.")
    await harness.remove("tax")
    await asyncio.to_thread(harness.process.kill)
    await harness.start()

    async def all_current() -> bool:
        request = collection_service_pb2.GetCollectionRequest(id="handbook")
        [index] = (await harness.collections.GetCollection(request)).collection.indexes
        counted = index.documents_indexed == index.documents_wanted == 21
        left = {document for document, _ in await harness.found("tax forms")}
        return counted and "tax" not in left and (await harness.found("zebras in Berlin"))[0] == ("zebra", 2)

    await eventually(all_current, despite=(TidemillError,))
    await promote_a_rebuild(harness)
    await outlives_a_kill(Documents(harness))
