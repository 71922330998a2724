"""Rankings by vectors and by terms, fused: one contract for both stores and for what stands for them in tests."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from qdrant_client import AsyncQdrantClient

from services.rag.tests.fake_stores import InMemoryVectors
from services.rag.tests.vectors.in_process import InProcessVectors
from services.rag.tests.vectors.test_vector_stores import INDEX, point
from tidemill_core.application import derived_id
from tidemill_rag.embedding.bm25 import Bm25Embedding
from tidemill_rag.vectors import edge_graphs, edge_shards
from tidemill_rag.vectors.build_graph import build
from tidemill_rag.vectors.ports import Match, Point, Query, VectorStore, Where
from tidemill_rag.vectors.server import QdrantServerVectors

TEXTS = {
    "near": ("The pump of the basin is started by hand", (1.0, 0.0)),
    "next": ("Fault E-2061: the pump runs dry", (0.8, 0.6)),
    "other": ("Fault E-2062: the valve is closed", (0.6, 0.8)),
    "far": ("Parking in row E", (0.0, 1.0)),
}
ENGLISH = ("en",)


@pytest.fixture(params=["edge", "server", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VectorStore]:
    stores: Mapping[str, Callable[[], VectorStore]] = {
        "edge": lambda: InProcessVectors(tmp_path),
        "server": lambda: QdrantServerVectors(AsyncQdrantClient(location=":memory:")),
        "memory": InMemoryVectors,
    }
    made = stores[request.param]()
    await made.create(INDEX, dimensions=2, sparse=True)
    await made.upsert(INDEX, [await with_terms(name, *sides) for name, sides in TEXTS.items()])
    yield made
    await made.close()


async def with_terms(name: str, text: str, vector: tuple[float, float] = (0.6, 0.8), *, reader: str = "") -> Point:
    (sparse,) = await Bm25Embedding().embed_passages([("en", text)], languages=ENGLISH)
    return replace(point(name, vector=vector, readers=(reader,) if reader else ()), sparse=sparse)


async def query(text: str, *, dense_weight: float = 1.0, sparse_weight: float = 1.0) -> Query:
    sparse = await Bm25Embedding().embed_query(text, languages=ENGLISH)
    return Query(vector=(1.0, 0.0), sparse=sparse, dense_weight=dense_weight, sparse_weight=sparse_weight)


async def found(store: VectorStore, asked: Query, *, limit: int = 10, where: Where | None = None) -> list[str]:
    return _documents(await store.search(INDEX, asked, limit=limit, where=where or Where()))


def _documents(matches: object) -> list[str]:
    assert isinstance(matches, list)
    return [match.payload.document for match in matches if isinstance(match, Match)]


async def test_a_rare_term_brings_up_what_vectors_rank_below(store: VectorStore) -> None:
    assert await found(store, Query(vector=(1.0, 0.0))) == ["near", "next", "other", "far"]

    assert (await found(store, await query("What does E-2062 mean?", sparse_weight=3.0)))[0] == "other"


async def test_the_weights_decide_between_both_rankings(store: VectorStore) -> None:
    by_terms = await query("closed valve", sparse_weight=5.0)
    by_vectors = await query("closed valve", sparse_weight=0.01)

    assert (await found(store, by_terms))[0] == "other"
    assert (await found(store, by_vectors))[0] == "near"


async def test_scores_are_cosines_by_whatever_passages_were_ranked(store: VectorStore) -> None:
    matches = await store.search(INDEX, await query("valve", sparse_weight=9.0), limit=10, where=Where())

    assert {match.payload.document: round(match.score, 3) for match in matches} == {
        "other": 0.6,
        "near": 1.0,
        "next": 0.8,
        "far": 0.0,
    }


async def test_matches_bring_their_vectors_where_these_are_asked_for(store: VectorStore) -> None:
    for asked in (await query("valve"), Query(vector=(1.0, 0.0))):
        with_vectors = await store.search(INDEX, replace(asked, with_vectors=True), limit=10, where=Where())

        assert {each.payload.document: tuple(each.vector) for each in with_vectors} == {
            name: pytest.approx(vector) for name, (_, vector) in TEXTS.items()
        }
        assert not any(each.vector for each in await store.search(INDEX, asked, limit=10, where=Where()))


async def test_payloads_are_read_by_id_and_what_is_not_there_is_left_out(store: VectorStore) -> None:
    absent = point("absent", vector=(1.0, 0.0)).id
    ids = {name: (await with_terms(name, *sides)).id for name, sides in TEXTS.items()}

    read = await store.payloads(INDEX, [ids["near"], absent, ids["far"]])

    assert {name: payload.document for name, payload in read.items()} == {ids["near"]: "near", ids["far"]: "far"}
    assert await store.payloads("acme/unknown/1", [absent]) == {}


async def test_without_a_weight_of_vectors_only_what_has_a_term_of_the_query_is_found(store: VectorStore) -> None:
    assert await found(store, await query("valves", dense_weight=0.0)) == ["other"]
    assert await found(store, await query("the of and", dense_weight=0.0)) == []


async def test_a_query_without_terms_is_ranked_by_vectors(store: VectorStore) -> None:
    assert await store.search("acme/unknown/1", await query("valve"), limit=9, where=Where()) == []
    for asked in (await query("the of and"), await query("zeppelin"), await query("valve", sparse_weight=0.0)):
        assert await found(store, asked) == ["near", "next", "other", "far"]


async def test_a_term_finds_no_passage_that_a_filter_excludes(store: VectorStore) -> None:
    await store.upsert(INDEX, [await with_terms("closed", "secret lagoon", reader="group:legal")])

    asked = await query("lagoon", sparse_weight=9.0)
    assert "closed" not in await found(store, asked)
    assert (await found(store, asked, where=Where(principals=["group:legal"])))[0] == "closed"
    assert await found(store, asked, where=Where(sources=["elsewhere"])) == []


async def test_fewer_than_the_limit_come_only_if_no_more_match(store: VectorStore) -> None:
    await store.upsert(INDEX, [await with_terms(f"d{number}", f"lagoon {number}") for number in range(150)])

    assert len(await found(store, await query("lagoon"), limit=120)) == 120
    assert len(await found(store, await query("lagoon"), limit=1000)) == 154


async def test_a_rewritten_shard_and_one_with_a_graph_keep_their_terms(tmp_path: Path) -> None:
    store = InProcessVectors(tmp_path)
    await store.create(INDEX, dimensions=2, sparse=True)
    await store.upsert(INDEX, [await with_terms(name, *sides) for name, sides in TEXTS.items()])
    await store.upsert(INDEX, [await with_terms(f"d{number}", "filler", (-1.0, 0.0)) for number in range(400)])
    await store.upsert(INDEX, [await with_terms("gone", "lagoon")])
    await store.delete(INDEX, "gone", below_seq=2)
    asked, name = await query("E-2062", sparse_weight=3.0), derived_id(INDEX)

    assert await store.purge(INDEX, "gone")
    assert not edge_shards.open_shards()[0][1].graph
    assert (await found(store, asked))[0] == "other"

    folder, dimensions = edge_graphs.begin(name)
    while edge_graphs.copy(name):
        pass
    assert build(folder, dimensions, graph=True)
    edge_graphs.swap(name)
    edge_graphs.discard()
    for _ in range(2):  # also once it was closed and opened again
        assert (await found(store, asked))[0] == "other"
        assert edge_shards.open_shards()[0][1].graph
        await store.close()
