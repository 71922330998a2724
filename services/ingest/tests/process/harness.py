"""Ingest as operators run it, an upstream system that knows nothing of our code, and everything that others can see."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from bson import encode

from services.ingest.tests.keys import OLD
from tidemill.ingest.v1 import document_service_pb2_grpc, profile_service_pb2_grpc, source_service_pb2_grpc
from tidemill.ingest.v1.source_pb2 import Source
from tidemill.ingest.v1.source_service_pb2 import CreateSourceRequest
from tidemill_kit.store.mongo import connect
from tidemill_kit.store.objects import ObjectStore
from tidemill_testkit.access import admin_channel, signing_publisher
from tidemill_testkit.erasing import erasing_settings
from tidemill_testkit.service_process import ServiceProcess
from tidemill_testkit.stack import unique_name

EVENTS = "tidemill.ingest.document.v1"
DEAD = "tidemill.ingest.submissions.dead.v1"
UPSERTED = "tidemill.ingest.submission.document_upserted.v1"
CE_SOURCE = "https://cms.acme.example/kb"
UPSTREAM = signing_publisher()


@dataclass(kw_only=True)
class IngestProcess(ServiceProcess):
    """Started, killed and started again on the same database, buckets and topic."""

    service = "ingest"

    topic: str
    curations: str

    @property
    def reviews(self) -> str:
        """The topic of reviewed items."""
        return f"{self.curations}-reviews"

    @property
    def quarantine(self) -> str:
        return f"{self.database}-quarantine"

    @property
    def exchange(self) -> str:
        return f"{self.database}-exchange"

    @property
    def datasets(self) -> str:
        return f"{self.database}-datasets"

    @property
    def feedback(self) -> str:
        return f"{self.database}-feedback"

    async def everything_stored(self) -> bytes:
        """Return all that is in the database and in the own buckets."""
        s3 = self.stack.s3
        store = ObjectStore(s3.endpoint, s3.access_key, s3.secret_key, secure=False)
        found = [
            await store.get(bucket, each.key)
            for bucket in (self.quarantine, self.exchange, self.datasets)
            for each in await store.list(bucket)
        ]
        client = connect(self.stack.mongo, timeout_s=10)
        for name in await client[self.database].list_collection_names():
            found += [encode(document) async for document in client[self.database][name].find()]
        client.close()
        return b"\n".join(found)

    def _settings(self) -> dict[str, str]:
        return {
            "QUARANTINE_BUCKET": self.quarantine,
            "EXCHANGE_BUCKET": self.exchange,
            "DATASETS_BUCKET": self.datasets,
            "FEEDBACK_EXCHANGE_BUCKET": self.feedback,
            "SUBMISSION_TOPICS": self.topic,
            "CURATION_TOPICS": self.curations,
            "REVIEW_TOPICS": self.reviews,
            "DATASET_POLL_INTERVAL_S": "0.5",
            "ORIGIN_ALLOWED_HOSTS": "127.0.0.1",
            "LOG_LEVEL": "debug",
            "SECRETS_KEYS": OLD,
            **erasing_settings(),
        }


@dataclass(kw_only=True)
class Project:
    """One project's APIs, and what it can receive from now on."""

    name: str
    sources: source_service_pb2_grpc.SourceServiceStub
    documents: document_service_pb2_grpc.DocumentServiceStub
    profiles: profile_service_pb2_grpc.ProfileServiceStub
    producer: AIOKafkaProducer
    consumer: AIOKafkaConsumer
    topic: str
    received: dict[str, list[ConsumerRecord]] = field(default_factory=lambda: {EVENTS: [], DEAD: []})

    async def publish(  # noqa: PLR0913 - an event has many attributes
        self,
        subject: str,
        body: Mapping[str, Any] | bytes,
        *,
        event_id: str = "",
        ce_type: str = UPSERTED,
        ce_source: str = CE_SOURCE,
        without: str = "",
    ) -> str:
        """Publish one submission, as an upstream system does; `without` leaves one attribute out."""
        event_id = event_id or str(uuid4())
        attributes = {
            "ce_specversion": "1.0",
            "ce_id": event_id,
            "ce_source": ce_source,
            "ce_type": ce_type,
            "ce_subject": subject,
            "ce_project": self.name,
            "content-type": "application/json",
        }
        attributes.pop(without, None)
        value = body if isinstance(body, bytes) else json.dumps(body).encode()
        if "ce_id" in attributes:
            attributes |= UPSTREAM.headers(value, attributes)
        await self.producer.send_and_wait(
            self.topic,
            value,
            key=subject.encode(),
            headers=[(name, text.encode()) for name, text in attributes.items()],
        )
        return event_id

    async def consume(self) -> None:
        """Take what came since the last time."""
        batches = await self.consumer.getmany(timeout_ms=200)
        for partition, records in batches.items():
            mine = [each for each in records if dict(each.headers).get("ce_project") == self.name.encode()]
            self.received[partition.topic] += mine

    async def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Return ce_type and body of every event received so far."""
        await self.consume()
        return [
            (dict(record.headers)["ce_type"].decode().split(".")[3], json.loads(record.value))
            for record in self.received[EVENTS]
        ]

    async def dead_letters(self) -> dict[str, dict[str, str]]:
        """Return the headers of every dead letter received so far, by the record's key."""
        await self.consume()
        return {
            record.key.decode(): {name: raw.decode() for name, raw in record.headers} for record in self.received[DEAD]
        }


@asynccontextmanager
async def project_of(ingest: IngestProcess) -> AsyncIterator[Project]:
    """Be a project of its own with one source, `cms`, that takes events."""
    producer = AIOKafkaProducer(bootstrap_servers=ingest.stack.kafka, acks="all", max_request_size=2 * 1024 * 1024)
    consumer = AIOKafkaConsumer(
        EVENTS, DEAD, bootstrap_servers=ingest.stack.kafka, max_partition_fetch_bytes=8 * 1024 * 1024
    )
    await producer.start()
    await consumer.start()
    await consumer.seek_to_end()
    name = unique_name("acme")
    async with admin_channel(f"127.0.0.1:{ingest.port}", project=name, timeout_s=60) as channel:
        project = Project(
            name=name,
            sources=source_service_pb2_grpc.SourceServiceStub(channel),
            documents=document_service_pb2_grpc.DocumentServiceStub(channel),
            profiles=profile_service_pb2_grpc.ProfileServiceStub(channel),
            producer=producer,
            consumer=consumer,
            topic=ingest.topic,
        )
        await project.sources.CreateSource(CreateSourceRequest(source=Source(id="cms", events=CE_SOURCE)))
        yield project
    await consumer.stop()
    await producer.stop()
