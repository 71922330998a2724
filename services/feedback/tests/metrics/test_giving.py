"""Values of declared metrics, given to answers."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.feedback.tests.builders import ADA, EVE, event, rating, request, write
from services.feedback.tests.harness import FeedbackHarness
from services.feedback.tests.metrics.builders import LEFT, REOPENED, STARS, metric
from tidemill_core.errors import InvalidInput
from tidemill_feedback.metrics.domain.metric import FeedbackMetric, Measure
from tidemill_feedback.reactions.domain.feedback import FeedbackState, FeedbackWasRecorded, FeedbackWasWithdrawn
from tidemill_feedback.reactions.domain.reaction import Reaction
from tidemill_feedback.reactions.messages import RECORDED, feedback_message, feedback_payload

FLAG = Reaction(metric="reopened", flag=True, inference="i1")


async def declaring(*metrics: FeedbackMetric) -> FeedbackHarness:
    harness = FeedbackHarness()
    for each in metrics or (REOPENED, STARS, LEFT):
        await harness.declare.create(ADA, each, write())
    harness.inferences.put("i1")
    return harness


@pytest.mark.parametrize(
    ("reaction", "measure"),
    [
        (FLAG, Measure(value=1, score=0, business_value=-12.5, unit="EUR")),
        (replace(FLAG, flag=False), Measure(value=0, score=1, business_value=0, unit="EUR")),
        (
            replace(FLAG, rater="reviewer"),
            Measure(value=1, score=0, weight=3, business_value=-12.5, unit="EUR"),
        ),
        (Reaction(metric="stars", number=4, inference="i1"), Measure(value=4, score=0.75)),
        (Reaction(metric="left", category="bought", inference="i1"), Measure(business_value=30, unit="EUR")),
        (Reaction(metric="left", category="gone", inference="i1"), Measure(business_value=0, unit="EUR")),
    ],
)
async def test_a_value_is_reported_with_its_score_weight_and_worth(reaction: Reaction, measure: Measure) -> None:
    harness = await declaring()

    given = await harness.give(reaction)

    [recorded] = harness.feedback.published
    assert isinstance(recorded, FeedbackWasRecorded)
    assert (recorded.measure, recorded.number, recorded.category) == (measure, None, reaction.category)
    read = await harness.read.get(ADA, given.id)
    shown = feedback_message(read)
    name = shown.WhichOneof("value")
    assert name
    assert getattr(shown, name) == getattr(reaction, name)
    assert read.current == given.current


@pytest.mark.parametrize(("choice", "score"), [("bought", 1.0), ("escalated", 0.0), ("gone", 1.0)])
async def test_a_choice_has_a_score_where_the_category_says_which_are_good(choice: str, score: float) -> None:
    harness = await declaring(metric(LEFT, good_choices=("bought", "gone"), value=None))

    await harness.give(Reaction(metric="left", category=choice, inference="i1"))

    [recorded] = harness.feedback.published
    assert isinstance(recorded, FeedbackWasRecorded)
    assert recorded.measure == Measure(score=score)
    assert (await harness.declare.get(ADA, "left")).good_choices == ("bought", "gone")


async def test_an_event_has_what_a_value_means_and_nothing_of_it_where_nothing_is_declared() -> None:
    harness = await declaring()
    given, rated = await harness.give(FLAG), await harness.give(rating(0.5))
    published = [event for event in harness.feedback.published if isinstance(event, FeedbackWasRecorded)]

    ce_type, of_metric = feedback_payload(given, published[0], 1)
    _, of_rating = feedback_payload(rated, published[1], 1)

    assert ce_type == RECORDED
    said = {field.name: value for field, value in of_metric.ListFields()}
    assert (said["value"], said["score"], said["weight"], said["business_value"]) == (1, 0, 1, -12.5)
    assert said["unit"] == "EUR"
    assert "number" not in said
    assert not {field.name for field, _ in of_rating.ListFields()} & {"value", "score", "weight", "unit", "category"}


@pytest.mark.parametrize(
    ("reaction", "reported"),
    [
        (replace(FLAG, flag=None, number=1), "flag: a reopened is given in flag, and in nothing else.*number: a reo"),
        (replace(FLAG, comment="yes"), "comment: a reopened is given in flag"),
        (Reaction(metric="stars", number=5.5, inference="i1"), r"number: is 5\.5; stars is 1 to 5"),
        (Reaction(metric="stars", number=float("nan"), inference="i1"), r"number: is nan; stars is 1 to 5"),
        (Reaction(metric="left", category="sold", inference="i1"), "is 'sold'; left is one of bought, escalated, gone"),
        (Reaction(metric="left", category="My name!", inference="i1"), "category: is of 8 characters; left is one of"),
        (rating(1, flag=True), "flag: a rating is given in number"),
        (
            Reaction(metric="copied", flag=True, inference="i1"),
            "metric: is 'copied'; use one of rating, comment, correction, preference, left, reopened, stars, or",
        ),
    ],
)
async def test_a_value_that_its_metric_does_not_take_is_refused(reaction: Reaction, reported: str) -> None:
    harness = await declaring()

    with pytest.raises(InvalidInput, match=reported) as refused:
        await harness.give(reaction)
    assert "My name" not in str(refused.value)
    assert harness.feedback.published == []


async def test_a_metric_is_its_projects_and_ends_with_its_deletion() -> None:
    harness = await declaring(REOPENED)
    harness.inferences.put("i1", project="other")
    given = await harness.give(FLAG)

    with pytest.raises(InvalidInput, match="use one of rating, comment, correction, preference, or"):
        await harness.give(FLAG, caller=EVE)
    await harness.declare.delete(ADA, "reopened", write())
    with pytest.raises(InvalidInput, match="metric: is 'reopened'"):
        await harness.give(FLAG)

    assert (await harness.read.get(ADA, given.id)).current == given.current


async def test_a_request_that_was_recorded_is_answered_alike_after_its_metric_is_gone() -> None:
    harness = await declaring()
    given = await harness.give(FLAG, request_id="r1")
    await harness.declare.delete(ADA, "reopened", write())

    again = await harness.give(FLAG, request_id="r1")
    with pytest.raises(InvalidInput, match="metric: is 'reopened'"):
        await harness.give(FLAG, request_id="r2")

    assert (again.id, again.times, again.current) == (given.id, 1, given.current)


async def test_a_signal_that_was_recorded_and_is_matched_again_is_no_dead_letter_after_its_metric_is_gone() -> None:
    harness = await declaring()
    sent = event("e2")
    await harness.take(ADA, replace(FLAG, inference="i2"), request=request("e2"), event=sent)
    [waiting] = await harness.pending.of("acme", "i2")
    harness.inferences.put("i2")
    await harness.match(ADA, "i2")
    await harness.pending.add(waiting)  # as after a kill between the record and the end of the waiting
    await harness.declare.delete(ADA, "reopened", write())

    await harness.match(ADA, "i2")

    assert harness.dead_letters.letters == []
    assert await harness.pending.of("acme", "i2") == []


async def test_what_was_given_means_what_its_metric_was_then_also_after_a_withdrawal() -> None:
    harness = await declaring(REOPENED)
    given = await harness.give(FLAG)
    await harness.declare.update(ADA, metric(value=None), {"value"}, write())
    harness.clock.advance(timedelta(seconds=1))

    later = await harness.give(replace(FLAG, flag=False))
    withdrawn = await harness.read.withdraw(ADA, given.id, write())

    assert later.current
    assert later.current.measure == Measure(value=0, score=1)
    assert [each.measure and each.measure.business_value for each in withdrawn.history] == [-12.5, None]
    assert withdrawn.state is FeedbackState.WITHDRAWN
    assert isinstance(harness.feedback.published[-1], FeedbackWasWithdrawn)


async def test_a_signal_waits_for_its_answer_and_is_a_dead_letter_if_its_metric_is_gone_by_then() -> None:
    harness = await declaring(REOPENED)
    harness.inferences.answers.clear()
    for name in ("i1", "i2"):
        await harness.take(ADA, replace(FLAG, inference=name), request=request(name), event=event(name))
    harness.inferences.put("i1")
    harness.inferences.put("i2")

    await harness.match(ADA, "i1")
    await harness.declare.delete(ADA, "reopened", write())
    await harness.match(ADA, "i2")

    assert [each.state for each in harness.feedback.all()] == [FeedbackState.RECORDED]
    assert [(letter.inference, reason) for letter, reason in harness.dead_letters.letters] == [("i2", "INVALID_INPUT")]
