"""Submissions that waited in vain, written where the consumer itself writes those that it refuses."""

from dataclasses import dataclass

from tidemill_core.errors import TidemillError
from tidemill_feedback.reactions.ports import Waiting
from tidemill_kit.events.cloudevents import CloudEvent, to_headers
from tidemill_kit.events.dead_letters import dead_letter
from tidemill_kit.events.records import Publishing, milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """The submission as it was read; its key is the sender's choice and was not kept. Implements `records.Record`."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class DeadSubmissions:
    """Implements `ports.DeadLetters`."""

    def __init__(self, publisher: Publishing, *, topic: str, consumer: str) -> None:
        self._publisher = publisher
        self._topic = topic
        self._consumer = consumer

    async def put(self, waiting: Waiting, error: TidemillError) -> None:
        """See `DeadLetters.put`."""
        event, body = waiting.event, waiting.event.body.encode()
        headers = to_headers(
            CloudEvent(
                id=event.id,
                source=event.source,
                type=event.type,
                subject=event.subject,
                project=waiting.project,
                time=event.time,
                data=body,
            )
        )
        record = _Record(
            topic=event.topic,
            partition=event.partition,
            offset=event.offset,
            timestamp=milliseconds(event.time.timestamp()),
            key=event.subject.encode(),
            value=body,
            headers=headers,
        )
        letter = dead_letter(record, topic=self._topic, consumer=self._consumer, error=error, attempts=1)
        await self._publisher.publish(letter)
