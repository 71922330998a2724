"""The work list of batches, and what is read of them."""

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
from tidemill_kit.workers.leases import LeaseLost, Leases
from tidemill_local import Addresses
from tidemill_monitor.errors import BatchUnusable
from tidemill_monitor.examples.domain import Batch, ExampleIds
from tidemill_monitor.examples.exchange import ExchangeExamples
from tidemill_monitor.examples.mongo import MongoBatches, pending_batches
from tidemill_monitor.examples.ports import Batches
from tidemill_testkit.clocks import NOON
from tidemill_testkit.objects import InMemoryObjects
from tidemill_testkit.stack import unique_name

OBJECT = ObjectRef(bucket="feedback", key="acme/c/abc", size=10, sha256="a" * 64)
BATCH = Batch(project="acme", curation="c@1", object=OBJECT, examples=2, time=NOON)
NAME = BATCH.key


@pytest.fixture(params=["memory", "mongo"])
def batches(request: pytest.FixtureRequest) -> Batches:
    if request.param == "memory":
        memory = InMemoryBatches()
        memory.epochs[NAME] = 1
        return memory
    return MongoBatches(request.getfixturevalue("database")["batches"])


async def test_a_batch_is_requested_once_and_pending_until_it_is_finished(batches: Batches, database: Database) -> None:
    news = [await batches.add_pending(BATCH), await batches.add_pending(BATCH)]
    before = await batches.pending(NAME)
    await leases(database).acquire(NAME.key)
    await batches.finish(NAME, epoch=1, reason="")

    assert news == [True, False]
    assert before == BATCH
    assert await batches.pending(NAME) is None


def leases(database: Database, owner: str = "one") -> Leases:
    return Leases(database["batches"], owner=owner, ttl=timedelta(seconds=30), clock=SystemClock())


async def test_a_later_holder_shuts_an_earlier_one_out_and_the_batch_stays_pending(database: Database) -> None:
    batches, find = MongoBatches(database["batches"]), pending_batches(database["batches"])
    await find.ensure_indexes()
    await batches.add_pending(BATCH)
    async with leases(database).held(NAME.key) as first:
        assert first
    async with leases(database, "two").held(NAME.key) as second:
        assert second
        with pytest.raises(LeaseLost):
            await batches.finish(NAME, epoch=first.epoch, reason="")
        found = await find("", without=frozenset())
        await batches.finish(NAME, epoch=second.epoch, reason="")

    assert list(found.items) == [NAME]
    assert not (await find("", without=frozenset())).items


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
