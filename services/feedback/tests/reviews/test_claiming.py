"""Who gets which item, for how long, and what becomes of a review."""

import pytest

from services.feedback.tests.builders import write
from services.feedback.tests.reviews.harness import (
    FIELDS,
    OPERATOR,
    ReviewsHarness,
    about,
    by_reviewer,
    labels,
    reviewer,
    spec,
)
from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput
from tidemill_feedback.errors import ClaimExpired, NotReviewable, NotReviewer, ReviewGiven, ReviewItemNotFound
from tidemill_feedback.reviews.add_items import GivenItem
from tidemill_feedback.reviews.domain.item import ItemState


@pytest.fixture
def harness() -> ReviewsHarness:
    return ReviewsHarness()


async def test_reviewers_get_the_items_in_orders_of_their_own_and_none_twice(harness: ReviewsHarness) -> None:
    await harness.open_queue(reviewers=2)
    given = {each.id for each in await harness.give(*(f"i{number}" for number in range(8)))}

    orders = []
    for name in ("ada", "bob"):
        order = []
        for _ in range(8):
            claimed = await harness.next(name)
            assert claimed is not None
            order.append(claimed.item.id)
            await harness.submit(reviewer(name), claimed.item.id, claimed.claim.id, labels(correct=True), write())
        assert await harness.next(name) is None
        orders.append(order)

    assert set(orders[0]) == set(orders[1]) == given
    assert orders[0] != orders[1]
    assert {each.state for each in harness.items.all()} == {ItemState.RESOLVED}


async def test_a_reviewer_has_one_item_at_a_time(harness: ReviewsHarness) -> None:
    await harness.open_queue(reviewers=2)
    await harness.give("i1", "i2")

    first, again = await harness.next("ada"), await harness.next("ada")

    assert first is not None
    assert again is not None
    assert first.claim == again.claim


async def test_a_claim_that_expires_returns_the_item_to_others(harness: ReviewsHarness) -> None:
    await harness.open_queue()
    (item,) = await harness.give("i1")
    held = await harness.next("ada")
    assert held is not None
    assert await harness.next("bob") is None

    harness.pass_time(minutes=16)
    taken = await harness.next("bob")

    assert taken is not None
    assert taken.item.id == item.id
    with pytest.raises(ClaimExpired):
        await harness.submit(reviewer("ada"), item.id, held.claim.id, labels(correct=True), write())
    await harness.submit(reviewer("bob"), item.id, taken.claim.id, labels(correct=True), write())
    assert by_reviewer(await harness.item(item.id)) == {"user:bob": {"correct": True}}


async def test_an_expired_claim_is_as_good_where_no_other_has_its_place(harness: ReviewsHarness) -> None:
    await harness.open_queue()
    (item,) = await harness.give("i1")
    held = await harness.next("ada")
    assert held is not None

    harness.pass_time(hours=3)
    await harness.submit(reviewer("ada"), item.id, held.claim.id, labels(correct=False), write())

    assert (await harness.item(item.id)).state is ItemState.RESOLVED


async def test_a_review_is_given_once_for_a_claim(harness: ReviewsHarness) -> None:
    await harness.open_queue(reviewers=2)
    (item,) = await harness.give("i1")
    held = await harness.next("ada")
    assert held is not None
    ada, claim = reviewer("ada"), held.claim.id

    first = await harness.submit(ada, item.id, claim, labels(correct=True, tone="rude"), write())
    harness.pass_time(seconds=5)
    again = await harness.submit(ada, item.id, claim, labels(tone="rude", correct=True), write())

    assert first == again
    with pytest.raises(ReviewGiven):
        await harness.submit(ada, item.id, claim, labels(correct=False), write())
    with pytest.raises(ReviewGiven):
        await harness.submit(reviewer("eve"), item.id, claim, labels(correct=True), write())
    assert len((await harness.item(item.id)).reviews) == 1


async def test_the_same_review_is_the_same_after_the_fields_were_reordered(harness: ReviewsHarness) -> None:
    await harness.open_queue(reviewers=2)
    await harness.give("i1")
    held = await harness.next("ada")
    assert held is not None
    said = labels(correct=True, tone="rude")
    first = await harness.submit(reviewer("ada"), held.item.id, held.claim.id, said, write())

    await harness.crud.update(OPERATOR, "answers", spec(fields=FIELDS[::-1], reviewers=2), {"fields"}, write())

    assert await harness.submit(reviewer("ada"), held.item.id, held.claim.id, said, write()) == first


