"""Search settings of a collection that goes live by rollout: a change waits, is searched by its number, promoted."""

from dataclasses import replace
from datetime import timedelta

from services.rag.tests.fakes import ADA, KEEP, Rag, spec, write
from tidemill.rag.v1 import collection_pb2
from tidemill_core.resources import list_all
from tidemill_rag.collections.domain.collection import Collection, GoLive
from tidemill_rag.collections.domain.events import IndexBecameReady, IndexRetired
from tidemill_rag.collections.domain.index_version import IndexState
from tidemill_rag.collections.domain.search_settings import SearchSettings
from tidemill_rag.collections.erase_project import EraseProject
from tidemill_rag.collections.messages import collection_message
from tidemill_rag.indexing.erase_document import EraseDocument

BUILDING, READY, LIVE, RETIRED = IndexState.BUILDING, IndexState.READY, IndexState.LIVE, IndexState.RETIRED
STRICT, STRICTEST = SearchSettings(min_score=0.9), SearchSettings(min_score=1.0)
"""They leave out what the question matches in part only."""
PARTLY = "words unlike"


async def handbook(go_live: GoLive = GoLive.BY_ROLLOUT) -> Rag:
    """Return a rag with a document that a question matches in part."""
    rag = Rag()
    rag.ingest.put("d1", "words")
    await rag.handbook(go_live=go_live)
    assert await rag.found(PARTLY) == ["d1"]
    return rag


async def ranked(rag: Rag, search: SearchSettings, request: str = "rank", **sides: object) -> None:
    """Change the search settings, and work."""
    changed = replace(spec(), search=search, **sides)  # type: ignore[arg-type]  # names of fields
    await rag.crud.update(ADA, changed, frozenset({"search", *sides}), write(request))
    await rag.work()


async def stored(rag: Rag) -> Collection:
    return await rag.collections.get("acme", "handbook")


async def states(rag: Rag) -> dict[int, IndexState]:
    return {index.number: index.state for index in (await stored(rag)).indexes}


async def test_a_change_waits_beside_what_is_live_and_embeds_nothing() -> None:
    rag = await handbook()
    points = {index: dict(found) for index, found in rag.vectors.points.items()}

    await ranked(rag, STRICT)

    assert await states(rag) == {1: LIVE, 2: READY}
    assert rag.vectors.points == points
    assert (await rag.found(PARTLY), await rag.found(PARTLY, index=2)) == (["d1"], [])
    last = rag.collections.published[-1]
    assert isinstance(last, IndexBecameReady)
    assert (last.index, last.live, last.documents) == (2, 1, 1)


async def test_it_is_promoted_and_taken_back_like_any_index_version() -> None:
    rag = await handbook()
    await ranked(rag, STRICT)

    await rag.promote(ADA, "handbook", 2, write("promote"))
    assert await rag.found(PARTLY) == []
    await rag.promote(ADA, "handbook", 1, write("back"))

    assert await rag.found(PARTLY) == ["d1"]
    assert await states(rag) == {1: LIVE, 2: READY}


async def test_applying_settings_that_were_taken_back_changes_nothing_until_they_change() -> None:
    rag = await handbook()
    await ranked(rag, STRICT)
    await rag.promote(ADA, "handbook", 2, write("promote"))
    await rag.promote(ADA, "handbook", 1, write("back"))

    await ranked(rag, STRICT, "again")
    assert await states(rag) == {1: LIVE, 2: READY}
    await ranked(rag, STRICTEST, "stricter")

    assert await states(rag) == {1: LIVE, 2: READY, 3: READY}
    assert await rag.found(PARTLY) == ["d1"]


async def test_documents_that_change_are_in_both_and_are_embedded_once() -> None:
    rag = await handbook()
    await ranked(rag, STRICT)
    await rag.promote(ADA, "handbook", 2, write("promote"))

    await rag.consume(rag.ingest.put("d1", "fresh words", seq=2))
    await rag.consume(rag.ingest.put("d2", "further words", seq=1))
    await rag.work()

    assert await rag.found("further words") == ["d2"]
    assert sorted(await rag.found("words", index=1)) == ["d1", "d2"]
    assert len(rag.vectors.points) == 1


async def test_passages_outlive_the_version_that_they_were_built_for_while_another_one_searches_them() -> None:
    rag = await handbook()
    await ranked(rag, STRICT)
    await rag.promote(ADA, "handbook", 2, write("promote"))

    for passed in (KEEP.replaced, timedelta(seconds=31)):
        rag.clock.advance(passed)
        rag.reconcile = rag.new_reconcile()
        await rag.work()

    assert await states(rag) == {2: LIVE}
    assert isinstance(rag.collections.published[-1], IndexRetired)
    await rag.consume(rag.ingest.put("d1", "fresh", seq=2))
    await rag.work()
    assert await rag.found("fresh") == ["d1"]

    await rag.rebuild(ADA, "handbook", write("rebuild"))
    await rag.work()
    await rag.promote(ADA, "handbook", 3, write("promote 3"))
    for passed in (KEEP.replaced, timedelta(seconds=31)):
        rag.clock.advance(passed)
        await rag.work()
    assert await states(rag) == {3: LIVE}
    assert list(rag.vectors.points) == ["acme/handbook/3"]


async def test_a_further_change_takes_the_place_of_one_that_waits() -> None:
    rag = await handbook()
    await ranked(rag, STRICT)
    await ranked(rag, STRICTEST, "stricter")

    assert await states(rag) == {1: LIVE, 3: READY}
    assert [event.index for event in rag.collections.published if isinstance(event, IndexRetired)] == [2]


