"""Which model answers: retries, fallbacks, times, equal models, hedges and circuits."""

import asyncio

import pytest

from services.inference.tests.routing.routed import Breaks, Pauses, Routed, Slow, busy, down
from tidemill_core.errors import (
    DependencyTimedOut,
    DependencyUnavailable,
    InvalidInput,
    PreconditionFailed,
    RateLimited,
    TidemillError,
)
from tidemill_inference.errors import CircuitOpen, ModelNotShared, PromptTooLong
from tidemill_inference.routing.domain.policy import Balance, RoutingPolicy
from tidemill_inference.routing.endpoints import Endpoints

HEDGED = RoutingPolicy(hedge_after_s=0.01)


async def test_the_first_model_answers_and_its_attempt_says_what_it_took() -> None:
    routed = Routed({"gpt@1": "yes"})

    assert await routed.ask("small@1") == "yes"

    (attempt,) = routed.attempts
    assert routed.outcomes == [("gpt@1", "first", "ANSWERED")]
    assert (attempt.endpoint, attempt.input_tokens, attempt.output_tokens, attempt.estimated) == (
        "openai",
        10,
        2,
        False,
    )
    assert attempt.start_s >= 0
    assert routed.warnings == []


async def test_a_remote_model_that_fails_is_asked_again_and_then_its_fallback() -> None:
    routed = Routed({"gpt@1": down(), "small@1": "yes"}, retries=2)

    assert await routed.ask("small@1") == "yes"

    assert routed.outcomes == [
        ("gpt@1", "first", "DEPENDENCY_UNAVAILABLE"),
        ("gpt@1", "retry", "DEPENDENCY_UNAVAILABLE"),
        ("gpt@1", "retry", "DEPENDENCY_UNAVAILABLE"),
        ("small@1", "fallback", "ANSWERED"),
    ]
    assert routed.pauses == [0.5, 1.0]
    assert routed.warnings == ["fallback used: gpt@1 failed (DEPENDENCY_UNAVAILABLE)"]
    assert routed.observed.fallbacks == [("gpt@1", "DEPENDENCY_UNAVAILABLE")]
    assert [each.input_tokens for each in routed.attempts] == [0, 0, 0, 10]


async def test_a_retry_that_is_answered_degrades_nothing() -> None:
    routed = Routed({"gpt@1": [down(), "yes"]}, retries=2)

    assert await routed.ask("small@1") == "yes"
    assert routed.warnings == []


async def test_a_model_in_this_process_is_asked_again_only_where_the_deployment_says_so() -> None:
    routed = Routed({"gpt@1": down()}, local="gpt@1", retries=2)
    with pytest.raises(DependencyUnavailable):
        await routed.ask()
    assert routed.calls == ["gpt@1"]

    with pytest.raises(DependencyUnavailable):
        await routed.ask(policy=RoutingPolicy(retries=1))
    assert routed.calls == ["gpt@1"] * 3


async def test_the_deployments_retries_count_and_the_error_says_that_it_was_retried() -> None:
    routed = Routed({"gpt@1": down()}, retries=2)

    with pytest.raises(DependencyUnavailable) as raised:
        await routed.ask(policy=RoutingPolicy(retries=1))
    assert raised.value.metadata["retried"] == "1"

    routed = Routed({"gpt@1": down()}, retries=2)
    with pytest.raises(DependencyUnavailable) as raised:
        await routed.ask(policy=RoutingPolicy(retries=0))
    assert "retried" not in raised.value.metadata


@pytest.mark.parametrize("error", [busy(), PreconditionFailed("no key"), PromptTooLong()])
async def test_what_does_not_pass_in_a_moment_is_not_asked_again(error: TidemillError) -> None:
    routed = Routed({"gpt@1": error, "small@1": "yes"}, retries=2)

    assert await routed.ask("small@1") == "yes"
    assert routed.calls == ["gpt@1", "small@1"]


