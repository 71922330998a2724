"""What becomes of reactions to answers that are there."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.feedback.tests.builders import ADA, EVE, correction, rating, request
from services.feedback.tests.harness import FeedbackHarness
from tidemill_core.application import PageRequest, derived_id
from tidemill_core.errors import InvalidInput, RequestIdReused
from tidemill_feedback.errors import (
    FeedbackNotFound,
    InferenceUnanswered,
    InferenceUnknown,
    NothingCorrected,
    NotLive,
    ProjectDeleted,
)
from tidemill_feedback.reactions.domain.feedback import FeedbackState, FeedbackWasRecorded
from tidemill_feedback.reactions.domain.reaction import Reaction
from tidemill_feedback.reactions.submit_feedback import Submission


async def test_a_rating_is_recorded_and_reported_with_what_a_canary_is_judged_by() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1", end_user="u7")

    given = await harness.give(rating(0.25, labels={"team": "a"}))

    assert given.id == derived_id("acme", "i1", "rating", "u7", "user")
    assert (given.state, given.times, given.seq, given.labels) == (FeedbackState.RECORDED, 1, 1, {"team": "a"})
    assert (given.deployment, given.variant, given.rollout) == ("helpdesk", "candidate", "r1")
    [event] = harness.feedback.published
    assert isinstance(event, FeedbackWasRecorded)
    assert event.number == 0.25


async def test_an_inference_is_found_by_the_request_id_that_its_caller_chose() -> None:
    harness = FeedbackHarness()
    inference = derived_id("acme", "inference", "q-1")
    harness.inferences.put(inference)

    given = await harness.give(rating(1, inference="", inference_request_id="q-1"))

    assert given.inference == inference


async def test_a_later_reaction_of_the_same_person_replaces_the_earlier_and_history_is_kept_within_bounds() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1")
    for number in range(6):
        harness.clock.advance(timedelta(seconds=1))
        await harness.give(rating(number / 10))

    [given] = (await harness.read.list(ADA, PageRequest(), inference="i1")).items
    assert given.current
    assert (given.current.number, given.times, given.seq) == (0.5, 6, 6)
    assert [each.number for each in given.history] == [0.2, 0.3, 0.4]


async def test_a_reaction_that_was_observed_earlier_and_comes_late_replaces_nothing() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1")
    await harness.give(rating(1))

    late = await harness.give(rating(0, observe_time=harness.clock.now() - timedelta(hours=1)))

    assert late.current
    assert (late.current.number, late.times, len(late.history)) == (1, 2, 1)
    assert len(harness.feedback.published) == 1


async def test_other_people_metrics_and_raters_are_other_feedback() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1")

    given = [
        await harness.give(rating(1)),
        await harness.give(rating(1, end_user="u2")),
        await harness.give(rating(1, rater="reviewer")),
        await harness.give(correction("Right.")),
        await harness.give(Reaction(metric="comment", comment="Thanks", inference="i1")),
    ]

    assert len({each.id for each in given}) == 5


async def test_the_same_request_again_has_one_effect_and_with_another_body_none() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1")
    first = await harness.give(rating(1), request_id="r1")
    await harness.give(rating(0), request_id="r2")
    again = await harness.give(rating(1), request_id="r1")

    assert again.id == first.id
    assert (again.times, len(harness.feedback.published)) == (2, 2)
    with pytest.raises(RequestIdReused):
        await harness.give(rating(0.5), request_id="r1")


@pytest.mark.parametrize(
    ("reaction", "reported"),
    [
        (rating(1.01), r"number: is 1\.01; a rating is 0 \(bad\) to 1 \(good\)"),
        (rating(-0.5), r"number: is -0\.5"),
        (rating(float("nan")), "number: is nan"),
        (correction(" \n"), "correction: is empty: .* write 1 to 16000 characters"),
        (correction("x" * 16001), "correction: has 16001 characters; write at most 16000"),
        (Reaction(metric="comment", comment="", inference="i1"), "comment: is empty"),
        (Reaction(metric="comment", inference="i1"), "comment: a comment is given in comment"),
        (Reaction(metric="rating", comment="good", inference="i1"), "number: a rating is given in number"),
        (Reaction(metric="stars", number=1, inference="i1"), "metric: is 'stars'; use one of rating, comment"),
        (rating(1, inference=""), "target: name the inference"),
        (rating(1, inference_request_id="q"), "target: name the inference"),
        (
            rating(1, observe_time=datetime(1, 1, 1, tzinfo=UTC)),
            "observe_time: is in the year 1; send a time from 2000",
        ),
        (rating(1, rater="robot"), "rater: is 'robot'"),
        (rating(1, end_user="u" * 201), "end_user: has 201 characters; use at most 200"),
        (rating(1, labels={"k": "v" * 201}), "labels: has a key or value of 201"),
        (rating(1, labels={str(number): "" for number in range(33)}), "labels: has 33 entries; use at most 32"),
    ],
)
async def test_what_cannot_be_taken_is_refused_by_field_value_and_limit(reaction: Reaction, reported: str) -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1")

    with pytest.raises(InvalidInput, match=reported):
        await harness.give(reaction)
    assert harness.feedback.published == []


async def test_a_time_in_the_future_is_refused_as_nothing_could_replace_it() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1")

    with pytest.raises(InvalidInput, match="observe_time"):
        await harness.give(rating(1, observe_time=harness.clock.now() + timedelta(minutes=6)))


async def test_a_correction_that_says_what_was_answered_is_refused() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1", output="It  is\nso. ")

    with pytest.raises(NothingCorrected, match="equals the recorded answer of i1") as refused:
        await harness.give(correction(" It is so."))
    assert "It is so" not in refused.value.message


async def test_only_live_answers_count() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1", live=False)

    with pytest.raises(NotLive):
        await harness.give(rating(1))


async def test_an_inference_that_is_unknown_unanswered_or_another_projects_is_refused() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1")
    harness.inferences.put("i2", completed=False)

    with pytest.raises(InferenceUnknown):
        await harness.give(rating(1, inference="nope"))
    with pytest.raises(InferenceUnknown):
        await harness.give(rating(1), caller=EVE)
    with pytest.raises(InferenceUnanswered):
        await harness.give(rating(1, inference="i2"))


async def test_validating_only_shows_what_would_be_and_stores_nothing() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1")
    submission = Submission(reaction=rating(1), request=request(), observed_at=harness.clock.now(), validate_only=True)

    shown = await harness.submit(ADA, submission)

    assert (shown.state, shown.times) == (FeedbackState.RECORDED, 1)
    with pytest.raises(FeedbackNotFound):
        await harness.read.get(ADA, shown.id)


async def test_feedback_is_listed_by_inference_and_by_deployment_and_not_to_other_projects() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1")
    harness.inferences.put("i2", deployment="sales")
    await harness.give(rating(1))
    await harness.give(rating(0, inference="i2"))

    assert [each.inference for each in (await harness.read.list(ADA, PageRequest(), deployment="sales")).items] == [
        "i2"
    ]
    assert [each.inference for each in (await harness.read.list(ADA, PageRequest(), inference="i1")).items] == ["i1"]
    assert len((await harness.read.list(ADA, PageRequest())).items) == 2
    assert not (await harness.read.list(EVE, PageRequest())).items


async def test_feedback_is_listed_from_its_newest_but_that_of_one_inference() -> None:
    harness = FeedbackHarness()
    for name in ("i1", "i2"):
        harness.inferences.put(name)
        await harness.give(rating(1, inference=name))
        harness.clock.advance(timedelta(seconds=1))
    newest = PageRequest(newest_first=True)

    assert [each.inference for each in (await harness.read.list(ADA, newest)).items] == ["i2", "i1"]
    with pytest.raises(InvalidInput, match="order_by: is not supported for the feedback of one inference"):
        await harness.read.list(ADA, newest, inference="i1")


async def test_no_reaction_is_stored_behind_the_erasure_of_a_deleted_project() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1")
    harness.submit = replace(harness.submit, deleted=lambda project: project == ADA.project)

    with pytest.raises(ProjectDeleted):
        await harness.give(rating(1))
    assert not (await harness.read.list(ADA, PageRequest())).items
