"""Searches of shards, in the child process."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from qdrant_edge import (
    AcornSearchParams,
    FieldCondition,
    Filter,
    Fusion,
    IsEmptyCondition,
    MatchAny,
    Prefetch,
    QueryRequest,
    RangeDateTime,
    RangeFloat,
    SearchParams,
    SearchRequest,
)
from qdrant_edge import Query as EngineQuery

from tidemill_rag.embedding.domain import SparseVector
from tidemill_rag.vectors.edge_shards import open_shard
from tidemill_rag.vectors.edge_vectors import dense_of, terms
from tidemill_rag.vectors.fusion import DENSE, RRF_K, SPARSE, candidates, cosine
from tidemill_rag.vectors.graph import ACORN_MAX_SELECTIVITY, HNSW_EF
from tidemill_rag.vectors.payloads import FACETS, READERS, SOURCE, metadata_path
from tidemill_rag.vectors.ports import Query, Range

Found = list[tuple[str, float, dict[str, Any], list[float]]]
"""Id, cosine, payload and vector, which is empty where it was not asked for; best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrowed:
    """A filter: one facet of each list must match; an empty list matches everything."""

    facets: list[list[str]]
    ranges: dict[str, Range]
    sources: list[str]
    principals: list[str]


def search(name: str, query: Query, limit: int, narrowed: Narrowed) -> Found:
    """Return the best points."""
    opened = open_shard(name)
    if opened is None or query.matches_nothing:
        return []
    for field, span in narrowed.ranges.items():
        opened.index_range(metadata_path(field), times=span.of_times)
    chosen, vector = _filter(narrowed), list(query.vector)
    nearest = EngineQuery.Nearest(vector)
    params = SearchParams(hnsw_ef=HNSW_EF, acorn=AcornSearchParams(enable=True, max_selectivity=ACORN_MAX_SELECTIVITY))
    if not query.is_fused:
        request = SearchRequest(
            nearest, limit, filter=chosen, params=params, with_payload=True, with_vector=query.with_vectors
        )
        return [
            (str(found.id), found.score, found.payload or {}, dense_of(found.vector) if query.with_vectors else [])
            for found in opened.shard.search(request)
        ]
    depth = candidates(limit)
    by_terms = EngineQuery.Nearest(terms(query.sparse or SparseVector()), SPARSE)
    rankings, weights = [Prefetch(depth, query=by_terms, filter=chosen)], [query.sparse_weight]
    if query.dense_weight:
        rankings.append(Prefetch(depth, query=nearest, filter=chosen, params=params))
        weights.append(query.dense_weight)
    fusion = cast("Fusion", Fusion.Rrf(RRF_K, weights))  # a member, which its stubs do not say
    fused = QueryRequest(limit, query=fusion, prefetches=rankings, with_payload=True, with_vector=[DENSE])
    points = [(found, dense_of(found.vector)) for found in opened.shard.query(fused)]
    return [
        (str(found.id), cosine(vector, dense), found.payload or {}, dense if query.with_vectors else [])
        for found, dense in points
    ]


def payloads(name: str, ids: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """Return the payloads of the points that are there, by id."""
    opened = open_shard(name)
    if opened is None:
        return []
    return [
        (str(each.id), each.payload or {})
        for each in opened.shard.retrieve([*ids], with_payload=True, with_vector=False)
    ]


def points(name: str, ids: list[str]) -> list[tuple[str, list[float], dict[str, Any]]]:
    """Return the points that are there: their ids, dense vectors and payloads."""
    opened = open_shard(name)
    if opened is None:
        return []
    return [
        (str(each.id), dense_of(each.vector), each.payload or {})
        for each in opened.shard.retrieve([*ids], with_payload=True, with_vector=True)
    ]


def _filter(narrowed: Narrowed) -> Filter:
    readable: list[IsEmptyCondition | FieldCondition] = [IsEmptyCondition(READERS)]
    if narrowed.principals:
        readable.append(FieldCondition(READERS, match=MatchAny(narrowed.principals)))
    must: list[FieldCondition | Filter] = [Filter(should=list(readable))]
    if narrowed.sources:
        must.append(FieldCondition(SOURCE, match=MatchAny(narrowed.sources)))
    must += [FieldCondition(metadata_path(name), range=_range(span)) for name, span in narrowed.ranges.items()]
    must += [FieldCondition(FACETS, match=MatchAny(facets)) for facets in narrowed.facets]
    return Filter(must=list(must))


def _range(span: Range) -> RangeFloat | RangeDateTime:
    if not span.of_times:
        return RangeFloat(
            **{name: float(bound) for name, bound in span.bounds.items() if not isinstance(bound, datetime)}
        )
    return RangeDateTime(
        **{name: bound.isoformat() for name, bound in span.bounds.items() if isinstance(bound, datetime)}
    )