async def test_without_a_fallback_a_busy_model_says_when_to_come_again() -> None:
    routed = Routed({"gpt@1": busy(retry_after_s=7)}, retries=2)

    for _ in range(2):
        with pytest.raises(RateLimited) as raised:
            await routed.ask()
        assert raised.value.retry_after_s == 7
    assert routed.calls == ["gpt@1"] * 2


async def test_where_every_model_is_busy_the_client_may_come_again_when_the_last_one_says() -> None:
    routed = Routed({"gpt@1": busy(retry_after_s=7), "small@1": busy(retry_after_s=2)})

    with pytest.raises(RateLimited) as raised:
        await routed.ask("small@1")

    assert raised.value.retry_after_s == 2
    assert "retried" not in raised.value.metadata


async def test_a_busy_model_is_not_asked_before_its_time_where_another_may_answer() -> None:
    routed = Routed({"gpt@1": [busy(retry_after_s=7), "gpt"], "small@1": "small"})

    assert [await routed.ask("small@1") for _ in range(3)] == ["small"] * 3
    assert routed.calls == ["gpt@1", "small@1", "small@1", "small@1"]
    assert routed.outcomes[0] == ("gpt@1", "first", "RATE_LIMITED")

    routed.ahead_s = 8
    assert await routed.ask("small@1") == "gpt"


async def test_a_question_that_is_wrong_is_wrong_for_every_model() -> None:
    routed = Routed({"gpt@1": InvalidInput("no"), "small@1": "yes"}, retries=2)

    with pytest.raises(InvalidInput):
        await routed.ask("small@1")
    assert routed.calls == ["gpt@1"]


async def test_what_broke_after_its_first_token_is_neither_retried_nor_replaced() -> None:
    routed = Routed({"gpt@1": Breaks(down()), "small@1": "yes"}, retries=2)

    with pytest.raises(DependencyUnavailable):
        await routed.ask("small@1")

    assert routed.calls == ["gpt@1"]
    (attempt,) = routed.attempts
    assert (attempt.output_tokens, attempt.estimated) == (1, True)


async def test_a_model_of_another_project_that_is_shared_no_more_is_replaced() -> None:
    routed = Routed({"small@1": "yes"})

    assert await routed.ask("small@1", model="other/gpt@1") == "yes"
    with pytest.raises(ModelNotShared):
        await routed.ask(model="other/gpt@1")


async def test_a_model_that_hangs_has_its_share_of_the_time_and_is_not_asked_again_before_its_fallback() -> None:
    routed = Routed({"gpt@1": Slow(), "small@1": "yes"}, retries=2)

    assert await routed.ask("small@1", deadline_s=1.0) == "yes"

    assert routed.outcomes == [("gpt@1", "first", "DEPENDENCY_TIMED_OUT"), ("small@1", "fallback", "ANSWERED")]
    hung = routed.attempts[0]
    assert hung.duration_s >= 0.4  # half of the deadline, as there are two models
    assert (hung.input_tokens, hung.estimated) == (10, True)  # it may charge the prompt


async def test_one_that_hangs_is_not_asked_again_while_another_may_answer() -> None:
    routed = Routed({"gpt@1": Slow(), "small@1": "yes"}, retries=2)

    assert await routed.ask("small@1", policy=RoutingPolicy(first_token_timeout_s=0.05)) == "yes"
    assert routed.calls == ["gpt@1", "small@1"]


async def test_a_model_has_no_longer_for_its_first_token_than_the_deployment_says() -> None:
    routed = Routed({"gpt@1": [Slow(), "yes"]}, retries=2)

    assert await routed.ask(policy=RoutingPolicy(first_token_timeout_s=0.05)) == "yes"
    assert routed.outcomes == [("gpt@1", "first", "DEPENDENCY_TIMED_OUT"), ("gpt@1", "retry", "ANSWERED")]


async def test_a_model_may_pause_between_two_tokens_for_as_long_as_the_deployment_says() -> None:
    routed = Routed({"gpt@1": Pauses(), "small@1": "yes"}, retries=2)

    with pytest.raises(DependencyTimedOut, match=r"had no next token within 0\.05 s"):
        await routed.ask("small@1", policy=RoutingPolicy(token_timeout_s=0.05))
    assert routed.calls == ["gpt@1"]


