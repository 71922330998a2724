"""What the kit relies on in the embedded servers, asked of the servers themselves."""

import asyncio
from collections.abc import Iterator

import pymongo
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from tidemill_local import Addresses
from tidemill_local.topics import declared
from tidemill_testkit.stack import NewTopicFactory, unique_name

Client = pymongo.MongoClient[dict[str, object]]


@pytest.fixture
def client(stack: Addresses) -> Iterator[Client]:
    with pymongo.MongoClient[dict[str, object]](stack.mongo, serverSelectionTimeoutMS=10_000) as opened:
        yield opened


async def test_every_declared_topic_exists_as_it_is_declared(stack: Addresses) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
    await admin.start()
    try:
        described = {topic["topic"]: topic for topic in await admin.describe_topics([t.name for t in declared()])}
    finally:
        await admin.close()
    assert {name: len(topic["partitions"]) for name, topic in described.items()} == {
        topic.name: topic.partitions for topic in declared()
    }


async def test_records_of_one_key_stay_in_order_in_one_partition(stack: Addresses, new_topic: NewTopicFactory) -> None:
    topic = await new_topic(partitions=3)
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka, acks="all", enable_idempotence=True) as producer:
        sent = [await producer.send_and_wait(topic, b"%d" % number, key=b"one") for number in range(20)]
    partition = TopicPartition(topic, sent[0].partition)
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([partition])
        async with asyncio.timeout(20):
            values = [int((await consumer.getone()).value) for _ in range(20)]
    finally:
        await consumer.stop()
    assert values == list(range(20))


def test_the_mongo_server_announces_a_version_that_drivers_take(client: Client) -> None:
    assert client.admin.command("buildInfo")["version"] == "5.0.0"


def test_a_save_on_a_stale_version_changes_nothing(client: Client) -> None:
    things = client[unique_name("local")]["things"]
    things.insert_one({"_id": "a", "version": 1})
    assert things.update_one({"_id": "a", "version": 1}, {"$inc": {"version": 1}}).modified_count == 1
    assert things.update_one({"_id": "a", "version": 1}, {"$inc": {"version": 1}}).modified_count == 0
    client.drop_database(things.database)


def test_a_unique_index_refuses_the_second_one(client: Client) -> None:
    things = client[unique_name("local")]["things"]
    things.create_index([("project", 1), ("name", 1)], unique=True)
    things.insert_one({"_id": 1, "project": "p", "name": "n"})
    with pytest.raises(pymongo.errors.DuplicateKeyError):
        things.insert_one({"_id": 2, "project": "p", "name": "n"})
    client.drop_database(things.database)
