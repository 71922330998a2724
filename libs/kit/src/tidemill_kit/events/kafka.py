"""What a service needs of Kafka: its subscriptions as one component, a publisher, and a way to read a topic once."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    InvalidMessageError,
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)

from tidemill_core.errors import DependencyUnavailable
from tidemill_core.transport_security import KafkaServers
from tidemill_kit.events.connection import client_options, let_kafka_wait, said, unavailable
from tidemill_kit.events.consumer import ConsumerRunner, ConsumerStatus
from tidemill_kit.events.decompression import limit_inflation
from tidemill_kit.events.engine import Engine
from tidemill_kit.events.records import KAFKA, OutgoingRecord, Part, Publishing, Record, RecordRefused, milliseconds
from tidemill_kit.events.retry import EngineLimits
from tidemill_kit.events.subscriber import ConsumerLimits
from tidemill_kit.events.subscriptions import Subscription

__all__ = ["MAX_RECORD_BYTES", "Consumers", "Publisher", "follow_topic", "limit_inflation", "read_topic"]

MAX_RECORD_BYTES = 64 * 1024 * 1024
"""Far above what a topic takes, because a record may grow when it is decompressed; brokers see it compressed again."""

_NEVER = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidMessageError, InvalidTimestampError)
"""What Kafka, or the producer before it, says of a record that it will not take however often it comes."""

_ANSWER_S = 5.0
_RETRY_S = 0.3
_FOLLOW_S, _IDLE_S = 0.5, 2.0
_CONTACT_S = 5.0


class Consumers:
    """All subscriptions of a service, each a member of its own group. Implements `service.Draining`."""

    def __init__(  # noqa: PLR0913 - its parts, put together once
        self,
        servers: KafkaServers | str,
        subscriptions: Sequence[Subscription],
        publisher: Publishing,
        *,
        engine_limits: EngineLimits | None = None,
        consumer_limits: ConsumerLimits | None = None,
        deleted: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Prepare; records of a project that is `deleted` are passed over where a subscription is not `of_deleted`."""
        engines = [
            Engine(each, dead_letters=publisher, limits=engine_limits, deleted=deleted) for each in subscriptions
        ]
        self._runners = [ConsumerRunner(servers, engine, limits=consumer_limits) for engine in engines]
        self._ending: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start those that do not run yet.

        Raises:
            DependencyUnavailable: Kafka does not answer; call it again.

        """
        self._ending = None
        started = await asyncio.gather(*(runner.start() for runner in self._runners), return_exceptions=True)
        for failure in started:
            if failure is not None:
                raise failure

    def begin_stop(self) -> None:
        """Take nothing new, finish what is in hand for a while, and leave the groups: all of them at once."""
        self._ending = self._ending or asyncio.create_task(self._end())

    async def stop(self) -> None:
        """Return when that is done."""
        self.begin_stop()
        if self._ending is not None:
            await self._ending

    async def _end(self) -> None:
        await asyncio.gather(*(runner.stop() for runner in self._runners))

    def status(self) -> Sequence[ConsumerStatus]:
        """Return how each subscription stands."""
        return [runner.status() for runner in self._runners]


class Publisher:
    """Writes records so that every replica that must have them has them, each of one call after the other in order."""

    def __init__(self, servers: KafkaServers | str, *, timeout_s: float = 10.0) -> None:
        self._servers = KafkaServers.of(servers)
        self._timeout_s = timeout_s
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()
        self._deliveries: dict[OutgoingRecord, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect.

        Raises:
            DependencyUnavailable: Kafka does not answer; call it again.

        """
        await self._connected()

    async def stop(self) -> None:
        """Give up what is not acknowledged yet, and disconnect."""
        for delivery in tuple(self._deliveries.values()):
            delivery.cancel()
        producer, self._producer = self._producer, None
        if producer is not None:
            await _closed(producer)

    async def ping(self) -> None:
        """Ask Kafka for a heartbeat.

        Raises:
            DependencyUnavailable: there is none.

        """
        producer = await self._connected()
        try:
            await producer.client.fetch_all_metadata()
        except (KafkaError, OSError) as error:
            raise await unavailable(self._servers, error) from error

    async def publish(self, record: OutgoingRecord) -> None:
        """See `Publishing.publish`.

        An idempotent producer never gives a record up, so a second call waits for the first one's record instead of
        writing another one behind it.
        """
        delivery = self._deliveries.get(record)
        if delivery is None:
            delivery = self._deliveries[record] = asyncio.create_task(self._deliver(record))
            delivery.add_done_callback(lambda done: self._forget(record, done))
        done, _ = await asyncio.wait([delivery], timeout=self._timeout_s)
        if not done or delivery.cancelled():
            message = f"{record.topic} has not acknowledged a record within {self._timeout_s:g} s"
            raise DependencyUnavailable(message, dependency=KAFKA)
        delivery.result()

    def _forget(self, record: OutgoingRecord, delivery: asyncio.Task[None]) -> None:
        del self._deliveries[record]
        if not delivery.cancelled():
            delivery.exception()  # retrieved, also where the caller has left

    async def _deliver(self, record: OutgoingRecord) -> None:
        producer = await self._connected()
        try:
            sent = await producer.send(
                record.topic,
                record.value,
                key=record.key,
                headers=list(record.headers),
                timestamp_ms=record.timestamp or None,
            )
        except _NEVER as error:  # by the producer itself, before anything was sent
            raise _refused(record, error) from error
        except (KafkaError, OSError) as error:
            raise said(self._servers, error) from error
        try:
            await sent
        except (KafkaError, OSError) as error:
            self._give_up(producer)
            refused = isinstance(error, _NEVER)
            raise (_refused(record, error) if refused else said(self._servers, error)) from error

    def _give_up(self, producer: AIOKafkaProducer) -> None:
        """Leave a producer whose sequence numbers may have a gap now, which brokers refuse for ever.

        Deliveries in flight would never be acknowledged: those calls fail, and are repeated on the next producer.
        """
        if self._producer is not producer:
            return
        self._producer = None
        ours = asyncio.current_task()
        for delivery in self._deliveries.values():
            if delivery is not ours:
                delivery.cancel()
        closing = asyncio.create_task(_closed(producer))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **client_options(self._servers),
                    acks="all",
                    enable_idempotence=True,
                    retry_backoff_ms=milliseconds(_RETRY_S),
                    compression_type="gzip",  # every client reads it; dead letters stay as small as they came
                    max_request_size=MAX_RECORD_BYTES,
                    request_timeout_ms=milliseconds(self._timeout_s),
                )
                try:
                    async with asyncio.timeout(self._timeout_s):
                        await producer.start()
                except (KafkaError, OSError, TimeoutError) as error:
                    await _closed(producer)
                    raise await unavailable(self._servers, error) from error
                self._producer = producer
            return self._producer


