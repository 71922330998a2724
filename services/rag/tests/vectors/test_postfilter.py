"""Searches by a graph: the nearest passages of all first, then those of them that the filter matches."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from qdrant_edge import Query as EngineQuery

from services.rag.tests.vectors.in_process import NAME, InProcessVectors
from services.rag.tests.vectors.killed_in_phases import copied, swapped
from services.rag.tests.vectors.test_hybrid import query, with_terms
from services.rag.tests.vectors.test_vector_stores import INDEX, NEAR, point
from tidemill_rag.vectors import edge_postfilter, edge_search, edge_shards, graph
from tidemill_rag.vectors.build_graph import build
from tidemill_rag.vectors.edge import QdrantEdgeVectors
from tidemill_rag.vectors.ports import Match, Point, Where

POINTS = 240
STAFF = Where(principals=("staff",))


def spread(number: int) -> tuple[float, float]:
    """Return a direction; the higher the number, the farther from that of `NEAR`."""
    angle = math.pi * number / POINTS
    return math.cos(angle), math.sin(angle)


def restricted(is_restricted: Callable[[int], bool]) -> list[Point]:
    """Return passages of which some are for the board alone."""
    return [
        point(f"d{number}", vector=spread(number), readers=("board",) if is_restricted(number) else ())
        for number in range(POINTS)
    ]


async def with_graph(store: QdrantEdgeVectors, points: list[Point]) -> QdrantEdgeVectors:
    await store.upsert(INDEX, points)
    assert build(await copied(store), 2, graph=True)
    await swapped(store)
    return store


def within(where: Where, *, count: int) -> edge_postfilter.Within:
    """Return how the nearest passages of `where` are searched."""
    opened = edge_shards.open_shard(NAME)
    assert opened
    asked = edge_search.Narrowed(facets=[], ranges={}, sources=[], principals=list(where.principals))
    nearest = EngineQuery.Nearest(list(NEAR.vector))
    return edge_postfilter.narrowed(opened, nearest, edge_search.filter_of(asked), count=count, dimensions=2)


@pytest.fixture
def small_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let these passages be more than few."""
    monkeypatch.setattr(graph, "FULL_SCAN_KB", 0)


def documents(matches: object) -> list[str]:
    assert isinstance(matches, list)
    return [match.payload.document for match in matches if isinstance(match, Match)]


@pytest.mark.usefixtures("small_scan")
async def test_with_a_graph_the_filter_is_checked_of_the_nearest_passages_alone(store: QdrantEdgeVectors) -> None:
    await with_graph(store, restricted(lambda number: number % 3 > 0))

    found = documents(await store.search(INDEX, NEAR, limit=8, where=STAFF))

    assert (await store.call(partial(within, STAFF, count=8))).params is edge_postfilter.EXACT
    assert found == [f"d{number}" for number in range(0, 24, 3)]


@pytest.mark.usefixtures("small_scan")
async def test_where_few_of_the_nearest_passages_match_all_that_match_are_found(store: QdrantEdgeVectors) -> None:
    await with_graph(store, restricted(lambda number: number < POINTS * 2 // 3))

    found = documents(await store.search(INDEX, NEAR, limit=8, where=STAFF))

    assert (await store.call(partial(within, STAFF, count=8))).params is edge_postfilter.ON_THE_WAY
    assert found == [f"d{number}" for number in range(POINTS * 2 // 3, POINTS * 2 // 3 + 8)]


@pytest.mark.usefixtures("small_scan")
async def test_where_most_passages_match_or_most_are_asked_for_the_filter_is_checked_on_the_way(
    store: QdrantEdgeVectors,
) -> None:
    await with_graph(store, restricted(lambda number: number % 3 > 0))
    everyone = Where(principals=("board",))

    assert (await store.call(partial(within, everyone, count=8))).params is edge_postfilter.ON_THE_WAY
    assert (await store.call(partial(within, STAFF, count=POINTS))).params is edge_postfilter.ON_THE_WAY
    assert len(await store.search(INDEX, NEAR, limit=POINTS, where=STAFF)) == POINTS // 3


async def test_where_the_filter_matches_few_passages_these_are_searched_exactly(store: QdrantEdgeVectors) -> None:
    await with_graph(store, restricted(lambda number: number % 3 > 0))

    assert (await store.call(partial(within, STAFF, count=8))).params is edge_postfilter.ON_THE_WAY
    assert graph.is_few(6_000, dimensions=384)
    assert not graph.is_few(7_000, dimensions=384)


async def test_without_a_graph_the_search_is_exact_already(store: QdrantEdgeVectors) -> None:
    await store.upsert(INDEX, restricted(lambda number: number % 3 > 0))

    assert (await store.call(partial(within, STAFF, count=8))).params is edge_postfilter.ON_THE_WAY


@pytest.mark.usefixtures("small_scan")
async def test_a_fused_search_by_a_graph_finds_what_exact_search_does(tmp_path: Path) -> None:
    store = InProcessVectors(tmp_path)
    await store.create(INDEX, dimensions=2, sparse=True)
    texts = ["parking in row E"] * POINTS
    texts[0:120:21] = ["the valve is closed" + " by hand" * number for number in range(6)]  # no two score alike
    points = [
        await with_terms(f"d{number}", text, spread(number), reader="board" if number % 3 else "")
        for number, text in enumerate(texts)
    ]
    await store.upsert(INDEX, points)
    asked = await query("closed valve", sparse_weight=0.37)  # no two sums of both ranks are alike
    exact = await store.search(INDEX, asked, limit=8, where=STAFF)

    assert build(await copied(store), 2, graph=True)
    await swapped(store)
    found = await store.search(INDEX, asked, limit=8, where=STAFF)

    assert (await store.call(partial(within, STAFF, count=50))).params is edge_postfilter.EXACT
    assert [(each.id, round(each.score, 5)) for each in found] == [(each.id, round(each.score, 5)) for each in exact]
    await store.close()
