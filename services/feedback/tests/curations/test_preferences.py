"""Curations of preferences: a correction, and the answer that it is preferred to."""

import json

import pytest

from services.feedback.tests.builders import ADA, rule_with, write
from services.feedback.tests.changed_rules import change
from services.feedback.tests.harness import FeedbackHarness
from tidemill_core.errors import InvalidInput
from tidemill_feedback.curations.domain.example import ExampleKind, Prompt
from tidemill_feedback.curations.messages import curation_payload
from tidemill_feedback.errors import InferenceUnknown

PREFERENCE = ExampleKind.PREFERENCE


async def three_corrections(**rule: object) -> FeedbackHarness:
    harness = FeedbackHarness()
    await harness.curate(**rule)
    for number in range(3):
        await harness.correct(number)
    return harness


async def test_a_line_of_a_preference_has_its_kind_and_the_answer_that_was_rejected() -> None:
    harness = await three_corrections(kind=PREFERENCE)
    await harness.work()

    (line, *others) = [json.loads(each) for each in harness.batch()]

    assert len(others) == 2
    assert line["kind"] == "EXAMPLE_KIND_PREFERENCE"
    assert line["rejected"] == {"role": "ROLE_ASSISTANT", "parts": [{"text": "It is wrong."}]}
    assert line["output"]["parts"][0]["text"].startswith("Right answer")


async def test_a_demonstration_has_neither_kind_nor_rejected_answer_as_before() -> None:
    harness = await three_corrections()
    await harness.work()

    lines = [json.loads(each) for each in harness.batch()]

    assert all("kind" not in line and "rejected" not in line for line in lines)


@pytest.mark.parametrize(("kind", "given"), [(PREFERENCE, True), (ExampleKind.DEMONSTRATION, False)])
async def test_the_event_of_a_completion_says_which_kind_if_it_is_no_demonstration(
    kind: ExampleKind, *, given: bool
) -> None:
    harness = await three_corrections(kind=kind)
    await harness.work()
    curation = await harness.curations.get("acme", "sft")

    _, payload = curation_payload(curation, harness.completions[0], 1)

    assert payload.batch.HasField("kind") == given  # type: ignore[attr-defined] # it is a CurationCompleted
    assert harness.completions[0].batch.kind is kind


async def test_a_correction_of_an_empty_answer_is_no_preference() -> None:
    harness = await three_corrections(kind=PREFERENCE, new_examples=2)
    harness.inferences.silent.add("i0")
    await harness.work()
    await harness.work()

    assert len(harness.batch()) == 2
    assert (await harness.crud.get(ADA, "sft")).counts.filtered == 1


async def test_prompts_of_earlier_versions_are_fetched_again_for_the_answer() -> None:
    harness = await three_corrections(new_examples=100)
    harness.inferences.forgets_answers = True
    await harness.work()
    harness.inferences.forgets_answers = False

    await change(harness, kind=PREFERENCE, new_examples=3)
    await harness.work()
    await harness.work()

    assert len(harness.batch()) == 3
    assert len(harness.inferences.asked) == 6


@pytest.mark.parametrize(("kind", "examples"), [(ExampleKind.DEMONSTRATION, 4), (PREFERENCE, 3)])
async def test_a_prompt_of_an_earlier_version_is_enough_for_a_demonstration_when_its_record_is_gone(
    kind: ExampleKind, examples: int
) -> None:
    harness = FeedbackHarness()
    await harness.correct(0)
    harness.prompts.stored["acme", "i0"] = Prompt(question="How?", messages=(), passages=())
    harness.inferences.no_prompt["i0"] = InferenceUnknown("i0")

    await harness.curate(kind=kind, new_examples=3)
    for number in range(1, 4):
        await harness.correct(number)
    await harness.work()
    await harness.work()

    assert len(harness.batch()) == examples
    assert (await harness.crud.get(ADA, "sft")).counts.filtered == 4 - examples


async def test_only_corrections_make_preferences() -> None:
    harness = FeedbackHarness()

    with pytest.raises(InvalidInput, match="feedback"):
        await harness.crud.create(ADA, "sft", rule_with(kind=PREFERENCE, feedback=("rating",)), write())
