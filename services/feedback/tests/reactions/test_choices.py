"""Choices between two answers: what is compared, what waits, and who is erased."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.feedback.tests.builders import ADA, choice, event, request, write
from services.feedback.tests.harness import FeedbackHarness
from tidemill_core.application import PageRequest
from tidemill_core.errors import InvalidInput
from tidemill_feedback.curations.domain.example import ExampleKind
from tidemill_feedback.errors import InferenceUnanswered, InferenceUnknown, NotLive
from tidemill_feedback.reactions.domain.feedback import FeedbackState
from tidemill_feedback.reactions.domain.reaction import Preference
from tidemill_feedback.reactions.messages import feedback_message, reaction_of
from tidemill_feedback.reactions.submit_feedback import Submission


def compared(harness: FeedbackHarness, *names: str, **other: Any) -> None:  # noqa: ANN401 - of an answer
    """Have answers given to one question of one user, the last one with what is other about it."""
    for name in names:
        more = other if name == names[-1] else {}
        harness.inferences.put(name, **{"question": "q", "output": f"Answer {name}.", **more})


async def test_a_choice_is_recorded_with_the_chosen_answer_as_its_target() -> None:
    harness = FeedbackHarness()
    compared(harness, "i1", "i2")

    given = await harness.give(choice("i2", "i1"))

    message = feedback_message(given)
    assert (given.state, given.counts, given.teaches) == (FeedbackState.RECORDED, True, True)
    assert (message.inference, message.preference.chosen, message.preference.rejected) == ("i2", "i2", "i1")
    assert reaction_of(message).preference == Preference(chosen="i2", rejected="i1")


async def test_a_later_choice_between_the_same_answers_replaces_the_earlier_one() -> None:
    harness = FeedbackHarness()
    compared(harness, "i1", "i2")

    first = await harness.give(choice("i1", "i2"))
    harness.clock.advance(timedelta(seconds=1))
    second = await harness.give(choice("i2", "i1"))

    assert first.id == second.id
    assert (second.inference, second.other, second.times) == ("i2", "i1", 2)
    assert [each.preference for each in second.history] == [Preference(chosen="i1", rejected="i2")]


async def test_an_earlier_choice_that_arrives_late_changes_nothing_of_the_later_one() -> None:
    harness = FeedbackHarness()
    compared(harness, "i1", "i2")
    now = harness.clock.now()

    await harness.give(replace(choice("i1", "i2"), observe_time=now))
    late = await harness.submit(
        ADA,
        Submission(
            reaction=replace(choice("i2", "i1"), observe_time=now - timedelta(hours=1)),
            request=request("late"),
            observed_at=now,
        ),
    )

    assert (late.inference, late.other) == ("i1", "i2")
    assert late.current is not None
    assert late.current.preference == Preference(chosen="i1", rejected="i2")
    assert [each.preference for each in late.history] == [Preference(chosen="i2", rejected="i1")]


async def test_a_tie_is_recorded_and_teaches_nothing() -> None:
    harness = FeedbackHarness()
    compared(harness, "i1", "i2")

    given = await harness.give(choice("i1", "i2", tie=True))

    assert (given.state, given.teaches) == (FeedbackState.RECORDED, False)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"end_user": "eve"}, "END_USERS_DIFFER"),
        ({"deployment": "sales"}, "DEPLOYMENTS_DIFFER"),
        ({"question": "p"}, "QUESTIONS_DIFFER"),
        ({"question": ""}, "QUESTION_NOT_RECORDED"),
        ({"output": "  Answer   i1. "}, "ANSWERS_ALIKE"),
    ],
)
async def test_what_cannot_be_compared_is_refused_with_its_reason(other: dict[str, str], reason: str) -> None:
    harness = FeedbackHarness()
    compared(harness, "i1", "i2", **other)

    with pytest.raises(InvalidInput, match="choose between two answers to one question") as refused:
        await harness.give(choice("i1", "i2"))
    assert refused.value.reason == reason
    assert "Answer i1" not in refused.value.message


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (choice("i1", "i1"), "preference.rejected: is preference.chosen"),
        (choice("", "i1"), "preference.chosen: names no inference"),
        (choice("i1", "i2", inference="i2"), "target: is not preference.chosen"),
        (choice("i1", "i2", inference_request_id="r"), "target: is not preference.chosen"),
        (choice("i1", "x" * 201), "preference.rejected: has 201 characters"),
        (choice("i1", "i2", number=1.0), "number: a preference is given in preference"),
        (
            replace(choice("i1", "i2"), preference=Preference(chosen="i1", rejected="i2", chosen_position=3)),
            "use 1 or 2",
        ),
    ],
)
async def test_a_choice_that_names_no_two_answers_is_refused(given: Any, field: str) -> None:  # noqa: ANN401 - a reaction
    harness = FeedbackHarness()
    compared(harness, "i1", "i2")

    with pytest.raises(InvalidInput) as refused:
        await harness.give(given)
    assert field in refused.value.message


async def test_both_answers_have_to_be_known_completed_and_live() -> None:
    harness = FeedbackHarness()
    compared(harness, "i1", "i2", completed=False)
    compared(harness, "i1", "i3", live=False)

    for rejected, error in (("i2", InferenceUnanswered), ("i3", NotLive), ("i4", InferenceUnknown)):
        with pytest.raises(error):
            await harness.give(choice("i1", rejected))


@pytest.mark.parametrize("order", [("i1", "i2"), ("i2", "i1")])
async def test_a_choice_waits_until_both_answers_are_known(order: tuple[str, str]) -> None:
    harness = FeedbackHarness()
    await harness.take(ADA, choice("i1", "i2"), request=request("r1"), event=event())

    for count, name in enumerate(order):
        assert (await harness.read.list(ADA, PageRequest(), deployment="helpdesk")).items == []
        compared(harness, name)
        await harness.match(ADA, name)
        assert bool(harness.pending.stored) == (count == 0)

    (given,) = (await harness.read.list(ADA, PageRequest(), deployment="helpdesk")).items
    assert (given.inference, given.other, given.state) == ("i1", "i2", FeedbackState.RECORDED)


async def test_a_choice_whose_answers_turn_out_not_comparable_is_a_dead_letter() -> None:
    harness = FeedbackHarness()
    compared(harness, "i1")
    await harness.take(ADA, choice("i1", "i2"), request=request("r1"), event=event())
    compared(harness, "i1", "i2", question="p")
    await harness.match(ADA, "i2")

    assert [reason for _, reason in harness.dead_letters.letters] == ["QUESTIONS_DIFFER"]
    assert not harness.pending.stored


async def test_an_erased_user_s_choices_are_erased_with_what_was_cached_of_both_answers() -> None:
    harness = FeedbackHarness()
    compared(harness, "i1", "i2")
    await harness.curate(kind=ExampleKind.PREFERENCE, feedback=("preference",), new_examples=5)
    given = await harness.give(choice("i1", "i2"))
    await harness.work()
    assert set(harness.prompts.stored) == {("acme", "i1"), ("acme", "i2")}

    await harness.erase(ADA, "u1", write())

    assert not harness.prompts.stored
    assert not harness.ledger.stored
    assert given.id not in await harness.feedback.get_many("acme", [given.id])
