"""The work list of batches, and what is read of them."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from services.monitor.tests.fakes import InMemoryBatches
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import SystemClock
from tidemill_core.errors import PermissionDenied
from tidemill_kit.store.mongo import Database
from tidemill_kit.store.objects import ExchangeBucket, ObjectMissing, ObjectStore
from tidemill_kit.workers.leases import Leases
from tidemill_local import Addresses
from tidemill_monitor.adapters.exchange_examples import ExchangeExamples
from tidemill_monitor.adapters.mongo_batches import MongoBatches
from tidemill_monitor.application.ports import Batches, BatchName
from tidemill_monitor.domain.errors import BatchLost, BatchUnusable
from tidemill_monitor.domain.graph import Batch, ExampleIds
from tidemill_testkit.clocks import NOON
from tidemill_testkit.objects import InMemoryObjects
from tidemill_testkit.stack import unique_name

OBJECT = ObjectRef(bucket="feedback", key="acme/c/abc", size=10, sha256="a" * 64)
BATCH = Batch(project="acme", curation="c@1", object=OBJECT, examples=2, time=NOON)
NAME = BatchName("acme", "c@1")


def mongo_batches(database: Database, owner: str = "one", *, ttl_s: float = 30) -> MongoBatches:
    leases = Leases(database["batches"], owner=owner, ttl=timedelta(seconds=ttl_s), clock=SystemClock())
    return MongoBatches(database["batches"], leases)


@pytest.fixture(params=["memory", "mongo"])
def batches(request: pytest.FixtureRequest) -> Batches:
    if request.param == "memory":
        return InMemoryBatches()
    return mongo_batches(request.getfixturevalue("database"))


async def test_a_batch_is_requested_once_and_waits_until_it_is_finished(batches: Batches) -> None:
    news = [await batches.add_pending(BATCH), await batches.add_pending(BATCH)]
    before = list(await batches.waiting())
    async with batches.held(NAME) as held:
        assert held is not None
        assert held.batch == BATCH
        await batches.finish(held, reason="")

    assert news == [True, False]
    assert before == [NAME]
    assert list(await batches.waiting()) == []
    async with batches.held(NAME) as again:
        assert again is None


async def test_a_batch_is_held_by_one_worker_and_a_later_one_shuts_it_out(database: Database) -> None:
    one, two = mongo_batches(database), mongo_batches(database, "two")
    await one.add_pending(BATCH)
    async with one.held(NAME) as first, two.held(NAME) as meanwhile:
        assert meanwhile is None
    async with two.held(NAME) as second:
        assert first
        assert second
        assert second.epoch == first.epoch + 1
        with pytest.raises(BatchLost):
            await one.finish(first, reason="")
    assert list(await one.waiting()) == [NAME]
    assert list(await one.waiting(without={NAME.project})) == []


async def test_a_worker_whose_lease_was_lost_is_notified(database: Database) -> None:
    batches = mongo_batches(database, ttl_s=0.6)
    await batches.add_pending(BATCH)
    stolen = {"$set": {"lease.owner": "thief"}, "$inc": {"lease.epoch": 1}}
    with pytest.raises(BatchLost):
        await _hold_while_stolen(batches, database, stolen)


async def _hold_while_stolen(batches: MongoBatches, database: Database, stolen: dict[str, object]) -> None:
    async with asyncio.timeout(20), batches.held(NAME):
        await database["batches"].update_one({"_id": "acme/c@1"}, stolen)
        await asyncio.Event().wait()


@pytest.fixture(params=["memory", "s3"])
async def bucket(request: pytest.FixtureRequest) -> AsyncIterator[ExchangeBucket]:
    name = unique_name("feedback")
    if request.param == "memory":
        memory = InMemoryObjects()
        await memory.ensure_bucket(name)
        yield ExchangeBucket(memory, name)
        return
    stack = request.getfixturevalue("stack")
    assert isinstance(stack, Addresses)
    store = ObjectStore(stack.s3.endpoint, stack.s3.access_key, stack.s3.secret_key, secure=False)
    await store.ensure_bucket(name)
    yield ExchangeBucket(store, name)
    await store.delete_prefix(name, "")


def line(feedback: str, inference: str) -> bytes:
    example = {"id": "e", "feedback": feedback, "inference": inference, "question": "What?\u2028Where?", "messages": []}
    return json.dumps(example, ensure_ascii=False).encode()


async def put(bucket: ExchangeBucket, *lines: bytes) -> Batch:
    ref = await bucket.put("acme", "c", b"\n".join(lines) + b"\n", media_type="application/jsonl")
    return Batch(project="acme", curation="c@1", object=ref, examples=len(lines), time=NOON)


async def test_of_examples_only_the_ids_are_read(bucket: ExchangeBucket) -> None:
    batch = await put(bucket, line("fb-1", "inf-1"), line("fb-2", "inf-2"))

    read = await ExchangeExamples(bucket, max_bytes=10_000).read(batch)

    assert read == [ExampleIds("fb-1", "inf-1"), ExampleIds("fb-2", "inf-2")]


async def test_erased_examples_are_missing(bucket: ExchangeBucket) -> None:
    batch = await put(bucket, line("fb-1", "inf-1"))
    await bucket.erase("acme", "c")

    with pytest.raises(ObjectMissing):
        await ExchangeExamples(bucket, max_bytes=10_000).read(batch)


@pytest.mark.parametrize(
    "bad",
    [b"not json, but secret text", b"[]", b'{"feedback": 5, "inference": "i"}', b'{"feedback": "f"}', b"[" * 99_999],
)
async def test_a_line_that_is_no_example_is_named_by_its_number_and_not_by_its_text(bad: bytes) -> None:
    memory = InMemoryObjects()
    await memory.ensure_bucket("feedback")
    bucket = ExchangeBucket(memory, "feedback")
    batch = await put(bucket, line("fb-1", "inf-1"), bad)

    with pytest.raises(BatchUnusable, match="line 2") as caught:
        await ExchangeExamples(bucket, max_bytes=1_000_000).read(batch)

    assert "secret" not in caught.value.message


async def test_too_many_bytes_are_not_read_at_all() -> None:
    bucket = ExchangeBucket(InMemoryObjects(), "feedback")

    with pytest.raises(BatchUnusable, match="they have 10 bytes; the limit is 9"):
        await ExchangeExamples(bucket, max_bytes=9).read(BATCH)


async def test_a_reference_into_another_bucket_is_refused() -> None:
    bucket = ExchangeBucket(InMemoryObjects(), "elsewhere")

    with pytest.raises(PermissionDenied):
        await ExchangeExamples(bucket, max_bytes=100).read(BATCH)
