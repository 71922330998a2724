"""Queues, the items that callers add to them, and what is removed with queue, end user and document."""

from datetime import timedelta
from functools import partial

import pytest

from services.feedback.tests.builders import write
from services.feedback.tests.reviews.harness import (
    FIELDS,
    OPERATOR,
    ReviewsHarness,
    about,
    labels,
    reviewer,
    sampling,
    spec,
)
from tidemill_core.application import Caller, PageRequest, Request
from tidemill_core.errors import InvalidInput
from tidemill_feedback.errors import ReviewItemNotFound, ReviewQueueExists, ReviewQueueFull, ReviewQueueNotFound
from tidemill_feedback.reviews.add_items import GivenItem, GivenReview
from tidemill_feedback.reviews.domain.item import ItemState, ReviewItem, Subject, SubjectKind
from tidemill_feedback.reviews.domain.labels import LabelField, LabelKind
from tidemill_feedback.reviews.domain.queue import EndedQueue, SamplingStrategy
from tidemill_feedback.reviews.forget_old import ForgetOldItems
from tidemill_testkit.clocks import NOON
from tidemill_testkit.retained import FakeRetained

FEEDBACK = Caller.of_service("acme", "feedback")
PAGE = PageRequest(size=10)


@pytest.fixture
def harness() -> ReviewsHarness:
    return ReviewsHarness()