async def test_the_settings_of_what_is_live_again_leave_nothing_that_waits() -> None:
    rag = await handbook()
    await ranked(rag, STRICT)
    await ranked(rag, SearchSettings(), "as before")

    assert await states(rag) == {1: LIVE}


async def test_a_change_while_an_index_version_is_built_is_part_of_that() -> None:
    rag = await handbook()
    await rag.rebuild(ADA, "handbook", write("rebuild"))
    await ranked(rag, STRICT)

    assert await states(rag) == {1: LIVE, 2: READY}
    assert (await rag.found(PARTLY), await rag.found(PARTLY, index=2)) == (["d1"], [])
    assert len(rag.vectors.points) == 2


async def test_with_other_chunks_it_waits_as_one_index_version() -> None:
    rag = await handbook()
    await ranked(rag, STRICT, chunking=spec(max_tokens=64).chunking)

    assert await states(rag) == {1: LIVE, 2: READY}
    assert (await rag.found(PARTLY), await rag.found(PARTLY, index=2)) == (["d1"], [])


async def test_it_searches_the_passages_of_what_waits_where_these_are_what_is_declared() -> None:
    rag = await handbook()
    smaller = replace(spec(), chunking=spec(max_tokens=64).chunking)
    await rag.crud.update(ADA, smaller, frozenset({"chunking"}), write("smaller"))
    await rag.work()
    await ranked(rag, STRICT)

    assert await states(rag) == {1: LIVE, 2: READY, 3: READY}
    assert [index.passages for index in (await stored(rag)).indexes] == [1, 2, 2]
    assert (await rag.found(PARTLY, index=2), await rag.found(PARTLY, index=3)) == (["d1"], [])
    await rag.promote(ADA, "handbook", 3, write("promote"))
    live = (await stored(rag)).live
    assert live
    assert live.chunking.max_tokens == 64
    assert await rag.found(PARTLY) == []


async def test_one_that_takes_no_space_retires_none_that_may_be_promoted_back() -> None:
    rag = await handbook()
    for tokens in (64, 48):
        changed = replace(spec(), chunking=spec(max_tokens=tokens).chunking)
        await rag.crud.update(ADA, changed, frozenset({"chunking"}), write(f"to {tokens}"))
        await rag.work()
        if tokens == 64:
            await rag.promote(ADA, "handbook", 2, write("promote"))
    assert len(await states(rag)) - 1 == KEEP.max_ready == 2

    await ranked(rag, STRICT)
    assert await states(rag) == {1: READY, 2: LIVE, 3: READY, 4: READY}
    await rag.rebuild(ADA, "handbook", write("rebuild"))
    await rag.work()

    assert {number for number, state in (await states(rag)).items() if state is READY} == {3, 4, 5}


async def test_a_first_index_version_ranks_by_the_settings_as_they_are() -> None:
    rag = Rag()
    rag.ingest.put("d1", "words")
    await rag.crud.create(ADA, replace(spec(), go_live=GoLive.BY_ROLLOUT), write("create"))
    await ranked(rag, STRICT)

    assert await states(rag) == {1: LIVE}
    assert await rag.found(PARTLY) == []


async def test_a_collection_that_waits_no_longer_ranks_by_its_settings_at_once() -> None:
    rag = await handbook()
    await ranked(rag, STRICT)
    await ranked(rag, STRICT, "at once", go_live=GoLive.WHEN_COMPLETE)
    assert await rag.found(PARTLY) == []
    await ranked(rag, SearchSettings(), "as before")

    assert await rag.found(PARTLY) == ["d1"]
    assert (await states(rag))[1] is LIVE


async def test_where_nothing_waits_a_change_counts_at_once() -> None:
    rag = await handbook(GoLive.WHEN_COMPLETE)
    await ranked(rag, STRICT)

    assert await states(rag) == {1: LIVE}
    assert await rag.found(PARTLY) == []


async def test_a_search_that_names_settings_has_them_of_whichever_version() -> None:
    rag = await handbook()
    await ranked(rag, STRICT)

    assert await rag.found(PARTLY, index=2, settings=SearchSettings()) == ["d1"]


async def test_callers_see_how_each_version_ranks_and_whose_passages_it_searches() -> None:
    rag = await handbook()
    await ranked(rag, STRICT)

    shown = collection_message(await rag.crud.get(ADA, "handbook"))

    assert [round(each.search.min_score, 1) for each in shown.indexes] == [0.0, 0.9]
    assert [(each.passages_of, each.chunks, each.state) for each in shown.indexes] == [
        (0, 1, collection_pb2.INDEX_STATE_LIVE),
        (1, 1, collection_pb2.INDEX_STATE_READY),
    ]


async def test_a_document_is_erased_from_passages_that_two_versions_search() -> None:
    rag = await handbook()
    await ranked(rag, STRICT)
    await rag.promote(ADA, "handbook", 2, write("promote"))

    assert await EraseDocument(collections=rag.collections, vectors=rag.vectors)(ADA, "d1") == 1
    assert await rag.found("words") == []


async def test_passages_that_two_versions_search_are_gone_with_the_collection_and_with_the_project() -> None:
    rag = await handbook()
    await ranked(rag, STRICT)
    erase = EraseProject(
        collections=rag.collections, ledger=rag.ledger, vectors=rag.vectors, leases=rag.leases, clock=rag.clock
    )

    assert (await erase(ADA), await erase(ADA)) == (1, 0)
    assert not rag.vectors.points
    rag.clock.advance(timedelta(seconds=31))
    await rag.work()
    [tombstone] = [each async for each in list_all(rag.collections, "acme", show_deleted=True)]
    assert not tombstone.indexes
