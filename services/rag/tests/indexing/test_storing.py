"""Documents are embedded and stored side by side."""

import asyncio
from collections.abc import Sequence

import pytest

from services.rag.tests.fakes import ADA, Rag
from tidemill_core.errors import DependencyUnavailable
from tidemill_rag.vectors.ports import Point


async def test_documents_are_embedded_while_those_before_them_are_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    rag, embedded, stored = Rag(), list[str](), asyncio.Event()

    async def embed(project: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        embedded.extend(texts)
        if len(embedded) == 8:
            stored.set()
        return await vectors(project, texts)

    async def upsert(collection: str, points: Sequence[Point]) -> None:
        await stored.wait()
        await upserted(collection, points)

    vectors, upserted = rag.models.model.embed_passages, rag.vectors.upsert
    monkeypatch.setattr(rag.models.model, "embed_passages", embed)
    monkeypatch.setattr(rag.vectors, "upsert", upsert)
    await rag.handbook()
    for number in range(8):
        await rag.consume(rag.ingest.put(f"d{number}", f"words {number}"))
    async with asyncio.timeout(10):
        await rag.work()

    assert len(await rag.found("words", top_k=10)) == 8


@pytest.mark.filterwarnings("error:coroutine .* was never awaited")
async def test_documents_whose_storing_fails_stay_pending_beside_others_that_are_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rag = Rag()
    upserted = rag.vectors.upsert

    async def upsert(collection: str, points: Sequence[Point]) -> None:
        if any(point.payload.document == "d0" for point in points):
            message = "the vector store is down"
            raise DependencyUnavailable(message, dependency="vectors")
        await upserted(collection, points)

    monkeypatch.setattr(rag.vectors, "upsert", upsert)
    await rag.handbook()
    for number in range(10):
        await rag.consume(rag.ingest.put(f"d{number}", f"words {number}"))
    with pytest.raises(DependencyUnavailable):
        await rag.work()
    [(_, row)] = await rag.crud.document(ADA, "handbook", "d0")
    assert (row.pending, row.attempts) == (True, 0)

    monkeypatch.setattr(rag.vectors, "upsert", upserted)
    await rag.work()

    assert len(await rag.found("words", top_k=10)) == 10
