"""The publisher when Kafka is slow, away or refuses."""

import asyncio

import pytest

from libs.kit.tests.events.harness import Topics
from libs.kit.tests.wire import wire_to
from tidemill_core.errors import DependencyUnavailable
from tidemill_kit.events.kafka import Publisher, read_topic
from tidemill_kit.events.records import OutgoingRecord, Part, RecordRefused


def record(topic: str, value: bytes = b"v") -> OutgoingRecord:
    return OutgoingRecord(topic=topic, key=b"k", value=value, headers=(("n", b"1"),))


async def values_of(topics: Topics, topic: str) -> list[bytes | None]:
    return [each.value async for each in read_topic(topics.bootstrap, topic)]


async def test_a_record_that_is_published_again_while_it_is_on_its_way_is_written_once(topics: Topics) -> None:
    later = f"{await topics.make()}.later"
    publisher = Publisher(topics.bootstrap, timeout_s=0.5)
    for _ in range(2):
        with pytest.raises(DependencyUnavailable):
            await publisher.publish(record(later))
    await publisher.stop()  # it would deliver its record, too, once the topic is there
    patient = Publisher(topics.bootstrap, timeout_s=20)
    waiting = [asyncio.create_task(patient.publish(record(later))) for _ in range(3)]
    await topics.make(later)
    await asyncio.gather(*waiting)
    assert await values_of(topics, later) == [b"v"]
    await patient.stop()


async def test_a_record_that_the_broker_refuses_does_not_spoil_the_next_ones(topics: Topics) -> None:
    topic = await topics.make(max_bytes=2000)
    publisher = Publisher(topics.bootstrap, timeout_s=5)
    await publisher.publish(record(topic, b"first"))
    with pytest.raises(RecordRefused, match="MessageSizeTooLarge"):
        await publisher.publish(record(topic, bytes(range(256)) * 2 + b"".join(b"%d" % i for i in range(4000))))
    await publisher.publish(record(topic, b"second"))
    assert await values_of(topics, topic) == [b"first", b"second"]
    await publisher.stop()


async def test_what_was_on_its_way_when_a_producer_is_given_up_can_be_published_again(topics: Topics) -> None:
    topic, small = await topics.make(), await topics.make(max_bytes=2000)
    async with wire_to(topics.bootstrap) as wire:
        publisher = Publisher(wire.address, timeout_s=5)
        await publisher.publish(record(topic, b"first"))
        noise = b"".join(b"%d" % i for i in range(4000))
        refused = asyncio.create_task(publisher.publish(record(small, noise)))
        others = [asyncio.create_task(publisher.publish(record(topic, b"%d" % number))) for number in range(50)]
        outcomes = await asyncio.gather(refused, *others, return_exceptions=True)
        assert isinstance(outcomes[0], RecordRefused)
        for number, outcome in enumerate(outcomes[1:]):
            assert outcome is None or isinstance(outcome, DependencyUnavailable)
            await asyncio.wait_for(publisher.publish(record(topic, b"%d" % number)), 5)
        await publisher.stop()
    assert {b"%d" % number for number in range(50)} <= set(await values_of(topics, topic))


async def test_a_broker_that_is_away_is_reported_in_time_and_found_again(topics: Topics) -> None:
    topic = await topics.make()
    async with wire_to(topics.bootstrap) as wire:
        wire.cut()
        publisher = Publisher(wire.address, timeout_s=3)
        with pytest.raises(DependencyUnavailable):
            await publisher.publish(record(topic))
        await wire.repair()
        await publisher.publish(record(topic))
        await publisher.stop()
    assert await values_of(topics, topic) == [b"v"]


async def test_the_end_of_a_topic_and_one_record_are_read_without_the_rest(
    topics: Topics, publisher: Publisher
) -> None:
    topic = await topics.make()
    for number in range(10):
        await publisher.publish(record(topic, b"%d" % number))

    async def read(part: Part) -> list[bytes | None]:
        return [each.value async for each in read_topic(topics.bootstrap, topic, part)]

    assert await read(Part(newest=3)) == [b"7", b"8", b"9"]
    assert len(await read(Part(newest=100))) == 10
    assert await read(Part(at=(0, 4))) == [b"4"]
    assert await read(Part(at=(0, 10))) == []
    assert await read(Part(at=(7, 0))) == []
