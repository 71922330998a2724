"""Entries of the cache in MongoDB."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from services.inference.tests.caching.cached import InMemoryCachedAnswers
from tidemill_inference.caching.expire import RemoveExpired
from tidemill_inference.caching.mongo import MongoCachedAnswers
from tidemill_inference.caching.ports import CachedAnswers, Entry
from tidemill_kit.store.mongo import connect
from tidemill_local import Addresses
from tidemill_testkit.clocks import NOON, FixedClock
from tidemill_testkit.stack import unique_name

ENTRY = Entry(key="k1", deployment="helpdesk", inference="i1", expire_time=NOON)


@pytest.fixture(params=["memory", "mongo"])
async def cached(request: pytest.FixtureRequest, stack: Addresses) -> AsyncIterator[CachedAnswers]:
    if request.param == "memory":
        yield InMemoryCachedAnswers()
        return
    client, name = connect(stack.mongo, timeout_s=10), unique_name("cache")
    store = MongoCachedAnswers(client[name]["cached_answers"])
    await store.ensure_indexes()
    yield store
    await client.drop_database(name)
    client.close()


def entries(count: int) -> list[Entry]:
    return [replace(ENTRY, key=f"k{n}", expire_time=NOON + timedelta(minutes=n)) for n in range(count)]


async def test_an_entry_is_found_in_its_project_and_the_later_one_takes_its_place(cached: CachedAnswers) -> None:
    await cached.put("acme", ENTRY)
    await cached.put("acme", replace(ENTRY, inference="i2"))

    assert await cached.get("acme", "k1") == replace(ENTRY, inference="i2")
    assert await cached.get("globex", "k1") is None


async def test_only_the_entry_that_was_read_is_removed(cached: CachedAnswers) -> None:
    await cached.put("acme", replace(ENTRY, inference="i2"))

    await cached.remove("acme", ENTRY)
    assert await cached.count("acme", limit=10) == 1
    await cached.remove("acme", replace(ENTRY, inference="i2"))
    assert await cached.get("acme", "k1") is None


async def test_those_of_a_project_that_expire_first_are_removed_first(cached: CachedAnswers) -> None:
    for entry in entries(4):
        await cached.put("acme", entry)
    await cached.put("globex", ENTRY)

    assert await cached.count("acme", limit=3) == 3
    assert await cached.remove_first("acme", limit=3) == 3
    assert [await cached.get("acme", f"k{n}") is None for n in range(4)] == [True, True, True, False]
    assert await cached.count("globex", limit=3) == 1


async def test_a_sweep_removes_what_has_expired_of_all_projects(cached: CachedAnswers) -> None:
    for project in ("acme", "globex"):
        for entry in entries(4):
            await cached.put(project, entry)
    sweep = RemoveExpired(cached=cached, clock=FixedClock(NOON + timedelta(minutes=1)))

    assert [await sweep(), await sweep()] == [4, 0]
    assert await cached.get("acme", "k2") is not None
