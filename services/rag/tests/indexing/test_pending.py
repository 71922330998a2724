"""Where the worker finds index versions."""

from tidemill_core.application import Request
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Database
from tidemill_rag.collections.domain import Chunking, Collection, IndexRef, IndexState, IndexVersion
from tidemill_rag.collections.mongo import COLLECTIONS
from tidemill_rag.errors import CollectionNotFound
from tidemill_rag.indexing.pending import PendingIndexes
from tidemill_testkit.clocks import NOON


async def test_after_the_start_only_what_is_unfinished_is_searched(database: Database) -> None:
    collections = MongoAggregates(
        database["collections"], codec=COLLECTIONS, topic="t", source="/s", missing=CollectionNotFound
    )
    for name in ("calm", "waiting", "odd", "building"):
        states = [IndexState.LIVE, IndexState.BUILDING] if name == "building" else [IndexState.LIVE]
        indexes = tuple(
            IndexVersion(
                number=number, state=state, sources=("cms",), embedding="m@1", chunking=Chunking(), create_time=NOON
            )
            for number, state in enumerate(states, start=1)
        )
        await collections.add(Collection(id=name, project="acme", indexes=indexes), request=Request.internal())
    pending = {"calm": 0, "waiting": 3, "odd": -1}
    await database["counts"].insert_many([{"_id": f"acme/{name}/1", "pending": n} for name, n in pending.items()])
    found = PendingIndexes(database["collections"], database["counts"])
    await found.ensure_indexes()

    assert len((await found("", without=frozenset())).items) == 5
    assert set((await found("", without=frozenset({"other"}))).items) == {
        IndexRef(project="acme", collection="building", number=2),
        IndexRef(project="acme", collection="waiting", number=1),
        IndexRef(project="acme", collection="odd", number=1),
    }
    assert not (await found("", without=frozenset({"acme"}))).items
