"""Hedges: a second attempt beside a slow first one, of which one is sent."""

import asyncio

import pytest

from services.inference.tests.routing.routed import Routed, Slow, down
from tidemill_core.errors import DependencyUnavailable
from tidemill_inference.routing.domain.policy import RoutingPolicy
from tidemill_testkit.polling import run_ready_tasks

HEDGED = RoutingPolicy(hedge_after_s=0.01)


async def test_a_second_attempt_begins_after_a_while_and_the_first_token_wins() -> None:
    routed = Routed({"gpt@1": [Slow(), "second"]})

    assert await routed.ask(policy=HEDGED) == "second"

    assert routed.outcomes == [("gpt@1", "first", "CANCELLED"), ("gpt@1", "hedge", "ANSWERED")]
    assert routed.cancelled == {"gpt@1": 1}
    assert [(each.input_tokens, each.estimated) for each in routed.attempts] == [(10, True), (10, False)]
    assert routed.warnings == []


async def test_a_hedge_asks_an_equal_model_where_there_is_one() -> None:
    routed = Routed({"gpt@1": Slow(), "gpt_eu@1": "eu"})

    assert await routed.ask(equals={"gpt_eu@1": 1}, policy=HEDGED) == "eu"
    assert routed.outcomes == [("gpt@1", "first", "CANCELLED"), ("gpt_eu@1", "hedge", "ANSWERED")]


async def test_of_two_first_tokens_at_the_same_time_one_is_sent() -> None:
    both = Slow()
    routed = Routed({"gpt@1": both})
    asking = asyncio.create_task(routed.ask(policy=HEDGED))
    await routed.has_called(2)

    both.go.set()

    assert await asking == "gpt@1"
    assert sorted(outcome for _, _, outcome in routed.outcomes) == ["ANSWERED", "CANCELLED"]


async def test_the_first_attempt_may_win_and_then_the_second_one_is_cancelled() -> None:
    slow, never = Slow(), Slow()
    routed = Routed({"gpt@1": [slow, never]})
    asking = asyncio.create_task(routed.ask(policy=HEDGED))
    await routed.has_called(2)

    slow.go.set()

    assert await asking == "gpt@1"
    assert routed.outcomes == [("gpt@1", "first", "ANSWERED"), ("gpt@1", "hedge", "CANCELLED")]


async def test_no_second_attempt_begins_where_the_first_one_has_spoken_or_failed() -> None:
    routed = Routed({"gpt@1": ["yes", down()]})

    assert await routed.ask(policy=RoutingPolicy(hedge_after_s=5)) == "yes"
    with pytest.raises(DependencyUnavailable):
        await routed.ask(policy=RoutingPolicy(hedge_after_s=5))
    assert len(routed.calls) == 2


async def test_where_the_first_attempt_fails_the_second_one_may_still_answer() -> None:
    first, second = Slow(error=down()), Slow()
    routed = Routed({"gpt@1": [first, second], "small@1": "small"})
    asking = asyncio.create_task(routed.ask("small@1", policy=HEDGED))
    await routed.has_called(2)
    first.go.set()
    await run_ready_tasks()
    second.go.set()

    assert await asking == "gpt@1"
    assert routed.outcomes == [("gpt@1", "first", "DEPENDENCY_UNAVAILABLE"), ("gpt@1", "hedge", "ANSWERED")]


async def test_a_model_in_this_process_is_not_asked_twice_for_one_answer() -> None:
    slow = Slow()
    routed = Routed({"gpt@1": slow}, local="gpt@1")
    asking = asyncio.create_task(routed.ask(policy=HEDGED))
    await asyncio.sleep(0.05)
    slow.go.set()

    assert await asking == "gpt@1"
    assert routed.calls == ["gpt@1"]


async def test_a_client_that_leaves_ends_both_attempts_which_are_counted() -> None:
    routed = Routed({"gpt@1": Slow()})
    asking = asyncio.create_task(routed.ask(policy=HEDGED))
    await routed.has_called(2)

    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert [outcome for _, _, outcome in routed.outcomes] == ["CANCELLED"] * 2
    assert all(each.estimated for each in routed.attempts)
    assert routed.endpoints.running("acme", "gpt@1") == 0
