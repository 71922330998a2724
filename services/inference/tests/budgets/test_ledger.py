"""Counts: the fake and the real store keep the same promises."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from services.inference.tests.budgets.ledgers import ENDED, NOON, InMemoryLedger, claim, count_of, hold, used
from tidemill_inference.budgets.domain.budget import Kind, Per, Window
from tidemill_inference.budgets.domain.hold import CountState, Refusal
from tidemill_inference.budgets.mongo import MongoLedger
from tidemill_inference.budgets.ports import Ledger
from tidemill_kit.store.mongo import connect
from tidemill_testkit.stack import unique_name

DAY, MINUTE = count_of(), count_of(window=Window.MINUTE)
ADA = count_of(Per.END_USER, "ada")


@pytest.fixture(params=["memory", "mongodb"])
async def ledger(request: pytest.FixtureRequest) -> AsyncIterator[Ledger]:
    if request.param == "memory":
        yield InMemoryLedger()
        return
    stack = request.getfixturevalue("stack")
    client = connect(stack.mongo, timeout_s=10)
    name = unique_name("ledger")
    kept = MongoLedger(client[name]["budget_counts"])
    await kept.ensure_indexes()
    yield kept
    await client.drop_database(name)
    client.close()


async def state_of(ledger: Ledger, count_id: str) -> CountState:
    return (await ledger.state([count_id])).get(count_id, CountState())


async def test_what_is_reserved_is_used_until_it_is_charged_and_then_what_was_used(ledger: Ledger) -> None:
    first = hold("a", {DAY: [claim(60, requests=9)]})

    assert not isinstance(await ledger.reserve(first), Refusal)
    reserved = await state_of(ledger, DAY.id)
    await ledger.charge(first, used(25))
    charged = await state_of(ledger, DAY.id)

    assert reserved.used == {"daily": {Kind.TOKENS: 60, Kind.REQUESTS: 1}}
    assert reserved.reserved == {"daily": {Kind.TOKENS: 60, Kind.REQUESTS: 1}}
    assert charged.used == {"daily": {Kind.TOKENS: 25, Kind.REQUESTS: 1}}
    assert charged.reserved == {}


async def test_a_call_that_needs_more_than_is_left_is_refused_and_reserves_nothing(ledger: Ledger) -> None:
    await ledger.reserve(hold("a", {DAY: [claim(60)]}))

    refused = await ledger.reserve(hold("b", {DAY: [claim(41)]}))
    fitting = await ledger.reserve(hold("c", {DAY: [claim(40)]}))

    assert isinstance(refused, Refusal)
    assert (refused.used, refused.reserved, refused.kind) == (60, 60, Kind.TOKENS)
    assert refused.passes_soon
    assert not isinstance(fitting, Refusal)


async def test_a_call_that_needs_more_than_the_whole_limit_is_refused_also_as_the_first_one(ledger: Ledger) -> None:
    assert isinstance(await ledger.reserve(hold("a", {DAY: [claim(101)]})), Refusal)
    assert await ledger.state([DAY.id]) == {}


async def test_a_call_that_one_of_several_counts_refuses_takes_nothing_of_the_others(ledger: Ledger) -> None:
    await ledger.reserve(hold("a", {ADA: [claim(90)]}))

    refused = await ledger.reserve(hold("b", {DAY: [claim(20)], ADA: [claim(20)]}))

    assert isinstance(refused, Refusal)
    assert refused.count == ADA
    assert (await state_of(ledger, DAY.id)).used.get("daily", {}).get(Kind.TOKENS, 0) == 0
    assert (await state_of(ledger, DAY.id)).reserved == {}


async def test_several_counts_take_a_call_together(ledger: Ledger) -> None:
    both = hold("a", {DAY: [claim(20)], MINUTE: [claim(20, budget="minutely")]})

    await ledger.reserve(both)
    await ledger.charge(both, used(5))

    assert (await state_of(ledger, DAY.id)).used == {"daily": {Kind.TOKENS: 5}}
    assert (await state_of(ledger, MINUTE.id)).used == {"minutely": {Kind.TOKENS: 5}}


async def test_charging_twice_counts_once(ledger: Ledger) -> None:
    first = hold("a", {DAY: [claim(60)]})
    await ledger.reserve(first)

    await ledger.charge(first, used(25))
    await ledger.charge(first, used(25))

    assert (await state_of(ledger, DAY.id)).used == {"daily": {Kind.TOKENS: 25}}


async def test_many_callers_of_a_fresh_count_never_exceed_its_limit(ledger: Ledger) -> None:
    holds = [hold(f"h{number}", {DAY: [claim(7, limit=200)], ADA: [claim(7, limit=1000)]}) for number in range(64)]

    replies = await asyncio.gather(*map(ledger.reserve, holds))

    assert sum(not isinstance(each, Refusal) for each in replies) == 200 // 7
    assert (await state_of(ledger, DAY.id)).used == {"daily": {Kind.TOKENS: 200 // 7 * 7}}
    assert (await state_of(ledger, ADA.id)).used == {"daily": {Kind.TOKENS: 200 // 7 * 7}}


async def test_what_a_dead_process_had_reserved_is_found_once_its_call_must_have_ended(ledger: Ledger) -> None:
    await ledger.reserve(hold("dead", {DAY: [claim(60)]}, until=NOON))
    await ledger.reserve(hold("alive", {DAY: [claim(10)]}))

    (ended,) = await ledger.ended(NOON + timedelta(seconds=1), limit=10)

    assert (ended.hold, ended.inference, ended.amounts) == ("dead", "i-dead", {"daily": {Kind.TOKENS: 60}})
    await ledger.close(ended, used(25))
    await ledger.close(ended, used(25))
    assert (await state_of(ledger, DAY.id)).used == {"daily": {Kind.TOKENS: 35}}
    assert await ledger.ended(NOON + timedelta(seconds=1), limit=10) == []


async def test_what_no_record_knows_of_stays_used_and_a_late_charge_changes_nothing(ledger: Ledger) -> None:
    dead = hold("dead", {DAY: [claim(60)]}, until=NOON)
    await ledger.reserve(dead)
    (ended,) = await ledger.ended(ENDED, limit=10)

    await ledger.close(ended, None)
    await ledger.charge(dead, used(1))

    assert (await state_of(ledger, DAY.id)).used == {"daily": {Kind.TOKENS: 60}}
    assert (await state_of(ledger, DAY.id)).reserved == {}


async def test_counts_of_ended_windows_go_unless_a_call_still_holds_some(ledger: Ledger) -> None:
    for name, count in (("a", MINUTE), ("b", ADA)):
        await ledger.reserve(hold(name, {count: [claim(1)]}))
    await ledger.charge(hold("a", {MINUTE: [claim(1)]}), used(1))
    tomorrow = NOON + timedelta(days=2)

    await ledger.ended(tomorrow - timedelta(hours=1), limit=10)  # as the sweep does before it removes
    assert await ledger.remove_old(tomorrow, limit=10) == 1
    await ledger.charge(hold("b", {ADA: [claim(1)]}), used(1))
    await ledger.ended(tomorrow, limit=10)
    assert await ledger.remove_old(NOON, limit=10) == 0
    assert await ledger.remove_old(tomorrow, limit=10) == 1


async def test_the_counts_of_one_end_user_are_erased_in_all_windows(ledger: Ledger) -> None:
    minute = count_of(Per.END_USER, "ada", window=Window.MINUTE)
    others = [count_of(Per.END_USER, "bob"), count_of(Per.END_USER, "ada", project="other"), count_of()]
    for number, count in enumerate([ADA, minute, *others]):
        await ledger.reserve(hold(f"h{number}", {count: [claim(1)]}))

    assert await ledger.erase_of(ADA, limit=10) == 2
    assert await ledger.erase_of(ADA, limit=10) == 0
    assert set(await ledger.state([each.id for each in [ADA, minute, *others]])) == {each.id for each in others}


def test_the_name_of_a_count_does_not_say_whose_it_is() -> None:
    assert "ada" not in ADA.id


async def test_a_count_that_nothing_holds_is_checked_once_and_found_again_when_something_does(
    ledger: Ledger,
) -> None:
    if not isinstance(ledger, MongoLedger):
        pytest.skip("how the store finds what has ended")
    await ledger.reserve(hold("done", {DAY: [claim(60)]}, until=NOON))
    await ledger.charge(hold("done", {DAY: [claim(60)]}), used(25))

    assert await ledger.ended(ENDED, limit=10) == []
    watched = await ledger.counts.count_documents({"check_at": {"$exists": True}})
    await ledger.reserve(hold("dead", {DAY: [claim(1)]}, until=NOON))

    assert watched == 0
    assert [each.hold for each in await ledger.ended(ENDED, limit=10)] == ["dead"]


async def test_ended_calls_are_found_behind_any_number_of_counts_that_nothing_holds(ledger: Ledger) -> None:
    for name in "abc":
        idle = hold(name, {count_of(Per.END_USER, name): [claim(1)]}, until=NOON)
        await ledger.reserve(idle)
        await ledger.charge(idle, used(1))
    await ledger.reserve(hold("dead", {DAY: [claim(1)]}, until=NOON + timedelta(seconds=1)))

    assert [each.hold for each in await ledger.ended(ENDED, limit=2)] == ["dead"]


async def test_the_counts_of_a_person_are_erased_however_the_name_is_written(ledger: Ledger) -> None:
    if not isinstance(ledger, MongoLedger):
        pytest.skip("how the store names counts")
    await ledger.reserve(hold("a", {ADA: [claim(1)]}))

    assert await ledger.erase_of(count_of(Per.END_USER, " ada\u200b"), limit=10) == 1
