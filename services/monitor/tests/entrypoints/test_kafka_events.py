"""Delivery as it is: a real broker, records twice, in the wrong order, unreadable, and a crash before the commit."""

import json
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer

from services.monitor.tests.fakes import ACME, Monitor
from services.monitor.tests.story import Event, a_turn
from tidemill_core.application import derived_id
from tidemill_kit.events.cloudevents import CloudEvent, to_headers
from tidemill_kit.events.consumer import ConsumerLimits
from tidemill_kit.events.kafka import Consumers
from tidemill_kit.events.records import OutgoingRecord
from tidemill_kit.events.subscriptions import Subscription
from tidemill_local import Addresses
from tidemill_monitor.application.read_lineage import LineageQuery
from tidemill_monitor.domain.kinds import Direction, Kind
from tidemill_monitor.entrypoints.kafka_events import lineage
from tidemill_monitor.entrypoints.metrics import ANSWERS, LOOP_EVENTS, LoopMetrics
from tidemill_testkit.polling import eventually
from tidemill_testkit.stack import NewTopicFactory, unique_name

LIMITS = ConsumerLimits(hold_s=0.3, commit_every_s=0.3, session_s=6, rebalance_s=20, drain_s=5)


class Letters:
    """Keeps what would be dead letters."""

    def __init__(self) -> None:
        self.records: list[OutgoingRecord] = []

    async def publish(self, record: OutgoingRecord) -> None:
        self.records.append(record)


class Ears:
    """Monitor's subscription on one topic of the test's own, under a group of its own."""

    def __init__(self, stack: Addresses, topic: str) -> None:
        self.stack, self.topic, self.name = stack, topic, unique_name("monitor.lineage")
        self.letters = Letters()

    def on(self, monitor: Monitor) -> Consumers:
        ours = lineage(monitor.record, LoopMetrics(max_projects=1), topics=(self.topic,))
        named = Subscription(name=self.name, topics=ours.topics, delivery=ours.delivery, routes=ours.routes)
        return Consumers(self.stack.kafka, [named], self.letters, consumer_limits=LIMITS)


@pytest.fixture
async def ears(stack: Addresses, new_topic: NewTopicFactory) -> Ears:
    return Ears(stack, await new_topic(partitions=3))


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
    ears: Ears, producer: AIOKafkaProducer
) -> None:
    updates, story = Monitor(), a_turn()
    await updates.consume(story)
    received = Monitor()
    received.examples.by_key |= story.batches
    poison = story.events[0]
    consumers = ears.on(received)
    await consumers.start()
    try:
        await write(producer, ears.topic, *reversed(story.events))
        await write(producer, ears.topic, poison, data=b'{"document": 5}')
        await write(producer, ears.topic, *story.events[::3])
        last = Event("tidemill.inference.inference.cancelled.v1", "last", {"inference": "last", "seq": "1"}, story.now)
        await write(producer, ears.topic, last)
        await eventually(lambda: knows(received, Kind.INFERENCE, 7))
        await eventually(lambda: handled(consumers, len(story.events) + len(story.events[::3]) + 2))
    finally:
        await consumers.stop()

    await updates.record("acme", last.meta, last.body)
    assert await everything(received) == await everything(updates)
    (letter,) = ears.letters.records
    assert dict(letter.headers)["tidemill_dead_reason"] == b"INVALID_BODY"


async def handled(consumers: Consumers, number: int) -> bool:
    return sum(status.handled for status in consumers.status()) >= number


async def test_a_crash_between_effect_and_commit_has_one_effect(ears: Ears, producer: AIOKafkaProducer) -> None:
    monitor, story = Monitor(), a_turn()
    await write(producer, ears.topic, *story.events)
    for event in story.events:  # handled by the previous process, which crashed before it committed
        await monitor.record("acme", event.meta, event.body)
    counted = await monitor.graph.counts()
    consumers = ears.on(monitor)
    await consumers.start()
    try:
        await eventually(lambda: handled(consumers, len(story.events)))
    finally:
        await consumers.stop()

    assert await monitor.graph.counts() == counted
    assert len(monitor.enqueued) == 1


async def test_another_group_receives_everything_from_the_beginning(
    stack: Addresses, ears: Ears, producer: AIOKafkaProducer
) -> None:
    first, second, story = Monitor(), Monitor(), a_turn()
    await write(producer, ears.topic, *story.events)
    for monitor, own in ((first, ears), (second, Ears(stack, ears.topic))):
        monitor.examples.by_key |= story.batches
        consumers = own.on(monitor)
        await consumers.start()
        try:
            await eventually(lambda consumers=consumers: handled(consumers, len(story.events)))  # type: ignore[misc]
        finally:
            await consumers.stop()

    assert await everything(second) == await everything(first)


def test_events_are_counted_by_type_and_only_so_many_projects_by_name() -> None:
    metrics, story = LoopMetrics(max_projects=2), a_turn()
    projects = [unique_name("counted") for _ in range(3)]
    others = LOOP_EVENTS.labels("others", story.events[0].type)
    before = others._value.get()  # noqa: SLF001 - no other way
    for project in projects:
        for event in story.events:
            metrics.count(project, event.meta, event.body)

    answered = ANSWERS.labels(projects[0], "live", "candidate", "completed")._value.get()  # noqa: SLF001 - no other way
    assert answered == 1
    assert others._value.get() - before == 2  # noqa: SLF001 - two documents of the third project
