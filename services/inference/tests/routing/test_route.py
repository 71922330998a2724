"""Which model answers: retries, fallbacks, times and equal models."""

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
from tidemill_inference.errors import ModelNotShared, PromptTooLong
from tidemill_inference.routing.domain.policy import Balance, RoutingPolicy
from tidemill_testkit.polling import run_ready_tasks


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
            await run_ready_tasks()
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
