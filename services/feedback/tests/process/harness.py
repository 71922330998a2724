"""Feedback as a process, with a stub of inference, and its visible effects."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from services.feedback.tests.inference_server import InferenceServer
from tidemill_kit.core.aggregate import ObjectRef
from tidemill_kit.store.objects import ExchangeBucket, ObjectStore
from tidemill_local import Addresses
from tidemill_testkit.stack import unique_name

FEEDBACK = "tidemill.feedback.feedback.v1"
CURATIONS = "tidemill.feedback.curation.v1"
INFERENCES = "tidemill.inference.inference.v1"
DEAD = "tidemill.feedback.submissions.dead.v1"
GIVEN = "tidemill.feedback.submission.feedback_given.v1"
PATIENCE_S = 60


@dataclass(kw_only=True)
class FeedbackProcess:
    """Started, killed and started again on the same database, bucket and topic."""

    stack: Addresses
    folder: Path
    topic: str
    inference: InferenceServer
    database: str = field(default_factory=lambda: unique_name("feedback"))
    port: int = 0

    @property
    def bucket(self) -> str:
        return f"{self.database}-exchange"

    @property
    def log(self) -> Path:
        return self.folder / "feedback.log"

    def start(self) -> None:
        """Start it, and return when it is ready."""
        began = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tidemill_feedback"],
                env=os.environ | self._environment(),
                stdout=log,
                stderr=log,
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

    async def batch(self, event: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the examples of a completion."""
        s3, reported = self.stack.s3, event["batch"]
        bucket = ExchangeBucket(ObjectStore(s3.endpoint, s3.access_key, s3.secret_key, secure=False), self.bucket)
        ref = ObjectRef(
            bucket=reported["bucket"], key=reported["key"], size=int(reported["size"]), sha256=reported["sha256"]
        )
        return [json.loads(line) for line in (await bucket.get(ref)).decode().splitlines()]

    def _environment(self) -> dict[str, str]:
        s3 = self.stack.s3
        return {
            "FEEDBACK_GRPC_PORT": "0",
            "FEEDBACK_KAFKA_BOOTSTRAP_SERVERS": self.stack.kafka,
            "FEEDBACK_MONGO_URI": self.stack.mongo,
            "FEEDBACK_MONGO_DATABASE": self.database,
            "FEEDBACK_S3_ENDPOINT": s3.endpoint,
            "FEEDBACK_S3_ACCESS_KEY": s3.access_key,
            "FEEDBACK_S3_SECRET_KEY": s3.secret_key,
            "FEEDBACK_EXCHANGE_BUCKET": self.bucket,
            "FEEDBACK_INFERENCE_ADDRESS": self.inference.address,
            "FEEDBACK_SUBMISSION_TOPIC": self.topic,
            "FEEDBACK_PENDING_WAIT_S": "6",
            "FEEDBACK_PENDING_POLL_INTERVAL_S": "0.5",
            "FEEDBACK_LOG_FORMAT": "json",
            "FEEDBACK_LOG_LEVEL": "debug",
        }


@dataclass(kw_only=True)
class Others:
    """An upstream system and the consumers of one project."""

    project: str
    topic: str
    producer: AIOKafkaProducer
    consumer: AIOKafkaConsumer
    received: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)

    async def publish(self, topic: str, ce_type: str, subject: str, body: Mapping[str, Any], *, event_id: str) -> None:
        """Publish one event in binary mode."""
        attributes = {
            "ce_specversion": "1.0",
            "ce_id": event_id,
            "ce_source": "https://app.acme.example",
            "ce_type": ce_type,
            "ce_subject": subject,
            "ce_project": self.project,
            "content-type": "application/json",
        }
        headers = [(name, text.encode()) for name, text in attributes.items()]
        await self.producer.send_and_wait(topic, json.dumps(body).encode(), key=subject.encode(), headers=headers)

    async def correct(self, inference: str, text: str, *, event_id: str) -> None:
        """Send a correction, as an upstream system does."""
        output = [{"role": "ROLE_ASSISTANT", "parts": [{"text": text}]}]
        body = {"inference": inference, "metric": "correction", "correction": {"output": output}}
        await self.publish(self.topic, GIVEN, inference, body, event_id=event_id)

    async def of(self, topic: str) -> Sequence[tuple[dict[str, str], Any]]:
        """Return headers and bodies of the events consumed from a topic so far."""
        batches = await self.consumer.getmany(timeout_ms=100)
        for partition, records in batches.items():
            for record in records:
                headers = {name: raw.decode() for name, raw in record.headers}
                if headers.get("ce_project") == self.project:
                    self.received.append((partition.topic, headers, json.loads(record.value)))
        return [(headers, body) for of, headers, body in self.received if of == topic]


def _is_json(line: str) -> bool:
    return line.startswith("{")
