"""What came of lines, in MongoDB."""

from collections.abc import AsyncIterator

import pytest

from tidemill_core.application import ResourceKey
from tidemill_inference.batches.domain.lines import Result
from tidemill_inference.batches.mongo import MongoResults
from tidemill_kit.erasure.documents import erase_documents
from tidemill_kit.store import mongo
from tidemill_local import Addresses
from tidemill_testkit.stack import unique_name


@pytest.fixture
async def collection(stack: Addresses) -> AsyncIterator[mongo.Collection]:
    client, name = mongo.connect(stack.mongo, timeout_s=10), unique_name("batches")
    yield client[name]["batch_results"]
    await client.drop_database(name)
    client.close()


def result(line: int, *, end_user: str = "") -> Result:
    return Result(line=line, ok=line % 2 == 0, text=f"line {line}", end_user=end_user)


async def test_results_come_in_the_order_of_lines_and_the_first_of_a_line_counts(collection: mongo.Collection) -> None:
    results = MongoResults(collection)
    await results.ensure_indexes()
    batch, other = ResourceKey(project="acme", id="batch_1"), ResourceKey(project="acme", id="batch_10")
    for line in (300, 2, 10):
        await results.add(batch, result(line))
    await results.add(batch, Result(line=2, ok=False, text="again"))
    await results.add(other, result(1))

    assert [each async for each in results.all(batch)] == [result(2), result(10), result(300)]
    assert set(await results.done(batch)) == {2, 10, 300}
    await results.remove(batch)
    assert set(await results.done(batch)) == set()
    assert set(await results.done(other)) == {1}


async def test_more_results_than_a_page_come_whole(collection: mongo.Collection) -> None:
    results, batch = MongoResults(collection), ResourceKey(project="acme", id="batch_1")
    for line in range(1, 402):
        await results.add(batch, result(line))

    assert [each.line async for each in results.all(batch)] == list(range(1, 402))


async def test_results_of_a_person_are_found(collection: mongo.Collection) -> None:
    results, batch = MongoResults(collection), ResourceKey(project="acme", id="batch_1")
    await results.add(batch, result(1, end_user="u-1"))
    await results.add(batch, result(2, end_user="u-2"))

    assert await erase_documents(collection, {"project": "acme", "end_user": "u-1"}) == 1
    assert set(await results.done(batch)) == {2}
