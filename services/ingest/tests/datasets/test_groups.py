"""Which part a group belongs to, in memory and on MongoDB."""

import pytest

from services.ingest.tests.datasets.fakes import NAME, GroupsInMemory
from tidemill_core.application import ResourceKey
from tidemill_ingest.datasets.mongo import MongoGroups
from tidemill_ingest.datasets.ports import Groups
from tidemill_kit.store.mongo import Database

OTHER = ResourceKey(project="globex", id=NAME.id)


@pytest.fixture
def on_mongo(database: Database) -> Groups:
    return MongoGroups(database["groups"])


@pytest.fixture(params=["memory", "mongo"])
def groups(request: pytest.FixtureRequest) -> Groups:
    chosen: Groups = GroupsInMemory() if request.param == "memory" else request.getfixturevalue("on_mongo")
    return chosen


async def test_a_group_stays_where_it_was_assigned_first(groups: Groups) -> None:
    assert await groups.assign(NAME, {"a": True, "b": False}, offer="o1")

    assert await groups.assign(NAME, {"a": True, "c": True}, offer="o2"), "they agree"
    assert not await groups.assign(NAME, {"b": True, "d": False}, offer="o2")

    assert await groups.assigned(NAME, ["a", "b", "d", "never seen"]) == {"a": True, "b": False, "d": False}
    assert await groups.assigned(OTHER, ["a", "b"]) == {}


async def test_what_one_offer_assigned_can_be_left_out(groups: Groups) -> None:
    await groups.assign(NAME, {"a": True}, offer="o1")
    await groups.assign(NAME, {"b": True}, offer="o2")

    assert await groups.assigned(NAME, ["a", "b"], but_by="o2") == {"a": True}
