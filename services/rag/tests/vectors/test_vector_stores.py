"""One contract for every vector store. The server's adapter meets its client's own local mode here, not a server."""

import subprocess
import sys
import textwrap
from collections import OrderedDict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from qdrant_client import AsyncQdrantClient
from qdrant_client.http.exceptions import UnexpectedResponse

from tidemill_core.application import derived_id
from tidemill_rag.indexing.domain.content import MetadataValue
from tidemill_rag.vectors import edge_shards, server
from tidemill_rag.vectors.edge import QdrantEdgeVectors
from tidemill_rag.vectors.graph import FULL_SCAN_KB, HNSW_EF_CONSTRUCT, HNSW_M
from tidemill_rag.vectors.ports import Payload, Point, Query, VectorStore, Where
from tidemill_rag.vectors.server import QdrantServerVectors

INDEX = "acme/handbook/1"
NEAR = Query(vector=(1.0, 0.0))


@pytest.fixture(params=["edge", "server"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VectorStore]:
    made: VectorStore = (
        QdrantEdgeVectors(tmp_path)
        if request.param == "edge"
        else QdrantServerVectors(AsyncQdrantClient(location=":memory:"))
    )
    await made.create(INDEX, dimensions=2)
    yield made
    await made.close()


def point(  # noqa: PLR0913 - a point has many sides, and each test names one
    document: str,
    *,
    seq: int = 1,
    vector: tuple[float, float] = (1.0, 0.0),
    source: str = "cms",
    readers: tuple[str, ...] = (),
    metadata: dict[str, MetadataValue] | None = None,
) -> Point:
    payload = Payload(
        document=document,
        seq=seq,
        version=seq,
        start=0,
        end=4,
        text="text",
        source=source,
        key=document,
        readers=readers,
        metadata=metadata or {},
    )
    return Point(id=derived_id(document, str(seq)), vector=vector, payload=payload)


async def found(store: VectorStore, where: Where | None = None, *, limit: int = 10) -> list[str]:
    matches = await store.search(INDEX, NEAR, limit=limit, where=where or Where())
    return [match.payload.document for match in matches]


async def test_the_nearest_come_first_with_their_cosine(store: VectorStore) -> None:
    await store.upsert(INDEX, [point("far", vector=(0.0, 3.0)), point("near", vector=(2.0, 0.0))])

    matches = await store.search(INDEX, NEAR, limit=10, where=Where())

    assert [match.payload.document for match in matches] == ["near", "far"]
    assert [round(match.score, 5) for match in matches] == [1.0, 0.0]


async def test_points_are_read_by_their_ids_with_their_vectors(store: VectorStore) -> None:
    stored = [point("a", vector=(3.0, 4.0), readers=("group:hr",)), point("b"), point("c")]
    await store.upsert(INDEX, stored)

    found = {each.id: each for each in await store.get(INDEX, [stored[0].id, stored[2].id, derived_id("none")])}

    assert set(found) == {stored[0].id, stored[2].id}
    first = found[stored[0].id]
    assert (first.payload, [round(value, 5) for value in first.vector]) == (stored[0].payload, [0.6, 0.8])
    assert list(await store.get("acme/none/1", [stored[0].id])) == []


async def test_the_same_point_again_replaces_it(store: VectorStore) -> None:
    await store.upsert(INDEX, [point("a")])
    await store.upsert(INDEX, [point("a")])

    assert await store.count(INDEX) == 1


async def test_only_older_points_of_one_document_are_deleted(store: VectorStore) -> None:
    await store.upsert(INDEX, [point("a", seq=1), point("a", seq=2), point("b", seq=1)])

    await store.delete(INDEX, "a", below_seq=2)

    matches = await store.search(INDEX, NEAR, limit=10, where=Where())
    assert {(match.payload.document, match.payload.seq) for match in matches} == {("a", 2), ("b", 1)}


async def test_points_that_are_to_be_kept_survive_a_deletion_of_the_others(store: VectorStore) -> None:
    kept = point("a", seq=2)
    await store.upsert(INDEX, [point("a", seq=1), kept, point("a", seq=3), point("b", seq=1)])

    await store.delete(INDEX, "a", below_seq=4, keep=[kept.id])

    assert await store.ids(INDEX, ["a", "b", "c"]) == {"a": [kept.id], "b": [point("b").id]}


async def test_the_ids_of_many_points_come_by_document(store: VectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_SCROLL_BATCH", 3)
    points = [point(f"d{number}", seq=seq) for number in range(5) for seq in (1, 2)]
    await store.upsert(INDEX, points)

    found = await store.ids(INDEX, ["d1", "d3"])

    assert {document: sorted(ids) for document, ids in found.items()} == {
        name: sorted(each.id for each in points if each.payload.document == name) for name in ("d1", "d3")
    }
    assert await store.ids("acme/unknown/1", ["d1"]) == {}


async def test_metadata_must_have_one_of_the_values_of_every_field(store: VectorStore) -> None:
    await store.upsert(
        INDEX,
        [
            point("vpn", metadata={"product": "vpn", "level": 2, "public": True, "weight": 0.5}),
            point("mail", metadata={"product": "mail", "level": 2, "public": False, "weight": 0.25}),
            point("bare"),
        ],
    )

    assert set(await found(store, Where(metadata={"product": ["vpn", "mail"], "level": [2]}))) == {"vpn", "mail"}
    assert await found(store, Where(metadata={"public": [True]})) == ["vpn"]
    assert await found(store, Where(metadata={"weight": [0.25]})) == ["mail"]
    assert await found(store, Where(metadata={"product": ["phone"]})) == []


async def test_documents_with_readers_are_found_by_their_readers_only(store: VectorStore) -> None:
    await store.upsert(INDEX, [point("open"), point("closed", readers=("group:support", "group:legal"))])

    assert await found(store) == ["open"]
    assert await found(store, Where(principals=["group:sales"])) == ["open"]
    assert set(await found(store, Where(principals=["group:sales", "group:legal"]))) == {"open", "closed"}


async def test_sources_narrow_a_search(store: VectorStore) -> None:
    await store.upsert(INDEX, [point("a", source="cms"), point("b", source="wiki")])

    assert await found(store, Where(sources=["wiki"])) == ["b"]


async def test_another_index_is_independent(store: VectorStore) -> None:
    await store.create("other/handbook/1", dimensions=2)
    await store.upsert("other/handbook/1", [point("theirs")])

    assert await found(store) == []


async def test_a_dropped_index_finds_nothing_and_can_be_made_again(store: VectorStore) -> None:
    await store.upsert(INDEX, [point("a")])
    await store.drop(INDEX)
    await store.drop(INDEX)

    assert await found(store) == []
    await store.create(INDEX, dimensions=2)
    assert await store.count(INDEX) == 0


async def test_creating_an_index_again_keeps_its_points(store: VectorStore) -> None:
    await store.upsert(INDEX, [point("a")])
    await store.create(INDEX, dimensions=2)

    assert await store.count(INDEX) == 1


async def test_what_was_stored_keeps_all_its_sides(store: VectorStore) -> None:
    given = point("a", metadata={"product": "vpn"})
    await store.upsert(INDEX, [given])

    (match,) = await store.search(INDEX, NEAR, limit=1, where=Where())
    assert (match.id, match.payload) == (given.id, given.payload)


def test_every_field_that_a_search_chooses_by_is_indexed_in_an_old_shard_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_shards, "_folder", tmp_path)
    monkeypatch.setattr(edge_shards, "INDEXED", ("document", "source", "facets"))
    edge_shards.create("old", 2)
    monkeypatch.undo()
    monkeypatch.setattr(edge_shards, "_folder", tmp_path)
    edge_shards.create("new", 2)

    for name in ("old", "new"):
        assert edge_shards.indexed(name) == ["document", "facets", "readers", "source"]
    edge_shards.close()


async def test_a_server_is_asked_once_for_the_index_of_every_field_also_of_a_collection_that_is_there() -> None:
    client = Indexing(location=":memory:")
    await QdrantServerVectors(client).create(INDEX, dimensions=2)
    client.fields.clear()

    later = QdrantServerVectors(client)
    for _ in range(2):
        await later.search(INDEX, NEAR, limit=1, where=Where())

    assert sorted(client.fields) == ["document", "facets", "readers", "source"]


async def test_a_search_on_a_server_is_one_request_also_after_another_process_has_dropped_the_collection() -> None:
    client = Dropping(location=":memory:")
    store = QdrantServerVectors(client)
    await store.create(INDEX, dimensions=2)
    client.asked.clear()

    for _ in range(2):
        await store.search(INDEX, NEAR, limit=1, where=Where())
    assert client.asked == ["search", "search"]
    client.dropped = True
    for _ in range(2):
        assert await store.search(INDEX, NEAR, limit=1, where=Where()) == []

    assert client.asked == ["search"] * 3 + ["exists"]


@pytest.mark.parametrize(("min_chunks", "kilobytes"), [(50_000, 75_000), (0, 1_000_000_000)])
async def test_a_server_builds_graphs_of_the_same_kind_from_the_same_size(min_chunks: int, kilobytes: int) -> None:
    client = Indexing(location=":memory:")

    await QdrantServerVectors(client, graph_min_chunks=min_chunks).create(INDEX, dimensions=384)

    assert client.created["optimizers_config"].indexing_threshold == kilobytes
    assert client.created["hnsw_config"].m == HNSW_M
    assert client.created["hnsw_config"].ef_construct == HNSW_EF_CONSTRUCT
    assert client.created["hnsw_config"].full_scan_threshold == FULL_SCAN_KB


class Dropping(AsyncQdrantClient):
    """Keeps what it was asked, and answers as a server does where a collection was dropped."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.asked: list[str] = []
        self.dropped = False

    async def collection_exists(self, collection_name: str, **_: Any) -> bool:  # noqa: ANN401 - the client's own
        self.asked.append("exists")
        return not self.dropped and await super().collection_exists(collection_name)

    async def query_points(self, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - the client's own
        self.asked.append("search")
        if self.dropped:
            raise UnexpectedResponse(404, "Not Found", b"", httpx.Headers())
        return await super().query_points(*given, **named)


class Indexing(AsyncQdrantClient):
    """Keeps what it was asked to index and how; its local mode has no indexes."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.fields: list[str] = []
        self.created: dict[str, Any] = {}

    async def create_collection(self, *given: Any, **named: Any) -> bool:  # noqa: ANN401 - the client's own
        self.created = named
        return await super().create_collection(*given, **named)

    async def create_payload_index(self, collection_name: str, field_name: str, *_: Any, **__: Any) -> Any:  # noqa: ANN401 - only what is looked at here
        assert collection_name
        self.fields.append(field_name)


def test_the_embedded_engine_keeps_only_so_many_shards_open_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = OrderedDict[str, Any]()
    for name, value in {"_shards": opened, "_folder": tmp_path, "_max_open": 2}.items():
        monkeypatch.setattr(edge_shards, name, value)
    names = [f"index-{number}" for number in range(4)]
    for number, name in enumerate(names):
        edge_shards.create(name, 2)
        edge_shards.upsert(name, [(derived_id(name), [1.0, 0.0], None, {"document": name})] if number else [])
        assert len(opened) <= 2

    assert [edge_shards.count(name) for name in names] == [0, 1, 1, 1]
    edge_shards.count(names[2])
    edge_shards.count(names[0])
    assert list(opened) == [names[2], names[0]]
    edge_shards.close()
    assert not opened


async def test_the_embedded_engine_keeps_what_it_acknowledged_when_its_process_is_killed(tmp_path: Path) -> None:
    writer = textwrap.dedent(
        """
        import asyncio, os, signal, sys
        from pathlib import Path
        from services.rag.tests.vectors.test_vector_stores import INDEX, point
        from tidemill_rag.vectors.edge import QdrantEdgeVectors

        async def main():
            store = QdrantEdgeVectors(Path(sys.argv[1]))
            await store.create(INDEX, dimensions=2)
            for number in range(200):
                await store.upsert(INDEX, [point(f"d{number}")])
            os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(main())
        """
    )
    root = Path(__file__).parents[4]
    killed = subprocess.run([sys.executable, "-c", writer, str(tmp_path)], cwd=root, check=False, timeout=60)  # noqa: ASYNC221, S603 - a test

    assert killed.returncode < 0
    store = QdrantEdgeVectors(tmp_path)
    assert await store.count(INDEX) == 200
    await store.close()
