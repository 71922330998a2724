"""Ingest as operators run it, an upstream system that knows nothing of our code, and everything that others can see."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from bson import encode

from tidemill.ingest.v1 import document_service_pb2_grpc, source_service_pb2_grpc
from tidemill.ingest.v1.source_pb2 import Source
from tidemill.ingest.v1.source_service_pb2 import CreateSourceRequest
from tidemill_kit.grpc.client import open_channel
from tidemill_kit.store.mongo import connect
from tidemill_kit.store.objects import ObjectStore
from tidemill_local import Addresses
from tidemill_testkit.stack import unique_name

EVENTS = "tidemill.ingest.document.v1"
DEAD = "tidemill.ingest.submissions.dead.v1"
UPSERTED = "tidemill.ingest.submission.document_upserted.v1"
CE_SOURCE = "https://cms.acme.example/kb"
PATIENCE_S = 90


@dataclass(kw_only=True)
class IngestProcess:
    """Started, killed and started again on the same database, buckets and topic."""

    stack: Addresses
    folder: Path
    topic: str
    curations: str
    database: str = field(default_factory=lambda: unique_name("ingest"))
    port: int = 0

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

    @property
    def log(self) -> Path:
        return self.folder / "ingest.log"

    def start(self) -> None:
        """Start it, and return when it is ready."""
        began = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tidemill_ingest"], env=os.environ | self._environment(), stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE_S
        while True:
            lines = self.log.read_bytes()[began:].decode().splitlines()
            events = {line["event"]: line for line in map(json.loads, filter(_is_json, lines))}
            if "service_ready" in events:
                self.port = events["service_alive"]["grpc_port"]
                return
            assert self._process.poll() is None, "\n".join(lines[-20:])
            assert time.monotonic() < deadline, "\n".join(lines[-20:])
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """End it in order, and return its exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(PATIENCE_S)

    async def everything_stored(self) -> bytes:
        """Return all that is in the database and in both buckets."""
        s3 = self.stack.s3
        store = ObjectStore(s3.endpoint, s3.access_key, s3.secret_key, secure=False)
        found = [
            await store.get(bucket, each.key)
            for bucket in (self.quarantine, self.exchange)
            for each in await store.list(bucket)
        ]
        client = connect(self.stack.mongo, timeout_s=10)
        for name in await client[self.database].list_collection_names():
            found += [encode(document) async for document in client[self.database][name].find()]
        client.close()
        return b"\n".join(found)

    def _environment(self) -> dict[str, str]:
        s3 = self.stack.s3
        return {
            "INGEST_GRPC_PORT": "0",
            "INGEST_KAFKA_BOOTSTRAP_SERVERS": self.stack.kafka,
            "INGEST_MONGO_URI": self.stack.mongo,
            "INGEST_MONGO_DATABASE": self.database,
            "INGEST_S3_ENDPOINT": s3.endpoint,
            "INGEST_S3_ACCESS_KEY": s3.access_key,
            "INGEST_S3_SECRET_KEY": s3.secret_key,
            "INGEST_QUARANTINE_BUCKET": self.quarantine,
            "INGEST_EXCHANGE_BUCKET": self.exchange,
            "INGEST_DATASETS_BUCKET": self.datasets,
            "INGEST_FEEDBACK_EXCHANGE_BUCKET": self.feedback,
            "INGEST_SUBMISSION_TOPICS": self.topic,
            "INGEST_CURATION_TOPICS": self.curations,
            "INGEST_LOG_FORMAT": "json",
            "INGEST_LOG_LEVEL": "debug",
        }


@dataclass(kw_only=True)
class Project:
    """One project's APIs, and what it can receive from now on."""

    name: str
    sources: source_service_pb2_grpc.SourceServiceStub
    documents: document_service_pb2_grpc.DocumentServiceStub
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
        await self.producer.send_and_wait(
            self.topic,
            body if isinstance(body, bytes) else json.dumps(body).encode(),
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
    async with open_channel(f"127.0.0.1:{ingest.port}", project=name, timeout_s=60) as channel:
        project = Project(
            name=name,
            sources=source_service_pb2_grpc.SourceServiceStub(channel),
            documents=document_service_pb2_grpc.DocumentServiceStub(channel),
            producer=producer,
            consumer=consumer,
            topic=ingest.topic,
        )
        await project.sources.CreateSource(CreateSourceRequest(source=Source(id="cms", events=CE_SOURCE)))
        yield project
    await consumer.stop()
    await producer.stop()


def _is_json(line: str) -> bool:
    return line.startswith("{")
