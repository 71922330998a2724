"""What the kit relies on in the embedded servers, asked of the servers themselves."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

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


CONDITIONS: list[tuple[dict[str, object], bool]] = [
    ({"version": 1}, True),
    ({"version": 2}, False),
    ({"version": {"$lt": 2}}, True),
    ({"version": {"$gt": 1}}, False),
    ({"epoch": {"$not": {"$gt": 5}}}, True),
    ({"refs": "a"}, True),
    ({"refs": {"$ne": "a"}}, False),
    ({"outbox": {"$size": 1}, "outbox.id": "e1"}, True),
    ({"$or": [{"version": 7}, {"lease": {"$exists": False}}]}, True),
]


@pytest.mark.parametrize(("condition", "fits"), CONDITIONS)
def test_a_condition_beside_the_id_counts_in_every_command(
    client: Client, condition: dict[str, object], *, fits: bool
) -> None:
    things = client[unique_name("local")]["things"]
    for name in ("a", "b"):
        things.insert_one({"_id": name, "version": 1, "refs": ["a"], "outbox": [{"id": "e1"}]})
    chosen = {"_id": "a", **condition}

    assert (things.find_one(chosen) is not None) is fits
    assert things.count_documents(chosen) == fits
    assert things.update_one(chosen, {"$set": {"seen": 1}}).matched_count == fits
    assert (things.find_one_and_update(chosen, {"$set": {"seen": 2}}) is not None) is fits
    assert things.count_documents({"seen": 2}) == fits
    assert things.delete_one(chosen).deleted_count == fits
    assert things.count_documents({}) == 2 - fits
    client.drop_database(things.database)


def test_a_condition_beside_several_ids_counts_too(client: Client) -> None:
    rows = client["test"][unique_name("several")]
    rows.insert_many([{"_id": f"r{number}", "n": number} for number in range(6)])
    some = {"_id": {"$in": ["r1", "r2", "r4", "r9"]}, "n": {"$gt": 1}}

    assert sorted(str(row["_id"]) for row in rows.find(some)) == ["r2", "r4"]
    assert rows.update_many(some, {"$set": {"n": 0}}).matched_count == 2
    assert rows.delete_many({"_id": {"$in": ["r1", "r2"]}, "n": 0}).deleted_count == 1
    assert [row["n"] for row in rows.find({}).sort("_id", 1)] == [0, 1, 3, 0, 5]


def test_many_documents_with_a_condition_are_changed_and_removed_all_or_one_as_is_asked(client: Client) -> None:
    rows = client["test"][unique_name("many")]
    rows.insert_many([{"_id": f"r{number:02}", "n": number} for number in range(30)])
    some = {"_id": {"$in": [f"r{number:02}" for number in range(40)]}, "n": {"$lt": 25}}

    assert rows.update_one(some, {"$set": {"seen": 1}}).matched_count == 1
    changed = rows.update_many(some, {"$set": {"seen": 1}})
    assert (changed.matched_count, changed.modified_count) == (25, 24)
    assert rows.delete_one(some).deleted_count == 1
    assert rows.delete_many(some).deleted_count == 24
    assert rows.update_many(some, {"$set": {"seen": 2}}).matched_count == 0
    assert [row["n"] for row in rows.find({}).sort("n", 1)] == [25, 26, 27, 28, 29]


def test_a_document_that_is_named_twice_is_changed_once(client: Client) -> None:
    rows = client["test"][unique_name("twice")]
    rows.insert_many([{"_id": f"r{number}", "n": 0, "on": True} for number in range(4)])
    some = {"_id": {"$in": ["r0", "r1", "r2", "r3", "r0", "r1"]}, "on": True}

    assert rows.update_many(some, {"$inc": {"n": 1}}).matched_count == 4
    assert [row["n"] for row in rows.find({})] == [1, 1, 1, 1]
    assert rows.delete_many(some).deleted_count == 4


@pytest.mark.parametrize("ordered", [True, False])
def test_a_change_of_many_documents_ends_with_the_first_that_is_refused(client: Client, *, ordered: bool) -> None:
    rows = client["test"][unique_name("refused")]
    rows.create_index("name", unique=True)
    rows.insert_many([{"_id": f"r{number}", "name": number, "n": 1} for number in range(10)])
    same = pymongo.UpdateMany({"_id": {"$in": [f"r{number}" for number in range(10)]}, "n": 1}, {"$set": {"name": 99}})

    with pytest.raises(pymongo.errors.BulkWriteError) as refused:
        rows.bulk_write([same], ordered=ordered)

    assert [each["code"] for each in (refused.value.details or {})["writeErrors"]] == [11000]
    assert rows.count_documents({"name": 99}) == 1


def test_an_upsert_with_a_condition_inserts_updates_or_says_that_the_id_is_taken(client: Client) -> None:
    things = client[unique_name("local")]["things"]
    for seq in (1, 3):
        things.update_one({"_id": "a", "seq": {"$lt": seq}}, {"$set": {"seq": seq}}, upsert=True)
    with pytest.raises(pymongo.errors.DuplicateKeyError):
        things.update_one({"_id": "a", "seq": {"$lt": 2}}, {"$set": {"seq": 2}}, upsert=True)
    with pytest.raises(pymongo.errors.DuplicateKeyError):
        things.find_one_and_update({"_id": "a", "seq": {"$lt": 2}}, {"$set": {"seq": 2}}, upsert=True)
    things.update_one({"_id": "b", "project": "p"}, {"$set": {"seq": 1}}, upsert=True)
    things.update_one({"_id": "c", "seq": {"$lt": 2}}, {"$set": {"seq": 2}}, upsert=True)

    assert [dict(each) for each in things.find(sort=[("_id", 1)])] == [
        {"_id": "a", "seq": 3},
        {"_id": "b", "project": "p", "seq": 1},
        {"_id": "c", "seq": 2},
    ]
    client.drop_database(things.database)


@pytest.mark.parametrize("ordered", [True, False])
def test_several_updates_with_conditions_count_each_by_itself(client: Client, *, ordered: bool) -> None:
    things = client[unique_name("local")]["things"]
    things.insert_many([{"_id": name, "seq": 1} for name in ("a", "b")])
    updates = [
        pymongo.UpdateOne({"_id": "a", "seq": 1}, {"$inc": {"seq": 1}}),
        pymongo.UpdateOne({"_id": "b", "seq": 7}, {"$set": {"seq": 0}}),
        pymongo.UpdateOne({"_id": "c", "seq": {"$lt": 2}}, {"$set": {"seq": 2}}, upsert=True),
        pymongo.UpdateOne({"_id": "a", "seq": {"$lt": 2}}, {"$set": {"seq": 9}}, upsert=True),
        pymongo.UpdateOne({"_id": "a", "seq": 2}, {"$inc": {"seq": 1}}),
    ]

    with pytest.raises(pymongo.errors.BulkWriteError) as refused:
        things.bulk_write(updates, ordered=ordered)

    details = refused.value.details or {}
    assert [(each["index"], each["code"]) for each in details["writeErrors"]] == [(3, 11000)]
    assert [(each["index"], each["_id"]) for each in details["upserted"]] == [(2, "c")]
    assert (details["nMatched"], details["nModified"]) == ((1, 1) if ordered else (2, 2))
    stored = {str(each["_id"]): each["seq"] for each in things.find()}
    assert stored == {"a": 2 if ordered else 3, "b": 1, "c": 2}
    client.drop_database(things.database)


def test_of_many_who_save_on_the_same_version_one_does(client: Client) -> None:
    things = client[unique_name("local")]["things"]
    things.insert_one({"_id": "a", "version": 0, "by": []})

    def save(worker: int) -> int:
        won = 0
        for version in range(25):
            update = {"$set": {"version": version + 1}, "$push": {"by": worker}}
            won += things.update_one({"_id": "a", "version": version}, update).modified_count
        return won

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(save, range(8)))

    stored = things.find_one({"_id": "a"})
    assert stored is not None
    assert (sum(won), stored["version"]) == (len(cast("list[int]", stored["by"])), sum(won))
    client.drop_database(things.database)


def test_saves_and_upserts_with_a_condition_go_by_the_id(client: Client) -> None:
    things = client[unique_name("local")]["things"]
    things.insert_many([{"_id": f"{number:05}", "version": 1} for number in range(5000)])

    def quickest(chosen: dict[str, object], *, upsert: bool = False) -> float:
        took = []
        for _ in range(20):
            begun = time.perf_counter()
            with contextlib.suppress(pymongo.errors.DuplicateKeyError):
                things.update_one(chosen, {"$set": {"seen": 1}}, upsert=upsert)
            took.append(time.perf_counter() - begun)
        return min(took)

    def quickest_of_ten(chosen: Callable[[str], dict[str, object]]) -> float:
        took = []
        updates = [pymongo.UpdateOne(chosen(f"0{each}999"), {"$set": {"seen": 2}}) for each in range(5)]
        for _ in range(10):
            begun = time.perf_counter()
            assert things.bulk_write(2 * updates).matched_count == 10
            took.append(time.perf_counter() - begun)
        return min(took)

    alone = quickest({"_id": "04999"})
    assert quickest({"_id": "04999", "version": 1}) < 4 * alone
    assert quickest({"_id": "04999", "version": {"$lt": 1}}, upsert=True) < 4 * alone
    scanning = quickest_of_ten(lambda name: {"_id": {"$gte": name, "$lte": name}, "version": 1})
    found = quickest_of_ten(lambda name: {"_id": name, "version": 1})
    assert found < scanning / 3
    client.drop_database(things.database)
