"""A purge leaves no file of the embedded store with a document that was deleted."""

import asyncio
from pathlib import Path

import pytest

from services.rag.tests.vectors.in_process import POINTS, points
from services.rag.tests.vectors.test_vector_stores import INDEX, point
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


def holding(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]