def named(name: str, kind: LabelKind = LabelKind.BOOLEAN, **fields: object) -> LabelField:
    return LabelField(name=name, kind=kind, **fields)  # type: ignore[arg-type]  # names of fields


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"fields": ()}, "fields"),
        ({"fields": (named("a"), named("a"))}, "fields"),
        ({"fields": (named("a", LabelKind.CATEGORY, choices=("x",)),)}, "fields[0].choices"),
        ({"fields": (named("a", choices=("x", "y")),)}, "fields[0].choices"),
        ({"fields": (named("a", LabelKind.NUMBER, min=2, max=1),)}, "fields[0].min"),
        ({"fields": (named("a", LabelKind.NUMBER, tolerance=-1),)}, "fields[0].tolerance"),
        ({"fields": (named("a", max_chars=3),)}, "fields[0].max_chars"),
        ({"fields": [named(name, LabelKind.TEXT, max_chars=16_000) for name in "abcd"], "reviewers": 16}, "fields"),
        ({"reviewers": 26}, "reviewers"),
        ({"gold_share": 0.6}, "gold_share"),
        ({"min_agreement": 1.1}, "min_agreement"),
        ({"max_open_items": 10_001}, "max_open_items"),
        ({"sampling": sampling(share=2)}, "sampling.share"),
        ({"sampling": sampling(SamplingStrategy.RANDOM)}, "sampling.share"),
        ({"sampling": sampling(SamplingStrategy.STRATIFIED)}, "sampling.max_open_per_stratum"),
        ({"sampling": sampling(rating_below=0.5)}, "sampling.support_below"),
    ],
)
async def test_a_queue_that_cannot_work_is_refused(
    harness: ReviewsHarness, fields: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await harness.open_queue(**fields)
    assert field in {each.field for each in refused.value.violations}


async def test_fields_only_gain_what_earlier_reviews_may_lack(harness: ReviewsHarness) -> None:
    await harness.open_queue()
    more = (*FIELDS, named("safe"))

    changed = await harness.crud.update(OPERATOR, "answers", spec(fields=more), {"fields"}, write())

    assert changed.spec.fields == more
    for fewer in (FIELDS[1:], (*FIELDS, named("sure", required=True), named("safe"))):
        with pytest.raises(InvalidInput, match="fields"):
            await harness.crud.update(OPERATOR, "answers", spec(fields=fewer), {"fields"}, write())


async def test_a_deleted_queue_takes_its_items_with_it_and_its_name_is_free(harness: ReviewsHarness) -> None:
    await harness.open_queue()
    with pytest.raises(ReviewQueueExists):
        await harness.open_queue()
    (old,) = await harness.give("i1")
    await harness.crud.delete(OPERATOR, "answers", write())
    with pytest.raises(ReviewQueueNotFound):
        await harness.crud.list_items(OPERATOR, "answers", PAGE)

    await harness.open_queue()
    assert (await harness.crud.list_items(OPERATOR, "answers", PAGE)).items == []
    with pytest.raises(ReviewItemNotFound):
        await harness.submit(reviewer("ada"), old.id, "c", labels(correct=True), write())
    (new,) = await harness.give("i1")
    assert harness.ended == [EndedQueue("acme", "answers", 1)]
    for _ in range(2):
        await harness.drop(harness.ended[0])

    assert [each.id for each in harness.items.all()] == [new.id]
    assert [each.dropping for each in harness.queues.all()] == [False]


async def test_labels_that_counted_are_reported_as_removed_with_a_document_that_their_items_show(
    harness: ReviewsHarness,
) -> None:
    await harness.open_queue()
    *resolved, _ = await harness.give("i1", "i2", "i3", "i4")
    for each in resolved:
        await harness.adjudicate(OPERATOR, each.id, labels(correct=True), write())

    await harness.erase.of_document(FEEDBACK, "d1")
    assert harness.removed == 3
    assert all(each.deleted for each in harness.items.all())


async def test_the_labels_of_a_deleted_queue_are_reported_as_removed_before_its_items_are(
    harness: ReviewsHarness,
) -> None:
    await harness.open_queue()
    resolved, _ = await harness.give("i1", "i2")
    await harness.adjudicate(OPERATOR, resolved.id, labels(correct=True), write())
    await harness.crud.delete(OPERATOR, "answers", write())

    for _ in range(2):
        await harness.drop(harness.ended[0])

    assert harness.removed == 1
    assert harness.items.all() == []


async def test_a_review_in_progress_that_resolves_an_item_of_a_deleted_queue_is_reported_as_removed(
    harness: ReviewsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.open_queue()
    (item,) = await harness.give("i1")
    await harness.crud.delete(OPERATOR, "answers", write())
    drop, left = harness.find.drop, [item.id]

    async def resolved_meanwhile(ended: EndedQueue) -> int:
        while left:
            resolve = partial(ReviewItem.adjudicate, labels=labels(correct=True), adjudicator="olga", now=NOON)
            await harness.items.update("acme", left.pop(), resolve, request=Request.internal())
        return await drop(ended)

    monkeypatch.setattr(harness.find, "drop", resolved_meanwhile)
    for _ in range(2):
        await harness.drop(harness.ended[0])

    assert harness.removed == 1
    assert harness.items.all() == []


async def test_a_queue_that_is_deleted_while_an_item_is_added_keeps_none(
    harness: ReviewsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.open_queue()
    read = harness.answers.read

    async def deleted_meanwhile(caller: Caller, inference: str) -> object:
        await harness.crud.delete(OPERATOR, "answers", write())
        return await read(caller, inference)

    monkeypatch.setattr(harness.answers, "read", deleted_meanwhile)
    (item,) = await harness.give("i1")

    assert item.state is ItemState.REMOVED
    assert harness.items.all() == []


async def test_a_queue_that_is_deleted_while_an_item_is_stored_keeps_a_tombstone(
    harness: ReviewsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.open_queue()
    upsert = harness.items.upsert

    async def deleted_meanwhile(*given: object, **how: object) -> object:
        await harness.crud.delete(OPERATOR, "answers", write())
        return await upsert(*given, **how)  # type: ignore[arg-type]  # as it came

    monkeypatch.setattr(harness.items, "upsert", deleted_meanwhile)
    await harness.give("i1")

    assert [(each.deleted, each.end_user) for each in harness.items.all()] == [(True, "")]


async def test_an_erased_project_gets_no_queue_back(harness: ReviewsHarness) -> None:
    await harness.drop(EndedQueue("gone", "answers", 1))

    assert harness.queues.all() == []


async def test_items_are_added_once_and_checked_together(harness: ReviewsHarness) -> None:
    await harness.open_queue()
    harness.answers.ask("i2")

    first, again = await harness.give("i1"), await harness.give("i1")

    assert first[0].id == again[0].id
    with pytest.raises(InvalidInput) as refused:
        await harness.add(OPERATOR, "answers", [about("i1"), about("i2"), about("i3")], write())
    assert [each.field for each in refused.value.violations] == ["items[1].subject", "items[2].subject"]
    bad = [
        GivenItem(subject=Subject(kind=SubjectKind.EXAMPLE, id="e1", dataset="sft")),
        GivenItem(subject=Subject(kind=SubjectKind.DOCUMENT, id="")),
        GivenItem(subject=about("i1").subject, reviews=(GivenReview(reviewer="", labels=labels(correct=True)),)),
    ]
    with pytest.raises(InvalidInput) as refused:
        await harness.add(OPERATOR, "answers", bad, write())
    assert [each.field for each in refused.value.violations] == [
        "items[0].subject.inference",
        "items[1].subject.id",
        "items[2].reviews[0].reviewer",
    ]


async def test_a_full_queue_takes_no_further_items(harness: ReviewsHarness) -> None:
    await harness.open_queue(max_open_items=2)
    await harness.give("i1", "i2")

    await harness.give("i1")
    with pytest.raises(ReviewQueueFull, match="2 open items"):
        await harness.give("i3")


async def test_a_preview_of_items_stores_none(harness: ReviewsHarness) -> None:
    await harness.open_queue()
    harness.answers.put("i1")

    (item,) = await harness.add(OPERATOR, "answers", [about("i1")], write(validate_only=True))

    assert item.state is ItemState.OPEN
    assert harness.items.all() == []


async def test_reviews_that_were_given_elsewhere_resolve_items(harness: ReviewsHarness) -> None:
    await harness.open_queue(reviewers=2)
    harness.answers.put("i1")
    said = tuple(GivenReview(reviewer=name, labels=labels(correct=True)) for name in ("crowd-1", "crowd-2"))
    given = [GivenItem(subject=about("i1").subject, reviews=said)]

    await harness.add(OPERATOR, "answers", given, write())
    (item,) = await harness.add(OPERATOR, "answers", given, write())

    assert item.resolved is not None
    assert item.resolved.reviewers == ("crowd-1", "crowd-2")
    assert len(harness.resolved) == 1


async def test_items_about_documents_and_examples_are_erased_with_what_they_come_from(
    harness: ReviewsHarness,
) -> None:
    await harness.open_queue()
    harness.answers.put("i1", end_user="u7", documents=("d1",))
    given = [
        GivenItem(subject=Subject(kind=SubjectKind.DOCUMENT, id="d2")),
        GivenItem(subject=Subject(kind=SubjectKind.EXAMPLE, id="e1", dataset="sft", inference="i1")),
    ]
    document, example = await harness.add(OPERATOR, "answers", given, write())
    assert (document.documents, example.end_user, example.documents) == (("d2",), "u7", ("d1",))

    assert await harness.erase.of_document(FEEDBACK, "d2") == 1
    assert await harness.erase.of_document(FEEDBACK, "d2") == 0
    assert await harness.erase.of_end_user(FEEDBACK, "u7") == 1

    assert [(each.state, each.subject.id) for each in harness.items.all()] == [(ItemState.REMOVED, "")] * 2


async def test_an_item_that_is_gone_when_it_is_erased_does_not_come_back(
    harness: ReviewsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.open_queue()
    (item,) = await harness.give("i1")

    async def found(project: str, document: str, *, limit: int) -> list[str]:
        del document, limit
        harness.items.remove(project, item.id)
        return [item.id]

    monkeypatch.setattr(harness.find, "of_document", found)
    await harness.erase.of_document(FEEDBACK, "d1")

    assert harness.items.all() == []


async def test_a_person_who_reviewed_is_named_no_more_and_what_is_resolved_stays(harness: ReviewsHarness) -> None:
    await harness.open_queue(reviewers=2)
    await harness.give("i1")
    await harness.review("ada", correct=True)
    await harness.review("bob", correct=True)

    while await harness.erase.of_end_user(FEEDBACK, "user:ada"):
        pass

    (item,) = harness.items.all()
    assert "ada" not in repr(item)
    assert item.resolved is not None
    assert (item.state, item.resolved.reviewers) == (ItemState.RESOLVED, ("user:bob",))
    first, again = harness.resolved  # for those who erased the person before the first one came
    assert (first.resolved.reviewers, again.resolved.reviewers) == (("user:ada", "user:bob"), ("user:bob",))
    assert (again.resolved.labels, again.resolved.resolve_time) == (first.resolved.labels, first.resolved.resolve_time)


async def test_items_that_a_project_keeps_no_longer_are_removed_unless_they_changed_since(
    harness: ReviewsHarness,
) -> None:
    await harness.open_queue()
    old, reviewed = await harness.give("i1", "i2")
    harness.pass_time(days=20)
    await harness.adjudicate(OPERATOR, reviewed.id, labels(correct=True), write())
    harness.pass_time(days=20)
    retained = FakeRetained({"acme": timedelta(days=30)})

    removed = await ForgetOldItems(erase=harness.erase, retained=retained, clock=harness.clock)()

    assert removed == 1
    assert {each.id: each.deleted for each in harness.items.all()} == {old.id: True, reviewed.id: False}
