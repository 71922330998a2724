"""Late outcomes: no value is no verdict until a metric matures, and then means what was declared."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from services.feedback.tests.builders import ADA, EVE, write
from services.feedback.tests.harness import FeedbackHarness
from services.feedback.tests.metrics.builders import LATE, REOPENED, STARS, metric
from services.feedback.tests.reactions.test_pending import erased_while_saving
from tidemill_core.application import Caller, PageRequest
from tidemill_core.errors import DependencyUnavailable
from tidemill_core.rights import REVIEW_FEEDBACK
from tidemill_feedback.metrics.domain.metric import FeedbackMetric, Measure
from tidemill_feedback.reactions.domain.feedback import FeedbackState, FeedbackWasRecorded
from tidemill_feedback.reactions.domain.reaction import Reaction
from tidemill_feedback.reactions.events import InferenceCompleted, inferences
from tidemill_feedback.reactions.messages import feedback_message, feedback_payload
from tidemill_testkit.clocks import NOON

WEEK = timedelta(days=7)
REVIEWER = Caller(project="acme", subject="user:rita", permissions=frozenset({REVIEW_FEEDBACK}))
FLAG = Reaction(metric="reopened", flag=True, inference="i1")


async def answered(declared: FeedbackMetric = LATE, *, live: bool = True) -> FeedbackHarness:
    harness = FeedbackHarness()
    await harness.declare.create(ADA, declared, write())
    harness.inferences.put("i1", live=live)
    await harness.expect(ADA, "i1", asked_at=NOON)
    return harness


async def test_no_value_is_no_verdict_until_the_metric_matures_and_then_the_declared_one() -> None:
    harness = await answered()
    harness.clock.advance(WEEK - timedelta(seconds=1))
    assert await harness.ripen() == 0
    assert not harness.feedback.all()

    harness.clock.advance(timedelta(seconds=1))
    assert await harness.ripen() == 1

    [given] = harness.feedback.all()
    shown = feedback_message(given)
    assert (shown.flag, shown.absent, shown.counts, shown.end_user, shown.rater) == (False, True, True, "u1", "user")
    assert shown.mature_time.ToDatetime(NOON.tzinfo) == NOON + WEEK
    [recorded] = harness.feedback.published
    assert isinstance(recorded, FeedbackWasRecorded)
    assert recorded.measure == Measure(value=0, score=1, business_value=0, unit="EUR", mature_time=NOON + WEEK)
    _, payload = feedback_payload(given, recorded, 1)
    assert {field.name: value for field, value in payload.ListFields()}["absent"] is True
    assert not harness.expected.stored
    assert await harness.ripen() == 0


async def test_no_value_of_a_number_means_what_is_declared_of_it() -> None:
    harness = await answered(metric(STARS, matures_after=WEEK, absent_number=2))
    harness.clock.advance(WEEK)

    assert await harness.ripen() == 1

    [given] = harness.feedback.all()
    shown = feedback_message(given)
    assert (shown.number, shown.absent, shown.counts, shown.WhichOneof("value")) == (2, True, True, "number")
    [recorded] = harness.feedback.published
    assert isinstance(recorded, FeedbackWasRecorded)
    assert recorded.measure == Measure(value=2, score=0.25, mature_time=NOON + WEEK)
    assert recorded.number is None, "the field is of ratings"


async def test_a_value_that_was_given_is_not_replaced_and_says_when_it_matures() -> None:
    harness = await answered()
    given = await harness.give(FLAG)
    assert given.current
    assert given.current.measure == Measure(value=1, score=0, business_value=-12.5, unit="EUR", mature_time=NOON + WEEK)
    harness.clock.advance(WEEK)

    await harness.ripen()

    [stays] = harness.feedback.all()
    assert (stays.times, stays.current) == (1, given.current)
    assert not harness.expected.stored


async def test_a_value_that_comes_after_all_replaces_what_no_value_meant() -> None:
    harness = await answered(metric(LATE, absent=True))
    harness.clock.advance(WEEK)
    await harness.ripen()

    late = await harness.give(replace(FLAG, flag=False, observe_time=NOON + timedelta(days=3)))

    assert late.current
    assert (late.current.flag, late.current.absent, late.times) == (False, False, 2)
    assert [(each.flag, each.absent) for each in late.history] == [(True, True)]


async def test_a_value_of_another_rater_and_one_that_was_withdrawn_are_no_absence() -> None:
    harness = await answered()
    reviewed = await harness.give(FLAG, caller=REVIEWER)
    assert (reviewed.rater, reviewed.counts) == ("reviewer", True)
    await harness.read.withdraw(ADA, reviewed.id, write())
    harness.clock.advance(WEEK)

    await harness.ripen()

    assert [each.state for each in harness.feedback.all()] == [FeedbackState.WITHDRAWN]


async def test_a_value_that_does_not_count_leaves_the_answer_to_mature() -> None:
    harness = await answered()
    other = await harness.give(replace(FLAG, end_user="u9"))
    assert not other.counts
    harness.clock.advance(WEEK)

    await harness.ripen()

    [matured] = [each for each in harness.feedback.all() if each.end_user == "u1"]
    assert matured.current
    assert (matured.counts, matured.current.absent) == (True, True)


async def test_a_value_of_a_metric_that_matures_later_by_now_waits_until_then() -> None:
    harness = await answered()
    await harness.declare.update(ADA, replace(LATE, matures_after=2 * WEEK), {"matures_after"}, write())
    harness.clock.advance(WEEK)

    assert await harness.ripen() == 1
    assert await harness.ripen() == 0
    assert not harness.feedback.all()
    harness.clock.advance(WEEK)
    await harness.ripen()

    [given] = harness.feedback.all()
    assert given.current
    assert given.current.absent
    assert not harness.expected.stored


async def test_a_crash_after_the_record_repeats_nothing() -> None:
    harness = await answered()
    harness.clock.advance(WEEK)
    [value] = harness.expected.stored.values()

    await harness.ripen()
    await harness.expected.add([value])
    await harness.ripen()

    assert [each.times for each in harness.feedback.all()] == [1]
    assert not harness.expected.stored


async def test_an_answer_that_is_completed_again_by_its_event_matures_once() -> None:
    harness = await answered()
    harness.clock.advance(WEEK)
    await harness.ripen()

    await harness.expect(ADA, "i1", asked_at=NOON)
    await harness.ripen()

    assert [each.times for each in harness.feedback.all()] == [1]


async def gone(harness: FeedbackHarness) -> None:
    harness.inferences.answers.clear()


async def erased(harness: FeedbackHarness) -> None:
    harness.erased_until["u1"] = harness.clock.now()


async def undeclared(harness: FeedbackHarness) -> None:
    await harness.declare.delete(ADA, "reopened", write())


async def changed(harness: FeedbackHarness) -> None:
    await harness.declare.update(ADA, REOPENED, {"matures_after"}, write())


@pytest.mark.parametrize("meanwhile", [gone, erased, undeclared, changed])
async def test_nothing_is_recorded_of_what_is_gone_meanwhile(
    meanwhile: Callable[[FeedbackHarness], Awaitable[None]],
) -> None:
    harness = await answered()
    harness.clock.advance(WEEK)

    await meanwhile(harness)
    await harness.ripen()

    assert not harness.feedback.all()
    assert not harness.expected.stored


async def test_a_value_that_is_recorded_while_its_user_is_erased_is_erased_behind_that() -> None:
    harness = await answered()
    harness.clock.advance(WEEK)
    erased_while_saving(harness, "u1")

    await harness.ripen()

    [tombstone] = harness.feedback.all()
    assert (tombstone.deleted, tombstone.current, tombstone.end_user) == (True, None, "")


async def test_an_answer_that_was_not_for_a_user_has_no_value() -> None:
    harness = await answered(live=False)
    harness.clock.advance(WEEK)

    await harness.ripen()

    assert not harness.feedback.all()
    assert not harness.expected.stored


async def test_a_value_stays_due_while_inference_is_down() -> None:
    harness = await answered()
    harness.clock.advance(WEEK)
    harness.inferences.failure = DependencyUnavailable("inference is down", dependency="inference")

    with pytest.raises(DependencyUnavailable):
        await harness.ripen()
    harness.inferences.failure = None
    await harness.ripen()

    assert len(harness.feedback.all()) == 1


async def test_answers_of_projects_that_declare_nothing_expect_nothing_and_cost_a_read_at_times() -> None:
    harness = await answered()
    reads = list[str]()
    listed = harness.metrics.list

    async def counted(project: str, **options: object) -> object:
        reads.append(project)
        return await listed(project, **options)  # type: ignore[arg-type]  # what came in

    harness.metrics.list = counted  # type: ignore[method-assign, assignment]
    for number in range(3):
        await harness.expect(EVE, f"e{number}", asked_at=NOON)
        await harness.expect(ADA, f"a{number}", asked_at=NOON)
    assert reads == ["other"]
    harness.clock.advance(timedelta(seconds=6))
    await harness.expect(EVE, "e9", asked_at=NOON)

    assert reads == ["other", "other"]
    assert {key.project for key in harness.expected.stored} == {"acme"}


async def test_nothing_of_a_deleted_project_is_expected() -> None:
    harness = await answered()
    expect = replace(harness.expect, deleted=lambda project: project == "acme")

    await expect(ADA, "i2", asked_at=NOON)

    assert [key.id for key in harness.expected.stored] == ["i1/reopened"]


@pytest.mark.parametrize(("purpose", "expects"), [("PURPOSE_LIVE", 1), ("PURPOSE_SHADOW", 0), ("", 1)])
async def test_live_answers_are_found_by_their_event(purpose: str, expects: int) -> None:
    harness = FeedbackHarness()
    await harness.declare.create(ADA, LATE, write())
    body = InferenceCompleted.model_validate(
        {"inference": "i1", "purpose": purpose, "create_time": "2026-01-01T12:00:00Z"}
    )

    class Event:
        caller = Caller(project="acme")

    [route] = inferences(harness.match, harness.expect).routes.values()
    await route.handle(Event(), body)  # type: ignore[arg-type]  # of which only this is read

    assert [each.due for each in harness.expected.stored.values()] == [NOON + WEEK] * expects


async def test_defaults_are_listed_like_any_other_feedback() -> None:
    harness = await answered()
    harness.clock.advance(WEEK)
    await harness.ripen()

    assert len((await harness.read.list(ADA, PageRequest(), inference="i1")).items) == 1
