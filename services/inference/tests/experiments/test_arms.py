"""What arms answer with, and which of their answers count."""

from dataclasses import replace

import pytest

from services.inference.tests.experiments.experiment_fakes import ExperimentHarness
from services.inference.tests.fakes import ADA, PROMPT
from tidemill_core.application import Request
from tidemill_core.errors import InvalidInput
from tidemill_inference.experiments.domain.plan import Arm
from tidemill_inference.prompts.domain.prompt import Prompt, PromptContent
from tidemill_testkit.clocks import NOON

NOW = Arm(name="now", control=True)
SHORT = Arm(name="short", prompt="answer@2")
USERS = [f"u{number}" for number in range(8)]


async def prompted(content: PromptContent) -> ExperimentHarness:
    """Return a deployment that answers with the first of two versions of its prompt."""
    harness = ExperimentHarness()

    def write(prompt: Prompt) -> None:
        prompt.write(content, digest="d2", now=NOON)

    await harness.rollouts.harness.prompts.update(ADA.project, "answer", write, request=Request.internal())
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
