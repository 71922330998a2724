"""What operators decide about collections."""

from dataclasses import replace
from typing import Any, cast

import pytest

from services.rag.tests.fakes import ADA, Rag, spec, write
from tidemill_core.errors import Conflict, InvalidInput, NotFound, RequestIdReused
from tidemill_rag.collections.crud import CHANGEABLE
from tidemill_rag.collections.domain.events import CollectionDeleted, IndexBuildStarted
from tidemill_rag.collections.resolve_settings import CollectionSpec
from tidemill_rag.errors import CollectionExists, CollectionNotFound, EmbeddingUnusable


async def test_the_same_request_again_creates_once() -> None:
    rag = Rag()
    first = await rag.crud.create(ADA, spec(), write("r1"))
    again = await rag.crud.create(ADA, spec(), write("r1"))

    assert again.last_index == first.last_index == 1
    assert len(rag.collections.published) == 1
    with pytest.raises(RequestIdReused):
        await rag.crud.create(ADA, spec(sources=("wiki",)), write("r1", "other"))


async def test_an_id_that_is_taken_is_refused() -> None:
    rag = Rag()
    await rag.handbook()

    with pytest.raises(CollectionExists):
        await rag.crud.create(ADA, spec(), write("r2"))
    with pytest.raises(CollectionExists):
        await rag.crud.create(ADA, spec(), write("r3", validate_only=True))


async def test_defaults_come_from_the_model() -> None:
    rag = Rag()
    rag.models.model.max_tokens = 40
    collection = await rag.crud.create(ADA, spec(), write("r1"))

    assert (collection.chunking.max_tokens, collection.chunking.overlap_tokens) == (40, 20)


async def test_all_that_is_wrong_is_said_at_once() -> None:
    wrong = spec("No Slug", sources=("cms", "cms", "A!"), embedding="words@0", max_tokens=5, overlap_tokens=-1)
    wrong = replace(wrong, labels={str(number): "" for number in range(33)})

    with pytest.raises(InvalidInput) as refused:
        await Rag().crud.create(ADA, wrong, write("r1"))

    fields = {violation.field for violation in refused.value.violations}
    assert fields == {"id", "labels", "sources", "embedding", "chunking.max_tokens", "chunking.overlap_tokens"}


async def test_an_embedding_model_that_is_not_there_or_cannot_embed_is_refused() -> None:
    rag = Rag()

    with pytest.raises(NotFound, match="there are words"):
        await rag.crud.create(ADA, spec(embedding="nope"), write("r1"))
    with pytest.raises(EmbeddingUnusable):
        await rag.crud.create(ADA, spec(embedding="remote"), write("r2"))


async def test_more_tokens_than_the_model_takes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="words@1 takes at most 256"):
        await Rag().crud.create(ADA, spec(max_tokens=8000), write("r1"))


async def test_validating_only_stores_nothing() -> None:
    rag = Rag()
    shown = await rag.crud.create(ADA, spec(), write("r1", validate_only=True))

    assert shown.indexes[0].embedding == "words@1"
    with pytest.raises(CollectionNotFound):
        await rag.crud.get(ADA, "handbook")

    await rag.handbook()
    await rag.rebuild(ADA, "handbook", write("r2", validate_only=True))
    await rag.crud.delete(ADA, "handbook", write("r3", validate_only=True))
    assert len((await rag.collections.get("acme", "handbook")).indexes) == 1


async def test_the_same_settings_again_begin_no_index_even_when_the_model_has_a_newer_version() -> None:
    rag = Rag()
    await rag.handbook()
    rag.models.newest = 2

    await rag.crud.update(ADA, spec(), CHANGEABLE, write("r2"))

    assert (await rag.collections.get("acme", "handbook")).last_index == 1


@pytest.mark.parametrize(
    ("changed", "field"),
    [(spec(sources=("wiki",)), "sources"), (spec(embedding="words@2"), "embedding"), (spec(max_tokens=64), "chunking")],
)
async def test_whatever_an_index_is_made_of_begins_a_new_one(changed: CollectionSpec, field: str) -> None:
    rag = Rag()
    rag.models.newest = 2
    await rag.crud.create(ADA, spec(embedding="words@1"), write("r1"))

    collection = await rag.crud.update(ADA, changed, frozenset({field}), write("r2"))

    assert collection.last_index == 2
    assert sum(isinstance(event, IndexBuildStarted) for event in rag.collections.published) == 2


async def test_a_change_decided_on_an_older_version_is_refused() -> None:
    rag = Rag()
    stale = (await rag.handbook()).version - 1

    with pytest.raises(Conflict):
        await rag.crud.update(ADA, spec(), frozenset({"labels"}), write("r2", etag=str(stale)))
    with pytest.raises(Conflict):
        await rag.crud.delete(ADA, "handbook", write("r3", etag=str(stale)))


async def test_a_deleted_collection_is_gone_at_once_and_says_so() -> None:
    rag = Rag()
    await rag.handbook()
    await rag.crud.delete(ADA, "handbook", write("r2"))

    with pytest.raises(CollectionNotFound):
        await rag.search("words")
    assert isinstance(rag.collections.published[-1], CollectionDeleted)


async def test_an_update_keeps_what_another_caller_changed_while_it_was_resolved() -> None:
    rag = Rag()
    await rag.handbook()
    resolve, others = rag.crud.resolve, [spec(sources=("cms", "wiki"))]

    async def resolve_slowly(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - passed on as they are
        settings = await resolve(*arguments, **named)
        if others:
            await rag.crud.update(ADA, others.pop(), frozenset({"sources"}), write("theirs"))
        return settings

    slow = replace(rag.crud, resolve=cast("Any", resolve_slowly))
    labelled = replace(spec(), labels={"team": "b"})
    await slow.update(ADA, labelled, frozenset({"labels"}), write("ours"))

    stored = await rag.collections.get("acme", "handbook")
    assert (stored.sources, stored.labels) == (("cms", "wiki"), {"team": "b"})
