"""The child process of the embedded vector store; imports only what starts quickly.

The engine holds the GIL during calls (150 ms for a flush, a second for a vacuum), so it runs in a separate process.
The child exits when its parent exits or is killed.
"""

import mmap
import os
import shutil
import signal
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from qdrant_edge import (
    CountRequest,
    DatetimeIndexParams,
    Distance,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeShard,
    EdgeVectorParams,
    FieldCondition,
    Filter,
    FloatIndexParams,
    HasIdCondition,
    KeywordIndexParams,
    MatchAny,
    MatchValue,
    PayloadSchemaType,
    PayloadSelector,
    Point,
    RangeFloat,
    ScrollRequest,
    UpdateOperation,
)

from tidemill_core.errors import isolated
from tidemill_rag.embedding.domain import SparseVector
from tidemill_rag.vectors import generations
from tidemill_rag.vectors.edge_vectors import SPARSE_VECTORS, has_sparse, stored_vectors
from tidemill_rag.vectors.graph import CHANGES, NO_GRAPH_KB
from tidemill_rag.vectors.payloads import DOCUMENT, INDEXED, MAX_RANGE_FIELDS, METADATA, SEQ

StoredPoint = tuple[str, list[float], SparseVector | None, dict[str, Any]]
"""Id, vector, sparse vector and payload."""
Delete = tuple[str, str, int, list[str]]
"""Shard, document, the `seq` that its points are below, and the ids that stay."""

FLUSH_EVERY_S = 5.0
"""The write-ahead log survives a process crash; flushing protects against a power failure."""
SCROLL_BATCH = 5000
VACUUM_EVERY = 5000
"""Changed points between two vacuums."""


@dataclass(slots=True, kw_only=True)
class Changes:
    """What changed in a shard since its copy began: ids suffice, because the copy catches up from the shard itself."""

    name: str
    stored: set[str] = field(default_factory=set)
    """Points that were upserted."""
    thinned: set[str] = field(default_factory=set)
    """Documents of which points were deleted."""


recorded: list[Changes] = []
"""The changes of the shard of which a graph is being built: one or none."""
_shards: OrderedDict[str, "Shard"] = OrderedDict()
"""Open shards, most recently used last."""
_folder = Path()
_max_open = 1


