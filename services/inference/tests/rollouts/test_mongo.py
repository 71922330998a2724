"""Outcomes of rollouts: the fake and the real store keep the same promises."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from services.inference.tests.rollouts.rollout_fakes import InMemoryOutcomes
from tidemill_core.application import ResourceKey
from tidemill_inference.rollouts.domain.step_counts import CANDIDATE, LIVE, Outcome, ServerEnd
from tidemill_inference.rollouts.mongo import MongoActiveRollouts, MongoOutcomes
from tidemill_inference.rollouts.ports import Outcomes, Reaction
from tidemill_kit.store.mongo import Collection, connect
from tidemill_local import Addresses
from tidemill_testkit.clocks import NOON
from tidemill_testkit.queries import Recorder
from tidemill_testkit.stack import unique_name


@pytest.fixture(params=["memory", "mongodb"])
async def outcomes(request: pytest.FixtureRequest) -> AsyncIterator[Outcomes]:
    if request.param == "memory":
        yield InMemoryOutcomes()
        return
    stack: Addresses = request.getfixturevalue("stack")
    client = connect(stack.mongo, timeout_s=10)
    name = unique_name("outcomes")
    kept = MongoOutcomes(client[name]["rollout_outcomes"])
    await kept.ensure_indexes()
    yield kept
    await client.drop_database(name)
    client.close()


def outcome(inference: str, *, variant: str = LIVE, step: int = 0, failed: bool = False) -> Outcome:
    return Outcome(inference=inference, rollout="r1", step=step, variant=variant, failed=failed, total_s=1.5)


def rating(
    score: float | None, *, seq: int, feedback: str = "f.1$", inference: str = "i1", end_user: str = ""
) -> Reaction:
    return Reaction(
        feedback=feedback,
        seq=seq,
        inference=inference,
        rollout="r1",
        metric="rating",
        score=score,
        end_user=end_user,
    )


async def test_an_outcome_is_kept_once_however_often_it_is_recorded(outcomes: Outcomes) -> None:
    await outcomes.record("acme", outcome("i1", failed=True))
    await outcomes.record("acme", outcome("i1"))
    await outcomes.record("acme", outcome("i2", variant=CANDIDATE))
    await outcomes.record("acme", outcome("i3", step=1))
    await outcomes.record("other", outcome("i1"))

    found = {each.inference: each for each in await outcomes.of_step("acme", "r1", 0)}

    assert found == {"i1": outcome("i1"), "i2": outcome("i2", variant=CANDIDATE)}


async def test_ratings_come_in_any_order_and_the_last_of_each_feedback_counts(outcomes: Outcomes) -> None:
    await outcomes.react("acme", rating(0.5, seq=2))
    await outcomes.record("acme", outcome("i1"))
    await outcomes.react("acme", rating(0.1, seq=1))
    await outcomes.react("acme", rating(0.5, seq=2))
    await outcomes.react("acme", rating(1.0, seq=1, feedback="f2"))

    (found,) = await outcomes.of_step("acme", "r1", 0)

    assert sorted(each.score for each in found.values) == [0.5, 1.0]


async def test_a_value_is_kept_with_its_metric_weight_and_maturity_and_names_no_user(outcomes: Outcomes) -> None:
    await outcomes.record("acme", outcome("i1"))
    given = replace(rating(1.0, seq=1, end_user="u1"), metric="reopened", weight=0.5, mature_time=NOON)
    await outcomes.react("acme", given)
    await outcomes.react("acme", rating(0.0, seq=1, feedback="f2", end_user="u1"))

    (found,) = await outcomes.of_step("acme", "r1", 0)

    values = {each.metric: each for each in found.values}
    assert (values["reopened"].score, values["reopened"].weight, values["reopened"].mature_time) == (1.0, 0.5, NOON)
    assert values["rating"].user == values["reopened"].user != ""


async def test_what_was_taken_back_is_no_value_also_where_it_comes_before(outcomes: Outcomes) -> None:
    await outcomes.record("acme", outcome("i1"))
    await outcomes.react("acme", rating(None, seq=2))
    await outcomes.react("acme", rating(1.0, seq=1))

    (found,) = await outcomes.of_step("acme", "r1", 0)

    assert found.values == ()


async def test_the_values_of_an_end_user_are_erased_and_no_others(outcomes: Outcomes) -> None:
    for number in range(3):
        await outcomes.record("acme", outcome(f"i{number}"))
        await outcomes.react("acme", rating(1.0, seq=1, feedback=f"f{number}", inference=f"i{number}", end_user="u1"))
    await outcomes.react("acme", rating(0.5, seq=1, feedback="g", inference="i0", end_user="u2"))
    await outcomes.record("other", outcome("i1"))
    await outcomes.react("other", rating(1.0, seq=1, end_user="u1"))
    before = await outcomes.mark("acme", "r1", 0)

    assert await outcomes.of_end_user("acme", "u1", validate_only=True) == 3
    assert await outcomes.of_end_user("acme", "u1") == 3
    assert await outcomes.of_end_user("acme", "u1") == 0

    left = [value.score for each in await outcomes.of_step("acme", "r1", 0) for value in each.values]
    assert left == [0.5]
    assert await outcomes.mark("acme", "r1", 0) != before
    assert [len(each.values) for each in await outcomes.of_step("other", "r1", 0)] == [1]


async def test_a_value_is_taken_back_with_its_user_unless_a_later_one_has_replaced_it(outcomes: Outcomes) -> None:
    await outcomes.record("acme", outcome("i1"))
    first, later = (rating(score, seq=seq, end_user="u1") for seq, score in ((1, 0.0), (2, 1.0)))
    await outcomes.react("acme", first)
    await outcomes.retract("acme", first)
    assert await outcomes.of_end_user("acme", "u1", validate_only=True) == 0
    await outcomes.react("acme", later)
    await outcomes.retract("acme", first)

    (found,) = await outcomes.of_step("acme", "r1", 0)

    assert [value.score for value in found.values] == [1.0]
    assert await outcomes.of_end_user("acme", "u1", validate_only=True) == 1


@pytest.mark.parametrize("withdrawn", [rating(None, seq=2), rating(None, seq=2, end_user="u1")])
async def test_a_user_of_whom_every_value_was_withdrawn_is_not_kept(outcomes: Outcomes, withdrawn: Reaction) -> None:
    await outcomes.react("acme", rating(1.0, seq=1, end_user="u1"))
    await outcomes.react("acme", rating(1.0, seq=1, feedback="g", end_user="u2"))
    await outcomes.react("acme", withdrawn)

    assert await outcomes.of_end_user("acme", "u1", validate_only=True) == 0
    assert await outcomes.of_end_user("acme", "u2", validate_only=True) == 1


async def test_a_value_that_comes_while_its_user_is_erased_is_erased_by_the_next_batch(stack: Addresses) -> None:
    client = connect(stack.mongo, timeout_s=10)
    name = unique_name("overtaken")
    collection = client[name]["rollout_outcomes"]
    outcomes = MongoOutcomes(collection)
    await outcomes.record("acme", outcome("i1"))
    await outcomes.react("acme", rating(1.0, seq=1, end_user="u1"))
    second = rating(0.0, seq=1, feedback="copied", end_user="u1")

    batches = [await MongoOutcomes(cast("Any", Overtaken(collection, second))).of_end_user("acme", "u1")]
    while batches[-1]:
        batches.append(await outcomes.of_end_user("acme", "u1"))

    assert batches == [1, 1, 0]
    assert [each.values for each in await outcomes.of_step("acme", "r1", 0)] == [()]
    await client.drop_database(name)
    client.close()


class Overtaken:
    """A collection in which a value comes between what is read and what is written."""

    def __init__(self, collection: Collection, value: Reaction) -> None:
        self._collection, self._value = collection, value

    def __getattr__(self, name: str) -> object:
        return getattr(self._collection, name)

    async def update_one(self, *change: Any) -> object:  # noqa: ANN401 - a filter, and a change
        await MongoOutcomes(self._collection).react("acme", self._value)
        return await self._collection.update_one(*change)


async def test_values_whose_answers_are_trimmed_and_earlier_steps_leave_nothing(outcomes: Outcomes) -> None:
    await outcomes.record("acme", outcome("earlier"))
    await outcomes.record("acme", outcome("i1", step=1))
    for inference in ("i1", "trimmed"):
        await outcomes.react("acme", rating(1.0, seq=1, inference=inference, end_user="u1"))
    now = datetime.now(UTC)

    await outcomes.trim("acme", "r1", 1, newest=3, before=now - timedelta(hours=1))
    assert await outcomes.of_end_user("acme", "u1", validate_only=True) == 2
    await outcomes.trim("acme", "r1", 1, newest=3, before=now + timedelta(hours=1))

    assert await outcomes.of_end_user("acme", "u1", validate_only=True) == 1
    assert await outcomes.of_step("acme", "r1", 0) == []
    assert [len(each.values) for each in await outcomes.of_step("acme", "r1", 1)] == [1]


async def test_what_was_only_rated_is_no_outcome(outcomes: Outcomes) -> None:
    await outcomes.react("acme", rating(0.5, seq=2))

    assert not await outcomes.of_step("acme", "r1", 0)


async def test_only_the_newest_of_a_step_are_kept(outcomes: Outcomes) -> None:
    for number in range(5):
        await outcomes.record("acme", outcome(f"i{number}"))
        await asyncio.sleep(0.005)  # the store distinguishes milliseconds
    await outcomes.record("acme", outcome("other", step=1))

    newest = await outcomes.of_step("acme", "r1", 0, newest=2)
    await outcomes.trim("acme", "r1", 0, newest=3, before=NOON)

    assert [each.inference for each in newest] == ["i4", "i3"]
    assert [each.inference for each in await outcomes.of_step("acme", "r1", 0)] == ["i4", "i3", "i2"]
    assert len(await outcomes.of_step("acme", "r1", 1)) == 1


async def test_the_mark_of_a_step_changes_with_every_outcome_and_rating_and_only_then(outcomes: Outcomes) -> None:
    marks = [await outcomes.mark("acme", "r1", 0)]
    for number in range(3):
        await outcomes.record("acme", outcome(f"i{number}"))
        marks.append(await outcomes.mark("acme", "r1", 0))
    await asyncio.sleep(0.005)  # the store distinguishes milliseconds
    await outcomes.react("acme", rating(0.5, seq=1))
    marks.append(await outcomes.mark("acme", "r1", 0))

    assert all(one != other for number, one in enumerate(marks) for other in marks[:number])
    assert await outcomes.mark("acme", "r1", 0) == marks[-1]


async def test_a_servers_end_is_kept_once_and_is_no_outcome(outcomes: Outcomes) -> None:
    mark = await outcomes.mark("acme", "r1", 1)
    for start in ("s1", "s1", "s2"):
        await outcomes.record_end("acme", ServerEnd(rollout="r1", step=1, start=start))
    await outcomes.record_end("acme", ServerEnd(rollout="r1", step=2, start="s2"))
    await outcomes.record("acme", outcome("i1", step=1))
    await outcomes.trim("acme", "r1", 1, newest=1, before=datetime.now(UTC) + timedelta(hours=1))

    assert await outcomes.mark("acme", "r1", 1) != mark
    assert await outcomes.ends("acme", "r1", 1) == 2
    assert [each.inference for each in await outcomes.of_step("acme", "r1", 1)] == ["i1"]
    await outcomes.forget("acme", "r1")
    assert await outcomes.ends("acme", "r1", 1) == 0


async def test_the_outcomes_of_one_rollout_are_forgotten_and_no_others(outcomes: Outcomes) -> None:
    await outcomes.record("acme", outcome("i1"))
    await outcomes.record("other", outcome("i1"))

    await outcomes.forget("acme", "r1")

    assert not await outcomes.of_step("acme", "r1", 0)
    assert await outcomes.of_step("other", "r1", 0)


async def test_rollouts_of_which_nothing_was_recorded_or_rated_for_a_while_are_reported(outcomes: Outcomes) -> None:
    await outcomes.record("acme", outcome("i1"))
    await outcomes.record("other", outcome("i1"))
    await outcomes.react("acme", replace(rating(0.5, seq=1, inference="i2"), rollout="r2"))
    now, hour = datetime.now(UTC), timedelta(hours=1)

    assert not await outcomes.quiet(since=now - hour)
    assert sorted(await outcomes.quiet(since=now + hour)) == [("acme", "r1"), ("acme", "r2"), ("other", "r1")]


async def test_finding_quiet_rollouts_costs_a_query_per_rollout_and_none_per_outcome(
    stack: Addresses, queries: Recorder
) -> None:
    client = connect(stack.mongo, timeout_s=10)
    name = unique_name("quiet")
    outcomes = MongoOutcomes(client[name]["rollout_outcomes"])
    await outcomes.ensure_indexes()
    for number in range(20):
        await outcomes.record("acme", outcome(f"i{number}"))
        await outcomes.record("other", outcome(f"i{number}"))
    queries.queries.clear()

    quiet = await outcomes.quiet(since=datetime.now(UTC) + timedelta(hours=1))

    assert quiet == [("acme", "r1"), ("other", "r1")]
    assert len(queries.queries) == 3
    await client.drop_database(name)
    client.close()


async def test_deployments_with_an_active_rollout_are_found(stack: Addresses) -> None:
    client = connect(stack.mongo, timeout_s=10)
    name = unique_name("active")
    deployments = client[name]["deployments"]
    for place, rollout in {"a/one": {"active": True}, "a/two": {"active": False}, "b/one": None}.items():
        project, _, deployment = place.partition("/")
        document = {"_id": place, "project": project, "id": deployment, "deleted": False}
        await deployments.insert_one({**document, "state": {"rollout": rollout}})

    active = MongoActiveRollouts(deployments)
    await active.ensure_indexes()
    found = await active.all()

    assert found == [ResourceKey(project="a", id="one")]
    await client.drop_database(name)
    client.close()
