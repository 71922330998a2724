"""Documents are indexed, updated and deleted as events arrive."""

from collections.abc import Sequence

import pytest

from services.rag.tests.fakes import ADA, EVE, Rag, spec, write
from tidemill_core.application import PageRequest, Request
from tidemill_core.errors import DependencyUnavailable
from tidemill_rag.collections.domain.collection import IndexRef
from tidemill_rag.collections.domain.events import IndexBuildStarted, IndexWentLive
from tidemill_rag.collections.messages import document_message
from tidemill_rag.embedding.bm25 import Bm25Embedding
from tidemill_rag.errors import DocumentUnreadable, IndexNotReady
from tidemill_rag.indexing.domain.ledger import Counts, DesiredDocument
from tidemill_rag.indexing.points import PassageEmbedding
from tidemill_rag.indexing.reconcile_index import RECHECK

STALE = "of a list that is gone"
FIRST = IndexRef(project="acme", collection="handbook", number=1)


async def test_a_new_collection_takes_what_is_there_already() -> None:
    rag = Rag()
    rag.ingest.put("d1", "How to reset a password.")
    rag.ingest.put("d2", "How to order a phone.")

    await rag.handbook()

    assert await rag.found("reset password", top_k=1) == ["d1"]
    counts = await rag.ledger.count(FIRST)
    assert (counts.desired, counts.indexed, counts.pending) == (2, 2, 0)


async def test_an_empty_collection_is_live_at_once_and_answers_with_the_first_document() -> None:
    rag = Rag()
    collection = await rag.handbook()
    assert collection.live
    assert await rag.found("password") == []

    await rag.consume(rag.ingest.put("d1", "How to reset a password."))
    await rag.work()

    assert await rag.found("password") == ["d1"]


async def test_an_index_reports_that_its_build_started_and_that_it_went_live() -> None:
    rag = Rag()
    rag.ingest.put("d1", "text")
    await rag.handbook()

    started, live = rag.collections.published
    assert isinstance(started, IndexBuildStarted)
    assert (started.index, started.embedding) == (1, "words@1")
    assert isinstance(live, IndexWentLive)
    assert (live.index, live.replaced, live.documents) == (1, 0, 1)


async def test_a_search_before_the_documents_are_known_reports_the_progress() -> None:
    rag = Rag()
    rag.ingest.down = True
    await rag.crud.create(ADA, spec(), write("r1"))
    with pytest.raises(DependencyUnavailable):
        await rag.work()

    with pytest.raises(IndexNotReady, match=r"0 of 0 documents \(ingest does not answer\)"):
        await rag.search("anything")

    rag.ingest.down = False
    await rag.work()
    assert await rag.found("anything") == []
    assert (await rag.collections.get("acme", "handbook")).indexes[0].message == ""


async def test_an_update_replaces_the_passages_of_the_version_before() -> None:
    rag = Rag()
    await rag.handbook()
    await rag.consume(rag.ingest.put("d1", "old words", seq=1))
    await rag.work()

    await rag.consume(rag.ingest.put("d1", "fresh words", seq=2))
    assert [p.payload.version for p in (await rag.search("words")).passages] == [1]
    await rag.work()

    assert [p.payload.version for p in (await rag.search("words")).passages] == [2]
    assert await rag.vectors.count(FIRST.key) == 1


async def test_a_deleted_document_is_invisible_before_the_worker_moves() -> None:
    rag = Rag()
    rag.ingest.put("d1", "secret words")
    await rag.handbook()

    await rag.consume(rag.ingest.remove("d1", seq=2))

    assert await rag.found("secret words") == []
    await rag.work()
    assert await rag.vectors.count(FIRST.key) == 0


async def test_events_out_of_order_leave_the_newest() -> None:
    rag = Rag()
    await rag.handbook()
    old = rag.ingest.put("d1", "old words", seq=1)
    new = rag.ingest.put("d1", "new words", seq=2)
    before = rag.ingest.put("d2", "other", seq=4)
    gone = rag.ingest.remove("d2", seq=5)

    for desired in (new, old, gone, before):
        await rag.consume(desired)
    await rag.work()

    assert [p.payload.version for p in (await rag.search("words")).passages] == [2]
    assert (await rag.ledger.rows(FIRST, ["d2"]))["d2"].desired.content is None


async def test_the_same_event_again_enqueues_nothing() -> None:
    rag = Rag()
    await rag.handbook()
    desired = rag.ingest.put("d1", "words")
    await rag.consume(desired)
    await rag.work()
    rag.enqueued.clear()

    await rag.consume(desired)

    assert rag.enqueued == []