async def test_a_claim_of_another_reviewer_gives_no_review(harness: ReviewsHarness) -> None:
    await harness.open_queue(reviewers=2)
    (item,) = await harness.give("i1")
    held = await harness.next("ada")
    assert held is not None

    with pytest.raises(ClaimExpired, match="it is not yours"):
        await harness.submit(reviewer("eve"), item.id, held.claim.id, labels(correct=True), write())


async def test_an_item_that_is_given_back_goes_to_others_only(harness: ReviewsHarness) -> None:
    await harness.open_queue()
    (item,) = await harness.give("i1")
    held = await harness.next("ada")
    assert held is not None

    for _ in range(2):
        await harness.release(reviewer("ada"), item.id, held.claim.id, write())

    assert await harness.next("ada") is None
    taken = await harness.next("bob")
    assert taken is not None
    assert taken.item.id == item.id


async def test_a_preview_of_the_next_item_claims_nothing(harness: ReviewsHarness) -> None:
    await harness.open_queue()
    (item,) = await harness.give("i1")

    seen = await harness.next("ada", write(validate_only=True))

    assert seen is not None
    assert (seen.item.id, seen.claim.id) == (item.id, "")
    assert (await harness.item(item.id)).claims == ()


async def test_reviewing_needs_the_right_to(harness: ReviewsHarness) -> None:
    await harness.open_queue()
    (item,) = await harness.give("i1")
    plain = Caller(project="acme", subject="user:eve", roles=frozenset({"contributor"}))

    with pytest.raises(NotReviewer):
        await harness.claim(plain, "answers", write())
    with pytest.raises(NotReviewer):
        await harness.submit(plain, item.id, "c", labels(correct=True), write())
    with pytest.raises(NotReviewer):
        await harness.release(plain, item.id, "c", write())


async def test_a_paused_queue_gives_no_items(harness: ReviewsHarness) -> None:
    await harness.open_queue(paused=True)

    with pytest.raises(NotReviewable, match="is paused"):
        await harness.next("ada")


async def test_another_project_finds_neither_queue_nor_item(harness: ReviewsHarness) -> None:
    await harness.open_queue()
    (item,) = await harness.give("i1")

    with pytest.raises(ReviewItemNotFound):
        await harness.submit(reviewer("ada", project="other"), item.id, "c", labels(correct=True), write())


async def test_a_review_says_what_the_queue_asks(harness: ReviewsHarness) -> None:
    await harness.open_queue()
    (item,) = await harness.give("i1")
    held = await harness.next("ada")
    assert held is not None

    said = labels(tone="SECRET", score=9.0, better="x" * 41)
    with pytest.raises(InvalidInput) as refused:
        await harness.submit(reviewer("ada"), item.id, held.claim.id, said, write())

    assert [(each.field, each.description) for each in refused.value.violations] == [
        ("labels[tone]", "is none of its choices; use friendly, rude"),
        ("labels[score]", "is 9; use 1 to 5"),
        ("labels[better]", "has 41 characters, and 40 is the limit"),
        ("labels[correct]", "is missing, and the queue requires it"),
    ]


async def test_gold_items_come_by_their_share_to_every_reviewer_and_never_resolve(harness: ReviewsHarness) -> None:
    await harness.open_queue(gold_share=0.25)
    harness.answers.put("g1")
    gold = GivenItem(subject=about("g1").subject, expected=labels(correct=True))
    (item,) = await harness.add(OPERATOR, "answers", [gold], write())
    await harness.give("i1")

    harness.drawn = 0.2
    for name in ("ada", "bob"):
        claimed = await harness.next(name)
        assert claimed is not None
        assert claimed.item.id == item.id
        for _ in range(2):
            said = labels(correct=name == "ada", better="A text.")
            await harness.submit(reviewer(name), item.id, claimed.claim.id, said, write())
    assert "A text." not in repr(harness.items.all())
    harness.drawn = 0.3
    other = await harness.next("ada")

    assert other is not None
    assert other.item.id != item.id
    assert (await harness.item(item.id)).state is ItemState.OPEN
    assert harness.resolved == []
    report = await harness.report(OPERATOR, "answers")
    assert {each.reviewer: each.gold_accuracy for each in report.reviewers} == {"user:ada": 1.0, "user:bob": 0.0}
    assert (report.counts.gold, report.counts.by_state[ItemState.OPEN]) == (1, 1)
