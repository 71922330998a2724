"""Coefficients of agreement, on the examples of their authors."""

import asyncio
from collections.abc import Sequence

import pytest

from services.feedback.tests.reviews.harness import FIELDS, OPERATOR, ReviewsHarness, labels
from tidemill_feedback.reviews.domain.agreement import alpha, compare_reviewers, reviewer_reports, units_of
from tidemill_feedback.reviews.domain.item import Review, ReviewItem, Subject, SubjectKind
from tidemill_feedback.reviews.domain.labels import LabelField, LabelKind, Value
from tidemill_feedback.reviews.kappa import NltkKappa
from tidemill_feedback.reviews.ports import ItemCounts
from tidemill_testkit.clocks import NOON

NOMINAL = LabelField(name="f", kind=LabelKind.CATEGORY)
INTERVAL = LabelField(name="f", kind=LabelKind.NUMBER)
FOUR_OBSERVERS = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)
"""Krippendorff (2011), section C and D: 12 units, some of them not coded."""
TWO_NOMINAL = ("a a b b d c c c e d d a", "b a b b b c c c e d d d")
"""Section B."""
TWO_BINARY = ("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0")
"""Section A."""


def units(observers: Sequence[str]) -> list[list[str]]:
    return [[each for each in unit if each != "."] for unit in zip(*map(str.split, observers), strict=True)]


def item_of(name: str, **said: bool) -> ReviewItem:
    reviews = tuple(
        Review(claim=each, reviewer=each, labels=labels(correct=value), submit_time=NOON)
        for each, value in said.items()
    )
    subject = Subject(kind=SubjectKind.INFERENCE, id=name)
    return ReviewItem(
        id=name,
        project="acme",
        queue="answers",
        incarnation=1,
        subject=subject,
        reason="given",
        place=0,
        slots=len(said),
        reviews=reviews,
    )


@pytest.mark.parametrize(
    ("observers", "expected"), [(FOUR_OBSERVERS, 0.743), (TWO_NOMINAL, 0.692), (TWO_BINARY, 0.095)]
)
def test_nominal_alpha_is_that_of_krippendorffs_examples(observers: Sequence[str], expected: float) -> None:
    assert alpha(NOMINAL, units(observers)) == pytest.approx(expected, abs=0.0005)


def test_interval_alpha_is_that_of_krippendorffs_example() -> None:
    numbers = [[float(each) for each in unit] for unit in units(FOUR_OBSERVERS)]

    assert alpha(INTERVAL, numbers) == pytest.approx(0.849, abs=0.0005)


def test_alpha_is_not_defined_where_nothing_differs_or_one_unit_is_left() -> None:
    assert alpha(NOMINAL, [["a", "a"], ["a", "a"]]) is None
    assert alpha(INTERVAL, [[0.1 + 0.2, 0.3], [0.3, 0.3]]) is not None
    assert alpha(INTERVAL, [[0.3, 0.3, 0.3], [0.3, 0.3]]) is None
    assert alpha(INTERVAL, [[0.1, 0.1, 0.1], [0.1, 0.1, 0.1]]) is None
    assert alpha(NOMINAL, [["a", "b"], ["a"]]) is None


