"""Feedback as a process, with a stub of inference, and its visible effects."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from services.feedback.tests.inference_server import InferenceServer
from tidemill_core.aggregate import ObjectRef
from tidemill_kit.store.objects import ExchangeBucket, ObjectStore
from tidemill_testkit.access import signing_publisher
from tidemill_testkit.ports import free_port
from tidemill_testkit.service_process import ServiceProcess

FEEDBACK = "tidemill.feedback.feedback.v1"
CURATIONS = "tidemill.feedback.curation.v1"
INFERENCES = "tidemill.inference.inference.v1"
DEAD = "tidemill.feedback.submissions.dead.v1"
GIVEN = "tidemill.feedback.submission.feedback_given.v1"

UPSTREAM = signing_publisher()


@dataclass(kw_only=True)
class FeedbackProcess(ServiceProcess):
    """Started, killed and started again on the same database, bucket and topic."""

    service = "feedback"

    topic: str
    inference: InferenceServer
    http_port: int = field(default_factory=free_port)

    @property
    def bucket(self) -> str:
        return f"{self.database}-exchange"

    async def batch(self, event: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the examples of a completion."""
        s3, reported = self.stack.s3, event["batch"]
        bucket = ExchangeBucket(ObjectStore(s3.endpoint, s3.access_key, s3.secret_key, secure=False), self.bucket)
        ref = ObjectRef(
            bucket=reported["bucket"], key=reported["key"], size=int(reported["size"]), sha256=reported["sha256"]
        )
        return [json.loads(line) for line in (await bucket.get(ref)).decode().splitlines()]

    def _settings(self) -> dict[str, str]:
        return {
            "EXCHANGE_BUCKET": self.bucket,
            "HTTP_PORT": str(self.http_port),
            "HTTP_RPCS": "true",
            "INFERENCE_ADDRESS": self.inference.address,
            "SUBMISSION_TOPIC": self.topic,
            "PENDING_WAIT_S": "6",
            "PENDING_POLL_INTERVAL_S": "0.5",
            "LOG_LEVEL": "debug",
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
        value = json.dumps(body).encode()
        signed = attributes | UPSTREAM.headers(value, attributes)
        headers = [(name, text.encode()) for name, text in signed.items()]
        await self.producer.send_and_wait(topic, value, key=subject.encode(), headers=headers)

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
                known = {(of, each.get("ce_id")) for of, each, _ in self.received}  # events may be delivered again
                if headers.get("ce_project") == self.project and (partition.topic, headers.get("ce_id")) not in known:
                    self.received.append((partition.topic, headers, json.loads(record.value)))
        return [(headers, body) for of, headers, body in self.received if of == topic]
