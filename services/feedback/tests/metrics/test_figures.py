"""What the values of a metric say of the variants that answered."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.feedback.tests.builders import ADA, EVE, rating, write
from services.feedback.tests.harness import FeedbackHarness
from services.feedback.tests.metrics.builders import LATE, REOPENED, STARS
from tidemill_core.errors import InvalidInput
from tidemill_feedback.errors import FeedbackMetricNotFound
from tidemill_feedback.metrics.domain.figures import Observed, figures_of
from tidemill_feedback.metrics.domain.metric import BusinessValue, FeedbackMetric, MetricKind
from tidemill_feedback.reactions.domain.reaction import Reaction
from tidemill_testkit.clocks import NOON

ONE = Observed(variant="live", rollout="", value=1.0)


def test_a_share_has_wilsons_interval_which_its_authors_formula_gives() -> None:
    [found] = figures_of([ONE] * 8 + [replace(ONE, value=0.0)] * 2, is_share=True)

    assert (found.count, found.mean) == (10, 0.8)
    assert found.low == pytest.approx(0.49016, abs=1e-5)
    assert found.high == pytest.approx(0.94331, abs=1e-5)


def test_a_mean_is_weighted_and_its_interval_is_by_the_effective_number() -> None:
    values = [replace(ONE, value=float(value)) for value in (1, 2, 3, 4, 5)]

    [even], [uneven] = (
        figures_of(values, is_share=False),
        figures_of([replace(values[0], weight=3.0), *values[1:], replace(ONE, value=9.0, weight=0.0)], is_share=False),
    )

    assert even.mean == 3
    assert even.low == pytest.approx(3 - 1.959964 * (2.5 / 5) ** 0.5, abs=1e-5)
    assert uneven.mean == pytest.approx(17 / 7)
    assert uneven.count == 6
    [alone] = figures_of(values[:1], is_share=False)
    assert (alone.mean, alone.low, alone.high) == (1, None, None)


def test_variants_are_apart_and_what_is_immature_counts_for_nothing_yet() -> None:
    candidate = replace(ONE, variant="candidate", rollout="r1", business_value=-2.5)

    found = figures_of(
        [ONE, candidate, replace(candidate, value=0.0, absent=True), replace(candidate, immature=True)], is_share=True
    )

    assert [(each.variant, each.count, each.immature, each.absent) for each in found] == [
        ("candidate", 2, 1, 1),
        ("live", 1, 0, 0),
    ]
    assert (found[0].mean, found[0].business_value) == (0.5, -5)


async def given(harness: FeedbackHarness, count: int) -> None:
    for number in range(count):
        harness.inferences.put(f"i{number}")
        harness.clock.advance(timedelta(seconds=1))
        await harness.give(Reaction(metric="reopened", flag=number % 2 == 0, inference=f"i{number}"))


async def test_values_of_a_deleted_metric_of_the_same_name_are_none_of_a_new_one_of_another_kind() -> None:
    harness = FeedbackHarness()
    await harness.declare.create(ADA, REOPENED, write())
    await given(harness, 2)
    await harness.declare.delete(ADA, "reopened", write())
    times = FeedbackMetric(id="reopened", project="", kind=MetricKind.NUMBER, min=0, max=9)
    await harness.declare.create(ADA, times, write())
    harness.inferences.put("i9")
    await harness.give(Reaction(metric="reopened", number=4, inference="i9"))

    [figures] = (await harness.figures(ADA, "reopened", "helpdesk", since=None)).figures

    assert (figures.count, figures.mean) == (1, 4)


async def test_the_newest_values_of_a_deployment_are_read_and_no_more() -> None:
    harness = FeedbackHarness()
    await harness.declare.create(ADA, REOPENED, write())
    await given(harness, 3)

    found = await harness.figures(ADA, "reopened", "helpdesk", since=None)
    [figures] = found.figures
    assert figures.mean == pytest.approx(2 / 3)
    assert (figures.count, figures.business_value, found.unit) == (3, -25, "EUR")
    assert not found.truncated
    [recent] = (await harness.figures(ADA, "reopened", "helpdesk", since=NOON + timedelta(seconds=3))).figures
    assert recent.count == 1

    await given(harness, 6)
    more = await harness.figures(ADA, "reopened", "helpdesk", since=None)
    assert (more.figures[0].count, more.truncated) == (4, True)


async def test_what_does_not_count_and_what_was_withdrawn_is_left_out_and_ratings_have_figures_too() -> None:
    harness = FeedbackHarness()
    await harness.declare.create(ADA, STARS, write())
    harness.inferences.put("i1")
    kept = await harness.give(rating(0.5))
    await harness.give(rating(1, end_user="u9"))
    stars = await harness.give(Reaction(metric="stars", number=2, inference="i1"))
    await harness.read.withdraw(ADA, stars.id, write())

    [rated] = (await harness.figures(ADA, "rating", "helpdesk", since=None)).figures

    assert (rated.count, rated.mean, kept.counts) == (1, 0.5, True)
    assert not (await harness.figures(ADA, "stars", "helpdesk", since=None)).figures


async def test_values_of_answers_that_have_not_matured_are_counted_apart() -> None:
    harness = FeedbackHarness()
    await harness.declare.create(ADA, LATE, write())
    await given(harness, 1)

    [early] = (await harness.figures(ADA, "reopened", "helpdesk", since=None)).figures
    harness.clock.advance(timedelta(days=7))
    [late] = (await harness.figures(ADA, "reopened", "helpdesk", since=None)).figures

    assert (early.count, early.immature, early.mean) == (0, 1, None)
    assert (late.count, late.immature, late.mean) == (1, 0, 1)


async def reopened(harness: FeedbackHarness, *, of: int, given: int) -> None:
    """Let so many answers mature, of which the first were reopened an hour after the question."""
    for number in range(of):
        harness.inferences.put(f"i{number}")
        await harness.expect(ADA, f"i{number}", asked_at=NOON)
    harness.clock.advance(timedelta(hours=1))
    for number in range(given):
        await harness.give(Reaction(metric="reopened", flag=True, inference=f"i{number}"))
    harness.clock.advance(timedelta(days=7))
    await harness.ripen()


async def test_of_a_metric_that_matures_since_is_when_answers_matured_so_that_early_values_are_not_missed() -> None:
    harness = FeedbackHarness()
    await harness.declare.create(ADA, LATE, write())
    await reopened(harness, of=4, given=2)

    [found] = (await harness.figures(ADA, "reopened", "helpdesk", since=NOON + timedelta(days=6))).figures
    later = await harness.figures(ADA, "reopened", "helpdesk", since=NOON + timedelta(days=7, seconds=1))

    assert (found.count, found.absent, found.mean) == (4, 2, 0.5)
    assert not later.figures


async def test_where_early_values_of_a_metric_that_matures_are_too_many_to_read_nothing_one_sided_is_shown() -> None:
    harness = FeedbackHarness()
    await harness.declare.create(ADA, LATE, write())
    await reopened(harness, of=6, given=2)

    found = await harness.figures(ADA, "reopened", "helpdesk", since=None)

    assert (found.truncated, list(found.figures)) == (True, [])


async def test_answers_from_before_a_metric_that_matures_have_no_figures_as_their_absences_are_not_recorded() -> None:
    harness = FeedbackHarness()
    await harness.declare.create(ADA, REOPENED, write())
    await given(harness, 1)
    harness.clock.advance(timedelta(days=1))
    await harness.declare.delete(ADA, "reopened", write())
    await harness.declare.create(ADA, replace(LATE, id="again"), write())
    await harness.give(Reaction(metric="again", flag=True, inference="i0"))
    harness.clock.advance(timedelta(days=8))

    assert not (await harness.figures(ADA, "again", "helpdesk", since=None)).figures


async def test_worth_in_another_unit_is_not_added_up() -> None:
    harness = FeedbackHarness()
    await harness.declare.create(ADA, REOPENED, write())
    await given(harness, 1)
    in_dollars = replace(REOPENED, value=BusinessValue(unit="USD", amount=-10))
    await harness.declare.update(ADA, in_dollars, {"value"}, write())
    harness.inferences.put("i7")
    harness.clock.advance(timedelta(seconds=1))
    await harness.give(Reaction(metric="reopened", flag=True, inference="i7"))

    found = await harness.figures(ADA, "reopened", "helpdesk", since=None)

    assert (found.unit, found.figures[0].count, found.figures[0].business_value) == ("USD", 2, -10)


async def test_as_many_values_as_are_read_are_all_there_are() -> None:
    harness = FeedbackHarness()
    await harness.declare.create(ADA, REOPENED, write())
    await given(harness, 4)

    assert not (await harness.figures(ADA, "reopened", "helpdesk", since=None)).truncated


async def test_figures_of_what_is_not_declared_or_names_no_deployment_are_refused() -> None:
    harness = FeedbackHarness()
    await harness.declare.create(ADA, REOPENED, write())

    with pytest.raises(FeedbackMetricNotFound):
        await harness.figures(EVE, "reopened", "helpdesk", since=None)
    with pytest.raises(FeedbackMetricNotFound):
        await harness.figures(ADA, "comment", "helpdesk", since=None)
    with pytest.raises(InvalidInput, match="deployment: is ''"):
        await harness.figures(ADA, "reopened", "", since=None)