async def test_an_update_while_a_document_is_indexed_is_not_lost() -> None:
    rag = Rag()
    await rag.handbook()
    await rag.consume(rag.ingest.put("d1", "old words", seq=1))
    [row] = await rag.ledger.take(FIRST, epoch=1, limit=10)
    await rag.consume(rag.ingest.put("d1", "fresh words", seq=2))

    assert not await rag.ledger.mark_indexed(FIRST, row, epoch=1, chunks=1)
    await rag.work()

    assert [p.payload.text for p in (await rag.search("words")).passages] == ["fresh words"]


async def test_a_deletion_while_a_document_is_indexed_wins() -> None:
    rag = Rag()
    await rag.handbook()
    desired = rag.ingest.put("d1", "some words", seq=1)
    await rag.consume(desired)
    rows = await rag.ledger.take(FIRST, epoch=1, limit=10)
    await rag.consume(rag.ingest.remove("d1", seq=2))

    model = await rag.models.load(ADA, "words@1")
    await rag.vectors.create(FIRST.key, dimensions=model.dimensions, sparse=True)
    index = (await rag.collections.get("acme", "handbook")).indexes[0]
    embedding = PassageEmbedding(model=model, sparse=Bm25Embedding(), analysis=index.sparse)
    await rag.index_documents._index(FIRST, index, rows, embedding, 1)  # noqa: SLF001 - the worker that was in the middle

    assert await rag.vectors.count(FIRST.key) == 1
    assert await rag.found("some words") == []
    await rag.work()
    assert await rag.vectors.count(FIRST.key) == 0


async def test_a_worker_that_slept_through_its_lease_finishes_nothing() -> None:
    rag = Rag()
    await rag.handbook()
    await rag.consume(rag.ingest.put("d1", "words"))
    [row] = await rag.ledger.take(FIRST, epoch=1, limit=10)
    await rag.ledger.take(FIRST, epoch=2, limit=10)

    assert not await rag.ledger.mark_indexed(FIRST, row, epoch=1, chunks=1)
    assert await rag.ledger.mark_indexed(FIRST, row, epoch=2, chunks=1)


async def test_an_erased_text_leaves_no_passages() -> None:
    rag = Rag()
    await rag.handbook()
    desired = rag.ingest.put("d1", "words")
    rag.ingest.erase(desired)
    await rag.consume(desired)
    await rag.work()

    assert await rag.found("words") == []
    assert (await rag.ledger.count(FIRST)).pending == 0


async def test_a_text_that_was_erased_after_it_was_indexed_leaves_nothing_when_it_is_indexed_once_more() -> None:
    rag = Rag()
    desired = rag.ingest.put("d1", "words")
    await rag.handbook()
    rag.ingest.erase(desired)
    await rag.ledger.reset(FIRST, ["d1", "d2"], epoch=1)

    await rag.work()

    assert await rag.vectors.count(FIRST.key) == 0


async def test_a_failed_update_leaves_the_version_before_searchable() -> None:
    rag = Rag()
    rag.ingest.put("d1", "old words", seq=1)
    await rag.handbook()
    broken = rag.ingest.put("d1", "new", seq=2)
    assert broken.content
    rag.ingest.contents[broken.content] = DocumentUnreadable("damaged")
    await rag.consume(broken)
    await rag.work()

    assert [p.payload.version for p in (await rag.search("words")).passages] == [1]


async def test_a_store_that_is_down_is_waited_for_and_named() -> None:
    rag = Rag()
    await rag.handbook()
    await rag.consume(rag.ingest.put("d1", "words"))
    rag.vectors.down = True
    with pytest.raises(DependencyUnavailable):
        await rag.work()
    assert (await rag.collections.get("acme", "handbook")).indexes[0].message == "the vector store is down"

    rag.vectors.down = False
    await rag.work()

    assert await rag.found("words") == ["d1"]


async def test_two_projects_with_the_same_names_share_nothing() -> None:
    rag = Rag()
    rag.ingest.put("d1", "acme words")
    rag.ingest.put("d1", "other words", project="other")
    await rag.handbook()
    await rag.handbook(caller=EVE)

    assert [p.payload.text for p in (await rag.search("words")).passages] == ["acme words"]
    assert [p.payload.text for p in (await rag.search("words", caller=EVE)).passages] == ["other words"]
    await rag.consume(rag.ingest.remove("d1", seq=2))
    assert await rag.found("words") == []
    assert await rag.found("words", caller=EVE) == ["d1"]


