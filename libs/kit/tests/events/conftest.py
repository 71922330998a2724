"""The real broker, with topics of the test's own."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from libs.kit.tests.events.harness import BIG, Bench, Topics, Upstream
from libs.kit.tests.events.relay_harness import Office
from tidemill_kit.events.kafka import Publisher
from tidemill_kit.store.mongo import Database
from tidemill_local.addresses import Addresses


@pytest.fixture
async def topics(stack: Addresses) -> AsyncIterator[Topics]:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
    await admin.start()
    topics = Topics(stack.kafka, admin)
    yield topics
    if topics.made:
        await admin.delete_topics(topics.made)
    await admin.close()


@pytest.fixture
async def publisher(stack: Addresses) -> AsyncIterator[Publisher]:
    publisher = Publisher(stack.kafka)
    await publisher.start()
    yield publisher
    await publisher.stop()


@pytest.fixture
async def upstream(stack: Addresses) -> AsyncIterator[Upstream]:
    async with AIOKafkaProducer(
        bootstrap_servers=stack.kafka, max_request_size=BIG, compression_type="gzip"
    ) as producer:
        yield Upstream(producer)


@pytest.fixture
def make_bench(topics: Topics, publisher: Publisher) -> Callable[[int], Awaitable[Bench]]:
    async def make(partitions: int = 1) -> Bench:
        topic = await topics.make(partitions=partitions)
        bench = Bench(topics, publisher, topic, name=topic)
        await topics.make(bench.dead_letter_topic, max_bytes=BIG)
        return bench

    return make


@pytest.fixture
async def bench(make_bench: Callable[[int], Awaitable[Bench]]) -> Bench:
    return await make_bench(1)


@pytest.fixture
async def office(database: Database, topics: Topics) -> Office:
    return Office(database["notes"], topics, await topics.make(partitions=3))
