"""What is said of an item is kept or refused, and what all give back reaches an adjudicator."""

import pytest

from services.feedback.tests.builders import write
from services.feedback.tests.reviews.harness import OPERATOR, ReviewsHarness, about, by_reviewer, labels, reviewer
from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput
from tidemill_feedback.errors import ReviewGiven
from tidemill_feedback.reviews.add_items import GivenItem, GivenReview
from tidemill_feedback.reviews.domain.item import MAX_NAMES, ItemState, ReviewItem
from tidemill_feedback.reviews.domain.labels import Label

FEEDBACK = Caller.of_service("acme", "feedback")


@pytest.fixture
def harness() -> ReviewsHarness:
    return ReviewsHarness()


def said(inference: str, *reviewers: str, correct: bool = True, expected: tuple[Label, ...] = ()) -> GivenItem:
    """Return an item with a review of each reviewer."""
    reviews = tuple(GivenReview(reviewer=each, labels=labels(correct=correct)) for each in reviewers)
    return GivenItem(subject=about(inference).subject, reviews=reviews, expected=expected)


async def add(harness: ReviewsHarness, *given: GivenItem) -> list[ReviewItem]:
    for each in given:
        harness.answers.put(each.subject.id)
    return [*await harness.add(OPERATOR, "answers", given, write())]


async def test_a_review_is_refused_whose_reviewer_was_imported_meanwhile(harness: ReviewsHarness) -> None:
    await harness.open_queue(reviewers=2)
    await harness.give("i1", "i2")
    held = await harness.next("ann")
    assert held is not None
    await add(harness, said(held.item.subject.id, "user:ann", correct=False))

    with pytest.raises(ReviewGiven):
        await harness.submit(reviewer("ann"), held.item.id, held.claim.id, labels(correct=True), write())

    assert by_reviewer(await harness.item(held.item.id)) == {"user:ann": {"correct": False}}
    following = await harness.next("ann")
    assert following is not None
    assert following.item.id != held.item.id


async def test_reviews_that_an_item_does_not_take_are_named_and_nothing_is_stored(harness: ReviewsHarness) -> None:
    await harness.open_queue()

    with pytest.raises(InvalidInput) as refused:
        await add(harness, said("i1", "a"), said("i2", "a", "b", "c"))

    assert [each.field for each in refused.value.violations] == ["items[1].reviews[1]", "items[1].reviews[2]"]
    assert harness.items.all() == []


async def test_another_review_of_the_same_reviewer_is_refused(harness: ReviewsHarness) -> None:
    await harness.open_queue(reviewers=3)
    await add(harness, said("i1", "a"))
    await add(harness, said("i1", "a"))

    with pytest.raises(InvalidInput, match="another review"):
        await add(harness, said("i1", "a", correct=False))


@pytest.mark.parametrize("how", ["reviewed", "claimed", "resolved"])
async def test_an_item_becomes_no_gold_item_once_reviewers_have_it(harness: ReviewsHarness, how: str) -> None:
    await harness.open_queue(reviewers=2)
    (item,) = await harness.give("i1")
    if how == "resolved":
        await harness.adjudicate(OPERATOR, item.id, labels(correct=True), write())
    else:
        await (harness.review("ann", correct=True) if how == "reviewed" else harness.next("ann"))

    with pytest.raises(InvalidInput, match="no gold item"):
        await add(harness, said("i1", expected=labels(correct=True)))

    assert not (await harness.item(item.id)).gold


async def test_a_gold_item_that_was_reviewed_is_imported_as_it_was_exported(harness: ReviewsHarness) -> None:
    await harness.open_queue()
    exported = said("i1", "a", "b", expected=labels(correct=True))

    await add(harness, exported)
    (item,) = await add(harness, exported)

    assert (item.gold, item.state, len(item.reviews)) == (True, ItemState.OPEN, 2)


