"""A member of a consumer group: FastStream's batch subscriber pumps records into the engine.

Records go into a window, and polling goes on while they are worked on: a partition whose window is full is taken from
no more and, if that lasts, paused. So the membership, and with it the records, are kept for however long work takes.
Offsets are committed beside the work, for what is done without a gap and still assigned. A failing commit loses
nothing: the records come again, and effects are idempotent.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.subscriber.usecase import BatchSubscriber
from faststream.message import StreamMessage
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512
from prometheus_client import Gauge

from tidemill_core.errors import DependencyUnavailable, isolated
from tidemill_core.transport_security import KafkaServers
from tidemill_kit.events.engine import Engine
from tidemill_kit.events.records import KAFKA, Partition, Record, Unreadable, milliseconds
from tidemill_kit.events.window import Window, WindowLimits

LAG = Gauge("tidemill_event_lag", "Records not committed yet.", ["consumer", "topic", "partition"])

_ANSWER_S = 5.0
_METADATA_AGE_S = 30.0
_RETRY_S = 0.3
_STOP_TIMEOUT_S = 10.0
_FETCH_BYTES = 16 * 1024 * 1024
"""Of all partitions together, compressed."""
_BETWEEN_COMMITS_S = 0.005

_NOTHING = TopicPartition("", 0)
"""Polled where nothing is to be taken: a poll of no partition would be one of all."""

_SASL = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerLimits:
    """Times of a consumer group's member. A drain must end well before the rebalance does."""

    records: int = 200
    """Records taken by one poll."""
    window: WindowLimits = field(default_factory=WindowLimits)
    poll_s: float = 0.05
    hold_s: float = 1.0
    """How long a partition's window may be full before the partition is paused; also the pause after a failure."""
    commit_every_s: float = 0.1
    poll_interval_s: float = 5.0
    """How often Kafka is asked where the topics end."""
    failures: int = 6
    """Polls that fail one after the other, until the consumer is made anew; there are some seconds between them."""
    drain_s: float = 10.0
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


