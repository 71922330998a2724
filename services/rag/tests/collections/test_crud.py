"""What operators decide about collections."""

from dataclasses import replace
from typing import Any, cast

import pytest

from services.rag.tests.fakes import ADA, Rag, request, spec
from tidemill_core.errors import Conflict, InvalidInput, NotFound, RequestIdReused
from tidemill_rag.collections.crud import UpdateCommand
from tidemill_rag.collections.domain import CollectionWasDeleted, IndexBuildWasStarted
from tidemill_rag.errors import CollectionExists, CollectionNotFound, EmbeddingUnusable


async def test_the_same_request_again_creates_once() -> None:
    rag = Rag()
    first = await rag.create(ADA, spec(), request=request("r1"))
    again = await rag.create(ADA, spec(), request=request("r1"))

    assert again.last_index == first.last_index == 1
    assert len(rag.collections.published) == 1
    with pytest.raises(RequestIdReused):
        await rag.create(ADA, spec(sources=("wiki",)), request=request("r1", "other"))


async def test_an_id_that_is_taken_is_refused() -> None:
    rag = Rag()
    await rag.handbook()

    with pytest.raises(CollectionExists):
        await rag.create(ADA, spec(), request=request("r2"))
    with pytest.raises(CollectionExists):
        await rag.create(ADA, spec(), request=request("r3"), validate_only=True)


async def test_defaults_come_from_the_model() -> None:
    rag = Rag()
    rag.models.model.max_tokens = 40
    collection = await rag.create(ADA, spec(), request=request("r1"))

    assert (collection.chunking.max_tokens, collection.chunking.overlap_tokens) == (40, 20)


async def test_all_that_is_wrong_is_said_at_once() -> None:
    wrong = spec("No Slug", sources=("cms", "cms", "A!"), embedding="words@0", max_tokens=5, overlap_tokens=-1)

    with pytest.raises(InvalidInput) as refused:
        await Rag().create(ADA, wrong, request=request("r1"))

    fields = {violation.field for violation in refused.value.violations}
    assert fields == {"id", "sources", "embedding", "chunking.max_tokens", "chunking.overlap_tokens"}


async def test_an_embedding_model_that_is_not_there_or_cannot_embed_is_refused() -> None:
    rag = Rag()

    with pytest.raises(NotFound, match="there are words"):
        await rag.create(ADA, spec(embedding="nope"), request=request("r1"))
    with pytest.raises(EmbeddingUnusable):
        await rag.create(ADA, spec(embedding="remote"), request=request("r2"))


async def test_more_tokens_than_the_model_takes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="words@1 takes at most 256"):
        await Rag().create(ADA, spec(max_tokens=8000), request=request("r1"))


async def test_validating_only_stores_nothing() -> None:
    rag = Rag()
    shown = await rag.create(ADA, spec(), request=request("r1"), validate_only=True)

    assert shown.indexes[0].embedding == "words@1"
    with pytest.raises(CollectionNotFound):
        await rag.read.get(ADA, "handbook")

    await rag.handbook()
    await rag.rebuild(ADA, "handbook", request=request("r2"), validate_only=True)
    await rag.delete(ADA, "handbook", version=0, request=request("r3"), validate_only=True)
    assert len((await rag.collections.get("acme", "handbook")).indexes) == 1


async def test_the_same_settings_again_begin_no_index_even_when_the_model_has_a_newer_version() -> None:
    rag = Rag()
    await rag.handbook()
    rag.models.newest = 2
    everything = {"sources", "embedding", "chunking", "labels"}

    await rag.update(ADA, UpdateCommand(spec=spec(), fields=everything, version=0, request=request("r2")))

    assert (await rag.collections.get("acme", "handbook")).last_index == 1


@pytest.mark.parametrize(
    ("changed", "field"),
    [(spec(sources=("wiki",)), "sources"), (spec(embedding="words@2"), "embedding"), (spec(max_tokens=64), "chunking")],
)
async def test_whatever_an_index_is_made_of_begins_a_new_one(changed: object, field: str) -> None:
    rag = Rag()
    rag.models.newest = 2
    await rag.create(ADA, spec(embedding="words@1"), request=request("r1"))

    command = UpdateCommand(spec=changed, fields={field}, version=0, request=request("r2"))  # type: ignore[arg-type]  # parametrized
    collection = await rag.update(ADA, command)

    assert collection.last_index == 2
    assert sum(isinstance(event, IndexBuildWasStarted) for event in rag.collections.published) == 2


async def test_a_change_decided_on_an_older_version_is_refused() -> None:
    rag = Rag()
    stale = (await rag.handbook()).version - 1

    with pytest.raises(Conflict):
        await rag.update(ADA, UpdateCommand(spec=spec(), fields={"labels"}, version=stale, request=request("r2")))
    with pytest.raises(Conflict):
        await rag.delete(ADA, "handbook", version=stale, request=request("r3"))


async def test_a_deleted_collection_is_gone_at_once_and_says_so() -> None:
    rag = Rag()
    await rag.handbook()
    await rag.delete(ADA, "handbook", version=0, request=request("r2"))

    with pytest.raises(CollectionNotFound):
        await rag.search("words")
    assert isinstance(rag.collections.published[-1], CollectionWasDeleted)


async def test_an_update_keeps_what_another_caller_changed_while_it_was_resolved() -> None:
    rag = Rag()
    await rag.handbook()
    resolve, others = rag.update.resolve, [spec(sources=("cms", "wiki"))]

    async def resolve_slowly(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - passed on as they are
        settings = await resolve(*arguments, **named)
        if others:
            theirs = UpdateCommand(spec=others.pop(), fields={"sources"}, version=0, request=request("theirs"))
            await rag.update(ADA, theirs)
        return settings

    slow = replace(rag.update, resolve=cast("Any", resolve_slowly))
    labelled = replace(spec(), labels={"team": "b"})
    await slow(ADA, UpdateCommand(spec=labelled, fields={"labels"}, version=0, request=request("ours")))

    stored = await rag.collections.get("acme", "handbook")
    assert (stored.sources, stored.labels) == (("cms", "wiki"), {"team": "b"})
