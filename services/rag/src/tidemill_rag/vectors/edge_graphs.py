"""Graphs of shards, in the child process: copy a shard, catch up with its changes, and replace it by the copy.

One build at a time, in calls of some milliseconds each, so that searches and writes go on between them. The graph is
built by a third process (`build_graph`) in the folder of the copy, which nothing else uses meanwhile. A crash loses
the copy only: which points changed since it began is kept in memory.
"""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from uuid import UUID

from qdrant_edge import (
    CountRequest,
    EdgeShard,
    FieldCondition,
    Filter,
    HasIdCondition,
    MatchValue,
    PayloadSelector,
    Point,
    Record,
    ScrollRequest,
    UpdateOperation,
)

from tidemill_rag.vectors import edge_shards
from tidemill_rag.vectors.edge_shards import Changes, Shard
from tidemill_rag.vectors.edge_vectors import dense_of
from tidemill_rag.vectors.payloads import DOCUMENT

PointId = int | UUID | str

SLICE = 200
"""Points copied in one call: some 20 ms."""
MAX_CHANGES = 500_000
"""Changes since a copy began, 100 bytes each, above which the build is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A shard of which a graph should be built; `graph` False: of which only the deleted points should be removed."""

    name: str
    points: int
    graph: bool


@dataclass(slots=True, kw_only=True)
class _Copy:
    changes: Changes
    path: Path
    shard: EdgeShard
    offset: PointId | None = None
    whole: Shard | None = None
    """The copy with its graph, opened by the first `catch_up`."""
    replaced: Shard | None = None
    """The shard, once the copy is used in its place."""


class BuildGone(Exception):
    """The build cannot go on: its shard was dropped, this process is another one, or too much has changed."""


_builds: list[_Copy] = []
"""The build that goes on: one or none."""


def due(min_chunks: int, without: frozenset[str] = frozenset()) -> Due | None:
    """Return an open shard, of others than those, of which a graph should be built.

    That is one without a graph and with enough points, or one of which a quarter has changed since its graph was built.
    """
    for name, opened in edge_shards.open_shards():
        if name in without:
            continue
        points = opened.shard.count(CountRequest(exact=True))
        large = points >= min_chunks
        if points and (large if not opened.graph else opened.changes >= max(min_chunks, points) // 4):
            return Due(name=name, points=points, graph=large)
    return None


def begin(name: str) -> tuple[str, int]:
    """Start to copy a shard; return the copy's folder, and the dimensions of its vectors."""
    discard()
    source = edge_shards.open_shard(name)
    one, _ = source.shard.scroll(ScrollRequest(None, 1, with_vector=True)) if source else ([], None)
    if not one:
        message = "the index version was dropped or emptied"
        raise BuildGone(message)
    path, dimensions = edge_shards.next_generation(name), len(dense_of(one[0].vector))
    copied = edge_shards.new_shard(path, dimensions, sparse=isinstance(one[0].vector, dict))
    started = _Copy(changes=Changes(name=name), path=path, shard=copied)
    _builds.append(started)
    edge_shards.recorded.append(started.changes)
    return str(path), dimensions


def copy(name: str) -> int:
    """Copy the next points; return how many, 0 when all are copied and the folder is closed."""
    copying, source = _current(name)
    records, copying.offset = source.shard.scroll(
        ScrollRequest(copying.offset, SLICE, with_payload=True, with_vector=True)
    )
    _store(copying.shard, records)
    if copying.offset is not None:
        return len(records)
    copying.shard.flush()
    copying.shard.close()
    return 0


def building(name: str) -> bool:
    """Return whether the build of this shard goes on."""
    return any(changes.name == name for changes in edge_shards.recorded)


def catch_up(name: str) -> int:
    """Apply some of the changes since the copy began; return how many are left."""
    copying, source = _current(name)
    changes = copying.changes
    if copying.whole is None:
        copying.whole = Shard(copying.path)
        return len(changes.stored) + len(changes.thinned)
    if changes.thinned:
        document = changes.thinned.pop()
        of_document = FieldCondition(DOCUMENT, match=MatchValue(document))
        kept = _ids(source.shard, of_document)
        gone = Filter(must=[of_document], must_not=[HasIdCondition(kept)] if kept else [])
        copying.whole.shard.update(UpdateOperation.delete_points_by_filter(gone))
    else:
        ids = list(islice(changes.stored, SLICE))
        _store(copying.whole.shard, source.shard.retrieve(list(ids), with_payload=True, with_vector=True))
        changes.stored.difference_update(ids)
        copying.whole.changes += len(ids)
    return len(changes.stored) + len(changes.thinned)


def flush(name: str) -> None:
    """Write the copy to the disk, so that `swap` need not."""
    copying, _ = _current(name)
    if copying.whole:
        copying.whole.flush()


def swap(name: str) -> None:
    """Apply the last changes to the copy, and use it in place of the shard from now on.

    Raises:
        BuildGone: the copy has another number of points; it is discarded.

    """
    while catch_up(name):
        pass
    copying, source = _current(name)
    copied, everything = copying.whole, CountRequest(exact=True)
    assert copied  # noqa: S101 - the first `catch_up` opened it
    if (there := copied.shard.count(everything)) != (expected := source.shard.count(everything)):
        message = f"the copy has {there} points, the shard {expected}"
        raise BuildGone(message)
    edge_shards.replace(name, copied)
    copying.replaced = source
    edge_shards.recorded.clear()


def discard() -> str:
    """End a build; return the folder to be deleted: of the shard that was replaced, else of the copy."""
    edge_shards.recorded.clear()
    if not _builds:
        return ""
    ended = _builds.pop()
    if ended.replaced:
        ended.replaced.shard.close()
        return str(ended.replaced.path)
    if ended.whole:
        ended.whole.shard.close()
    return str(ended.path)


def _current(name: str) -> tuple[_Copy, Shard]:
    source = edge_shards.open_shard(name)
    if source is None or not building(name):
        message = "the index version was dropped, or the process of the vectors was restarted"
        raise BuildGone(message)
    (copying,) = _builds
    if len(copying.changes.stored) + len(copying.changes.thinned) > MAX_CHANGES:
        message = f"more than {MAX_CHANGES} points changed meanwhile"
        raise BuildGone(message)
    return copying, source


def _store(shard: EdgeShard, records: list[Record]) -> None:
    if records:
        points = [Point(record.id, record.vector or [], record.payload or {}) for record in records]
        shard.update(UpdateOperation.upsert_points(points))


def _ids(shard: EdgeShard, chosen: FieldCondition) -> set[PointId]:
    """Return the ids of all points that match."""
    found, offset = set[PointId](), None
    while True:
        records, offset = shard.scroll(
            ScrollRequest(
                offset,
                edge_shards.SCROLL_BATCH,
                filter=Filter(must=[chosen]),
                with_payload=PayloadSelector.Include([DOCUMENT]),
                with_vector=False,
            )
        )
        found.update(record.id for record in records)
        if offset is None:
            return found
