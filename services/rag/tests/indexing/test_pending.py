"""Where the worker finds index versions."""

from datetime import timedelta

import pytest

from tidemill_core.application import Request
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Database
from tidemill_rag.collections.domain.collection import Collection, IndexRef
from tidemill_rag.collections.domain.index_version import Chunking, IndexState, IndexVersion
from tidemill_rag.collections.mongo import COLLECTIONS
from tidemill_rag.errors import CollectionNotFound
from tidemill_rag.indexing import pending
from tidemill_rag.indexing.pending import PendingIndexes
from tidemill_testkit.clocks import NOON, FixedClock


async def all_of(found: PendingIndexes, *, without: frozenset[str] = frozenset()) -> list[IndexRef]:
    items, token = list[IndexRef](), ""
    while True:
        page = await found(token, without=without)
        items += page.items
        token = page.next_token
        if not token:
            return items


async def test_after_the_start_only_what_is_unfinished_is_searched(database: Database) -> None:
    collections = MongoAggregates(
        database["collections"], codec=COLLECTIONS, topic="t", source="/s", missing=CollectionNotFound
    )
    waits = dict.fromkeys(("ready", "replaced", "expired"), (IndexState.READY,))
    following = {"building": (IndexState.BUILDING,), "retired": (IndexState.RETIRED,), **waits}
    following["ranks anew"] = (IndexState.BUILDING,)
    expires = {"replaced": NOON + timedelta(hours=1), "expired": NOON}
    for name in ("calm", "waiting", "odd", *following):
        indexes = tuple(
            IndexVersion(
                number=number,
                state=state,
                sources=("cms",),
                embedding="m@1",
                chunking=Chunking(),
                create_time=NOON,
                expire_time=expires.get(name) if state is IndexState.READY else None,
                passages_of=1 if name == "ranks anew" and number > 1 else 0,
            )
            for number, state in enumerate((IndexState.LIVE, *following.get(name, ())), start=1)
        )
        await collections.add(Collection(id=name, project="acme", indexes=indexes), request=Request.internal())
    rows = {"calm": 0, "waiting": 3, "odd": -1}
    await database["counts"].insert_many([{"_id": f"acme/{name}/1", "pending": n} for name, n in rows.items()])
    found = PendingIndexes(database["collections"], database["counts"], clock=FixedClock())
    await found.ensure_indexes()

    assert len(await all_of(found)) == 15
    assert set(await all_of(found, without=frozenset({"other"}))) == {
        IndexRef(project="acme", collection="building", number=2),
        IndexRef(project="acme", collection="retired", number=2),
        IndexRef(project="acme", collection="expired", number=2),
        IndexRef(project="acme", collection="ranks anew", number=1),
        IndexRef(project="acme", collection="waiting", number=1),
        IndexRef(project="acme", collection="odd", number=1),
    }
    assert not await all_of(found, without=frozenset({"acme"}))


async def test_all_index_versions_are_found_in_pages_and_again_where_a_search_broke_off(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending, "_PAGE", 2)
    indexes = [{"number": 1, "state": IndexState.BUILDING.value}]
    await database["collections"].insert_many(
        {"_id": f"acme/c{number}", "project": "acme", "id": f"c{number}", "state": {"indexes": indexes}}
        for number in range(5)
    )
    await database["counts"].insert_many([{"_id": f"acme/d{number}/1", "pending": 1} for number in range(5)])
    found = PendingIndexes(database["collections"], database["counts"], clock=FixedClock())
    names = {f"c{number}" for number in range(5)}

    assert len((await found("", without=frozenset())).items) == 2
    assert {each.collection for each in await all_of(found, without=frozenset({"acme"}))} == names
    assert {each.collection for each in await all_of(found)} == names | {f"d{number}" for number in range(5)}