async def test_numbers_that_a_kill_left_too_high_are_no_lost_points(monkeypatch: pytest.MonkeyPatch) -> None:
    rag = Rag()
    rag.ingest.put("d1", "words")
    await rag.handbook()
    rag.models.model.batches.clear()

    async def counts(indexes: Sequence[IndexRef]) -> dict[IndexRef, Counts]:
        return {index: Counts(desired=1, indexed=1, chunks=20) for index in indexes}

    with monkeypatch.context() as left:
        left.setattr(rag.ledger, "counts", counts)
        rag.reconcile = rag.new_reconcile()
        await rag.work()

    assert rag.models.model.batches == []


async def test_an_event_that_comes_again_enqueues_work_where_nothing_was_done_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def upsert_desired(index: IndexRef, desired: DesiredDocument) -> bool:
        await kept(index, desired)
        message = "it went away after the row was written"
        raise DependencyUnavailable(message, dependency="mongodb")

    rag = Rag()
    await rag.handbook()
    rag.enqueued.clear()
    event = rag.ingest.put("d1", "words")
    with monkeypatch.context() as broken:
        kept = rag.ledger.upsert_desired
        broken.setattr(rag.ledger, "upsert_desired", upsert_desired)
        with pytest.raises(DependencyUnavailable):
            await rag.consume(event)

    await rag.consume(event)

    assert rag.enqueued == [FIRST]


async def test_a_list_that_breaks_off_goes_on_after_its_last_page() -> None:
    rag = Rag()
    for number in range(10):
        rag.ingest.put(f"d{number}", f"document {number}")
    rag.ingest.page_size = 3
    await rag.crud.create(ADA, spec(), write("r1"))
    rag.ingest.breaks_after = 2
    with pytest.raises(DependencyUnavailable):
        await rag.turn(FIRST)
    rag.ingest.breaks_after = None
    rag.reconcile = rag.new_reconcile()

    await rag.work()

    assert [token for _, token in rag.ingest.listed] == ["", "3", "6", "9"]
    assert (await rag.ledger.count(FIRST)).indexed == 10


async def test_a_token_that_leads_nowhere_any_more_begins_the_list_anew() -> None:
    rag = Rag()
    rag.ingest.put("d1", "words")
    await rag.crud.create(ADA, spec(), write("r1"))
    await rag.collections.update(
        "acme", "handbook", lambda each: each.record_seeding(1, source=0, token=STALE), request=Request.internal()
    )

    await rag.work()

    assert (await rag.ledger.count(FIRST)).indexed == 1


async def test_nothing_counts_rows_but_the_beginning_and_a_number_that_cannot_be_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rag = Rag()
    rag.ingest.put("d1", "words")
    await rag.handbook()
    await rag.consume(rag.ingest.put("d2", "more words"))
    await rag.work()
    await rag.crud.get(ADA, "handbook")
    await rag.crud.list(ADA, PageRequest())
    assert rag.ledger.counted == [FIRST]

    async def wrong(indexes: Sequence[IndexRef]) -> dict[IndexRef, Counts]:
        return dict.fromkeys(indexes, Counts(pending=1))

    monkeypatch.setattr(rag.ledger, "counts", wrong)
    assert await rag.turn(FIRST) == RECHECK
    assert rag.ledger.counted == [FIRST]
    assert await rag.turn(FIRST) is None
    assert rag.ledger.counted == [FIRST, FIRST]


async def test_passages_of_a_script_that_the_model_does_not_know_are_not_found_and_the_document_says_so() -> None:
    rag = Rag()
    rag.ingest.put("thai", "\u0e04\u0e23\u0e37\u0e48\u0e2d\u0e07" * 100)
    rag.ingest.put("both", "known words " * 150 + "\n\n" + "\u0e1e\u0e34\u0e21\u0e1e\u0e4c " * 200)
    await rag.handbook()

    rows = await rag.ledger.rows(FIRST, ["thai", "both"])

    assert rows["thai"].chunks == 0
    assert rows["thai"].note.endswith("vocabulary lacks their script or words; use another model")
    assert document_message(1, rows["both"]).message.startswith("4 of 6 passages")
    assert rows["both"].chunks > 0
    assert not rows["thai"].pending


async def test_a_passage_that_begins_within_a_table_shows_its_columns_names() -> None:
    rag = Rag()
    rows = "".join(f"| PX-{number} | Graz | {number} |\n" for number in range(200))
    rag.ingest.put("parts", f"# Parts\n\n| Part | Place | Price |\n|---|---|---|\n{rows}", media_type="text/markdown")
    await rag.handbook()

    payloads = [point.payload for point in rag.vectors.points[FIRST.key].values()]

    assert len(payloads) > 4
    assert all("| Part | Place | Price |\n|---|---|---|\n| PX-" in payload.text for payload in payloads)
