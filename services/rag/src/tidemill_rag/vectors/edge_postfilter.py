"""Narrows the search of a graph: the nearest points of all are found first, then those of them that match.

A graph that checks the filter of each point on its way (ACORN) takes five times as long as one that checks none. What
matches is mostly among the nearest points of all, of which as many are taken as have it twice over.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from qdrant_edge import AcornSearchParams, CountRequest, Filter, HasIdCondition, SearchParams, SearchRequest
from qdrant_edge import Query as EngineQuery

from tidemill_rag.vectors.edge_shards import Shard
from tidemill_rag.vectors.graph import ACORN_MAX_SELECTIVITY, HNSW_EF, is_few

PointId = int | UUID | str

SPREAD: Final = 2.0
"""So many times as many points are taken as have enough matches where these are spread evenly."""
CANDIDATES: Final = 1.5
"""So many times as many candidates are followed as are taken, so that few of these are missed."""
MAX_NEAREST: Final = 1000
"""Where more points would be taken, the graph checks the filter on its way."""
MAX_SHARE: Final = 0.5
"""Where more of the points match, checking them on the way costs less than checking them afterwards."""
ON_THE_WAY: Final = SearchParams(
    hnsw_ef=HNSW_EF, acorn=AcornSearchParams(enable=True, max_selectivity=ACORN_MAX_SELECTIVITY)
)
EXACT: Final = SearchParams(exact=True)
"""Of few points, named by their ids: a search of these alone costs no more than their number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Within:
    """By which filter, and how, the nearest points are found."""

    filter: Filter
    params: SearchParams


def these(ids: Collection[PointId]) -> Within:
    """Return a search of some points alone."""
    return Within(filter=Filter(must=[HasIdCondition(set(ids))]), params=EXACT)


def narrowed(opened: Shard, nearest: EngineQuery, matching: Filter, *, count: int, dimensions: int) -> Within:
    """Return how the `count` nearest points of those that match are found.

    Where few points match at all (then exactly), or too few of the nearest, the filter is `matching` itself.
    """
    on_the_way = Within(filter=matching, params=ON_THE_WAY)
    if not opened.graph:
        return on_the_way
    everything = opened.shard.count(CountRequest(exact=False))
    matches = opened.shard.count(CountRequest(exact=False, filter=matching))
    share = matches / max(everything, 1)
    if is_few(matches, dimensions=dimensions) or SPREAD * count > share * MAX_NEAREST or share > MAX_SHARE:
        return on_the_way
    taken = math.ceil(SPREAD * count / share)
    params = SearchParams(hnsw_ef=max(math.ceil(CANDIDATES * taken), HNSW_EF))
    near = {point.id for point in opened.shard.search(SearchRequest(nearest, taken, params=params))}
    among = Filter(must=[HasIdCondition(near), matching])
    found = {point.id for point in opened.shard.search(SearchRequest(nearest, count, filter=among, params=EXACT))}
    return these(found) if len(found) == count else on_the_way
