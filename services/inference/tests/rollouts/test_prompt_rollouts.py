"""A prompt version goes to users by the engine that models go by: shadow, canary, promoted or back."""

from contextlib import suppress
from dataclasses import fields, replace

import pytest

from services.inference.tests.fakes import ADA, PROMPT, asking, prompt_named, question, writing
from services.inference.tests.rollouts.rollout_fakes import POLICY, RolloutHarness, crud_of
from services.inference.tests.rollouts.rollout_records import records
from tidemill_core.application import Request
from tidemill_core.approvals import ApprovalPolicy, ApproverNotAllowed
from tidemill_core.errors import InvalidInput, TidemillError
from tidemill_inference.deployments.domain.spec import PromptGoLive
from tidemill_inference.deployments.mongo import DEPLOYMENTS
from tidemill_inference.generation.domain.errors import QuestionRefused
from tidemill_inference.generation.domain.question import Purpose
from tidemill_inference.prompts.domain.errors import PromptNotFound
from tidemill_inference.prompts.domain.prompt import Prompt, PromptContent
from tidemill_inference.prompts.mongo import PROMPTS
from tidemill_inference.rollouts.domain.changes import PromptChange
from tidemill_inference.rollouts.domain.rollout import (
    RolloutHasAdvanced,
    RolloutHasStarted,
    RolloutState,
    RolloutWasPromoted,
    RolloutWasRefused,
    RolloutWasRolledBack,
)
from tidemill_inference.rollouts.domain.step_counts import Reason
from tidemill_kit.store.aggregates import Identity
from tidemill_testkit.clocks import NOON
from tidemill_testkit.stores import InMemoryAggregates

PROMPTED = replace(POLICY, gate="", prompt_gate="prompt_gate")
SHORTER = replace(PROMPT, user="Briefly: {{ question }}")


async def prompted(content: PromptContent = SHORTER) -> RolloutHarness:
    """Return a deployment whose prompt goes live by rollout, and has a second version that passed nothing yet."""
    harness = RolloutHarness(PROMPTED, prompt_go_live=PromptGoLive.BY_ROLLOUT)

    def write(prompt: Prompt) -> None:
        prompt.write(content, digest="d2", now=NOON, creator="user:eve")

    await harness.harness.prompts.update(ADA.project, "answer", write, request=Request.internal())
    return harness


async def passed(harness: RolloutHarness, evaluation: str = "e1", **changes: str) -> None:
    known = {"gate": "prompt_gate", "candidate": "answer@2", "prompt": "answer"}
    await harness.passes_the_gate(evaluation, baseline_index=0, **{**known, **changes})


async def canary(content: PromptContent = SHORTER) -> RolloutHarness:
    harness = await prompted(content)
    await passed(harness)
    await harness.tick()
    await harness.asks(3)
    await harness.tick()
    return harness


async def ended(harness: RolloutHarness) -> RolloutHarness:
    for _ in range(60):
        if not (await harness.rollout()).active:
            break
        await harness.asks(1)
        await harness.tick()
    return harness


async def prompt_of_live(harness: RolloutHarness) -> str:
    return (await harness.deployment()).live.prompt


async def test_a_prompt_version_goes_through_shadow_and_canary_and_is_live_then() -> None:
    harness = await prompted()
    await passed(harness)
    await harness.tick()

    live = await harness.asks(3)
    shadows = await records(harness, Purpose.SHADOW)
    await harness.tick()
    answered = await harness.asks(12)
    await ended(harness)

    assert {each.variant.prompt for each in live if each.variant} == {"answer@1"}
    assert {(each.variant.prompt, each.variant.model) for each in shadows if each.variant} == {
        ("answer@2", "smollm2@1")
    }
    assert {(each.variant.name, each.variant.prompt) for each in answered if each.variant} == {
        ("live", "answer@1"),
        ("candidate", "answer@2"),
    }
    assert (await prompt_of_live(harness), (await harness.rollout()).state) == ("answer@2", RolloutState.PROMOTED)
    events = [event for event in harness.published if hasattr(event, "prompt")]
    assert [type(event) for event in events] == [RolloutHasStarted, RolloutHasAdvanced, RolloutWasPromoted]
    assert {event.prompt for event in events} == {"answer@2"}


