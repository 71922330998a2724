"""What the tests of events are written with: topics of their own, an upstream system, a store of effects."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pydantic import BaseModel, ConfigDict

from tidemill_core.errors import DependencyUnavailable
from tidemill_kit.events.dead_letters import DeadLetter, DeadLetters
from tidemill_kit.events.kafka import Consumers, read_topic
from tidemill_kit.events.records import OutgoingRecord, Publishing
from tidemill_kit.events.retry import EngineLimits
from tidemill_kit.events.subscriber import ConsumerLimits
from tidemill_kit.events.subscriptions import Delivery, EventContext, Refusal, Route, Subscription

WRITTEN = "tests.line.written.v1"
QUICK = EngineLimits(attempts=3, first_pause_s=0.02, longest_pause_s=0.1)
LIMITS = ConsumerLimits(hold_s=0.3, session_s=6, rebalance_s=20, lag_interval_s=0.3)
BIG = 10 * 1024 * 1024


class Line(BaseModel):
    number: int = 0
    text: str = ""


class StrictLine(Line):
    model_config = ConfigDict(extra="forbid")


@dataclass(slots=True)
class Effects:
    """Writes lines down, each under the id of its request, like a store with unique ids."""

    rater: str = ""
    happened: list[tuple[str, str, int]] = field(default_factory=list)
    """(who, subject, number), in order."""
    ids: set[str] = field(default_factory=set)
    repeated: int = 0

    async def write(self, context: EventContext, line: Line) -> None:
        if context.request.id in self.ids:
            self.repeated += 1
            return
        self.ids.add(context.request.id)
        self.happened.append((self.rater, context.subject, line.number))

    @property
    def numbers(self) -> list[int]:
        return [number for _, _, number in self.happened]

    def of(self, subject: str) -> list[int]:
        return [number for _, each, number in self.happened if each == subject]


def event_headers(event_id: str, subject: str, **attributes: str) -> list[tuple[str, bytes]]:
    reported = {"specversion": "1.0", "id": event_id, "source": "https://tests.example", "type": WRITTEN}
    reported |= {"subject": subject, "project": "acme"} | attributes
    return [(f"ce_{name}", text.encode()) for name, text in reported.items()] + [("content-type", b"application/json")]


@dataclass(slots=True)
class Topics:
    """Topics on the real broker that exist for one test."""

    bootstrap: str
    admin: AIOKafkaAdminClient
    made: list[str] = field(default_factory=list)

    async def make(self, name: str = "", *, partitions: int = 1, max_bytes: int = 1024 * 1024) -> str:
        name = name or f"tests.{uuid4().hex[:12]}"
        configs = {"max.message.bytes": str(max_bytes)}
        answer = await self.admin.create_topics([NewTopic(name, partitions, 1, topic_configs=configs)])
        assert not [error for error in answer.to_object()["topic_errors"] if error["error_code"]]
        self.made.append(name)
        return name

    async def committed(self, group: str, topic: str, partition: int = 0) -> int | None:
        """Return the offset that a new member of the group would begin with."""
        known = await self.admin.list_consumer_group_offsets(group)
        offset = known.get(TopicPartition(topic, partition))
        return None if offset is None or offset.offset < 0 else offset.offset


@dataclass(slots=True)
class Upstream:
    """A producer that writes CloudEvents to Kafka without any of our code."""

    producer: AIOKafkaProducer

    async def write(self, topic: str, numbers: Sequence[int], *, subject: str = "kb/1", **attributes: str) -> None:
        for number in numbers:
            headers = event_headers(f"{subject}-{number}", subject, **attributes)
            await self.raw(topic, b'{"number": "%d"}' % number, headers, key=subject.encode())

    async def raw(
        self,
        topic: str,
        value: bytes | None,
        headers: list[tuple[str, Any]],
        *,
        key: bytes | None = b"k",
        partition: int | None = None,
    ) -> None:
        await self.producer.send_and_wait(topic, value, key=key, headers=headers, partition=partition)


@dataclass(slots=True)
class FlakyPublisher:
    """Fails a number of times, then passes on."""

    failures: int
    behind: Publishing | None = None
    published: list[OutgoingRecord] = field(default_factory=list)

    async def publish(self, record: OutgoingRecord) -> None:
        if self.failures > 0:
            self.failures -= 1
            message = "Kafka does not answer"
            raise DependencyUnavailable(message, dependency="kafka")
        if self.behind is not None:
            await self.behind.publish(record)
        self.published.append(record)


@dataclass(slots=True)
class Bench:
    """One topic, its dead letters, and consumers of it."""

    topics: Topics
    publisher: Publishing
    topic: str
    name: str

    def subscription(
        self,
        handle: Callable[[EventContext, Any], Awaitable[None]],
        *,
        delivery: Delivery = Delivery.ONCE,
        refused: Callable[[Refusal], Awaitable[None]] | None = None,
    ) -> Subscription:
        return Subscription(
            name=self.name,
            topics=(self.topic,),
            delivery=delivery,
            routes={WRITTEN: Route(StrictLine, handle)},
            strict=True,
            refused=refused,
        )

    def consumers(
        self, handle: Callable[[EventContext, Any], Awaitable[None]], *, limits: ConsumerLimits = LIMITS
    ) -> Consumers:
        return Consumers(
            self.topics.bootstrap,
            [self.subscription(handle)],
            self.publisher,
            engine_limits=QUICK,
            consumer_limits=limits,
        )

    @property
    def dead_letter_topic(self) -> str:
        return f"tidemill.{self.name}.dead.v1"

    async def committed(self, partition: int = 0) -> int | None:
        return await self.topics.committed(f"tidemill.{self.name}", self.topic, partition)


async def dead_letters_of(bench: Bench) -> list[DeadLetter]:
    letters = DeadLetters(partial(read_topic, bench.topics.bootstrap), bench.publisher)
    return list(await letters.list(bench.dead_letter_topic))


MakeBench = Callable[[int], Awaitable[Bench]]
