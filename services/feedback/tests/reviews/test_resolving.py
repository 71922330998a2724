"""How reviews become labels, and who decides where they differ."""

from collections.abc import Collection, Sequence

import pytest

from services.feedback.tests.builders import write
from services.feedback.tests.reviews.harness import FIELDS, OPERATOR, ReviewsHarness, about, labels, spec
from tidemill_core.errors import Conflict
from tidemill_feedback.errors import NotReviewable
from tidemill_feedback.reviews.add_items import GivenItem
from tidemill_feedback.reviews.domain.item import ItemState
from tidemill_feedback.reviews.domain.labels import Label, Value, values_of
from tidemill_feedback.reviews.domain.resolving import Dispute, decide


def decided(
    *reviews: tuple[Label, ...], min_agreement: float = 0, asked: Sequence[Collection[str]] = ()
) -> dict[str, Value] | str:
    found = decide(FIELDS, reviews, min_agreement=min_agreement, asked=asked)
    return found.message if isinstance(found, Dispute) else dict(values_of(found))


def test_what_more_than_half_say_is_resolved() -> None:
    assert decided(
        labels(correct=True, tone="rude"), labels(correct=True, tone="rude"), labels(correct=False, tone="friendly")
    ) == {"correct": True, "tone": "rude"}


def test_half_is_a_dispute() -> None:
    said = decided(labels(correct=True), labels(correct=False))

    assert said == "1 of 2 reviews agree on correct, and more than half are needed"


def test_a_declared_share_is_needed_where_there_is_one() -> None:
    two_of_three = [labels(correct=True), labels(correct=True), labels(correct=False)]

    assert decided(*two_of_three, min_agreement=0.67) == {"correct": True}
    assert "at least 80%" in decided(*two_of_three, min_agreement=0.8)


@pytest.mark.parametrize("half", [1, 2])
def test_a_share_above_half_is_not_met_by_half(half: int) -> None:
    said = [labels(correct=True)] * half + [labels(correct=False)] * half

    assert decided(*said, min_agreement=0.5) == {"correct": True}
    for share in (0.501, 0.51):
        assert "are needed" in decided(*said, min_agreement=share)
        assert "are needed" in decided(*said[::-1], min_agreement=share)


def test_a_share_is_met_by_what_rounds_to_it_and_by_no_less() -> None:
    three_of_four = [labels(correct=True)] * 3 + [labels(correct=False)]

    assert decided(*three_of_four, min_agreement=0.75) == {"correct": True}
    assert "correct" in decided(*three_of_four, min_agreement=0.76)
    assert isinstance(decided(*three_of_four, min_agreement=0.76), str)


def test_where_less_than_half_is_enough_a_number_counts_that_more_said_than_the_median() -> None:
    apart = [labels(correct=True, score=value) for value in (1.0, 1.0, 3.0, 4.5, 4.5)]
    assert decided(*apart, min_agreement=0.4) == {"correct": True, "score": 1.0}
    assert "1 of 5 reviews agree on score" in decided(*apart)


def test_of_numbers_the_median_is_resolved_where_enough_are_near_it() -> None:
    said = [labels(correct=True, score=value) for value in (3.0, 4.0, 5.0)]

    assert decided(*said) == {"correct": True, "score": 4.0}
    assert "score" in decided(labels(correct=True, score=1.0), labels(correct=True, score=3.0))


def test_a_field_that_most_leave_out_is_left_out() -> None:
    assert decided(labels(correct=True), labels(correct=True), labels(correct=True, tone="rude")) == {"correct": True}


def test_a_field_that_was_added_is_decided_by_the_reviews_that_were_asked_for_it() -> None:
    said = [labels(correct=True), labels(correct=True, tone="rude")]

    assert "1 of 2 reviews agree on tone" in decided(*said)
    assert decided(*said, asked=[{"correct"}, {"correct", "tone"}]) == {"correct": True, "tone": "rude"}
    assert decided(*said, asked=[{"correct"}, {"correct"}]) == {"correct": True}


async def test_a_field_that_is_added_between_two_reviews_makes_no_dispute() -> None:
    harness = ReviewsHarness()
    await harness.open_queue(reviewers=2, fields=FIELDS[:1])
    (item,) = await harness.give("i1")
    await harness.review("ada", correct=True)

    await harness.crud.update(OPERATOR, "answers", spec(reviewers=2), {"fields"}, write())
    await harness.review("bob", correct=True, tone="rude")

    resolved = (await harness.item(item.id)).resolved
    assert resolved is not None
    assert values_of(resolved.labels) == {"correct": True, "tone": "rude"}


def test_a_text_is_that_of_the_review_that_agrees_most() -> None:
    assert decided(
        labels(correct=True, better="Of the odd one."),
        labels(correct=False, better="Of the first."),
        labels(correct=False, better="Of the second."),
    ) == {"correct": False, "better": "Of the first."}


async def test_the_last_review_resolves_and_is_published_once() -> None:
    harness = ReviewsHarness()
    await harness.open_queue(reviewers=2)
    (item,) = await harness.give("i1")

    await harness.review("ada", correct=True)
    assert harness.resolved == []
    await harness.review("bob", correct=True)

    stored = await harness.item(item.id)
    assert stored.resolved is not None
    assert (stored.state, stored.resolved.reviewers) == (ItemState.RESOLVED, ("user:ada", "user:bob"))
    assert [event.resolved for event in harness.resolved] == [stored.resolved]


async def test_a_disputed_item_waits_for_an_adjudicator_who_may_decide_again() -> None:
    harness = ReviewsHarness()
    await harness.open_queue(reviewers=2)
    (item,) = await harness.give("i1")
    await harness.review("ada", correct=True)
    await harness.review("bob", correct=False)
    disputed = await harness.item(item.id)
    assert (disputed.state, disputed.message[:10]) == (ItemState.DISPUTED, "1 of 2 rev")

    resolved = await harness.adjudicate(OPERATOR, item.id, labels(correct=False), write())
    again = await harness.adjudicate(OPERATOR, item.id, labels(correct=False), write())
    other = await harness.adjudicate(OPERATOR, item.id, labels(correct=True), write(etag=str(again.version)))

    assert resolved.resolved is not None
    assert other.resolved is not None
    assert (resolved.state, resolved.resolved.adjudicator) == (ItemState.RESOLVED, "user:olga")
    assert again.version == resolved.version
    assert values_of(other.resolved.labels) == {"correct": True}
    assert len(harness.resolved) == 2
    with pytest.raises(Conflict):
        await harness.adjudicate(OPERATOR, item.id, labels(correct=True), write(etag="1"))


async def test_a_gold_item_is_not_adjudicated() -> None:
    harness = ReviewsHarness()
    await harness.open_queue()
    harness.answers.put("g1")
    gold = GivenItem(subject=about("g1").subject, expected=labels(correct=True))
    (item,) = await harness.add(OPERATOR, "answers", [gold], write())

    with pytest.raises(NotReviewable, match="is a gold item"):
        await harness.adjudicate(OPERATOR, item.id, labels(correct=True), write())
