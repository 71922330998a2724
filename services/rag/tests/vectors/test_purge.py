"""A purge leaves no file of the embedded store with a document that was deleted."""

import asyncio
from pathlib import Path

import pytest

from services.rag.tests.vectors.in_process import POINTS, points
from services.rag.tests.vectors.test_vector_stores import INDEX, point
from tidemill_core.application import derived_id
from tidemill_core.errors import DependencyUnavailable
from tidemill_rag.vectors import edge_shards
from tidemill_rag.vectors.edge import QdrantEdgeVectors


@pytest.mark.parametrize("others", [0, POINTS])
async def test_no_file_holds_a_document_that_was_purged(store: QdrantEdgeVectors, tmp_path: Path, others: int) -> None:
    await store.upsert(INDEX, [*points(0, others), point("erased-document", seq=1)])
    await store.delete(INDEX, "erased-document", below_seq=2)
    assert holding(tmp_path, "erased-document")

    assert await store.purge(INDEX, "erased-document")

    assert holding(tmp_path, "erased-document") == []
    assert not await store.purge(INDEX, "erased-document")
    assert await store.count(INDEX) == others
    await store.create(INDEX, dimensions=2)
    await store.upsert(INDEX, points(POINTS, POINTS + 1))
    assert await store.count(INDEX) == others + 1


async def test_a_purge_waits_until_a_graph_is_built(store: QdrantEdgeVectors) -> None:
    await store.upsert(INDEX, [point("erased-document", seq=1)])
    async with store.copying:
        purging = asyncio.create_task(store.purge(INDEX, "erased-document"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not purging.done()

    assert await purging


async def test_a_damaged_shard_fails_its_own_deletions_alone(
    store: QdrantEdgeVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.upsert(INDEX, points(0, 3))
    damaged, opened = derived_id("damaged/1"), edge_shards.open_shard

    def opening(name: str) -> edge_shards.Shard | None:
        if name == damaged:
            message = "no such segment"
            raise OSError(message)
        return opened(name)

    monkeypatch.setattr(edge_shards, "open_shard", opening)
    others = [store.delete(INDEX, f"d{number}", below_seq=2) for number in range(3)]
    failed, *rest = await asyncio.gather(store.delete("damaged/1", "d0", below_seq=2), *others, return_exceptions=True)

    assert isinstance(failed, DependencyUnavailable)
    assert "no such segment" in failed.message
    assert rest == [None] * 3
    assert await store.count(INDEX) == 0


def holding(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]