async def test_a_retry_for_which_there_is_no_time_is_left_out() -> None:
    routed = Routed({"gpt@1": down()}, retries=2)

    with pytest.raises(DependencyUnavailable):
        await routed.ask(deadline_s=0.6)
    assert routed.pauses == [0.5]
    assert routed.calls == ["gpt@1"] * 2


async def test_an_equal_model_answers_at_once_where_one_fails_and_the_answer_is_not_degraded() -> None:
    routed = Routed({"gpt@1": down(), "gpt_eu@1": "eu", "small@1": "small"}, retries=2)

    answers = [await routed.ask("small@1", equals={"gpt_eu@1": 1}) for _ in range(4)]

    assert answers == ["eu"] * 4
    assert (routed.warnings, routed.pauses) == ([], [])


async def test_equal_models_are_each_asked_once_before_one_is_asked_again() -> None:
    routed = Routed({"gpt@1": down(), "gpt_eu@1": down()}, retries=1)

    with pytest.raises(DependencyUnavailable):
        await routed.ask(equals={"gpt_eu@1": 1})

    assert sorted(routed.calls[:2]) == ["gpt@1", "gpt_eu@1"]
    assert len(routed.calls) == 3
    assert len(routed.pauses) == 1


async def test_a_prompt_that_is_too_long_goes_to_the_fallback_and_to_no_equal_model() -> None:
    routed = Routed({"gpt@1": PromptTooLong(), "gpt_eu@1": PromptTooLong(), "large@1": "yes"}, retries=2)

    assert await routed.ask("large@1", equals={"gpt_eu@1": 1}) == "yes"
    assert len(routed.calls) == 2


async def test_the_least_busy_of_equal_models_is_asked() -> None:
    slow = Slow()
    routed = Routed({"gpt@1": slow, "gpt_eu@1": slow})
    policy = RoutingPolicy(balance=Balance.LEAST_BUSY)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(6):
            tasks.create_task(routed.ask(equals={"gpt_eu@1": 1}, policy=policy))
            await asyncio.sleep(0.01)
        slow.go.set()

    assert sorted(routed.calls) == ["gpt@1"] * 3 + ["gpt_eu@1"] * 3
    assert routed.endpoints.running("acme", "gpt@1") == 0


async def test_a_conversation_stays_with_its_model_until_that_fails() -> None:
    routed = Routed({"gpt@1": "here", "gpt_eu@1": "there"})
    policy = RoutingPolicy(balance=Balance.PREFIX)

    answers = [await routed.ask(equals={"gpt_eu@1": 1}, affinity="one", policy=policy) for _ in range(5)]
    others = {await routed.ask(equals={"gpt_eu@1": 1}, affinity=str(each), policy=policy) for each in range(20)}

    assert len(set(answers)) == 1
    assert others == {"here", "there"}


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
    await asyncio.sleep(0.01)
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


async def test_a_model_that_failed_too_often_is_not_called_until_a_probe_is_answered() -> None:
    routed = Routed({"gpt@1": [down(), down(), "yes"], "small@1": "small"}, threshold=2)

    assert [await routed.ask("small@1") for _ in range(4)] == ["small"] * 4
    assert routed.calls.count("gpt@1") == 2
    assert routed.outcomes == [("gpt@1", "first", "CIRCUIT_OPEN"), ("small@1", "fallback", "ANSWERED")]
    assert routed.warnings == ["fallback used: gpt@1 failed (CIRCUIT_OPEN)"]

    routed.ahead_s = 31
    assert await routed.ask("small@1") == "yes"
    assert routed.observed.circuits == [("gpt@1", True), ("gpt@1", False)]


