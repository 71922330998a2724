"""A member of a consumer group: FastStream's batch subscriber pumps records into the engine.

Records go into a window, and polling goes on while they are worked on: a partition whose window is full is taken from
no more and, if that lasts, paused. So the membership, and with it the records, are kept for however long work takes.
Offsets are committed beside the work, for what is done without a gap and still assigned. A failing commit loses
nothing: the records come again, and effects are idempotent.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError

from tidemill_core.errors import DependencyUnavailable, isolated
from tidemill_core.transport_security import KafkaServers
from tidemill_kit.events.connection import let_kafka_wait, unavailable
from tidemill_kit.events.engine import Engine
from tidemill_kit.events.lag import Lag
from tidemill_kit.events.records import KAFKA, Partition, Record, Unreadable, milliseconds
from tidemill_kit.events.subscriber import ANSWER_S, RETRY_S, ConsumerLimits, make_subscriber
from tidemill_kit.events.window import Window

if TYPE_CHECKING:
    from faststream.kafka import KafkaBroker

_STOP_TIMEOUT_S = 10.0
_BETWEEN_COMMITS_S = 0.005

_NOTHING = TopicPartition("", 0)
"""Polled where nothing is to be taken: a poll of no partition would be one of all."""

_log = structlog.get_logger()


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
        self._lag = Lag(engine.subscription.name)
        self._next: dict[TopicPartition, int] = {}
        self._letting_go = self._stopping = False
        self._gather_until = 0.0

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
                for each in (self._commit_on, self._refresh_lag, self._remake)
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
        broker, subscriber = make_subscriber(
            self._servers,
            self._engine.subscription,
            self._limits,
            poll=self._poll,
            receive=self._receive,
            listener=self,
        )
        try:
            async with asyncio.timeout(self._limits.rebalance_s + ANSWER_S):
                await broker.start()
            self._broker, self._consumer = broker, subscriber.consumer
        except (KafkaError, OSError, TimeoutError) as error:
            topics = ", ".join(self._engine.subscription.topics)
            message = f"{(await unavailable(self._servers, error)).message} (topics {topics}: do all of them exist?)"
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
            lag=sum(self._lag.of(self._consumer).values()) if self._consumer else 0,
            handled=self._engine.handled,
            dead_lettered=self._engine.dead_lettered,
            waiting_for=self._engine.waiting_for if self._consumer else KAFKA,
        )

    async def _poll(self, consumer: AIOKafkaConsumer) -> tuple[ConsumerRecord, ...]:
        """Return the next records; one that cannot be read costs only itself."""
        await asyncio.sleep(max(0.0, self._gather_until - time.monotonic()))
        takes, space = self._open_partitions(consumer), self._window.space
        space.clear()
        held = consumer.assignment() - takes - consumer.paused()  # what there may be space for in a moment
        wait_for_space = bool(held) or not takes
        wait_s = self._limits.poll_s if consumer.paused() else self._limits.idle_poll_s
        try:
            with isolated():
                polled = await consumer.getmany(
                    *(takes or (_NOTHING,)),
                    timeout_ms=0 if wait_for_space else milliseconds(wait_s),
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
            let_kafka_wait(consumer, self._limits.fetch_s)  # a partition without records holds the others up
            return await self._poll_one_by_one(consumer)
        self._failures = 0
        if 0 < sum(map(len, polled.values())) < self._limits.records:
            self._gather_until = time.monotonic() + self._engine.subscription.gather_s
        idle = not (polled or wait_for_space or consumer.paused())
        let_kafka_wait(consumer, self._limits.idle_fetch_s if idle else self._limits.fetch_s)
        if wait_for_space and not polled:
            with suppress(TimeoutError):
                await asyncio.wait_for(space.wait(), self._limits.poll_s)
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
                    polled = await consumer.getmany(partition, timeout_ms=milliseconds(ANSWER_S), max_records=1)
                    records = polled.get(partition, [])
            except (KafkaError, ConsumerStoppedError):
                raise
            except Exception:  # noqa: BLE001 - logged above; its dead letter has no value
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
        batches: dict[TopicPartition, list[ConsumerRecord]] = {}
        for tp, records in groupby(polled, key=_partition):
            if tp in assigned:
                batches.setdefault(tp, []).extend(records)
        if self._letting_go or not batches:
            return
        for tp, batch in batches.items():
            self._lag.begin(tp, batch[0].offset)
        try:
            with isolated():
                self._window.add(self._engine.pending_records([*chain.from_iterable(batches.values())]))
            self._next |= {tp: batch[-1].offset + 1 for tp, batch in batches.items()}
        except Exception as error:  # noqa: BLE001 - FastStream would swallow it, and the records with it
            self._go_back({tp: batch[0].offset for tp, batch in batches.items()}, consumer, error)
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
            await asyncio.sleep(RETRY_S)
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
                    async with asyncio.timeout(ANSWER_S):
                        await consumer.commit(offsets)
            except (KafkaError, TimeoutError) as error:
                _log.info("offsets_not_committed", consumer=self._engine.subscription.name, why=repr(error))
                return False
            window.committed(ends)
            if window is self._window:
                self._lag.committed(offsets, consumer)
        self._engine.report_handled()
        return True

    async def _refresh_lag(self) -> None:
        """Ask from time to time where the group stands and the topics end: for partitions that nothing comes from."""
        consumer, window = self._consumer, self._window
        if consumer is not None:
            with suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(ANSWER_S):
                    await self._lag.ask(consumer, lambda: window is self._window and not self._letting_go)
        await asyncio.sleep(self._limits.lag_interval_s)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # noqa: ARG002 - always all of them
        """Finish or drop what is in hand before another process gets it."""
        await self._let_go()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:  # noqa: ARG002 - polls ask for them
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
        self._lag.clear()
        self._next.clear()
        self._full_since.clear()


def _partition(record: Record) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)
