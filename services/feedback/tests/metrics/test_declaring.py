"""How metrics are declared, changed and deleted."""

from datetime import timedelta

import pytest

from services.feedback.tests.builders import ADA, EVE, write
from services.feedback.tests.harness import FeedbackHarness
from services.feedback.tests.metrics.builders import LEFT, REOPENED, SOLVED, STARS, metric
from tidemill_core.application import PageRequest
from tidemill_core.errors import AlreadyExists, Conflict, InvalidInput
from tidemill_feedback.errors import FeedbackMetricNotFound
from tidemill_feedback.metrics.domain.metric import BusinessValue, FeedbackMetric, MetricKind, Optimise, RaterWeights

DAY = timedelta(days=1)


@pytest.mark.parametrize("declared", [REOPENED, STARS, LEFT])
async def test_a_metric_is_read_as_it_was_declared(declared: FeedbackMetric) -> None:
    harness = FeedbackHarness()

    await harness.declare.create(ADA, metric(declared, project=""), write())

    got = await harness.declare.get(ADA, declared.id)
    assert (got.kind, got.optimise, got.min, got.max) == (
        declared.kind,
        declared.optimise,
        declared.min,
        declared.max,
    )
    assert (got.choices, got.value, got.weights) == (declared.choices, declared.value, declared.weights)
    with pytest.raises(FeedbackMetricNotFound):
        await harness.declare.get(EVE, declared.id)


@pytest.mark.parametrize(
    ("wrong", "reported"),
    [
        (metric(id="Re opened"), r"metric\.id: is 'Re opened'"),
        (metric(id="rating"), r"metric\.id: is 'rating', which every project has"),
        (metric(id="preference"), r"metric\.id: is 'preference'"),
        (metric(min=0), r"metric\.min: is set, and a boolean has none"),
        (metric(choices=("a", "b")), r"metric\.choices: is set, and a boolean has none"),
        (metric(STARS, max=None), r"metric\.max: is missing"),
        (metric(STARS, max=1), r"metric\.max: is 1; use more than min, which is 1"),
        (metric(STARS, min=float("-inf")), r"metric\.min: is -inf; use -1e\+12 to 1e\+12"),
        (metric(STARS, min=float("nan")), r"metric\.min: is nan"),
        (metric(LEFT, value=None, choices=("one",)), r"choices: has 1 choices, 1 of them distinct; name 2 to 50"),
        (metric(LEFT, value=None, choices=("a", "a")), r"has 2 choices, 1 of them distinct"),
        (metric(LEFT, value=None, choices=("a", "B c")), r"metric\.choices\[1\]: is 'B c'"),
        (metric(LEFT, optimise=Optimise.MAX), r"metric\.optimise: is max; choices have no order: use none"),
        (metric(good_choices=("a",)), r"metric\.good_choices: is set, and a boolean has none"),
        (metric(LEFT, good_choices=("gone", "sold")), r"metric\.good_choices\[1\]: is 'sold', which is none of the ch"),
        (metric(LEFT, good_choices=("gone", "gone")), r"metric\.good_choices\[1\]: is 'gone', which is there twice"),
        (metric(LEFT, good_choices=LEFT.choices), r"metric\.good_choices: has all choices"),
        (metric(value=BusinessValue(unit="", amount=1)), r"metric\.value\.unit: has 0 characters; write 1 to 32"),
        (metric(value=BusinessValue(unit="EUR")), r"metric\.value\.amount: is missing"),
        (metric(value=BusinessValue(unit="EUR", amount=float("nan"))), r"metric\.value: has an amount beyond"),
        (metric(value=BusinessValue(unit="EUR", amount=1, amounts={"a": 1})), r"metric\.value\.amounts: is set"),
        (metric(LEFT, value=BusinessValue(unit="EUR", amount=1)), r"amount: is set.*amounts: is empty"),
        (
            metric(LEFT, value=BusinessValue(unit="EUR", amounts={"x": 1})),
            r"value\.amounts\['x'\]: is the amount of none",
        ),
        (metric(weights=RaterWeights(judge=-1)), r"metric\.weights\.judge: is -1; use 0 to 1000"),
        (metric(weights=RaterWeights(user=float("nan"))), r"metric\.weights\.user: is nan"),
        (metric(labels={"": "a"}), r"metric\.labels"),
        (metric(absent=True), r"metric\.absent: is set without matures_after"),
        (metric(matures_after=timedelta(0)), r"metric\.matures_after: is 0:00:00; use 0:00:01 to 365 days"),
        (metric(LEFT, matures_after=DAY), r"only booleans and numbers of inferences mature: left is a category"),
        (metric(SOLVED, matures_after=DAY), r"mature: solved is a boolean of conversations"),
        (
            metric(STARS, matures_after=DAY),
            r"metric\.absent_number: is missing: say what no value of stars means",
        ),
        (metric(STARS, matures_after=DAY, absent_number=9), r"metric\.absent_number: is 9; use 1 to 5"),
        (metric(STARS, matures_after=DAY, absent_number=3, absent=True), r"metric\.absent: .* set absent_number"),
        (metric(STARS, absent_number=3), r"metric\.absent_number: is set without matures_after"),
        (metric(matures_after=DAY, absent_number=1), r"metric\.absent_number: is set, and a boolean has none"),
    ],
)
async def test_what_is_no_metric_is_refused_by_field_value_and_limit(wrong: FeedbackMetric, reported: str) -> None:
    harness = FeedbackHarness()

    with pytest.raises(InvalidInput, match=reported):
        await harness.declare.create(ADA, wrong, write())
    assert not (await harness.declare.list(ADA, PageRequest())).items


async def test_a_metric_is_changed_in_what_the_mask_names_and_keeps_its_kind() -> None:
    harness = FeedbackHarness()
    created = await harness.declare.create(ADA, REOPENED, write())
    other = metric(kind=MetricKind.NUMBER, min=0, max=1, weights=RaterWeights(user=2))

    changed = await harness.declare.update(ADA, other, {"weights"}, write(etag="1"))

    assert (changed.kind, changed.weights.user, changed.value) == (MetricKind.BOOLEAN, 2, created.value)
    with pytest.raises(InvalidInput, match=r"metric\.kind: is number, and that of reopened stays boolean"):
        await harness.declare.update(ADA, other, {"kind", "min", "max"}, write())
    with pytest.raises(Conflict):
        await harness.declare.update(ADA, other, {"weights"}, write(etag="1"))
    with pytest.raises(InvalidInput, match=r"metric\.min: is set"):
        await harness.declare.update(ADA, other, {"min"}, write())


async def test_the_id_of_a_deleted_metric_may_be_taken_again_by_another_kind() -> None:
    harness = FeedbackHarness()
    await harness.declare.create(ADA, REOPENED, write())
    with pytest.raises(AlreadyExists):
        await harness.declare.create(ADA, REOPENED, write())

    await harness.declare.delete(ADA, "reopened", write())
    again = await harness.declare.create(ADA, metric(STARS, id="reopened"), write())

    assert (again.kind, again.value, again.max) == (MetricKind.NUMBER, None, 5)


async def test_validating_only_stores_nothing() -> None:
    harness = FeedbackHarness()

    await harness.declare.create(ADA, REOPENED, write(validate_only=True))

    assert not (await harness.declare.list(ADA, PageRequest())).items
