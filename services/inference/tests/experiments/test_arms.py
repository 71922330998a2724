"""What arms answer with, and which of their answers count."""

from dataclasses import replace

import pytest

from services.inference.tests.experiments.experiment_fakes import ExperimentHarness
from services.inference.tests.fakes import ADA, PROMPT
from tidemill_core.application import Request
from tidemill_core.errors import InvalidInput
from tidemill_inference.deployments.domain.configuration import Configuration, Sampling
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.experiments.domain.plan import Arm
from tidemill_inference.prompts.domain.prompt import Prompt, PromptContent
from tidemill_testkit.clocks import NOON

NOW = Arm(name="now", control=True)
SHORT = Arm(name="short", prompt="answer@2")
LIVE = Sampling(temperature=0.2, max_output_tokens=500)
USERS = [f"u{number}" for number in range(8)]


async def prompted(content: PromptContent) -> ExperimentHarness:
    """Return a deployment that answers with the first of two versions of its prompt."""
    harness = ExperimentHarness()

    def write(prompt: Prompt) -> None:
        prompt.write(content, digest="d2", now=NOON)

    await harness.rollouts.harness.prompts.update(ADA.project, "answer", write, request=Request.internal())
    return harness


async def sampled(arm: Sampling) -> ExperimentHarness:
    """Return an experiment of another sampling, on a deployment whose requests may name one."""
    harness = ExperimentHarness()

    def change(stored: Deployment) -> None:
        spec = replace(stored.spec, sampling=LIVE, allow_sampling_override=True)
        live = stored.live
        configuration = Configuration.of(model=live.model, prompt=live.prompt, retrieval=live.retrieval, sampling=LIVE)
        stored.configure(spec, configuration, now=NOON)

    await harness.rollouts.harness.deployments.update(ADA.project, "helpdesk", change, request=Request.internal())
    await harness.starts(arms=(NOW, Arm(name="other", sampling=arm)))
    return harness


@pytest.mark.parametrize("user", ["{{ missing.name }}", "{% for n in range(20000) %}{{ question }}{% endfor %}"])
async def test_questions_that_the_prompt_of_an_arm_cannot_put_are_its_failures(user: str) -> None:
    harness = await prompted(replace(PROMPT, user=user))
    await harness.starts(arms=(NOW, SHORT))

    for name in USERS:
        await harness.asks(name)

    arms = (await harness.count(await harness.stored())).arms
    assert (arms["now"].failures, arms["short"].failures) == (0, arms["short"].answers)
    assert arms["now"].answers + arms["short"].answers == len(USERS)
    assert arms["short"].answers


async def test_a_prompt_that_takes_other_variables_than_the_live_one_is_refused() -> None:
    schema = '{"type": "object", "properties": {"tone": {"type": "string"}}}'
    harness = await prompted(replace(PROMPT, variables_schema=schema))

    with pytest.raises(InvalidInput, match="answer@2 takes other variables than answer@1") as refused:
        await harness.starts(arms=(SHORT, NOW))

    assert [each.field for each in refused.value.violations] == ["experiment.arms[0].prompt"]


@pytest.mark.parametrize(
    ("says", "arm", "live_answers", "arm_answers"),
    [
        (Sampling(temperature=0.2), Sampling(temperature=0.8), 0.2, 0.8),
        (Sampling(temperature=0.2, seed=3), Sampling(temperature=0.8), 0.2, 0.8),
        (Sampling(max_output_tokens=500), Sampling(max_output_tokens=100), 500, 100),
        (Sampling(max_output_tokens=50), Sampling(temperature=0.8), 50, 50),
    ],
)
async def test_an_arm_answers_with_its_sampling_where_the_request_names_the_live_one(
    says: Sampling, arm: Sampling, live_answers: float, arm_answers: float
) -> None:
    harness = await sampled(arm)

    for name in USERS:
        await harness.asks(name, sampling=says)

    field = "max_output_tokens" if says.max_output_tokens else "temperature"
    used = {getattr(prompt.sampling, field) for prompt in harness.rollouts.harness.engine.seen}
    assert used == {live_answers, arm_answers}
    assert (await harness.count(await harness.stored())).answers == len(USERS)


@pytest.mark.parametrize(
    ("says", "arm"),
    [
        (Sampling(temperature=0.5), Sampling(temperature=0.8)),
        (Sampling(max_output_tokens=200), Sampling(max_output_tokens=100)),
        (Sampling(max_output_tokens=500), Sampling(max_output_tokens=800)),
    ],
)
async def test_requests_that_ask_for_another_sampling_than_arms_have_are_no_part_of_the_experiment(
    says: Sampling, arm: Sampling
) -> None:
    harness = await sampled(arm)

    for name in USERS:
        await harness.asks(name, sampling=says)

    seen = harness.rollouts.harness.engine.seen
    assert [prompt.sampling for prompt in seen] == [says.over(LIVE)] * len(USERS)
    assert not await harness.outcomes.of_run(ADA.project, "tone@1")
    assert {record.variant.experiment for record in harness.rollouts.harness.inferences.all() if record.variant} == {""}


async def test_where_the_prompt_of_an_arm_is_deleted_what_is_live_answers_at_once_and_does_not_count() -> None:
    harness = await prompted(PROMPT)
    await harness.starts(arms=(NOW, SHORT))

    def unwrite(prompt: Prompt) -> None:
        prompt.versions = prompt.versions[:1]

    await harness.rollouts.harness.prompts.update(ADA.project, "answer", unwrite, request=Request.internal())
    for name in USERS:
        await harness.asks(name)

    variants = [each.variant for each in harness.rollouts.harness.inferences.all() if each.variant]
    assert {each.prompt for each in variants} == {"answer@1"}
    assert {each.experiment for each in variants} == {"", "tone@1"}
    assert len(variants) == len(USERS)
    counts = await harness.count(await harness.stored())
    assert counts.arms["short"].answers == 0
    assert counts.arms["now"].failures == 0
