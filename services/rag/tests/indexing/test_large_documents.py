"""Large documents are indexed in parts, interleaved with the others."""

import pytest

from services.rag.tests.fakes import ADA, Rag, spec, write
from tidemill_core.errors import DependencyUnavailable
from tidemill_rag.collections.domain.collection import IndexRef
from tidemill_rag.indexing.reconcile_index import AT_ONCE

FIRST = IndexRef(project="acme", collection="handbook", number=1)


async def test_documents_are_embedded_together_and_large_ones_in_parts() -> None:
    rag = Rag()
    await rag.handbook()
    for number in range(6):
        await rag.consume(rag.ingest.put(f"small{number}", f"words {number}"))
    await rag.consume(rag.ingest.put("large", "\n\n".join("word " * 200 for _ in range(20))))
    await rag.work()

    assert max(rag.models.model.batches) <= 8
    assert min(rag.models.model.batches) > 1
    assert (await rag.ledger.rows(FIRST, ["large"]))["large"].chunks == 20


async def test_a_large_document_holds_up_no_small_one_of_its_collection() -> None:
    rag = Rag()
    await rag.handbook()
    book = " ".join(f"Chapter {number} of the great book." for number in range(4000))
    await rag.consume(rag.ingest.put("book", book))
    for turn in range(3):
        assert await rag.turn(FIRST) == AT_ONCE
        await rag.consume(rag.ingest.put(f"note{turn}", f"note{turn} is small"))
    await rag.turn(FIRST)

    assert {f"note{turn}" for turn in range(3)} <= set(await rag.found("which note is small"))
    assert (await rag.ledger.rows(FIRST, ["book"]))["book"].pending

    await rag.work()
    assert "book" in await rag.found("great book chapter 3999")
    assert max(rag.models.model.batches) <= 10


async def test_large_documents_of_many_collections_all_come_to_their_end() -> None:
    rag = Rag()
    await rag.handbook()
    await rag.crud.create(ADA, spec("other"), write("r2"))
    await rag.work(collection="other")
    rag.models.model.batches.clear()
    await rag.consume(rag.ingest.put("book", "A sentence of the book. " * 2000))
    others = [FIRST, IndexRef(project="acme", collection="other", number=1)]
    turns = 0
    while any(counts.pending for counts in (await rag.ledger.counts(others)).values()):
        turns += 1
        assert turns < 100, "one pushes the other out of memory, and each begins anew"
        for ref in others:
            await rag.turn(ref)

    counts = await rag.ledger.counts(others)
    assert {each.indexed for each in counts.values()} == {1}
    assert sum(rag.models.model.batches) <= sum(each.chunks for each in counts.values())


async def test_a_large_document_that_gives_way_to_others_again_and_again_is_not_given_up() -> None:
    rag = Rag()
    names = [f"shelf{number}" for number in range(2)]
    for name in names:
        await rag.crud.create(ADA, spec(name, max_tokens=64), write(name))
        await rag.work(collection=name)
    await rag.consume(rag.ingest.put("book", "A sentence of the book. " * 1500))
    shelves = [IndexRef(project="acme", collection=name, number=1) for name in names]
    for _ in range(7):
        for ref in shelves:
            await rag.turn(ref)

    rows = [(await rag.ledger.rows(ref, ["book"]))["book"] for ref in shelves]
    assert [(row.pending, row.attempts, row.failure) for row in rows] == [(True, 0, "")] * 2


async def test_vectors_that_are_away_again_and_again_are_no_fault_of_a_large_document() -> None:
    rag = Rag()
    await rag.handbook()
    await rag.consume(rag.ingest.put("book", "A sentence of the book. " * 500))
    rag.vectors.down = True
    for _ in range(10):
        with pytest.raises(DependencyUnavailable):
            await rag.work()
    rag.vectors.down = False
    await rag.work()

    assert "book" in await rag.found("book")
