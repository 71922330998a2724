"""Index versions are built, compared with the vector store, replaced and deleted."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.rag.tests.fakes import ADA, Rag, spec, write
from tidemill_core.application import Request
from tidemill_rag.collections.domain.collection import Collection, IndexRef
from tidemill_rag.collections.domain.index_version import IndexState
from tidemill_rag.errors import GraphMissing
from tidemill_rag.indexing.reconcile_index import AT_ONCE

FIRST = IndexRef(project="acme", collection="handbook", number=1)


async def test_a_rebuild_receives_live_changes_from_before_it_lists_and_switches_when_complete() -> None:
    rag = Rag()
    rag.ingest.put("d1", "old words", seq=1)
    rag.ingest.put("d2", "gone words", seq=1)
    await rag.handbook()
    rag.models.newest = 2
    await rag.rebuild(ADA, "handbook", write("r2"))

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
    await rag.rebuild(ADA, "handbook", write("r2"))
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
    await rag.rebuild(ADA, "handbook", write("r2"))
    await rag.rebuild(ADA, "handbook", write("r3"))
    await rag.work()

    collection = await rag.collections.get("acme", "handbook")
    assert [(i.number, i.state) for i in collection.indexes][-1] == (3, IndexState.LIVE)
    assert sum(index.state is IndexState.LIVE for index in collection.indexes) == 1


async def test_changed_sources_build_a_new_index_and_the_old_one_answers_meanwhile() -> None:
    rag = Rag()
    rag.ingest.put("d1", "words here", source="cms")
    rag.ingest.put("d2", "words there", source="wiki")
    await rag.handbook()

    await rag.crud.update(ADA, spec(sources=("cms", "wiki")), frozenset({"sources"}), write("r2"))
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
        "acme",
        "handbook",
        lambda collection: collection.record_message(collection.ref(1), "it was down"),
        request=Request.internal(),
    )

    assert await rag.turn(FIRST) == AT_ONCE

    assert (await rag.collections.get("acme", "handbook")).indexes[0].message == ""


async def test_a_deleted_collection_is_swept_and_its_id_may_be_taken_again() -> None:
    rag = Rag()
    rag.ingest.put("d1", "words")
    await rag.handbook()
    await rag.crud.delete(ADA, "handbook", write("r2"))
    rag.clock.advance(timedelta(seconds=31))
    await rag.work()
    assert await rag.vectors.count(FIRST.key) == 0
    assert rag.ledger.stored == {}

    collection = await rag.handbook(request_id="r3")

    assert collection.live
    assert collection.live.number == 2
    assert await rag.found("words") == ["d1"]


async def test_an_index_version_has_one_form_of_the_model_for_passages_and_questions_until_it_is_rebuilt() -> None:
    rag = Rag()
    rag.ingest.put("d1", "words")
    await rag.handbook()

    def before_there_were_quantized_models(collection: Collection) -> None:
        collection.indexes = tuple(replace(index, quantized=False) for index in collection.indexes)

    await rag.collections.update("acme", "handbook", before_there_were_quantized_models, request=Request.internal())
    rag.models.quantized.clear()
    await rag.consume(rag.ingest.put("d2", "more words", seq=1))
    await rag.work()
    await rag.search("words")
    assert {*rag.models.quantized} == {False}

    await rag.rebuild(ADA, "handbook", write("r2"))
    await rag.work()
    rag.models.quantized.clear()
    await rag.search("words")
    assert {*rag.models.quantized} == {True}


async def test_an_index_that_was_built_by_torch_stays_so_whatever_the_setting_is_later() -> None:
    rag = Rag()
    rag.models.quantizes = rag.models.model.quantized = False
    rag.ingest.put("d1", "words")
    await rag.handbook()
    rag.models.quantizes = rag.models.model.quantized = True
    rag.models.quantized.clear()

    await rag.consume(rag.ingest.put("d2", "more words", seq=1))
    await rag.work()
    await rag.search("words")

    assert {*rag.models.quantized} == {False}


async def test_an_index_whose_model_has_no_graph_is_built_by_torch_and_stays_so() -> None:
    rag = Rag()
    rag.models.model.quantized = False
    rag.ingest.put("d1", "words")
    await rag.handbook()
    rag.models.quantized.clear()

    await rag.search("words")

    assert {*rag.models.quantized} == {False}


async def test_an_export_that_died_indexes_nothing_until_it_is_made() -> None:
    rag = Rag()
    rag.models.export_died = True
    rag.ingest.put("d1", "words")
    with pytest.raises(GraphMissing):
        await rag.handbook()
    collection = await rag.collections.get("acme", "handbook")
    assert "try again" in collection.indexes[0].message
    assert (await rag.ledger.counts([FIRST]))[FIRST].chunks == 0

    rag.models.export_died = False
    await rag.work()

    assert await rag.found("words") == ["d1"]
