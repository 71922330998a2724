"""What is searchable, and when, as documents come, change and go."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from services.rag.tests.fakes import ADA, EVE, Rag, WordModel, request, spec
from tidemill_kit.core.application import PageRequest
from tidemill_kit.core.errors import DependencyUnavailable
from tidemill_rag.application.reconcile_index import Requeue
from tidemill_rag.application.update_collection import UpdateCommand
from tidemill_rag.application.vector_store import Point
from tidemill_rag.domain.collection import IndexBuildWasStarted, IndexRef, IndexState, IndexWentLive
from tidemill_rag.domain.errors import DocumentUnreadable, IndexNotReady
from tidemill_rag.domain.ledger import Counts, DesiredDocument, Row
from tidemill_rag.entrypoints.messages import document_message

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
    assert isinstance(started, IndexBuildWasStarted)
    assert (started.index, started.embedding) == (1, "words@1")
    assert isinstance(live, IndexWentLive)
    assert (live.index, live.replaced, live.documents) == (1, 0, 1)


async def test_a_search_before_the_documents_are_known_reports_the_progress() -> None:
    rag = Rag()
    rag.ingest.down = True
    await rag.create(ADA, spec(), request=request("r1"))
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

    model = await rag.models.load("acme", "words@1")
    await rag.vectors.create(FIRST.key, dimensions=model.dimensions)
    index = (await rag.collections.get("acme", "handbook")).indexes[0]
    await rag.index_documents._index(FIRST, index, rows, model, 1)  # noqa: SLF001 - the worker that was in the middle

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
    [(_, row)] = await rag.read.document(ADA, "handbook", "d1")
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

    [(_, row)] = await rag.read.document(ADA, "handbook", "d1")
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
    [(_, row)] = await rag.read.document(ADA, "handbook", "d1")
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
    [(_, row)] = await rag.read.document(ADA, "handbook", "d1")
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
    [(_, row)] = await rag.read.document(ADA, "handbook", "guilty")
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


async def test_a_rebuild_receives_live_changes_from_before_it_lists_and_switches_when_complete() -> None:
    rag = Rag()
    rag.ingest.put("d1", "old words", seq=1)
    rag.ingest.put("d2", "gone words", seq=1)
    await rag.handbook()
    rag.models.newest = 2
    await rag.rebuild(ADA, "handbook", request=request("r2"))

    async def meanwhile() -> None:  # after ingest made its list, before the list arrives
        await rag.consume(rag.ingest.put("d1", "fresh words", seq=2))
        await rag.consume(rag.ingest.remove("d2", seq=2))
        assert (await rag.search("words")).index == 1

    rag.ingest.when_listed = meanwhile
    await rag.work()

    answer = await rag.search("words")
    assert answer.index == 2
    assert [p.payload.text for p in answer.passages] == ["fresh words"]
    collection = await rag.collections.get("acme", "handbook")
    assert [index.state for index in collection.indexes] == [IndexState.RETIRED, IndexState.LIVE]
    assert collection.indexes[1].embedding == "words@2"


async def test_a_replaced_index_is_swept_when_no_search_uses_it_any_more() -> None:
    rag = Rag()
    rag.ingest.put("d1", "words")
    await rag.handbook()
    await rag.rebuild(ADA, "handbook", request=request("r2"))
    await rag.work()
    assert await rag.vectors.count(FIRST.key) == 1

    rag.clock.advance(timedelta(seconds=31))
    await rag.work()

    assert await rag.vectors.count(FIRST.key) == 0
    assert (await rag.ledger.count(FIRST)).desired == 0
    assert [index.number for index in (await rag.collections.get("acme", "handbook")).indexes] == [2]


async def test_a_second_rebuild_takes_the_place_of_one_that_is_not_finished() -> None:
    rag = Rag()
    await rag.handbook()
    await rag.rebuild(ADA, "handbook", request=request("r2"))
    await rag.rebuild(ADA, "handbook", request=request("r3"))
    await rag.work()

    collection = await rag.collections.get("acme", "handbook")
    assert [(i.number, i.state) for i in collection.indexes][-1] == (3, IndexState.LIVE)
    assert sum(index.state is IndexState.LIVE for index in collection.indexes) == 1


async def test_changed_sources_build_a_new_index_and_the_old_one_answers_meanwhile() -> None:
    rag = Rag()
    rag.ingest.put("d1", "words here", source="cms")
    rag.ingest.put("d2", "words there", source="wiki")
    await rag.handbook()

    command = UpdateCommand(spec=spec(sources=("cms", "wiki")), fields={"sources"}, version=0, request=request("r2"))
    await rag.update(ADA, command)
    assert await rag.found("words") == ["d1"]
    await rag.work()

    assert sorted(await rag.found("words")) == ["d1", "d2"]


async def test_a_vector_store_that_lost_its_points_is_filled_again() -> None:
    rag = Rag()
    rag.ingest.put("d1", "words")
    await rag.handbook()
    rag.vectors.points.clear()

    rag.reconcile = rag.new_reconcile()
    await rag.work()

    assert await rag.found("words") == ["d1"]


async def test_lost_points_are_found_also_where_surplus_ones_make_up_for_their_number() -> None:
    rag = Rag()
    for name in ("d1", "d2", "d3"):
        rag.ingest.put(name, f"words {name}")
    await rag.handbook()
    stored = rag.vectors.points[FIRST.key]
    lost, surplus = (point for point in list(stored.values()) if point.payload.document in {"d1", "d2"})
    del stored[lost.id]
    stored["surplus"] = replace(surplus, id="surplus")
    rag.models.model.batches.clear()

    rag.reconcile = rag.new_reconcile()
    await rag.work()

    assert sorted(await rag.found("words")) == ["d1", "d2", "d3"]
    assert sorted(point.payload.document for point in stored.values()) == ["d1", "d2", "d3"]
    assert sum(rag.models.model.batches) == 1


async def test_a_document_indexed_once_more_keeps_no_passage_that_it_was_cut_into_before() -> None:
    rag = Rag()
    rag.ingest.put("d1", "words")
    await rag.handbook()
    stored = rag.vectors.points[FIRST.key]
    [point] = stored.values()
    stored["of a longer cut"] = replace(point, id="of a longer cut")
    await rag.ledger.reset(FIRST, ["d1"], epoch=1)

    await rag.work()

    assert list(stored) == [point.id]


async def test_passages_that_the_model_does_not_know_are_no_lost_points() -> None:
    rag = Rag()
    text = "\n\n".join(["данные " * 200, "words " * 200, "данные " * 200, "more words " * 100])
    rag.ingest.put("d1", text)
    await rag.handbook()
    row = (await rag.ledger.rows(FIRST, ["d1"]))["d1"]
    assert row.note
    rag.models.model.batches.clear()

    rag.reconcile = rag.new_reconcile()
    await rag.work()

    assert row.chunks == await rag.vectors.count(FIRST.key)
    assert rag.models.model.batches == []


async def test_a_store_that_loses_nothing_is_not_compared_document_by_document() -> None:
    rag = Rag()
    rag.vectors.durable = True
    rag.ingest.put("d1", "words")
    await rag.handbook()
    rag.ledger.read_pages = 0

    rag.reconcile = rag.new_reconcile()
    await rag.work()

    assert rag.ledger.read_pages == 0


async def test_lost_points_do_not_hide_those_that_are_left() -> None:
    rag = Rag()
    rag.ingest.put("d1", "words here")
    rag.ingest.put("d2", "words there")
    await rag.handbook()
    stored = rag.vectors.points[FIRST.key]
    del stored[next(iter(stored))]

    await rag.ledger.reset(FIRST, ["d1", "d2"], epoch=1)

    assert len(await rag.found("words")) == 1
    await rag.work()
    assert len(await rag.found("words")) == 2


async def test_a_large_build_is_done_in_turns() -> None:
    rag = Rag()
    for number in range(100):
        rag.ingest.put(f"d{number}", f"words {number}")

    await rag.handbook()

    assert rag.turns >= 2
    assert (await rag.ledger.count(FIRST)).indexed == 100


async def test_a_message_goes_as_soon_as_something_succeeds_again() -> None:
    rag = Rag()
    await rag.handbook()
    for number in range(100):
        await rag.consume(rag.ingest.put(f"d{number}", "words"))
    await rag.collections.update(
        "acme", "handbook", lambda collection: collection.note(1, "it was down"), request=request("r9")
    )

    async with rag.leases.held(FIRST) as epoch:
        assert epoch
        assert await rag.reconcile(FIRST, epoch=epoch) is Requeue.NOW

    assert (await rag.collections.get("acme", "handbook")).indexes[0].message == ""


async def test_a_deleted_collection_is_swept_and_its_id_may_be_taken_again() -> None:
    rag = Rag()
    rag.ingest.put("d1", "words")
    await rag.handbook()
    await rag.delete(ADA, "handbook", version=0, request=request("r2"))
    rag.clock.advance(timedelta(seconds=31))
    await rag.work()
    assert await rag.vectors.count(FIRST.key) == 0
    assert rag.ledger.stored == {}

    collection = await rag.handbook(request_id="r3")

    assert collection.live
    assert collection.live.number == 2
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


async def test_a_large_document_holds_up_no_small_one_of_its_collection() -> None:
    rag = Rag()
    await rag.handbook()
    book = " ".join(f"Chapter {number} of the great book." for number in range(4000))
    await rag.consume(rag.ingest.put("book", book))
    for turn in range(3):
        async with rag.leases.held(FIRST) as epoch:
            assert await rag.reconcile(FIRST, epoch=epoch or 0) is Requeue.NOW
        await rag.consume(rag.ingest.put(f"note{turn}", f"note{turn} is small"))
    async with rag.leases.held(FIRST) as epoch:
        await rag.reconcile(FIRST, epoch=epoch or 0)

    assert {f"note{turn}" for turn in range(3)} <= set(await rag.found("which note is small"))
    assert (await rag.ledger.rows(FIRST, ["book"]))["book"].pending

    await rag.work()
    assert "book" in await rag.found("great book chapter 3999")
    assert max(rag.models.model.batches) <= 10


async def test_large_documents_of_many_collections_all_come_to_their_end() -> None:
    rag = Rag()
    await rag.handbook()
    await rag.create(ADA, spec("other"), request=request("r2"))
    await rag.work(collection="other")
    rag.models.model.batches.clear()
    await rag.consume(rag.ingest.put("book", "A sentence of the book. " * 2000))
    others = [FIRST, IndexRef(project="acme", collection="other", number=1)]
    turns = 0
    while any(counts.pending for counts in (await rag.ledger.counts(others)).values()):
        turns += 1
        assert turns < 100, "one pushes the other out of memory, and each begins anew"
        for ref in others:
            async with rag.leases.held(ref) as epoch:
                await rag.reconcile(ref, epoch=epoch or 0)

    counts = await rag.ledger.counts(others)
    assert {each.indexed for each in counts.values()} == {1}
    assert sum(rag.models.model.batches) <= sum(each.chunks for each in counts.values())


async def test_a_large_document_that_gives_way_to_others_again_and_again_is_not_given_up() -> None:
    rag = Rag()
    names = [f"shelf{number}" for number in range(2)]
    for name in names:
        await rag.create(ADA, spec(name, max_tokens=64), request=request(name))
        await rag.work(collection=name)
    await rag.consume(rag.ingest.put("book", "A sentence of the book. " * 1500))
    shelves = [IndexRef(project="acme", collection=name, number=1) for name in names]
    for _ in range(7):
        for ref in shelves:
            async with rag.leases.held(ref) as epoch:
                await rag.reconcile(ref, epoch=epoch or 0)

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
    await rag.create(ADA, spec(), request=request("r1"))
    async with rag.leases.held(FIRST) as epoch:
        rag.ingest.breaks_after = 2
        with pytest.raises(DependencyUnavailable):
            await rag.reconcile(FIRST, epoch=epoch or 0)
    rag.ingest.breaks_after = None
    rag.reconcile = rag.new_reconcile()

    await rag.work()

    assert [token for _, token in rag.ingest.listed] == ["", "3", "6", "9"]
    assert (await rag.ledger.count(FIRST)).indexed == 10


async def test_a_token_that_leads_nowhere_any_more_begins_the_list_anew() -> None:
    rag = Rag()
    rag.ingest.put("d1", "words")
    await rag.create(ADA, spec(), request=request("r1"))
    await rag.collections.update(
        "acme", "handbook", lambda each: each.record_seeding(1, source=0, token=STALE), request=request("r2")
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
    await rag.read.get(ADA, "handbook")
    await rag.read.list(ADA, PageRequest())
    assert rag.ledger.counted == [FIRST]

    async def wrong(indexes: Sequence[IndexRef]) -> dict[IndexRef, Counts]:
        return dict.fromkeys(indexes, Counts(pending=1))

    monkeypatch.setattr(rag.ledger, "counts", wrong)
    await rag.work()
    assert rag.ledger.counted == [FIRST]
    await rag.work()
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