async def read_topic(servers: KafkaServers | str, topic: str, part: Part | None = None) -> AsyncIterator[Record]:
    """Yield every record that the topic holds now, or a part of it, partition by partition.

    Raises:
        DependencyUnavailable: Kafka does not answer, or has no such topic.

    """
    servers = KafkaServers.of(servers)
    consumer = AIOKafkaConsumer(
        topic, auto_offset_reset="earliest", enable_auto_commit=False, **client_options(servers)
    )
    try:
        await consumer.start()
        ends = await _ends(consumer, part or Part())
        while [tp for tp, end in ends.items() if await consumer.position(tp) < end]:
            for tp, records in (await consumer.getmany(timeout_ms=milliseconds(_ANSWER_S))).items():
                for record in records:
                    if record.offset < ends[tp]:
                        yield record
    except (KafkaError, OSError) as error:
        raise await unavailable(servers, error) from error
    finally:
        await consumer.stop()


async def follow_topic(servers: KafkaServers | str, topic: str) -> AsyncIterator[Record | None]:
    """Yield every record that the topic holds, then None, then those that come; without a consumer group.

    None comes again after each answer of Kafka to the question for new records, which is put every few seconds: the
    client itself reports nothing of a broker that is gone.

    Raises:
        DependencyUnavailable: Kafka does not answer, or has no such topic.

    """
    servers = KafkaServers.of(servers)
    consumer = AIOKafkaConsumer(
        topic, auto_offset_reset="earliest", enable_auto_commit=False, **client_options(servers)
    )
    try:
        await consumer.start()
        ends, asked_at = await _ends(consumer, Part()), time.monotonic()
        caught_up = False
        while True:
            polled = await consumer.getmany(timeout_ms=milliseconds(_FOLLOW_S))
            let_kafka_wait(consumer, _IDLE_S if caught_up and not polled else _FOLLOW_S)
            for records in polled.values():
                for record in records:
                    yield record
            if caught_up and time.monotonic() - asked_at >= _CONTACT_S:
                async with asyncio.timeout(_ANSWER_S):
                    ends, asked_at = await consumer.end_offsets(consumer.assignment()), time.monotonic()
                caught_up = False
            if not caught_up and not [tp for tp, end in ends.items() if await consumer.position(tp) < end]:
                caught_up = True
                yield None
    except (KafkaError, OSError, TimeoutError) as error:
        raise await unavailable(servers, error) from error
    finally:
        await consumer.stop()


async def _ends(consumer: AIOKafkaConsumer, part: Part) -> dict[TopicPartition, int]:
    """Go to where the part begins, and return where it ends."""
    assigned = consumer.assignment()
    begins = await consumer.beginning_offsets(assigned)
    ends: dict[TopicPartition, int] = await consumer.end_offsets(assigned)
    if part.at is not None:
        number, offset = part.at
        ends = {tp: min(end, offset + 1) for tp, end in ends.items() if tp.partition == number}
        consumer.pause(*(assigned - ends.keys()))
    for tp, end in ends.items():
        begin = max(begins[tp], end - part.newest if part.newest else 0)
        consumer.seek(tp, min(end, begin) if part.at is None else max(begins[tp], part.at[1]))
    return ends


async def _closed(producer: AIOKafkaProducer) -> None:
    """Stop the producer, which waits for its last records only while there is hope for them."""
    with suppress(TimeoutError, KafkaError):
        async with asyncio.timeout(_ANSWER_S):
            await producer.stop()
    await producer.client.close()


def _refused(record: OutgoingRecord, error: Exception) -> RecordRefused:
    size = len(record.value or b"")
    message = f"{record.topic} rejects a record of {size} bytes ({type(error).__name__}): put less in it"
    return RecordRefused(message, topic=record.topic, size=size)
