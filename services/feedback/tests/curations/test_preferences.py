"""Curations of preferences: a correction or a chosen answer, and the answer that it is preferred to."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.feedback.tests.builders import ADA, choice, prompt_of, rule_with, write
from services.feedback.tests.changed_rules import change
from services.feedback.tests.harness import FeedbackHarness
from tidemill_core.errors import InvalidInput
from tidemill_feedback.curations.domain.example import ExampleKind, Prompt, Turn
from tidemill_feedback.curations.messages import curation_payload
from tidemill_feedback.errors import InferenceUnknown
from tidemill_feedback.reactions.domain.reaction import Preference

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


async def test_a_correction_of_an_answer_without_text_becomes_a_demonstration_when_the_kind_changes() -> None:
    harness = await three_corrections(kind=PREFERENCE, new_examples=2)
    harness.inferences.silent.add("i0")
    await harness.work()
    await harness.work()
    assert len(harness.batch()) == 2

    await change(harness, kind=ExampleKind.DEMONSTRATION, new_examples=1)
    await harness.work()
    await harness.work()

    assert len(harness.batch()) == 3
    assert (await harness.crud.get(ADA, "sft")).counts.filtered == 0


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


async def test_only_corrections_and_choices_make_preferences() -> None:
    harness = FeedbackHarness()

    with pytest.raises(InvalidInput, match=r"of kind preference are made of \[correction, preference\]"):
        await harness.crud.create(ADA, "sft", rule_with(kind=PREFERENCE, feedback=("rating",)), write())


async def chosen(harness: FeedbackHarness, better: str, worse: str, **other: Any) -> None:  # noqa: ANN401 - of a choice
    for name in (better, worse):
        if ("acme", name) not in harness.inferences.answers:
            harness.inferences.put(name, question="q", output=f"Answer {name}.")
    harness.clock.advance(timedelta(seconds=1))
    await harness.give(choice(better, worse, **other))


async def curated(**rule: object) -> FeedbackHarness:
    harness = FeedbackHarness(trusted=("reviewer",))
    await harness.curate(**{"kind": PREFERENCE, "feedback": ("correction", "preference"), "new_examples": 1, **rule})
    return harness


async def test_a_choice_is_a_preference_of_the_chosen_answer() -> None:
    harness = await curated()
    await chosen(harness, "i2", "i1")
    await harness.work()

    (line,) = [json.loads(each) for each in harness.batch()]
    assert (line["kind"], line["inference"]) == ("EXAMPLE_KIND_PREFERENCE", "i2")
    assert line["output"]["parts"] == [{"text": "Answer i2."}]
    assert line["rejected"]["parts"] == [{"text": "Answer i1."}]


async def test_choices_and_corrections_make_preferences_together() -> None:
    harness = await curated(new_examples=2)
    await chosen(harness, "i2", "i1")
    await harness.correct(7)
    await harness.work()

    assert {json.loads(each)["inference"] for each in harness.batch()} == {"i2", "i7"}


async def test_of_choices_between_the_same_answers_a_reviewer_s_counts_and_they_are_contested() -> None:
    harness = await curated()
    await chosen(harness, "i1", "i2", rater="reviewer", end_user="rita")
    await chosen(harness, "i2", "i1")
    await harness.work()

    (line,) = [json.loads(each) for each in harness.batch()]
    assert (line["inference"], line["end_user"]) == ("i1", "rita")
    assert (await harness.crud.get(ADA, "sft")).counts.contested == 1


async def test_a_tie_takes_the_choice_out_of_the_curation() -> None:
    harness = await curated(new_examples=5)
    await chosen(harness, "i1", "i2")
    await chosen(harness, "i1", "i2", preference=Preference(chosen="i1", rejected="i2", tie=True))
    await harness.work()

    assert (await harness.crud.get(ADA, "sft")).counts.examples == 0


@pytest.mark.parametrize("silent", ["i1", "i2"])
async def test_a_choice_between_answers_without_text_is_no_preference(silent: str) -> None:
    harness = await curated()
    harness.inferences.silent.add(silent)
    await chosen(harness, "i1", "i2")
    await harness.work()
    await harness.work()

    assert not harness.completions
    assert {row.failure for row in harness.ledger.stored.values()} == {"ANSWER_NOT_RECORDED"}


async def test_a_choice_between_answers_to_different_prompts_is_no_preference() -> None:
    harness = await curated()
    await chosen(harness, "i1", "i2")
    harness.prompts.stored["acme", "i1"] = replace(prompt_of("q"), messages=(Turn(role="user", text="Else?"),))
    await harness.work()
    await harness.work()

    assert not harness.completions
    assert {row.failure for row in harness.ledger.stored.values()} == {"PROMPTS_DIFFER"}