@pytest.mark.parametrize(("field", "values"), [(NOMINAL, "yn"), (INTERVAL, (0.1, 0.7))])
def test_a_reviewer_is_compared_with_the_others_and_not_the_others_with_one_another(
    field: LabelField, values: Sequence[Value]
) -> None:
    rights = [values[number % 2] for number in range(40)]
    units = [
        {"ann": right, "bob": right, "coin": values[number // 2 % 2], "dan": right}
        for number, right in enumerate(rights)
    ]

    found = {name: each.alpha for name, each in compare_reviewers(field, units).items()}

    assert found["ann"] == found["bob"] == found["dan"] == pytest.approx(0.66, abs=0.01)
    assert found["coin"] == pytest.approx(0, abs=0.05)


def test_of_two_reviewers_each_has_the_alpha_of_the_field() -> None:
    pairs = [dict(zip("ab", unit, strict=True)) for unit in units(TWO_NOMINAL)]

    found = compare_reviewers(NOMINAL, pairs)

    assert [found[name].alpha for name in "ab"] == [pytest.approx(0.692, abs=0.0005)] * 2


def test_who_says_yes_where_most_others_do_does_not_label_everything_alike() -> None:
    right = [number % 10 > 0 for number in range(20)]
    items = [item_of(f"i{number}", ann=True, bob=each, eve=each) for number, each in enumerate(right)]

    reports = reviewer_reports(FIELDS[:1], items, {"correct": units_of(FIELDS[0], items)})

    assert [each.constant_fields for each in reports] == [(), (), ()]


def test_kappas_are_those_of_published_examples() -> None:
    # Cohen: 20 of 50 are yes by both, 15 no by both, 5 and 10 differ. Fleiss: 10 subjects, 14 raters, 5 categories.
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    cohen = {f"i{place}": dict(zip("ab", pair, strict=True)) for place, pair in enumerate(pairs)}
    table = "0 0 0 0 14,0 2 6 4 2,0 0 3 5 6,0 3 9 2 0,2 2 8 1 1,7 7 0 0 0,3 2 6 3 0,2 5 3 2 2,6 5 2 1 0,0 2 2 3 7"
    fleiss = dict[str, dict[str, str]]()
    for place, row in enumerate(table.split(",")):
        values = [str(kind) for kind, count in enumerate(row.split()) for _ in range(int(count))]
        fleiss[f"i{place}"] = {f"r{number:02}": value for number, value in enumerate(values)}

    kappa = NltkKappa()

    assert kappa.cohen(cohen) == pytest.approx(0.4)
    assert kappa.fleiss(fleiss, raters=14) == pytest.approx(0.210, abs=0.0005)
    assert kappa.fleiss(fleiss, raters=13) is None
    assert kappa.cohen({"i1": dict.fromkeys("ab", "y")}) is None


async def test_a_report_shows_progress_and_who_labels_everything_alike() -> None:
    harness = ReviewsHarness()
    await harness.open_queue(reviewers=3)
    await harness.give(*(f"i{number}" for number in range(22)))
    for number in range(22):
        for name in ("ada", "bob", "lazy"):
            claimed = await harness.next(name)
            assert claimed is not None
            right = int(claimed.item.subject.id[1:]) % 2 == 0
            await harness.review(name, correct=name == "lazy" or right, score=3.0 + (number % 2))

    report = await harness.report(OPERATOR, "answers")

    by_field = {each.field: each for each in report.fields}
    assert list(by_field) == ["correct", "tone", "score"]
    assert by_field["tone"].items == 0
    assert by_field["correct"].alpha is not None
    assert 0 < by_field["correct"].alpha < 1
    reviewers = {each.reviewer: each for each in report.reviewers}
    assert {name: each.reviews for name, each in reviewers.items()} == dict.fromkeys(
        ("user:ada", "user:bob", "user:lazy"), 22
    )
    assert [reviewers[f"user:{name}"].constant_fields for name in ("ada", "bob", "lazy")] == [(), (), ("correct",)]
    assert report.examined_items == sum(bool(each.reviews) for each in harness.items.all())


async def test_one_report_of_a_queue_is_made_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = ReviewsHarness()
    await harness.open_queue()
    counts, asked, began, goes_on = harness.find.counts, list[str](), asyncio.Event(), asyncio.Event()

    async def slow(project: str, key: str) -> ItemCounts:
        asked.append(key)
        began.set()
        await goes_on.wait()
        return await counts(project, key)

    monkeypatch.setattr(harness.find, "counts", slow)
    gone, *others = [asyncio.create_task(harness.report(OPERATOR, "answers")) for _ in range(3)]
    await began.wait()
    gone.cancel()
    goes_on.set()

    assert [(await each).examined_items for each in others] == [0, 0]
    assert asked == ["answers/1"]
    await harness.report(OPERATOR, "answers")
    assert len(asked) == 2
