"""Searches of shards, in the child process."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from qdrant_edge import (
    FieldCondition,
    Filter,
    Fusion,
    IsEmptyCondition,
    MatchAny,
    Prefetch,
    QueryRequest,
    RangeDateTime,
    RangeFloat,
    ScoredPoint,
    SearchRequest,
)
from qdrant_edge import Query as EngineQuery

from tidemill_rag.embedding.domain import SparseVector
from tidemill_rag.vectors.edge_postfilter import Within, narrowed, these
from tidemill_rag.vectors.edge_shards import Shard, open_shard
from tidemill_rag.vectors.edge_vectors import dense_of, terms
from tidemill_rag.vectors.fusion import DENSE, RRF_K, SPARSE, candidates
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


def search(name: str, query: Query, limit: int, where: Narrowed) -> Found:
    """Return the best points."""
    opened = open_shard(name)
    if opened is None or query.matches_nothing:
        return []
    for field, span in where.ranges.items():
        opened.index_range(metadata_path(field), times=span.of_times)
    matching, nearest = filter_of(where), EngineQuery.Nearest(list(query.vector))
    dimensions = len(query.vector)
    if not query.is_fused:
        within = narrowed(opened, nearest, matching, count=limit, dimensions=dimensions)
        return [_found(point) for point in _nearest(opened, nearest, within, limit=limit, asked=query)]
    depth = candidates(limit)
    by_terms = EngineQuery.Nearest(terms(query.sparse or SparseVector()), SPARSE)
    rankings, weights = [Prefetch(depth, query=by_terms, filter=matching)], [query.sparse_weight]
    if query.dense_weight:
        within = narrowed(opened, nearest, matching, count=depth, dimensions=dimensions)
        rankings.append(Prefetch(depth, query=nearest, filter=within.filter, params=within.params))
        weights.append(query.dense_weight)
    fusion = cast("Fusion", Fusion.Rrf(RRF_K, weights))  # a member, which its stubs do not say
    fused = QueryRequest(limit, query=fusion, prefetches=rankings, with_payload=False, with_vector=False)
    ids = [point.id for point in opened.shard.query(fused)]
    by_id = {point.id: point for point in _nearest(opened, nearest, these(ids), limit=limit, asked=query)}
    return [_found(by_id[each]) for each in ids]


def _nearest(opened: Shard, nearest: EngineQuery, within: Within, *, limit: int, asked: Query) -> list[ScoredPoint]:
    return opened.shard.search(
        SearchRequest(
            nearest,
            limit,
            filter=within.filter,
            params=within.params,
            with_payload=True,
            with_vector=[DENSE] if asked.with_vectors else False,
        )
    )


def _found(point: ScoredPoint) -> tuple[str, float, dict[str, Any], list[float]]:
    return str(point.id), point.score, point.payload or {}, dense_of(point.vector) if point.vector else []


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


def filter_of(narrowed: Narrowed) -> Filter:
    """Return the filter as the engine has it."""
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