class ConsumerRunner(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """One subscription's member of its consumer group."""

    def __init__(self, servers: KafkaServers | str, engine: Engine, *, limits: ConsumerLimits | None = None) -> None:
        self._servers = KafkaServers.of(servers)
        self._engine = engine
        self._limits = limits or ConsumerLimits()
        self._broker: KafkaBroker | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._window = engine.window(self._limits.window)
        self._tasks: list[asyncio.Task[None]] = []
        self._committing = asyncio.Lock()
        self._broken = asyncio.Event()
        self._failures = 0
        self._full_since: dict[TopicPartition, float] = {}
        self._reached: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._next: dict[TopicPartition, int] = {}
        self._letting_go = self._stopping = False

    async def start(self) -> None:
        """Join the group, which takes as long as other members need to let go, and begin.

        Raises:
            DependencyUnavailable: Kafka does not answer, or a topic is not there yet; call it again.

        """
        if self._broker is None:
            self._stopping = False
            await self._open()
            self._tasks = [
                asyncio.create_task(self._persistently(each))
                for each in (self._commit_on, self._poll_loop, self._remake)
            ]

    async def stop(self) -> None:
        """Let the events in hand finish for a while, commit, and leave the group."""
        if self._broker is not None:
            self._stopping = True
            await self._close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks = []

    async def _open(self) -> None:
        self._letting_go = False
        self._failures = 0
        self._broken.clear()
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

    async def _close(self) -> None:
        await self._let_go()
        broker, self._broker = self._broker, None
        if broker is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_TIMEOUT_S):
                    await broker.stop()
        self._consumer = None

    async def _persistently(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do something again and again; a defect in it costs a pause, and is logged."""
        while True:
            try:
                with isolated():
                    await work()
            except Exception as error:  # noqa: BLE001 - without it nothing would be committed any more
                _log.error("consumer_task_failed", consumer=self._engine.subscription.name, exc_info=error)
                await asyncio.sleep(self._limits.hold_s)

    async def _remake(self) -> None:
        """Make the consumer anew once it is broken: some errors end parts of it that are never restarted."""
        await self._broken.wait()
        _log.warning("consumer_made_anew", consumer=self._engine.subscription.name, failures=self._failures)
        await self._close()
        while not self._stopping and self._broker is None:
            try:
                await self._open()
            except DependencyUnavailable as error:
                _log.warning("consumer_start_postponed", consumer=self._engine.subscription.name, why=error.message)
                await asyncio.sleep(self._limits.hold_s)

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
            self._servers.bootstrap,
            security=broker_security(self._servers),
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
            fetch_max_bytes=_FETCH_BYTES,
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
        takes = self._open_partitions(consumer)
        try:
            with isolated():
                polled = await consumer.getmany(
                    *(takes or (_NOTHING,)),
                    timeout_ms=milliseconds(self._limits.poll_s),
                    max_records=self._limits.records,
                )
        except ConsumerStoppedError:
            raise
        except KafkaError:
            self._failures += 1
            if self._failures >= self._limits.failures:
                self._broken.set()
            raise
        except Exception as error:  # noqa: BLE001 - aiokafka decodes headers while it drains
            _log.warning("record_unreadable", consumer=self._engine.subscription.name, exc_info=error)
            return await self._poll_one_by_one(consumer)
        self._failures = 0
        if not polled:
            await asyncio.sleep(self._limits.poll_s)
        return tuple(record for records in polled.values() for record in records)

    def _open_partitions(self, consumer: AIOKafkaConsumer) -> set[TopicPartition]:
        """Return the partitions of which more is taken; those that have been full for long are paused.

        Pausing drops what the client has fetched already, so it is not for a moment's fullness.
        """
        now, assigned = time.monotonic(), consumer.assignment()
        full = {tp for tp in assigned if self._window.full(Partition(*tp))}
        self._full_since = {tp: self._full_since.get(tp, now) for tp in full}
        consumer.pause(*(tp for tp in full if now - self._full_since[tp] > self._limits.hold_s))
        consumer.resume(*(consumer.paused() & assigned - full))
        return set(assigned - full)

    async def _poll_one_by_one(self, consumer: AIOKafkaConsumer) -> tuple[ConsumerRecord, ...]:
        """Go back to what was not handed on yet, and take one record of each partition, or what stands for it.

        After a rebalance on the way nothing is taken: what came before it will come again, and may be another one's.
        """
        found: list[ConsumerRecord] = []
        window = self._window
        for partition in self._open_partitions(consumer):
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
                if window is not self._window:
                    return ()
                records = [Unreadable(topic=partition.topic, partition=partition.partition, offset=offset)]
                consumer.seek(partition, offset + 1)
            if window is not self._window:
                if records:
                    consumer.seek(partition, records[0].offset)
                return ()
            found += records
        return tuple(found)

    async def _receive(self, polled: Sequence[ConsumerRecord], consumer: AIOKafkaConsumer) -> None:
        """Take the records of a poll; what FastStream calls, and nothing is raised to it.

        There is no await between the poll and `add`, so no rebalance can come between them.
        """
        assigned = consumer.assignment()
        records = [record for record in polled if _partition(record) in assigned]
        if self._letting_go or not records:
            return
        for record in records:
            self._reached.setdefault(_partition(record), record.offset)
        try:
            with isolated():
                self._window.add(self._engine.pending_records(records))
            self._next |= {_partition(record): record.offset + 1 for record in records}
        except Exception as error:  # noqa: BLE001 - FastStream would swallow it, and the records with it
            self._go_back({_partition(record): record.offset for record in reversed(records)}, consumer, error)
            await asyncio.sleep(self._limits.hold_s)
        await asyncio.sleep(0)  # what is fetched already comes without a pause

    def _go_back(
        self, offsets: Mapping[TopicPartition, int], consumer: AIOKafkaConsumer, failure: BaseException
    ) -> None:
        """Have read again what the engine failed to bring to an end, so that nothing behind it is committed first."""
        _log.error("event_engine_failed", consumer=self._engine.subscription.name, exc_info=failure)
        for partition, offset in offsets.items():
            if not self._letting_go and partition in consumer.assignment():
                consumer.seek(partition, offset)
                self._next[partition] = offset

    async def _commit_on(self) -> None:
        """Commit beside the work: a while after something was done, or at once where something waits for that."""
        await self._window.progress.wait()
        window = self._window
        window.progress.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(window.hurry.wait(), self._limits.commit_every_s)
        if await self._commit(window):
            await asyncio.sleep(_BETWEEN_COMMITS_S)
        else:
            await asyncio.sleep(_RETRY_S)
            window.progress.set()

    async def _commit(self, window: Window) -> bool:
        """Commit what is done without a gap, and return whether all of that is committed.

        One partition that is not assigned any more would fail the whole commit.
        """
        consumer = self._consumer
        async with self._committing:
            ends = window.committable()
            if consumer is None or window is not self._window:
                return True
            assigned = consumer.assignment()
            named = {TopicPartition(*partition): end for partition, end in ends.items()}
            offsets = {tp: end for tp, end in named.items() if tp in assigned}
            try:
                if offsets:
                    async with asyncio.timeout(_ANSWER_S):
                        await consumer.commit(offsets)
            except (KafkaError, TimeoutError) as error:
                _log.info("offsets_not_committed", consumer=self._engine.subscription.name, why=repr(error))
                return False
            window.committed(ends)
            if window is self._window:
                self._reached |= offsets
                self._report_lags()
        self._engine.report_handled()
        return True

    async def _poll_loop(self) -> None:
        """Ask from time to time where the group stands and the topics end: for partitions that nothing comes from."""
        consumer, window = self._consumer, self._window
        if consumer is not None:
            with suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(_ANSWER_S):
                    await self._check(consumer, window)
        await asyncio.sleep(self._limits.poll_interval_s)

    async def _check(self, consumer: AIOKafkaConsumer, window: Window) -> None:
        assigned = consumer.assignment()
        if not assigned:
            return
        ends = await consumer.end_offsets(assigned)
        beginnings = await consumer.beginning_offsets(assigned - self._reached.keys())
        committed = {tp: await consumer.committed(tp) for tp in beginnings}
        if window is self._window and not self._letting_go:
            self._ends = ends
            for tp, offset in committed.items():
                self._reached.setdefault(tp, beginnings[tp] if offset is None else offset)
            self._report_lags()

    def _lags(self) -> dict[TopicPartition, int]:
        if self._consumer is None:
            return {}
        known = [tp for tp in self._consumer.assignment() if tp in self._reached]
        ends = {tp: max(self._consumer.highwater(tp) or 0, self._ends.get(tp, 0)) for tp in known}
        return {tp: max(0, end - self._reached[tp]) for tp, end in ends.items()}

    def _report_lags(self) -> None:
        for (topic, number), lag in self._lags().items():
            LAG.labels(self._engine.subscription.name, topic, number).set(lag)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # noqa: ARG002 - always all of them
        """Finish or drop what is in hand before another process gets it."""
        await self._let_go()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:  # noqa: ARG002 - polls will tell
        """Begin afresh, from what is committed."""
        self._letting_go = self._stopping

    async def _let_go(self) -> None:
        self._letting_go = True
        window = self._window
        await window.release(self._limits.drain_s)
        await self._commit(window)
        self._engine.report_handled(now=True)
        self._window = self._engine.window(self._limits.window)
        window.progress.set()  # waiters check the new one
        for topic, number in self._reached:
            LAG.remove(self._engine.subscription.name, topic, number)
        self._reached.clear()
        self._next.clear()
        self._full_since.clear()
        self._ends = {}


def broker_security(servers: KafkaServers) -> BaseSecurity:
    """Return the servers' security as FastStream has it."""
    if servers.sasl:
        return _SASL[servers.mechanism](servers.username, servers.password, ssl_context=servers.ssl_context())
    return BaseSecurity(ssl_context=servers.ssl_context())


async def _unparsed(polled: tuple[ConsumerRecord, ...]) -> StreamMessage[Any]:
    """Spare FastStream the parsing: one header value that is not UTF-8 would cost the handler the whole poll."""
    return StreamMessage(polled, body=b"")


async def _undecoded(message: StreamMessage[Any]) -> Any:  # noqa: ANN401 - whatever FastStream was given
    """Hand over the records as they are: decoding the whole poll at once, one broken value would hide all others."""
    return message.raw_message


def _partition(record: Record) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)
