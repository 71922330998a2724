"""Finding items, in memory and in MongoDB; what is stored is read, and each query has an index."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from services.feedback.tests.reviews.harness import FIELDS, InMemoryItems, answered, labels, sampling, spec
from tidemill_core.aggregate import Aggregate
from tidemill_core.application import Request
from tidemill_core.errors import Conflict
from tidemill_feedback.errors import ReviewItemNotFound, ReviewQueueNotFound
from tidemill_feedback.reviews.domain.item import (
    Claim,
    ItemState,
    Resolution,
    Review,
    ReviewItem,
    Subject,
    SubjectKind,
)
from tidemill_feedback.reviews.domain.queue import EndedQueue, ReviewQueue
from tidemill_feedback.reviews.messages import TOPIC
from tidemill_feedback.reviews.mongo import ITEM_LISTS, ITEMS, QUEUE_LISTS, QUEUES, MongoEndedQueues
from tidemill_feedback.reviews.mongo_items import MongoItems
from tidemill_feedback.reviews.ports import Items
from tidemill_feedback.reviews.store_item import item_of
from tidemill_kit.store import mongo
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_local import Addresses
from tidemill_testkit.clocks import NOON
from tidemill_testkit.stack import unique_name
from tidemill_testkit.stores import InMemoryAggregates

QUEUE = ReviewQueue(id="answers", project="acme", spec=spec(reviewers=2), incarnations=1)
KEY = QUEUE.key


@pytest.fixture
async def database(stack: Addresses) -> AsyncIterator[mongo.Database]:
    client = mongo.connect(stack.mongo, timeout_s=10)
    database = client[unique_name("feedback")]
    yield database
    await client.drop_database(database.name)
    client.close()


@pytest.fixture
async def in_mongo(database: mongo.Database) -> tuple[MongoAggregates[ReviewItem], Items]:
    items = MongoAggregates(
        database["review_items"],
        codec=ITEMS,
        topic=TOPIC,
        source="/tidemill/feedback",
        missing=ReviewItemNotFound,
        lists=ITEM_LISTS,
    )
    find = MongoItems(database["review_items"])
    await items.ensure_indexes()
    await find.ensure_indexes()
    return items, find


@pytest.fixture(params=["memory", "mongo"])
def stores(request: pytest.FixtureRequest) -> tuple[Any, Items]:
    if request.param == "memory":
        items: InMemoryAggregates[ReviewItem] = InMemoryAggregates(codec=ITEMS, missing=ReviewItemNotFound)
        return items, InMemoryItems(items)
    chosen: tuple[Any, Items] = request.getfixturevalue("in_mongo")
    return chosen


def made(inference: str, *, queue: ReviewQueue = QUEUE, **fields: object) -> ReviewItem:
    item = item_of(queue, Subject(kind=SubjectKind.INFERENCE, id=inference), answered(inference), reason="given")
    return replace(item, **fields)  # type: ignore[arg-type]  # names of fields


def claim(reviewer: str, *, minutes: float = 10) -> Claim:
    return Claim(id=f"c-{reviewer}", reviewer=reviewer, expire_time=NOON + timedelta(minutes=minutes))


def review(reviewer: str) -> Review:
    return Review(claim=f"c-{reviewer}", reviewer=reviewer, labels=labels(correct=True, score=3.0), submit_time=NOON)


async def test_a_reviewer_finds_what_is_free_and_not_seen_in_the_order_of_the_ring(
    stores: tuple[Any, Items],
) -> None:
    items, find = stores
    late = timedelta(minutes=11)
    given = {
        "free": made("i1", place=0.1),
        "reviewed": made("i2", place=0.2, reviews=(review("ada"),)),
        "given back": made("i3", place=0.3, released_by=("ada",)),
        "held by others": made("i4", place=0.4, claims=(claim("bob"), claim("eve"))),
        "half held": made("i5", place=0.5, claims=(claim("bob"),)),
        "gold": made("i6", place=0.6, expected=labels(correct=True)),
        "resolved": made("i7", place=0.7, state=ItemState.RESOLVED),
        "of another queue": made("i8", place=0.8, queue=replace(QUEUE, incarnations=2)),
        "asked by her": made("i9", place=0.9, stratum="", end_user="ada"),
    }
    for each in given.values():
        await items.add(each, request=Request.internal())
    names = {each.id: name for name, each in given.items()}

    async def free(**how: Any) -> list[str]:  # noqa: ANN401 - of any kind
        asked: dict[str, Any] = {"start": 0.45, "gold": False, "now": NOON, "limit": 10} | how
        return [names[each] for each in await find.free("acme", KEY, "ada", **asked)]

    assert await free() == ["half held", "free"]
    assert await free(now=NOON + late) == ["half held", "free", "held by others"]
    assert await free(limit=1) == ["half held"]
    assert await free(gold=True) == ["gold"]
    assert [names[each] for each in await find.claimed("acme", KEY, "eve")] == ["held by others"]
    assert await find.open("acme", KEY, limit=3) == 3
    assert await find.open("acme", KEY, limit=10, stratum="c1") == 5
    counts = await find.counts("acme", KEY)
    assert (counts.gold, counts.by_state[ItemState.OPEN], counts.by_state[ItemState.RESOLVED]) == (1, 6, 1)


async def test_items_are_found_by_whom_and_what_they_name_and_removed_ones_are_not(
    stores: tuple[Any, Items],
) -> None:
    items, find = stores
    reviewed = made("i1", reviews=(review("ada"),), claims=(claim("bob"),), documents=("d1", "d2"))
    other = made("i2", end_user="u2", documents=())
    for each in (reviewed, other):
        await items.add(each, request=Request.internal())

    assert await find.of_end_user("acme", "u1", limit=5) == [reviewed.id]
    assert await find.of_document("acme", "d2", limit=5) == [reviewed.id]
    assert [await find.naming("acme", each, limit=5) for each in ("ada", "bob")] == [[reviewed.id]] * 2
    assert await find.of_end_user("other", "u1", limit=5) == []
    await items.upsert(reviewed, partial(ReviewItem.remove, now=NOON), request=Request.internal())
    assert await find.of_end_user("acme", "u1", limit=5) == []
    assert await find.naming("acme", "ada", limit=5) == []


async def test_what_is_stored_is_read(in_mongo: tuple[MongoAggregates[ReviewItem], Items]) -> None:
    items, _ = in_mongo
    resolved = Resolution(labels=labels(tone="rude"), reviewers=("ada",), adjudicator="olga", resolve_time=NOON)
    item = made("i1", reviews=(review("ada"),), resolved=resolved, state=ItemState.RESOLVED, released_by=("eve",))

    added = await items.add(item, request=Request.internal())

    assert await items.get("acme", item.id) == added
    assert _own(added) == _own(item)


async def test_ended_queues_are_found_and_their_items_removed_once_events_are_out(
    database: mongo.Database, in_mongo: tuple[MongoAggregates[ReviewItem], Items]
) -> None:
    items, find = in_mongo
    queues = MongoAggregates(
        database["review_queues"],
        codec=QUEUES,
        topic="",
        source="/tidemill/feedback",
        missing=ReviewQueueNotFound,
        lists=QUEUE_LISTS,
    )
    ended = MongoEndedQueues(database["review_queues"])
    await queues.ensure_indexes()
    await ended.ensure_indexes()
    fresh = ReviewQueue(
        id="answers",
        project="acme",
        spec=spec(sampling=sampling(), labels={"a.b": "c"}, claim_time=timedelta(minutes=1)),
        incarnations=2,
        dropping=True,
        labels={"a.b": "c"},
    )
    stored = await queues.add(fresh, request=Request.internal())
    assert (stored.spec, (await queues.get("acme", "answers")).spec.fields) == (fresh.spec, FIELDS)
    waiting = made("i1")
    waiting.adjudicate(labels(correct=True), adjudicator="olga", now=NOON)
    for each in (waiting, made("i2"), made("i3", queue=replace(QUEUE, incarnations=2))):
        await items.add(each, request=Request.internal())

    (found,) = (await ended("", without=frozenset())).items
    assert found == EndedQueue("acme", "answers", 1)
    assert (await ended("", without=frozenset({"acme"}))).items == []
    assert await find.resolved(found) == [waiting.id]
    assert [await find.drop(found), await find.drop(found)] == [1, 0]
    await items.update("acme", waiting.id, partial(ReviewItem.remove, now=NOON), request=Request.internal())
    assert await find.resolved(found) == []
    with pytest.raises(Conflict, match="not published yet"):
        await find.drop(found)
    await database["review_items"].update_many({}, {"$set": {"outbox": []}})
    assert [await find.drop(found), await find.drop(found)] == [1, 0]
    assert await find.open("acme", "answers/2", limit=5) == 1


def _own(item: ReviewItem) -> dict[str, object]:
    of_stores = set(Aggregate.__slots__) - {"id", "project"}
    return {name: getattr(item, name) for name in ReviewItem.__slots__ if name not in of_stores}