async def test_a_gold_item_takes_imported_reviews_up_to_its_limit(harness: ReviewsHarness) -> None:
    await harness.open_queue()
    names = [f"r{number}" for number in range(MAX_NAMES)]

    (item,) = await add(harness, said("i1", *names, expected=labels(correct=True)))
    with pytest.raises(InvalidInput, match="500 of 500"):
        await add(harness, said("i1", "one-more"))

    assert len((await harness.item(item.id)).reviews) == MAX_NAMES


async def test_a_full_queue_takes_items_that_their_reviews_resolve_and_gold_items(harness: ReviewsHarness) -> None:
    await harness.open_queue(max_open_items=1)
    await harness.give("i0")

    added = await add(harness, said("i1", "a"), said("i2", "a"), said("i3", expected=labels(correct=True)))

    assert [each.state for each in added] == [ItemState.RESOLVED, ItemState.RESOLVED, ItemState.OPEN]


async def test_what_three_reviewers_gave_back_waits_for_an_adjudicator(harness: ReviewsHarness) -> None:
    await harness.open_queue(max_open_items=1)
    (item,) = await harness.give("i1")
    for name in ("ann", "bob", "eve"):
        held = await harness.next(name)
        assert held is not None
        await harness.release(reviewer(name), item.id, held.claim.id, write())

    disputed = await harness.item(item.id)
    assert (disputed.state, disputed.message) == (ItemState.DISPUTED, "3 reviewers gave it back")
    await harness.give("i2")
    resolved = await harness.adjudicate(OPERATOR, item.id, labels(correct=False), write())
    assert resolved.state is ItemState.RESOLVED


async def test_what_others_gave_back_stays_with_the_reviewer_who_has_it(harness: ReviewsHarness) -> None:
    await harness.open_queue(reviewers=2)
    (item,) = await harness.give("i1")
    held = await harness.next("zoe")
    assert held is not None
    for name in ("ann", "bob", "eve"):
        other = await harness.next(name)
        assert other is not None
        await harness.release(reviewer(name), item.id, other.claim.id, write())

    await harness.submit(reviewer("zoe"), item.id, held.claim.id, labels(correct=True), write())

    assert len((await harness.item(item.id)).reviews) == 1


async def test_a_late_review_is_taken_while_there_is_a_place(harness: ReviewsHarness) -> None:
    await harness.open_queue(reviewers=2)
    (item,) = await harness.give("i1")
    late = await harness.next("ann")
    assert late is not None
    harness.pass_time(minutes=16)
    assert await harness.next("bob")

    await harness.submit(reviewer("ann"), item.id, late.claim.id, labels(correct=True), write())

    assert set(by_reviewer(await harness.item(item.id))) == {"user:ann"}
    await harness.review("bob", correct=True)
    assert (await harness.item(item.id)).state is ItemState.RESOLVED


async def test_a_late_review_of_a_gold_item_is_taken(harness: ReviewsHarness) -> None:
    await harness.open_queue(gold_share=0.5)
    harness.drawn = 0.0
    (item,) = await add(harness, said("g1", expected=labels(correct=True)))
    late = await harness.next("ann")
    assert late is not None
    harness.pass_time(minutes=16)
    assert await harness.next("bob")

    await harness.submit(reviewer("ann"), item.id, late.claim.id, labels(correct=True), write())

    assert set(by_reviewer(await harness.item(item.id))) == {"user:ann"}


async def test_who_asked_does_not_review_the_answer(harness: ReviewsHarness) -> None:
    await harness.open_queue()
    await harness.give("i1", end_user="user:ann")

    assert await harness.next("ann") is None
    assert await harness.next("bob") is not None


async def test_a_dispute_that_lacks_a_review_after_an_erasure_is_open_again(harness: ReviewsHarness) -> None:
    await harness.open_queue(reviewers=2)
    (item,) = await harness.give("i1")
    await harness.review("ann", correct=True)
    await harness.review("bob", correct=False)

    while await harness.erase.of_end_user(FEEDBACK, "user:bob"):
        pass
    assert (await harness.item(item.id)).state is ItemState.OPEN
    await harness.review("eve", correct=True)

    assert (await harness.item(item.id)).state is ItemState.RESOLVED
