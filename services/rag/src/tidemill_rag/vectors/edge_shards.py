"""The child process of the embedded vector store; imports only what starts quickly.

The engine holds the GIL during calls (150 ms for a flush, a second for a vacuum), so it runs in a separate process.
The child exits when its parent exits or is killed.
"""

import os
import shutil
import signal
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from qdrant_edge import (
    CountRequest,
    Distance,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeShard,
    EdgeVectorParams,
    FieldCondition,
    Filter,
    HasIdCondition,
    IsEmptyCondition,
    KeywordIndexParams,
    MatchAny,
    MatchValue,
    PayloadSelector,
    Point,
    Query,
    RangeFloat,
    ScrollRequest,
    SearchRequest,
    UpdateOperation,
)

from tidemill_rag.vectors.payloads import DOCUMENT, FACETS, INDEXED, READERS, SEQ, SOURCE

StoredPoint = tuple[str, Sequence[float], dict[str, Any]]
"""Id, vector and payload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrowed:
    """A filter: one facet of each list must match; an empty list matches everything."""

    facets: list[list[str]]
    sources: list[str]
    principals: list[str]


FLUSH_EVERY_S = 5.0
"""The write-ahead log survives a process crash; flushing protects against a power failure."""
SCROLL_BATCH = 5000
VACUUM_EVERY = 5000
"""Changed points between two vacuums."""
NO_GRAPH_KB = 1_000_000_000
"""Disables graph indexes: building one for 20,000 points takes 35 s, exact search 5 ms."""

_shards: OrderedDict[str, "_Shard"] = OrderedDict()
"""Open shards, most recently used last."""
_folder = Path()
_max_open = 1


def begin(folder: Path, max_open: int) -> None:
    """Initialise the process: its parent stops it, by closing it or by exiting; signals are ignored."""
    global _folder, _max_open
    _folder, _max_open = folder, max_open
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def create(name: str, dimensions: int) -> None:
    """Create a shard under a temporary name and rename it, so that an incomplete one is never opened."""
    path = _folder / name
    if path.exists():
        return
    fresh = path.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    optimizers = EdgeOptimizersConfig(indexing_threshold=NO_GRAPH_KB)
    vectors = EdgeVectorParams(size=dimensions, distance=Distance.Cosine)
    shard = EdgeShard.create(str(fresh), EdgeConfig(vectors=vectors, optimizers=optimizers))
    _index_fields(shard)
    shard.flush()
    shard.close()
    fresh.rename(path)


def drop(name: str) -> None:
    """Delete a shard, if it exists."""
    if opened := _shards.pop(name, None):
        opened.shard.close()
    shutil.rmtree(_folder / name, ignore_errors=True)


def upsert(name: str, points: Sequence[StoredPoint]) -> None:
    """Store points; they are in the write-ahead log when this returns."""
    opened = _opened(name)
    if opened is None:
        message = f"shard {name} does not exist"
        raise OSError(message)
    opened.shard.update(
        UpdateOperation.upsert_points([Point(point, list(vector), payload) for point, vector, payload in points])
    )
    opened.tidy(len(points))


def delete(name: str, document: str, below_seq: int, keep: Sequence[str]) -> None:
    """Delete the points of a document with a lower `seq`, except those with an id in `keep`."""
    if opened := _opened(name):
        of_document = FieldCondition(DOCUMENT, match=MatchValue(document))
        older = FieldCondition(SEQ, range=RangeFloat(lt=below_seq))
        kept: list[HasIdCondition] = [HasIdCondition(set(keep))] if keep else []
        chosen = Filter(must=[of_document, older], must_not=list(kept))
        opened.shard.update(UpdateOperation.delete_points_by_filter(chosen))


def search(
    name: str, vector: Sequence[float], limit: int, narrowed: "Narrowed"
) -> list[tuple[str, float, dict[str, Any]]]:
    """Return id, score and payload of the nearest points."""
    opened = _opened(name)
    if opened is None:
        return []
    readable: list[IsEmptyCondition | FieldCondition] = [IsEmptyCondition(READERS)]
    if narrowed.principals:
        readable.append(FieldCondition(READERS, match=MatchAny(narrowed.principals)))
    must: list[FieldCondition | Filter] = [Filter(should=list(readable))]
    if narrowed.sources:
        must.append(FieldCondition(SOURCE, match=MatchAny(narrowed.sources)))
    must += [FieldCondition(FACETS, match=MatchAny(facets)) for facets in narrowed.facets]
    request = SearchRequest(Query.Nearest(list(vector)), limit, filter=Filter(must=list(must)), with_payload=True)
    return [(str(found.id), found.score, found.payload or {}) for found in opened.shard.search(request)]


def ids(name: str, documents: Sequence[str]) -> dict[str, list[str]]:
    """Return the ids of the points of these documents, by document."""
    found: dict[str, list[str]] = {}
    opened = _opened(name)
    if opened is None:
        return found
    chosen = Filter(must=[FieldCondition(DOCUMENT, match=MatchAny(list(documents)))])
    shown, offset = PayloadSelector.Include([DOCUMENT]), None
    while True:
        records, offset = opened.shard.scroll(
            ScrollRequest(offset, SCROLL_BATCH, filter=chosen, with_payload=shown, with_vector=False)
        )
        for record in records:
            found.setdefault((record.payload or {})[DOCUMENT], []).append(str(record.id))
        if offset is None:
            return found


def count(name: str) -> int:
    """Return the number of points in a shard."""
    opened = _opened(name)
    return opened.shard.count(CountRequest(exact=True)) if opened else 0


def indexed(name: str) -> list[str]:
    """Return the indexed fields of a shard."""
    opened = _opened(name)
    return sorted(opened.shard.info().payload_schema) if opened else []


def ping() -> None:
    """Create the directory if it is missing."""
    _folder.mkdir(parents=True, exist_ok=True)


def close() -> None:
    """Flush and close all shards."""
    _close_all_but(0)


class _Shard:
    """An open shard."""

    def __init__(self, path: Path) -> None:
        self.shard = EdgeShard.load(str(path))  # keeps the settings that it was created with
        _index_fields(self.shard)
        self.shard.optimize()
        self._flushed_at = time.monotonic()
        self._changes = 0

    def tidy(self, changes: int) -> None:
        """Flush and vacuum when due."""
        self._changes += changes
        if self._changes >= VACUUM_EVERY:
            self.shard.optimize()
            self._changes = 0
        if time.monotonic() >= self._flushed_at + FLUSH_EVERY_S:
            self.shard.flush()
            self._flushed_at = time.monotonic()


def _index_fields(shard: EdgeShard) -> None:
    """Index the fields that are not indexed yet; a shard may predate a field."""
    for field in set(INDEXED) - set(shard.info().payload_schema):
        shard.update(UpdateOperation.create_field_index(field, KeywordIndexParams()))


def _opened(name: str) -> _Shard | None:
    """Return a shard, if it exists; may close the least recently used one."""
    if name not in _shards and (_folder / name).exists():
        _close_all_but(_max_open - 1)
        _shards[name] = _Shard(_folder / name)
    if name in _shards:
        _shards.move_to_end(name)
    return _shards.get(name)


def _close_all_but(count: int) -> None:
    while len(_shards) > count:
        _, opened = _shards.popitem(last=False)
        opened.shard.flush()
        opened.shard.close()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(0)