async def test_a_stored_rollout_of_a_prompt_is_read_as_it_was() -> None:
    deployment = await (await canary()).deployment()

    identity = Identity(**{each.name: getattr(deployment, each.name) for each in fields(Identity)})
    read = DEPLOYMENTS.decode(identity, DEPLOYMENTS.encode(deployment), DEPLOYMENTS.schema)

    assert read.rollout
    assert (read.rollout.prompt, read.spec) == (
        PromptChange(name="answer", number=2, before="answer@1"),
        deployment.spec,
    )


async def test_the_file_applied_again_keeps_the_promoted_prompt_and_does_not_take_a_newer_one() -> None:
    harness = await ended(await canary())
    crud = crud_of(harness)

    def write(prompt: Prompt) -> None:
        prompt.write(replace(PROMPT, user="Newest: {{ question }}"), digest="d3", now=NOON)

    await harness.harness.prompts.update(ADA.project, "answer", write, request=Request.internal())
    same = await crud.update(ADA, "helpdesk", change=lambda spec: spec, write=writing("same"))
    applied = await crud.update(
        ADA,
        "helpdesk",
        change=lambda spec: replace(spec, prompt_go_live=PromptGoLive.WHEN_APPLIED),
        write=writing("by hand"),
    )

    assert (same.live.prompt, applied.live.prompt) == ("answer@2", "answer@3")


async def test_a_prompt_that_comes_to_go_live_by_rollout_stays_as_it_is() -> None:
    harness = await prompted()
    crud = crud_of(harness)
    by_hand = lambda spec: replace(spec, prompt="answer@1", prompt_go_live=PromptGoLive.WHEN_APPLIED)  # noqa: E731
    await crud.update(ADA, "helpdesk", change=by_hand, write=writing("by hand"))

    by_rollout = await crud.update(
        ADA,
        "helpdesk",
        change=lambda spec: replace(spec, prompt="answer", prompt_go_live=PromptGoLive.BY_ROLLOUT),
        write=writing("by rollout"),
    )

    assert by_rollout.live.prompt == "answer@1"


@pytest.mark.parametrize("prompt", ["answer@1", "acme/answer"])
async def test_a_version_or_anothers_prompt_is_not_moved_by_rollouts(prompt: str) -> None:
    harness = await prompted()

    with pytest.raises(InvalidInput, match="rollouts move it"):
        await crud_of(harness).update(
            ADA, "helpdesk", change=lambda spec: replace(spec, prompt=prompt), write=writing("w")
        )


async def test_a_promoted_prompt_is_rolled_back_to_the_one_before_unless_another_answers_by_now() -> None:
    harness = await ended(await canary())

    await harness.roll_back(ADA, harness.command("back"))

    assert (await prompt_of_live(harness), (await harness.rollout()).state) == ("answer@1", RolloutState.ROLLED_BACK)
    event = next(each for each in reversed(harness.published) if isinstance(each, RolloutWasRolledBack))
    assert (event.prompt, event.reason) == ("answer@2", Reason.BY_HAND)


async def test_a_prompt_that_fails_on_questions_is_taken_back_from_its_users_by_its_error_rate() -> None:
    harness = await canary(
        replace(PROMPT, user='{% if "weather" in question %}{{ missing.name }}{% endif %}{{ question }}')
    )
    assert (await harness.rollout()).state is RolloutState.CANARY
    for number in range(40):
        asked = question(f"How is the weather {number}?", end_user=f"w{number}")
        with suppress(TidemillError):
            await harness.answer.whole(ADA, asked, request=asking(f"w{number}"))
    await harness.follows_up()
    await harness.tick()

    rollout = await harness.rollout()
    assert (rollout.state, rollout.message.partition(":")[0]) == (RolloutState.ROLLED_BACK, "ERROR_RATE")
    assert len(await harness.asks(5)) == 5


