"""Documents that fail, break the code or end the process."""

from collections.abc import Sequence

import pytest

from services.rag.tests.fakes import ADA, Rag, WordModel
from tidemill_core.errors import DependencyUnavailable
from tidemill_rag.collections.domain.collection import IndexRef
from tidemill_rag.errors import DocumentUnreadable
from tidemill_rag.indexing.domain.ledger import Row
from tidemill_rag.vectors.ports import Point

FIRST = IndexRef(project="acme", collection="handbook", number=1)


async def test_a_document_that_cannot_be_read_fails_alone_and_says_why() -> None:
    rag = Rag()
    await rag.handbook()
    broken, whole = rag.ingest.put("d1", "words"), rag.ingest.put("d2", "words")
    assert broken.content
    rag.ingest.contents[broken.content] = DocumentUnreadable("object d1 holds no document version")
    for desired in (broken, whole):
        await rag.consume(desired)
    await rag.work()

    assert await rag.found("words") == ["d2"]
    [(_, row)] = await rag.crud.document(ADA, "handbook", "d1")
    assert row.failure == "object d1 holds no document version"
    assert (await rag.ledger.count(FIRST)).failed == 1


async def test_a_document_that_breaks_the_code_is_tried_a_few_times_and_then_given_up() -> None:
    rag = Rag()
    await rag.handbook()
    broken = rag.ingest.put("d1", "words")
    assert broken.content
    rag.ingest.contents[broken.content] = RuntimeError("bug")
    await rag.consume(broken)
    await rag.work()

    [(_, row)] = await rag.crud.document(ADA, "handbook", "d1")
    assert row.failure == "RuntimeError during chunking, attempt 3"


class PanicException(BaseException):
    pass


async def test_a_panic_while_a_document_is_cut_fails_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def tokenize(text: str) -> Sequence[tuple[int, int]]:
        if "evil" in text:
            raise PanicException
        return words(text)

    rag, words = Rag(), WordModel().tokenize
    monkeypatch.setattr(rag.models.model, "tokenize", tokenize)
    await rag.handbook()
    await rag.consume(rag.ingest.put("d1", "evil words"))
    await rag.consume(rag.ingest.put("d2", "good words"))
    await rag.work()

    assert await rag.found("words") == ["d2"]
    [(_, row)] = await rag.crud.document(ADA, "handbook", "d1")
    assert row.failure == "NativePanic during chunking, attempt 3"


async def test_a_panic_while_documents_are_embedded_fails_the_one_that_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    async def embed(project: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        if any("evil" in text for text in texts):
            raise PanicException
        return await vectors(project, texts)

    rag, vectors = Rag(), WordModel().embed_passages
    monkeypatch.setattr(rag.models.model, "embed_passages", embed)
    await rag.handbook()
    large = "evil. " + "words " * 2000
    for document, text in (("d1", "evil words"), ("d2", "good words"), ("d3", "fine words"), ("d4", large)):
        await rag.consume(rag.ingest.put(document, text))
    await rag.work()

    assert sorted(await rag.found("words")) == ["d2", "d3"]
    [(_, row)] = await rag.crud.document(ADA, "handbook", "d1")
    assert row.failure == "NativePanic during embedding, attempt 3"


async def test_a_document_that_ends_the_process_is_given_up_and_the_others_are_indexed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Died(Exception):
        pass

    async def upsert(collection: str, points: Sequence[Point]) -> None:
        if any(point.payload.document == "guilty" for point in points):
            raise Died
        await stored(collection, points)

    async def attempt(index: IndexRef, rows: Sequence[Row], *, epoch: int, by: int) -> None:
        if by > 0:  # a process that is dead takes nothing back
            await counted(index, rows, epoch=epoch, by=by)

    rag = Rag()
    stored, counted = rag.vectors.upsert, rag.ledger.attempt
    monkeypatch.setattr(rag.vectors, "upsert", upsert)
    monkeypatch.setattr(rag.ledger, "attempt", attempt)
    await rag.handbook()
    for document in ("d0", "guilty", "d1", "d2"):
        await rag.consume(rag.ingest.put(document, f"words {document}"))
    deaths = 0
    while (await rag.ledger.count(FIRST)).pending and deaths < 20:
        try:
            await rag.work()
        except Died:
            deaths += 1

    assert deaths == 5
    assert sorted(await rag.found("words")) == ["d0", "d1", "d2"]
    [(_, row)] = await rag.crud.document(ADA, "handbook", "guilty")
    assert row.failure == "indexing the document crashed the process 5 times"


async def test_a_store_that_is_away_again_and_again_is_no_fault_of_the_documents() -> None:
    rag = Rag()
    await rag.handbook()
    desired = rag.ingest.put("d1", "words")
    assert desired.content
    there = rag.ingest.contents[desired.content]
    await rag.consume(desired)
    for _ in range(10):
        rag.ingest.contents[desired.content] = DependencyUnavailable("away", dependency="s3")
        with pytest.raises(DependencyUnavailable):
            await rag.work()
    rag.ingest.contents[desired.content] = there
    await rag.work()

    assert await rag.found("words") == ["d1"]
