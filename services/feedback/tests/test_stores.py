"""The other stores: what is written is read, in memory and in MongoDB."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from services.feedback.tests.builders import ADA, BUCKET, SFT, choice, prompt_of, request, rule_with, waiting
from services.feedback.tests.fakes import PENDING_QUOTA, InMemoryPending, InMemoryPrompts
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import PageRequest, ResourceKey
from tidemill_core.quotas import QuotaReached
from tidemill_feedback.curations.domain.curation import Batch, Curation
from tidemill_feedback.curations.mongo import CURATIONS, MongoCurations
from tidemill_feedback.curations.mongo_prompts import MongoPrompts
from tidemill_feedback.curations.ports import Prompts
from tidemill_feedback.errors import CurationNotFound, FeedbackNotFound, TooManyWait
from tidemill_feedback.reactions.domain.feedback import Answer, Feedback, Given
from tidemill_feedback.reactions.mongo import FEEDBACK, LISTS
from tidemill_feedback.reactions.mongo_pending import MongoPending
from tidemill_feedback.reactions.ports import Pending
from tidemill_kit.store import mongo
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_local import Addresses
from tidemill_testkit.clocks import NOON
from tidemill_testkit.stack import unique_name

PAGE = PageRequest(size=10)
ANSWER = Answer(
    inference="i1", deployment="d", end_user="u", variant="live", rollout="r", live=True, completed=True, output="A"
)


@pytest.fixture
async def database(stack: Addresses) -> AsyncIterator[mongo.Database]:
    client = mongo.connect(stack.mongo, timeout_s=10)
    database = client[unique_name("feedback")]
    yield database
    await client.drop_database(database.name)
    client.close()


@pytest.fixture
async def mongo_pending(database: mongo.Database) -> MongoPending:
    store = MongoPending(database["pending"], maximum=3, quota=PENDING_QUOTA)
    await store.ensure_indexes()
    return store


@pytest.fixture(params=["memory", "mongo"])
def pending(request: pytest.FixtureRequest) -> Pending:
    if request.param == "memory":
        return InMemoryPending(maximum=3)
    chosen: Pending = request.getfixturevalue("mongo_pending")
    return chosen


@pytest.fixture(params=["memory", "mongo"])
def prompts(request: pytest.FixtureRequest) -> Prompts:
    if request.param == "memory":
        return InMemoryPrompts()
    return MongoPrompts(request.getfixturevalue("database")["prompts"])


async def test_what_waits_comes_back_whole_and_in_order(pending: Pending) -> None:
    first, second = waiting("r1"), waiting("r2", at=NOON + timedelta(hours=1))
    second = replace(second, reaction=choice("i1", "i2", observe_time=NOON))
    for each in (first, second, first):
        await pending.add(each)

    assert list(await pending.of("acme", "i1")) == [first, second]
    assert not await pending.of("other", "i1")
    assert list((await pending.since(NOON, page=PAGE)).items) == [ResourceKey(project="acme", id="i1")]
    assert not (await pending.since(NOON - timedelta(seconds=1), page=PAGE)).items

    for _ in range(2):
        await pending.remove(first)
    assert list(await pending.of("acme", "i1")) == [second]
    await pending.remove(second)
    assert not await pending.of("acme", "i1")
    assert not (await pending.since(NOON + timedelta(days=1), page=PAGE)).items


async def test_what_waits_for_answers_that_are_completed_at_the_same_time_is_read_together(
    database: mongo.Database,
) -> None:
    calls = list[int]()

    class Counted:
        def find(self, chosen: mongo.Document) -> mongo.Cursor:
            calls.append(len(chosen["_id"]["$in"]))
            return database["pending"].find(chosen)

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever it has
            return getattr(database["pending"], name)

    store = MongoPending(cast("Any", Counted()), maximum=3, quota=PENDING_QUOTA)
    await store.add(waiting("r1"))

    found = await asyncio.gather(*(store.of("acme", f"i{number % 5}") for number in range(10)))

    assert calls == [5]
    assert [len(each) for each in found] == [0, 1, 0, 0, 0] * 2


async def test_a_project_waits_for_no_more_inferences_than_the_quota(pending: Pending) -> None:
    places = [replace(waiting(f"r{number}"), inference=f"i{number}") for number in range(PENDING_QUOTA.limit + 1)]
    for each in places[:-1]:
        await pending.add(each)

    with pytest.raises(QuotaReached, match="has 5 pending inferences, which is the limit: wait, or ask an operator"):
        await pending.add(places[-1])
    await pending.add(waiting("more of the same"))
    await pending.add(replace(places[-1], project="other"))
    await pending.remove(places[0])
    await pending.add(places[-1])


async def test_what_an_erased_person_sent_waits_no_longer(pending: Pending) -> None:
    theirs, others = waiting("r1", end_user="u1"), waiting("r2", end_user="u2")
    for each in (theirs, others, waiting("r1", project="other", end_user="u1")):
        await pending.add(each)

    assert await pending.forget("acme", "u1") == 1
    assert await pending.forget("acme", "u1") == 0
    assert list(await pending.of("acme", "i1")) == [others]
    await pending.forget("acme", "u2")

    assert list((await pending.since(NOON, page=PAGE)).items) == [ResourceKey(project="other", id="i1")]


async def test_a_project_that_is_left_out_takes_no_place_of_the_others(pending: Pending) -> None:
    for each in (waiting("r1"), waiting("r2", project="other", at=NOON + timedelta(hours=1))):
        await pending.add(each)

    found = await pending.since(NOON + timedelta(days=1), page=PageRequest(size=1), without=frozenset({"acme"}))

    assert list(found.items) == [ResourceKey(project="other", id="i1")]


async def test_what_waits_for_too_long_is_found_page_by_page_the_oldest_first(pending: Pending) -> None:
    hours = {"late": 2, "early": 0, "b": 1, "a": 1}
    for inference, hour in hours.items():
        await pending.add(replace(waiting(inference, at=NOON + timedelta(hours=hour)), inference=inference))

    first = await pending.since(NOON + timedelta(hours=3), page=PageRequest(size=3))
    second = await pending.since(NOON + timedelta(hours=3), page=PageRequest(size=3, token=first.next_token))

    assert [key.id for key in (*first.items, *second.items)] == ["early", "a", "b", "late"]
    assert second.next_token == ""


async def test_no_more_than_the_limit_waits_for_one_inference(pending: Pending) -> None:
    await asyncio.gather(*(pending.add(waiting(f"r{number}")) for number in range(3)))

    with pytest.raises(TooManyWait, match="3 reactions wait for inference i1, which is the limit"):
        await pending.add(waiting("r4"))
    await pending.add(waiting("r1"))
    await pending.add(waiting("r5", project="other"))
    assert len(await pending.of("acme", "i1")) == 3


async def test_prompts_are_kept_once_and_by_project(prompts: Prompts) -> None:
    assert list(await prompts.missing("acme", ["i1", "i2", "i1"])) == ["i1", "i2"]
    await prompts.keep("acme", "i1", prompt_of("i1"))
    await prompts.keep("acme", "i1", prompt_of("i2"))

    assert list(await prompts.missing("acme", ["i1", "i2"])) == ["i2"]
    assert dict(await prompts.get("acme", ["i1", "i2"])) == {"i1": prompt_of("i1")}
    assert not await prompts.get("other", ["i1"])

    await prompts.keep("other", "i1", prompt_of("i1"))
    await prompts.forget("acme", ["i1", "i9"])
    assert not await prompts.get("acme", ["i1"])
    assert await prompts.get("other", ["i1"])


async def test_feedback_and_its_history_come_back_whole_and_are_listed(database: mongo.Database) -> None:
    enqueued: list[str] = []
    store = MongoAggregates(
        database["feedback"],
        codec=FEEDBACK,
        topic="t",
        source="/t",
        missing=FeedbackNotFound,
        lists=LISTS,
        enqueue=lambda new: enqueued.append(new.document_id),
    )
    await store.ensure_indexes()
    fresh = Feedback(id="f1", project="acme", inference="i1", metric="comment", end_user="u", rater="user")
    fresh.conversation = "c1"

    def give(feedback: Feedback) -> None:
        for minute in range(3):
            given = Given(number=None, text=f"text {minute}", observe_time=NOON + timedelta(minutes=minute))
            feedback.give(given, ANSWER, labels={"a.b/c": "d"}, keep=5, now=NOON)

    saved = await store.upsert(fresh, give, request=request("r1"))
    read = await store.get("acme", "f1")

    assert read == saved
    assert (read.seq, len(read.history)) == (3, 2)
    assert enqueued == ["acme/f1"]
    for where in ({"inference": "i1"}, {"conversation": "c1"}, {"deployment": "d", "metric": "comment"}):
        assert len((await store.list("acme", page=PageRequest(), where=where)).items) == 1
    assert not (await store.list("acme", page=PageRequest(), where={"inference": "i2"})).items


async def test_curations_come_back_whole_and_the_worker_finds_those_that_live(database: mongo.Database) -> None:
    store = MongoAggregates(
        database["curations"],
        codec=CURATIONS,
        topic="t",
        source="/t",
        missing=CurationNotFound,
        lists=[("rule.deployment",)],
    )
    rule = rule_with(at_latest_every=timedelta(days=7), labels={"tidemill.dev/loop": "helpdesk"}, per_user_at_most=2)
    fresh = Curation(id="sft", project="acme", rule=rule, since=NOON)
    batch = Batch(object=ObjectRef(bucket=BUCKET, key="acme/sft/ab", size=3, sha256="ab"), examples=3, new=2)
    await store.upsert(fresh, lambda each: each.begin(rule, now=NOON), request=request())
    await store.update(ADA.project, "sft", lambda each: each.take(4), request=request())
    saved = await store.update(
        ADA.project, "sft", lambda each: each.complete(batch, rule=rule, number=1, epoch=4, now=NOON), request=request()
    )

    read = await store.get("acme", "sft")

    assert read == saved
    assert (read.rule, read.completions, read.epoch) == (rule, 1, 4)
    assert (await store.list("acme", page=PageRequest(), where={"rule.deployment": "helpdesk"})).items == [read]
    names = MongoCurations(database["curations"])
    assert list(await names.all()) == [SFT]
    await store.update("acme", "sft", lambda each: setattr(each, "deleted", True), request=request())
    assert not await names.all()
