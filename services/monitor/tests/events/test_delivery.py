"""Delivery as it is: a real broker, records twice, in the wrong order, unreadable, and a crash before the commit."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer

from services.monitor.tests.fakes import ACME, Monitor
from services.monitor.tests.story import Event, a_turn
from tidemill_core.application import derived_id
from tidemill_kit.events.cloudevents import CloudEvent, to_headers
from tidemill_kit.events.kafka import Consumers
from tidemill_kit.events.records import OutgoingRecord
from tidemill_kit.events.subscriber import ConsumerLimits
from tidemill_kit.events.subscriptions import EventContext, Subscription
from tidemill_local import Addresses
from tidemill_monitor.events.meta import EventMeta
from tidemill_monitor.events.subscription import projection
from tidemill_monitor.examples.events import examples
from tidemill_monitor.lineage.domain.kinds import Direction, Kind
from tidemill_monitor.lineage.events import lineage
from tidemill_monitor.lineage.read_lineage import LineageQuery
from tidemill_testkit.polling import eventually
from tidemill_testkit.stack import NewTopicFactory, unique_name

LIMITS = ConsumerLimits(hold_s=0.3, commit_every_s=0.3, session_s=6, rebalance_s=20, drain_s=5)


class Letters:
    """Keeps what would be dead letters."""

    def __init__(self) -> None:
        self.records: list[OutgoingRecord] = []

    async def publish(self, record: OutgoingRecord) -> None:
        self.records.append(record)


class Groups:
    """Projections on one topic of the test's own, each in a group of the test's own."""

    def __init__(self, stack: Addresses, topic: str) -> None:
        self.stack, self.topic, self.name = stack, topic, unique_name("monitor")
        self.letters = Letters()

    def of(self, *projections: Subscription) -> Consumers:
        ours = [
            Subscription(
                name=f"{self.name}.{each.name}", topics=(self.topic,), delivery=each.delivery, routes=each.routes
            )
            for each in projections
        ]
        return Consumers(self.stack.kafka, ours, self.letters, consumer_limits=LIMITS)

    def on(self, monitor: Monitor) -> Consumers:
        return self.of(lineage(monitor.record), examples(monitor.request))


@pytest.fixture
async def groups(stack: Addresses, new_topic: NewTopicFactory) -> Groups:
    return Groups(stack, await new_topic(partitions=3))


@pytest.fixture
async def producer(stack: Addresses) -> AsyncIterator[AIOKafkaProducer]:
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka) as producer:
        yield producer


async def write(producer: AIOKafkaProducer, topic: str, *events: Event, data: bytes | None = None) -> None:
    for event in events:
        body = data or json.dumps(event.data).encode()
        sent = CloudEvent(
            id=derived_id(event.type, event.subject, str(event.data["seq"])),
            source=f"/tidemill/{event.type.split('.')[1]}",
            type=event.type,
            subject=event.subject,
            project="acme",
            time=event.time,
            data=body,
            seq=int(event.data["seq"]),
        )
        await producer.send(topic, body, key=f"acme/{event.subject}".encode(), headers=list(to_headers(sent)))
    await producer.flush()


async def knows(monitor: Monitor, kind: Kind, number: int) -> bool:
    return (await monitor.graph.counts())[kind] == number


async def everything(monitor: Monitor) -> list[object]:
    await monitor.link_all()
    asked = [("model_version", "helpdesk_lora@1"), ("model_version", "smollm2@1"), ("document", "d1")]
    queries = [LineageQuery(kind=kind, id=name, direction=way) for kind, name in asked for way in Direction]
    return [*[await monitor.read(ACME, query) for query in queries], await monitor.story_of("helpdesk")]


async def test_twice_in_the_wrong_order_and_between_poison_it_is_the_same_history(
    groups: Groups, producer: AIOKafkaProducer
) -> None:
    updates, story = Monitor(), a_turn()
    await updates.consume(story)
    received = Monitor()
    received.examples.by_key |= story.batches
    poison = story.events[0]
    consumers = groups.on(received)
    await consumers.start()
    try:
        await write(producer, groups.topic, *reversed(story.events))
        await write(producer, groups.topic, poison, data=b'{"document": 5}')
        await write(producer, groups.topic, *story.events[::3])
        last = Event("tidemill.inference.inference.cancelled.v1", "last", {"inference": "last", "seq": "1"}, story.now)
        await write(producer, groups.topic, last)
        await eventually(lambda: knows(received, Kind.INFERENCE, 7))
        await eventually(lambda: handled(consumers, len(story.events) + len(story.events[::3]) + 2, 1))
    finally:
        await consumers.stop()

    await updates.handle(last)
    assert await everything(received) == await everything(updates)
    (letter,) = groups.letters.records
    assert dict(letter.headers)["tidemill_dead_reason"] == b"INVALID_BODY"


async def handled(consumers: Consumers, number: int, *others: int) -> bool:
    """Return whether each of the projections has handled so many events."""
    return all(status.handled >= least for status, least in zip(consumers.status(), (number, *others), strict=False))


async def test_a_crash_between_effect_and_commit_has_one_effect(groups: Groups, producer: AIOKafkaProducer) -> None:
    monitor, story = Monitor(), a_turn()
    await write(producer, groups.topic, *story.events)
    for event in story.events:  # handled by the previous process, which crashed before it committed
        await monitor.handle(event)
    counted = await monitor.graph.counts()
    consumers = groups.on(monitor)
    await consumers.start()
    try:
        await eventually(lambda: handled(consumers, len(story.events), 1))
    finally:
        await consumers.stop()

    assert await monitor.graph.counts() == counted
    assert len(monitor.enqueued) == 1


async def test_another_group_receives_everything_from_the_beginning(
    stack: Addresses, groups: Groups, producer: AIOKafkaProducer
) -> None:
    first, second, story = Monitor(), Monitor(), a_turn()
    await write(producer, groups.topic, *story.events)
    for monitor, own in ((first, groups), (second, Groups(stack, groups.topic))):
        monitor.examples.by_key |= story.batches
        consumers = own.on(monitor)
        await consumers.start()
        try:
            await eventually(lambda consumers=consumers: handled(consumers, len(story.events), 1))  # type: ignore[misc]
        finally:
            await consumers.stop()

    assert await everything(second) == await everything(first)


async def test_a_projection_that_is_stuck_does_not_delay_the_lineage(
    groups: Groups, producer: AIOKafkaProducer
) -> None:
    monitor, story, stuck = Monitor(), a_turn(), asyncio.Event()

    async def wait(_event: EventContext, _meta: EventMeta, _body: object) -> None:
        stuck.set()
        await asyncio.Event().wait()

    await write(producer, groups.topic, *story.events)
    consumers = groups.of(lineage(monitor.record), projection("usage", wait))
    await consumers.start()
    try:
        await eventually(stuck.is_set)
        await eventually(lambda: handled(consumers, len(story.events)))
    finally:
        await consumers.stop()

    assert consumers.status()[1].handled == 0
