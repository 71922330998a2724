"""The store of what matures, in memory and in MongoDB."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from services.feedback.tests.fakes import InMemoryExpectedValues
from tidemill_core.application import PageRequest
from tidemill_feedback.maturity.domain import ExpectedValue
from tidemill_feedback.maturity.mongo import MongoExpectedValues
from tidemill_feedback.maturity.ports import ExpectedValues
from tidemill_kit.store import mongo
from tidemill_local import Addresses
from tidemill_testkit.clocks import NOON
from tidemill_testkit.stack import unique_name

WEEK = timedelta(days=7)
VALUE = ExpectedValue(project="acme", inference="i1", metric="reopened", since=NOON, due=NOON + WEEK)
PAGE = PageRequest(size=2)


@pytest.fixture
async def stored(stack: Addresses) -> AsyncIterator[ExpectedValues]:
    client = mongo.connect(stack.mongo, timeout_s=10)
    database = client[unique_name("feedback")]
    store = MongoExpectedValues(database["expected"])
    await store.ensure_indexes()
    yield store
    await client.drop_database(database.name)
    client.close()


@pytest.fixture(params=["memory", "mongo"])
def expected(request: pytest.FixtureRequest) -> ExpectedValues:
    if request.param == "memory":
        return InMemoryExpectedValues()
    chosen: ExpectedValues = request.getfixturevalue("stored")
    return chosen


async def test_values_are_found_when_they_are_due_and_once_added_stay_as_they_are(expected: ExpectedValues) -> None:
    late = replace(VALUE, inference="i2", due=NOON + 2 * WEEK)
    others = replace(VALUE, project="other", inference="i3", due=NOON)
    await expected.add([VALUE, late, others])
    await expected.add([replace(VALUE, due=NOON)])

    async def due(after: timedelta, *, without: str = "") -> list[str]:
        page = await expected.due(NOON + after, page=PAGE, without=frozenset({without}))
        found = list(page.items)
        while page.next_token:
            page = await expected.due(
                NOON + after, page=PageRequest(size=2, token=page.next_token), without=frozenset({without})
            )
            found += page.items
        return [f"{key.project}/{key.id}" for key in found]

    assert await due(WEEK - timedelta(seconds=1)) == ["other/i3/reopened"]
    assert await due(2 * WEEK) == ["other/i3/reopened", "acme/i1/reopened", "acme/i2/reopened"]
    assert await due(2 * WEEK, without="other") == ["acme/i1/reopened", "acme/i2/reopened"]
    assert await expected.get(VALUE.key) == VALUE
    await expected.put_off(VALUE.key, until=NOON + 3 * WEEK)
    await expected.put_off(replace(VALUE, inference="i9").key, until=NOON)
    assert await due(2 * WEEK) == ["other/i3/reopened", "acme/i2/reopened"]
    for _ in range(2):
        await expected.remove(VALUE.key)
    assert await expected.get(VALUE.key) is None
    assert await due(WEEK) == ["other/i3/reopened"]
