"""An index version that waits is kept complete, is searched by its number, and is promoted and taken back."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.rag.tests.fakes import ADA, EVE, KEEP, Rag, spec, write
from tidemill_core.errors import Conflict
from tidemill_rag.collections.domain.collection import GoLive
from tidemill_rag.collections.domain.events import IndexBecameReady, IndexRetired, IndexWentLive
from tidemill_rag.collections.domain.index_version import IndexState
from tidemill_rag.collections.resolve_settings import CollectionSpec
from tidemill_rag.errors import CollectionNotFound, IndexIncomplete, IndexNotFound

READY, LIVE, RETIRED = IndexState.READY, IndexState.LIVE, IndexState.RETIRED


async def waiting(*, rebuilds: int = 1) -> Rag:
    """Return a rag whose handbook has a live index version, and others that wait."""
    rag = Rag()
    rag.ingest.put("d1", "old words")
    await rag.handbook(go_live=GoLive.BY_ROLLOUT)
    for number in range(rebuilds):
        await rag.rebuild(ADA, "handbook", write(f"rebuild {number}"))
        await rag.work()
    return rag


async def states(rag: Rag) -> dict[int, IndexState]:
    return {index.number: index.state for index in (await rag.collections.get("acme", "handbook")).indexes}


async def test_the_first_index_version_goes_live_and_the_next_waits_and_says_so() -> None:
    rag = await waiting()

    assert await states(rag) == {1: LIVE, 2: READY}
    assert (await rag.search("words")).index == 1
    last = rag.collections.published[-1]
    assert isinstance(last, IndexBecameReady)
    assert (last.index, last.live, last.documents) == (2, 1, 1)


async def test_one_that_waits_receives_updates_and_is_searched_by_its_number() -> None:
    rag = await waiting()
    await rag.consume(rag.ingest.put("d1", "fresh words", seq=2))
    await rag.consume(rag.ingest.put("d2", "further words", seq=1))
    await rag.work()

    assert sorted(await rag.found("words", index=2)) == ["d1", "d2"]
    assert (await rag.search("fresh", index=2)).passages[0].payload.text == "fresh words"


async def test_a_promoted_one_answers_at_once_and_the_one_before_can_be_promoted_back_as_complete_as_it() -> None:
    rag = await waiting()
    await rag.promote(ADA, "handbook", 2, write("promote"))
    assert (await rag.search("words")).index == 2
    assert await states(rag) == {1: READY, 2: LIVE}
    await rag.consume(rag.ingest.put("d1", "fresh words", seq=2))
    await rag.work()

    await rag.promote(ADA, "handbook", 1, write("back"))

    answer = await rag.search("words")
    assert (answer.index, answer.passages[0].payload.text) == (1, "fresh words")
    collection = await rag.collections.get("acme", "handbook")
    assert await states(rag) == {1: LIVE, 2: READY}
    assert collection.live
    assert collection.live.expire_time is None
    went_live = [event for event in rag.collections.published if isinstance(event, IndexWentLive)]
    assert [(event.index, event.replaced, event.promoted) for event in went_live] == [
        (1, 0, False),
        (2, 1, True),
        (1, 2, True),
    ]


async def test_promoting_what_is_live_makes_a_promotion_that_was_asked_for_before_come_too_late() -> None:
    rag = await waiting()
    etag = str((await rag.collections.get("acme", "handbook")).version)
    await rag.promote(ADA, "handbook", 1, write("is live"))

    with pytest.raises(Conflict):
        await rag.promote(ADA, "handbook", 2, replace(write("late"), etag=etag))


async def test_promoting_what_is_live_and_a_repeated_request_publish_nothing() -> None:
    rag = await waiting()
    await rag.promote(ADA, "handbook", 2, write("promote"))
    await rag.promote(ADA, "handbook", 1, write("back"))
    published = len(rag.collections.published)

    again = await rag.promote(ADA, "handbook", 2, write("promote"))
    await rag.promote(ADA, "handbook", 1, write("is live"))

    assert again.live
    assert again.live.number == 1
    assert len(rag.collections.published) == published


async def test_a_replaced_one_is_retired_and_swept_when_its_time_is_over_also_by_a_process_that_just_started() -> None:
    rag = await waiting()
    await rag.promote(ADA, "handbook", 2, write("promote"))
    first = (await rag.collections.get("acme", "handbook")).ref(1)
    requeue = await rag.turn(first)
    assert requeue
    assert requeue.after == KEEP.replaced

    rag.clock.advance(KEEP.replaced)
    rag.reconcile = rag.new_reconcile()
    await rag.work()
    assert await states(rag) == {1: RETIRED, 2: LIVE}
    assert isinstance(rag.collections.published[-1], IndexRetired)
    with pytest.raises(IndexNotFound):
        await rag.promote(ADA, "handbook", 1, write("back"))

    rag.clock.advance(timedelta(seconds=31))
    await rag.work()
    assert await rag.vectors.count(first.key) == 0


async def test_one_that_waits_for_its_first_promotion_does_not_expire() -> None:
    rag = await waiting()
    rag.clock.advance(timedelta(days=30))
    await rag.work()

    assert await states(rag) == {1: LIVE, 2: READY}


async def test_the_oldest_that_waits_is_retired_where_there_are_too_many() -> None:
    rag = await waiting(rebuilds=3)

    assert await states(rag) == {1: LIVE, 2: RETIRED, 3: READY, 4: READY}


async def test_what_is_being_built_gone_or_of_another_project_is_not_promoted() -> None:
    rag = await waiting()
    await rag.rebuild(ADA, "handbook", write("r3"))

    with pytest.raises(IndexIncomplete, match="index version 3 of collection handbook is being built"):
        await rag.promote(ADA, "handbook", 3, write("too early"))
    with pytest.raises(IndexNotFound, match="existing: 1, 2, 3"):
        await rag.promote(ADA, "handbook", 9, write("no such"))
    with pytest.raises(CollectionNotFound):
        await rag.promote(EVE, "handbook", 2, write("not theirs"))
    with pytest.raises(Conflict):
        await rag.promote(ADA, "handbook", 2, write("stale", etag="1"))
    await rag.promote(ADA, "handbook", 2, write("only to see", validate_only=True))
    assert (await rag.search("words")).index == 1


async def test_a_collection_that_waits_no_longer_takes_the_next_complete_one_and_retires_the_others() -> None:
    rag = await waiting()
    await rag.crud.update(ADA, spec(), frozenset({"go_live"}), write("unsaid"))
    assert (await rag.collections.get("acme", "handbook")).go_live is GoLive.BY_ROLLOUT

    said = replace(spec(), go_live=GoLive.WHEN_COMPLETE)
    await rag.crud.update(ADA, said, frozenset({"go_live"}), write("said"))
    await rag.rebuild(ADA, "handbook", write("r3"))
    await rag.work()

    assert await states(rag) == {1: RETIRED, 2: RETIRED, 3: LIVE}


async def rolled_back(change: CollectionSpec, path: str) -> Rag:
    """Return a rag whose handbook was changed, whose new index version was taken back, and is gone."""
    rag = Rag()
    rag.models.newest = 1
    rag.ingest.put("d1", "old words")
    await rag.handbook(go_live=GoLive.BY_ROLLOUT)
    rag.models.newest = 2
    await rag.crud.update(ADA, change, frozenset({path}), write("change"))
    await rag.work()
    await rag.promote(ADA, "handbook", 2, write("promote"))
    await rag.promote(ADA, "handbook", 1, write("back"))
    for passed in (KEEP.replaced, timedelta(seconds=31)):
        rag.clock.advance(passed)
        await rag.work()
    assert await states(rag) == {1: LIVE}
    return rag


async def test_new_labels_do_not_build_again_what_was_taken_back() -> None:
    change = spec(max_tokens=64)
    rag = await rolled_back(change, "chunking")

    await rag.crud.update(ADA, replace(change, labels={"team": "sales"}), frozenset({"labels"}), write("labels"))

    assert await states(rag) == {1: LIVE}


async def test_new_sources_are_embedded_with_the_model_of_the_settings_and_not_with_the_one_of_what_is_live() -> None:
    change = spec(embedding="words@2")
    rag = await rolled_back(change, "embedding")

    updated = await rag.crud.update(
        ADA, replace(change, sources=("cms", "wiki")), frozenset({"sources"}), write("sources")
    )

    assert [(index.number, index.embedding) for index in updated.indexes] == [(1, "words@1"), (3, "words@2")]