async def test_another_configuration_meanwhile_ends_the_rollout_and_has_it_evaluated_again() -> None:
    harness = await canary()

    await crud_of(harness).update(
        ADA, "helpdesk", change=lambda spec: replace(spec, fallback=("smollm2",)), write=writing("w")
    )

    refused = harness.published[-1]
    assert isinstance(refused, RolloutWasRefused)
    assert (refused.reason, refused.prompt) == (Reason.BASELINE_CHANGED, "answer@2")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"prompt": "other", "candidate": "other@2"}, Reason.NO_POLICY),
        ({"baseline": "another"}, Reason.BASELINE_CHANGED),
        ({"candidate": "answer@3"}, Reason.PROMPT_NOT_READY),
        ({"gate": "another_gate"}, None),
    ],
)
async def test_what_does_not_concern_the_deployment_starts_nothing(
    changes: dict[str, str], reason: Reason | None
) -> None:
    harness = await prompted()

    await passed(harness, **changes)

    assert (await harness.deployment()).rollout is None
    refused = [event.reason for event in harness.published if isinstance(event, RolloutWasRefused)]
    assert refused == ([reason] if reason else [])


async def test_a_prompt_that_takes_other_variables_than_the_live_one_is_refused_by_name() -> None:
    schema = '{"type": "object", "properties": {"tone": {"type": "string"}}}'
    harness = await prompted(replace(SHORTER, variables_schema=schema))

    await passed(harness)

    refused = harness.published[-1]
    assert isinstance(refused, RolloutWasRefused)
    assert refused.reason is Reason.PROMPT_NOT_READY
    assert "other variables than answer@1" in refused.message


async def test_a_prompt_that_is_gone_before_it_begins_is_taken_back() -> None:
    harness = await prompted()
    await passed(harness)

    def unwrite(prompt: Prompt) -> None:
        prompt.versions.pop()

    await harness.harness.prompts.update(ADA.project, "answer", unwrite, request=Request.internal())
    await harness.tick()

    rollout = await harness.rollout()
    assert (rollout.state, rollout.message.partition(":")[0]) == (RolloutState.ROLLED_BACK, "PROMPT_NOT_READY")


async def test_one_that_people_have_to_agree_to_waits_for_them_and_its_author_does_not_count() -> None:
    harness = await prompted()

    def guard(prompt: Prompt) -> None:
        prompt.approval = ApprovalPolicy(count=1)

    await harness.harness.prompts.update(ADA.project, "answer", guard, request=Request.internal())
    await passed(harness)
    await harness.tick()

    rollout = await harness.rollout()
    assert (rollout.ready, rollout.authors) == (False, ("user:eve",))
    assert "answer@2 lacks 1 approval" in rollout.message
    with pytest.raises(ApproverNotAllowed):
        await harness.approve(replace(ADA, subject="user:eve"), harness.command("agree"))


async def test_an_evaluation_asks_by_the_version_that_it_names_and_a_live_question_may_name_none() -> None:
    harness = await prompted()
    by_second = question(purpose=Purpose.EVALUATION, prompt="answer@2")

    answered = await harness.answer.whole(ADA, by_second, request=asking("r1"))

    assert answered.variant
    assert (answered.variant.name, answered.variant.prompt) == ("candidate", "answer@2")
    for wrong in (question(prompt="answer@2"), replace(by_second, prompt="answer")):
        with pytest.raises(QuestionRefused, match="prompt"):
            await harness.answer.whole(ADA, wrong, request=asking("r2"))


async def test_a_version_that_another_replica_made_a_moment_ago_is_read_from_the_store() -> None:
    harness = await prompted()
    before = InMemoryAggregates(prompt_named("answer"), codec=PROMPTS, missing=PromptNotFound)
    stale = replace(harness.answer, prompts=before)

    answered = await stale.whole(ADA, question(purpose=Purpose.EVALUATION, prompt="answer@2"), request=asking("r1"))

    assert answered.variant
    assert answered.variant.prompt == "answer@2"
