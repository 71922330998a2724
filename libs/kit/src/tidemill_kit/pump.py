"""A member of a consumer group: FastStream's batch subscriber pumps records into the engine.

The pump hands over one poll at a time. Work that takes longer than a moment goes on beside it, with all partitions
paused, while the pump keeps polling: so the membership, and with it the records, are kept for however long it takes.
Offsets are committed for what is done without a gap and still assigned. A failing commit loses nothing: the records
come again, and effects are idempotent.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.subscriber.usecase import BatchSubscriber
from faststream.message import StreamMessage
from prometheus_client import Gauge

from tidemill_kit.engine import Batch, Engine
from tidemill_kit.errors import DependencyUnavailable, isolated
from tidemill_kit.records import KAFKA, Record, Unreadable, milliseconds
from tidemill_kit.subscriptions import Delivery

LAG = Gauge("tidemill_event_lag", "Records not committed yet.", ["consumer", "topic", "partition"])

MOST_UNCOMMITTED = 40
"""Records whose effects must happen once and that are not committed yet: fewer than an aggregate remembers requests, so
that it knows every one of them again after a crash."""

_ANSWER_S = 5.0
_METADATA_AGE_S = 30.0
_RETRY_S = 0.3
_STOP_TIMEOUT_S = 10.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class PumpLimits:
    """Times of a consumer group's member. A drain must end well before the rebalance does."""

    records: int = 500
    """Records taken at once."""
    poll_s: float = 0.05
    hold_s: float = 1.0
    """How long polling waits for the work before it goes on with all partitions paused."""
    commit_every_s: float = 5.0
    drain_s: float = 15.0
    rebalance_s: float = 40.0
    session_s: float = 15.0
    max_poll_interval_s: float = 300.0
    """Irrelevant but for tests: polling never stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerStatus:
    """One subscription's progress since the process started."""

    name: str
    lag: int
    handled: int
    dead_lettered: int
    waiting_for: str