async def test_without_a_fallback_an_open_circuit_fails_at_once_and_says_for_how_long() -> None:
    routed = Routed({"gpt@1": down()}, threshold=1, retries=2)
    with pytest.raises(DependencyUnavailable):
        await routed.ask()

    with pytest.raises(CircuitOpen) as raised:
        await routed.ask()

    assert (routed.calls, routed.pauses) == (["gpt@1"], [0.5])  # the pause is that of the first question
    assert 0 < float(raised.value.metadata["retry_after_s"]) <= 30


async def test_one_of_equal_models_whose_circuit_is_open_comes_last() -> None:
    routed = Routed({"gpt@1": down(), "gpt_eu@1": "eu"}, threshold=1)
    for _ in range(20):
        assert await routed.ask(equals={"gpt_eu@1": 1}) == "eu"

    assert routed.calls.count("gpt@1") == 1
    assert routed.outcomes == [("gpt_eu@1", "first", "ANSWERED")]


async def test_the_first_token_of_a_probe_lets_others_pass_before_it_has_ended() -> None:
    routed = Routed({"gpt@1": [down(), Pauses(), "yes"]}, threshold=1)
    with pytest.raises(DependencyUnavailable):
        await routed.ask()
    routed.ahead_s = 31
    probe = asyncio.create_task(routed.ask())
    await routed.has_called(2)
    await asyncio.sleep(0)

    assert await routed.ask() == "yes"
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe


async def test_a_probe_whose_client_leaves_gives_its_place_to_the_next() -> None:
    routed = Routed({"gpt@1": [down(), Slow(), "yes"]}, threshold=1)
    with pytest.raises(DependencyUnavailable):
        await routed.ask()
    routed.ahead_s = 31
    probe = asyncio.create_task(routed.ask())
    await routed.has_called(2)
    with pytest.raises(CircuitOpen):
        await routed.ask()
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe

    assert await routed.ask() == "yes"


async def test_models_in_this_process_have_no_circuit() -> None:
    routed = Routed({"gpt@1": [down(), "yes"]}, local="gpt@1", threshold=1)
    with pytest.raises(DependencyUnavailable):
        await routed.ask()

    assert await routed.ask() == "yes"


@pytest.mark.parametrize("error", [busy(), PreconditionFailed("no key"), InvalidInput("no")])
async def test_what_an_endpoint_refuses_opens_no_circuit(error: TidemillError) -> None:
    routed = Routed({"gpt@1": error}, threshold=1)

    for _ in range(3):
        with pytest.raises(type(error)):
            await routed.ask()


async def test_an_endpoint_that_says_nothing_until_the_deadline_has_failed() -> None:
    routed = Routed({"gpt@1": Slow()}, threshold=1)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await routed.ask(deadline_s=0.05)
    with pytest.raises(CircuitOpen):
        await routed.ask()


async def test_circuits_of_two_replicas_and_of_two_projects_are_independent() -> None:
    one, other = Routed({"gpt@1": down()}, threshold=1), Routed({"gpt@1": "yes"}, threshold=1)
    with pytest.raises(DependencyUnavailable):
        await one.ask()

    assert await other.ask() == "yes"
    assert one.endpoints.of("acme", "gpt@1").circuit.is_open
    assert not one.endpoints.of("shop", "gpt@1").circuit.is_open


async def test_a_deleted_project_is_forgotten_with_its_series() -> None:
    routed = Routed({"gpt@1": "yes"})
    await routed.ask()

    assert routed.endpoints.projects == {"acme"}
    assert await routed.endpoints.forget("acme") == 1
    assert routed.endpoints.projects == set()
    assert routed.observed.forgotten == ["gpt@1"]


def test_a_bounded_number_of_models_is_known_and_the_project_with_most_loses_first() -> None:
    routed = Routed({})
    endpoints = Endpoints(routed.observed, threshold=1, open_s=1, max_kept=3)
    endpoints.of("shop", "a@1")
    for number in range(10):
        endpoints.of("acme", f"m@{number}")

    assert endpoints.projects == {"acme", "shop"}
    assert len(routed.observed.forgotten) == 8