def begin(folder: Path, max_open: int) -> None:
    """Initialise the process: its parent stops it, by closing it or by exiting; signals are ignored."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    use(folder, max_open)


def use(folder: Path, max_open: int) -> None:
    """Keep the shards in this directory, after deleting what a crash left there."""
    global _folder, _max_open
    _folder, _max_open = folder, max_open
    generations.sweep(folder)


def create(name: str, dimensions: int, *, sparse: bool = False) -> None:
    """Create a shard under a temporary name and rename it, so that an incomplete one is never opened."""
    if name in _shards or generations.used(_folder, name):
        return
    path = _folder / name
    fresh = path.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    shard = new_shard(fresh, dimensions, sparse=sparse)
    shard.flush()
    shard.close()
    fresh.rename(path)


def new_shard(path: Path, dimensions: int, *, sparse: bool) -> EdgeShard:
    """Return an empty shard in a folder, with sparse vectors or without."""
    config = EdgeConfig(
        vectors=EdgeVectorParams(size=dimensions, distance=Distance.Cosine),
        sparse_vectors=SPARSE_VECTORS if sparse else None,
        optimizers=EdgeOptimizersConfig(indexing_threshold=NO_GRAPH_KB),
    )
    shard = EdgeShard.create(str(path), config)
    _index_fields(shard)
    return shard


def drop(name: str) -> None:
    """Delete a shard, if it exists, and end the build of its graph."""
    recorded[:] = [changes for changes in recorded if changes.name != name]
    if opened := _shards.pop(name, None):
        opened.shard.close()
    generations.delete(_folder, name)


def upsert(name: str, points: Sequence[StoredPoint]) -> None:
    """Store points; they are in the write-ahead log when this returns."""
    opened = open_shard(name)
    if opened is None:
        message = f"shard {name} does not exist"
        raise OSError(message)
    for changes in _recorded(name):
        changes.stored.update(point for point, *_ in points)
    opened.shard.update(
        UpdateOperation.upsert_points(
            [Point(point, stored_vectors(dense, sparse), payload) for point, dense, sparse, payload in points]
        )
    )
    opened.tidy(len(points))


def delete_all(deletes: Sequence[Delete]) -> list[str]:
    """Delete points of several documents; return what failed of each, "" where nothing did."""
    return [_failure(each) for each in deletes]


def _failure(each: Delete) -> str:
    try:
        with isolated():
            delete(*each)
    except Exception as error:  # noqa: BLE001 - the engine raises it for everything, of this shard alone
        return str(error) or type(error).__name__
    return ""


def delete(name: str, document: str, below_seq: int, keep: Sequence[str]) -> None:
    """Delete the points of a document with a lower `seq`, except those with an id in `keep`."""
    if opened := open_shard(name):
        of_document = FieldCondition(DOCUMENT, match=MatchValue(document))
        older = FieldCondition(SEQ, range=RangeFloat(lt=below_seq))
        for changes in _recorded(name):
            changes.thinned.add(document)
        kept: list[HasIdCondition] = [HasIdCondition(set(keep))] if keep else []
        chosen = Filter(must=[of_document, older], must_not=list(kept))
        opened.shard.update(UpdateOperation.delete_points_by_filter(chosen))


def ids(name: str, documents: Sequence[str]) -> dict[str, list[str]]:
    """Return the ids of the points of these documents, by document."""
    found: dict[str, list[str]] = {}
    opened = open_shard(name)
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


def traces(name: str, document: str) -> bool:
    """Return whether a file of a shard holds the id of a document, as its deleted points do until it is rewritten."""
    if (opened := open_shard(name)) is None:
        return False
    opened.flush()
    files = (path for path in opened.path.rglob("*") if path.is_file())
    return any(_holds(path, document.encode()) for path in files)


def _holds(path: Path, text: bytes) -> bool:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(text) >= 0


def count(name: str) -> int:
    """Return the number of points in a shard."""
    opened = open_shard(name)
    return opened.shard.count(CountRequest(exact=True)) if opened else 0


def indexed(name: str) -> list[str]:
    """Return the indexed fields of a shard."""
    opened = open_shard(name)
    return sorted(opened.shard.info().payload_schema) if opened else []


def ping() -> None:
    """Create the directory if it is missing."""
    _folder.mkdir(parents=True, exist_ok=True)


def close() -> None:
    """Flush and close all shards."""
    _close_all_but(0)


class Shard:
    """An open shard. One with a graph is never optimised here: that would build the graph again, for minutes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shard = EdgeShard.load(str(path))  # keeps the settings that it was created with
        _index_fields(self.shard)
        self.graph = (path / CHANGES).exists() or (
            self.shard.info().indexed_vectors_count > 0 and not has_sparse(self.shard)
        )
        self.changes = _read_changes(path)
        if not self.graph:
            self.shard.optimize()
        self._ranges: dict[str, bool | None] = {}
        """Fields that were filtered by ranges: whether these are of times; None once they were of both kinds."""
        self._flushed_at = time.monotonic()
        self._to_vacuum = 0

    def index_range(self, field: str, *, times: bool) -> None:
        """Index a field for ranges, once: 0.4 s for 20,000 points.

        The engine answers a range of times from an index of numbers wrongly: a field of which both are asked has none.
        """
        if field in self._ranges:
            if self._ranges[field] is (not times):
                self.shard.update(UpdateOperation.delete_field_index(field))
                self._ranges[field] = None
            return
        schema, kind = (
            self.shard.info().payload_schema,
            PayloadSchemaType.Datetime if times else PayloadSchemaType.Float,
        )
        if field not in schema and sum(each.startswith(METADATA) for each in schema) >= MAX_RANGE_FIELDS:
            self._ranges[field] = None
            return
        if field in schema and schema[field].data_type != kind:
            self.shard.update(UpdateOperation.delete_field_index(field))
        if field not in schema or schema[field].data_type != kind:
            params = DatetimeIndexParams() if times else FloatIndexParams()
            self.shard.update(UpdateOperation.create_field_index(field, params))
        self._ranges[field] = times

    def tidy(self, changes: int) -> None:
        """Flush and vacuum when due."""
        self.changes += changes
        self._to_vacuum += changes
        if self._to_vacuum >= VACUUM_EVERY and not self.graph:
            self.shard.optimize()
            self._to_vacuum = 0
        if time.monotonic() >= self._flushed_at + FLUSH_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Write changes to the disk."""
        self.shard.flush()
        if self.graph:
            (self.path / CHANGES).write_text(str(self.changes), encoding="ascii")
        self._flushed_at = time.monotonic()


def _index_fields(shard: EdgeShard) -> None:
    """Index the fields that are not indexed yet; a shard may predate a field."""
    for each in set(INDEXED) - set(shard.info().payload_schema):
        shard.update(UpdateOperation.create_field_index(each, KeywordIndexParams()))


def open_shard(name: str) -> Shard | None:
    """Return a shard, if it exists; may close the least recently used one."""
    if name not in _shards and (path := generations.used(_folder, name)):
        _close_all_but(_max_open - 1)
        _shards[name] = Shard(path)
    if name in _shards:
        _shards.move_to_end(name)
    return _shards.get(name)


def open_shards() -> list[tuple[str, Shard]]:
    """Return the open shards by name, the most recently used last."""
    return list(_shards.items())


def replace(name: str, shard: Shard) -> None:
    """Use another generation of a shard from now on; the caller closes the one before, and deletes its folder."""
    generations.complete(shard.path)
    _shards[name] = shard


def next_generation(name: str) -> Path:
    """Create the folder of a shard's next generation."""
    return generations.start_next(_folder, name)


def _recorded(name: str) -> list[Changes]:
    return [changes for changes in recorded if changes.name == name]


def _read_changes(path: Path) -> int:
    try:
        return int((path / CHANGES).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _close_all_but(count: int) -> None:
    while len(_shards) > count:
        _, least = _shards.popitem(last=False)
        least.flush()
        least.shard.close()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(0)