class EventPump(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """One subscription's member of its consumer group."""

    def __init__(self, bootstrap: str, engine: Engine, *, limits: PumpLimits | None = None) -> None:
        self._bootstrap = bootstrap
        self._engine = engine
        self._limits = limits or PumpLimits()
        once = engine.subscription.delivery is Delivery.ONCE
        self._at_once = min(self._limits.records, MOST_UNCOMMITTED) if once else self._limits.records
        self._broker: KafkaBroker | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._work: tuple[Batch, asyncio.Task[None]] | None = None
        self._reached: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._next: dict[TopicPartition, int] = {}
        self._letting_go = self._stopping = False

    async def start(self) -> None:
        """Join the group, which takes as long as other members need to let go, and begin.

        Raises:
            DependencyUnavailable: Kafka does not answer, or a topic is not there yet; call it again.

        """
        if self._broker is not None:
            return
        self._letting_go = self._stopping = False
        broker, subscriber = self._subscriber()
        try:
            async with asyncio.timeout(self._limits.rebalance_s + _ANSWER_S):
                await broker.start()
            self._broker, self._consumer = broker, subscriber.consumer
        except (KafkaError, OSError, TimeoutError) as error:
            topics = ", ".join(self._engine.subscription.topics)
            message = f"Kafka does not answer, or lacks one of the topics {topics}: {error!r}"
            raise DependencyUnavailable(message, dependency=KAFKA) from error
        finally:
            if self._broker is None:
                await broker.stop()

    async def stop(self) -> None:
        """Let the events in hand finish for a while, commit, and leave the group."""
        if self._broker is not None:
            self._stopping = True
            await self._let_go()
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_TIMEOUT_S):
                    await self._broker.stop()
            self._broker = self._consumer = None

    def status(self) -> ConsumerStatus:
        """Return how it stands."""
        return ConsumerStatus(
            name=self._engine.subscription.name,
            lag=sum(self._lags().values()),
            handled=self._engine.handled,
            dead_lettered=self._engine.dead_lettered,
            waiting_for=self._engine.waiting_for if self._consumer else KAFKA,
        )

    def _subscriber(self) -> tuple[KafkaBroker, BatchSubscriber]:
        limits, subscription = self._limits, self._engine.subscription
        broker = KafkaBroker(
            self._bootstrap,
            # A join is answered when the slowest member has let go, so its answer may take that long.
            request_timeout_ms=milliseconds(limits.rebalance_s + _ANSWER_S),
            metadata_max_age_ms=milliseconds(_METADATA_AGE_S),
            client_id=subscription.group,
            retry_backoff_ms=milliseconds(_RETRY_S),
            consumer_only=True,
            apply_types=False,
            graceful_timeout=None,
            logger=logging.getLogger(__name__),
            log_level=logging.DEBUG,
        )
        subscriber = broker.subscriber(
            *subscription.topics,
            batch=True,
            ack_policy=AckPolicy.MANUAL,
            parser=_unparsed,
            decoder=_undecoded,
            group_id=subscription.group,
            auto_offset_reset="earliest",
            max_records=limits.records,
            batch_timeout_ms=milliseconds(limits.poll_s),
            rebalance_timeout_ms=milliseconds(limits.rebalance_s),
            session_timeout_ms=milliseconds(limits.session_s),
            heartbeat_interval_ms=milliseconds(limits.session_s / 5),
            max_poll_interval_ms=milliseconds(limits.max_poll_interval_s),
            listener=self,
        )

        async def receive(records: tuple[ConsumerRecord, ...]) -> None:
            await self._receive(records, subscriber.consumer)

        subscriber(receive)
        # FastStream's own poll would lose what it had drained when one record in it cannot be read.
        subscriber.get_msg = self._poll  # type: ignore[method-assign]
        return broker, subscriber

    async def _poll(self, consumer: AIOKafkaConsumer) -> tuple[ConsumerRecord, ...]:
        """Return the next records; one that cannot be read costs only itself."""
        try:
            with isolated():
                polled = await consumer.getmany(timeout_ms=milliseconds(self._limits.poll_s), max_records=self._at_once)
        except (KafkaError, ConsumerStoppedError):
            raise
        except Exception as error:  # noqa: BLE001 - aiokafka decodes headers while it drains
            _log.warning("record_unreadable", consumer=self._engine.subscription.name, exc_info=error)
            return await self._poll_one_by_one(consumer)
        for partition, records in polled.items():
            self._next[partition] = records[-1].offset + 1
        if not polled:
            await asyncio.sleep(self._limits.poll_s)
        return tuple(record for records in polled.values() for record in records)

    async def _poll_one_by_one(self, consumer: AIOKafkaConsumer) -> tuple[ConsumerRecord, ...]:
        """Go back to what was not handed on yet, and take one record of each partition, or what stands for it."""
        found: list[ConsumerRecord] = []
        for partition in consumer.assignment() - consumer.paused():
            begin = self._next.get(partition) or await consumer.committed(partition)
            if begin is None:
                await consumer.seek_to_beginning(partition)
            else:
                consumer.seek(partition, begin)
            offset = await consumer.position(partition)
            try:
                with isolated():
                    polled = await consumer.getmany(partition, timeout_ms=milliseconds(_ANSWER_S), max_records=1)
                    records = polled.get(partition, [])
            except (KafkaError, ConsumerStoppedError):
                raise
            except Exception:  # noqa: BLE001 - told above; its dead letter has no value
                records = [Unreadable(topic=partition.topic, partition=partition.partition, offset=offset)]
                consumer.seek(partition, offset + 1)
            found += records
            self._next[partition] = records[-1].offset + 1 if records else offset
        return tuple(found)

    async def _receive(self, polled: Sequence[ConsumerRecord], consumer: AIOKafkaConsumer) -> None:
        """Take the records of a poll; what FastStream calls, and nothing is raised to it.

        There is no await between the poll and `take`, so no rebalance can come between them.
        """
        assigned = consumer.assignment()
        records = [record for record in polled if _partition(record) in assigned]
        if self._letting_go or not records:
            return
        for record in records:
            self._reached.setdefault(_partition(record), record.offset)
        try:
            with isolated():
                batch = self._engine.take(records)
        except Exception as error:  # noqa: BLE001 - FastStream would swallow it, and the records with it
            self._go_back({_partition(record): record.offset for record in reversed(records)}, consumer, error)
            await asyncio.sleep(self._limits.hold_s)
            return
        task = asyncio.create_task(self._see_through(batch, consumer))
        self._work = batch, task
        await asyncio.wait([task], timeout=self._limits.hold_s)
        if not task.done():
            consumer.pause(*consumer.assignment())

    async def _see_through(self, batch: Batch, consumer: AIOKafkaConsumer) -> None:
        try:
            while not await batch.wait(self._limits.commit_every_s):
                await self._commit(batch, consumer)
                await self._look_ahead(consumer)
            if batch.failure is not None:
                left_over = {TopicPartition(*partition): offset for partition, offset in batch.left_over().items()}
                self._go_back(left_over, consumer, batch.failure)
                await asyncio.sleep(self._limits.hold_s)
            while not await self._commit(batch, consumer) and not self._letting_go:  # noqa: ASYNC110 - Kafka sets no event
                await asyncio.sleep(self._limits.hold_s)
        finally:
            if self._work is not None and self._work[0] is batch:  # else it was let go, and others are in work
                self._work = None
                consumer.resume(*consumer.paused())

    def _go_back(
        self, offsets: Mapping[TopicPartition, int], consumer: AIOKafkaConsumer, failure: BaseException
    ) -> None:
        """Have read again what the engine failed to bring to an end, so that nothing behind it is committed first."""
        _log.error("event_engine_failed", consumer=self._engine.subscription.name, exc_info=failure)
        for partition, offset in offsets.items():
            if not self._letting_go and partition in consumer.assignment():
                consumer.seek(partition, offset)
                self._next[partition] = offset

    async def _commit(self, batch: Batch, consumer: AIOKafkaConsumer) -> bool:
        """Commit what is done without a gap, and return whether all of that is committed.

        One partition that is not assigned any more would fail the whole commit.
        """
        ends = {TopicPartition(*partition): offset for partition, offset in batch.committable().items()}
        assigned = consumer.assignment()
        offsets = {tp: end for tp, end in ends.items() if tp in assigned and self._reached.get(tp) != end}
        if not offsets:
            return True
        try:
            async with asyncio.timeout(_ANSWER_S):
                await consumer.commit(offsets)
        except (KafkaError, TimeoutError) as error:
            _log.info("offsets_not_committed", consumer=self._engine.subscription.name, why=repr(error))
            return False
        self._reached |= offsets
        self._tell_lags()
        return True

    async def _look_ahead(self, consumer: AIOKafkaConsumer) -> None:
        """Ask where the topics end: paused partitions are not fetched from, and their lag is what one looks at then."""
        with suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(_ANSWER_S):
                self._ends = await consumer.end_offsets(consumer.assignment())
            self._tell_lags()

    def _lags(self) -> dict[TopicPartition, int]:
        if self._consumer is None:
            return {}
        known = [tp for tp in self._consumer.assignment() if tp in self._reached]
        ends = {tp: max(self._consumer.highwater(tp) or 0, self._ends.get(tp, 0)) for tp in known}
        return {tp: max(0, end - self._reached[tp]) for tp, end in ends.items()}

    def _tell_lags(self) -> None:
        for (topic, number), lag in self._lags().items():
            LAG.labels(self._engine.subscription.name, topic, number).set(lag)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # noqa: ARG002 - always all of them
        """Finish or drop what is in hand before somebody else gets it."""
        await self._let_go()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:  # noqa: ARG002 - polls will tell
        """Begin afresh, from what is committed."""
        self._letting_go = self._stopping

    async def _let_go(self) -> None:
        self._letting_go = True
        if self._work is not None:
            batch, task = self._work
            await batch.release(self._limits.drain_s)
            await asyncio.wait([task], timeout=_ANSWER_S)
        for topic, number in self._reached:
            LAG.remove(self._engine.subscription.name, topic, number)
        self._reached.clear()
        self._next.clear()
        self._ends = {}


async def _unparsed(polled: tuple[ConsumerRecord, ...]) -> StreamMessage[Any]:
    """Spare FastStream the parsing: one header value that is not UTF-8 would cost the handler the whole poll."""
    return StreamMessage(polled, body=b"")


async def _undecoded(message: StreamMessage[Any]) -> Any:  # noqa: ANN401 - whatever FastStream was given
    """Hand over the records as they are: decoding the whole poll at once, one broken value would hide all others."""
    return message.raw_message


def _partition(record: Record) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)
