"""What caches saved, by deployment and day."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, timedelta

import pytest

from services.inference.tests.caching.cached import CachedHarness, InMemorySavings
from services.inference.tests.fakes import ADA
from tidemill_core.errors import DependencyUnavailable, InvalidInput
from tidemill_inference.caching.count import CountSavings, ReadSavings, RemoveOldSavings
from tidemill_inference.caching.domain.savings import MADE, DailySavings, Savings, total_of
from tidemill_inference.caching.domain.use import CacheKind, CacheUse
from tidemill_inference.caching.mongo import MongoSavings
from tidemill_inference.caching.ports import SavingsStore
from tidemill_kit.store.mongo import connect
from tidemill_local import Addresses
from tidemill_testkit.clocks import NOON, FixedClock
from tidemill_testkit.stack import unique_name

TODAY = NOON.date()
HIT = Savings(
    exact_hits=1, saved_input_tokens=10, saved_output_tokens=5, saved_time_s=1.5, saved_nanos=7, currency="USD"
)


@pytest.fixture(params=["memory", "mongo"])
async def saved(request: pytest.FixtureRequest, stack: Addresses) -> AsyncIterator[SavingsStore]:
    if request.param == "memory":
        yield InMemorySavings()
        return
    client, name = connect(stack.mongo, timeout_s=10), unique_name("savings")
    store = MongoSavings(client[name]["cache_savings"])
    await store.ensure_indexes()
    yield store
    await client.drop_database(name)
    client.close()


def row(day: date, savings: Savings, *, deployment: str = "helpdesk", project: str = "acme") -> DailySavings:
    return DailySavings(project=project, deployment=deployment, day=day, savings=savings)


async def test_a_day_is_the_sum_of_its_answers_and_the_newest_day_comes_first(saved: SavingsStore) -> None:
    yesterday = TODAY - timedelta(days=1)
    for each in (row(yesterday, HIT), row(TODAY, HIT), row(TODAY, MADE), row(TODAY, HIT)):
        await saved.add(each)
    await saved.add(row(TODAY, HIT, deployment="other"))
    await saved.add(row(TODAY, HIT, project="globex"))

    found = await saved.since("acme", "helpdesk", yesterday)

    assert found == [row(TODAY, HIT + HIT + MADE), row(yesterday, HIT)]
    assert await saved.since("acme", "helpdesk", TODAY) == found[:1]
    assert total_of(found) == HIT + HIT + HIT + MADE


async def test_days_too_old_to_be_read_are_swept(saved: SavingsStore) -> None:
    for days in (0, 400, 401, 500):
        await saved.add(row(TODAY - timedelta(days=days), HIT))

    assert await RemoveOldSavings(store=saved, clock=FixedClock(NOON))() == 2
    assert len(await saved.since("acme", "helpdesk", date(2000, 1, 1))) == 2


async def test_answers_made_and_given_again_are_counted_with_what_their_making_took() -> None:
    harness = CachedHarness()
    first = await harness.ask("r1")
    again = await harness.ask("r2")
    await harness.ask("r3")
    await harness.savings.flush()

    [counted] = harness.saved.days
    assert (counted.deployment, counted.day) == ("helpdesk", harness.clock.now().date())
    assert (counted.savings.exact_hits, counted.savings.made) == (2, 1)
    assert (counted.savings.saved_input_tokens, counted.savings.saved_output_tokens) == (20, 10)
    assert first.usage is not None
    assert again.cache is not None
    assert again.cache.saved_time_s == pytest.approx(first.usage.total_s - first.usage.search_s, abs=1e-5)


async def test_answers_that_no_cache_was_asked_for_are_not_counted() -> None:
    harness = CachedHarness(cache=None)
    await harness.ask("r1")
    conversing = CachedHarness()
    await conversing.ask("r1", conversation="c1")

    for each in (harness, conversing):
        await each.savings.flush()
        assert each.saved.days == []


async def test_what_a_store_that_is_down_misses_is_added_later() -> None:
    saved = InMemorySavings(down=DependencyUnavailable("down", dependency="mongodb"))
    counting = CountSavings(store=saved, clock=FixedClock(NOON))
    counting.add("acme", "helpdesk", HIT)
    await counting.flush()
    counting.add("acme", "helpdesk", MADE)
    saved.down = None

    await counting.flush()
    await counting.flush()

    assert saved.days == [row(TODAY, HIT + MADE)]
    assert counting.projects == set()


async def test_a_deleted_project_is_forgotten() -> None:
    counting = CountSavings(store=InMemorySavings(), clock=FixedClock(NOON))
    for project in ("acme", "globex"):
        counting.add(project, "helpdesk", HIT)

    assert await counting.forget("acme") == 1
    assert counting.projects == {"globex"}


@pytest.mark.parametrize("days", [-1, 401])
async def test_more_days_than_are_kept_are_refused(days: int) -> None:
    reading = ReadSavings(store=InMemorySavings(), clock=FixedClock(NOON))

    with pytest.raises(InvalidInput, match=f"days: is {days}; use 1 to 400, or 0 for 30"):
        await reading(ADA, "helpdesk", days=days)


async def test_a_number_of_days_has_today_among_them() -> None:
    saved = InMemorySavings([row(TODAY - timedelta(days=days), HIT, project=ADA.project) for days in range(3)])

    found = await ReadSavings(store=saved, clock=FixedClock(NOON))(ADA, "helpdesk", days=2)

    assert [each.day for each in found] == [TODAY, TODAY - timedelta(days=1)]


def test_money_is_a_decimal_and_nothing_where_nothing_was_saved() -> None:
    use = CacheUse(kind=CacheKind.EXACT, inference="i1", saved_input_tokens=1, saved_output_tokens=1)

    assert (use.saved_cost, replace(use, saved_nanos=330_000).saved_cost) == ("", "0.00033")
    assert (MADE.saved_cost, HIT.saved_cost) == ("", "0.000000007")
