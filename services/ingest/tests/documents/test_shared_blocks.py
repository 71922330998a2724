"""Where blocks are counted: in memory and in MongoDB, by the same rules."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

import pytest
from pymongo.errors import AutoReconnect

from services.ingest.tests.blocks import BlocksHere
from tidemill_core.errors import DependencyUnavailable
from tidemill_ingest.documents.mongo_blocks import MongoBlocks, forgotten_sources
from tidemill_ingest.documents.ports import SharedBlocks
from tidemill_ingest.quality.boilerplate import BlockCounts

if TYPE_CHECKING:
    from tidemill_kit.store.mongo import Collection, Database


@pytest.fixture(params=["memory", "mongo"])
def blocks(request: pytest.FixtureRequest) -> SharedBlocks:
    if request.param == "memory":
        return BlocksHere()
    database: Database = request.getfixturevalue("database")
    return MongoBlocks(database["block_counts"], database["document_blocks"], batch=1)


async def test_a_document_counts_once_and_with_its_newest_blocks(blocks: SharedBlocks) -> None:
    for document, digests in (("d1", ["a", "b"]), ("d2", ["a"]), ("d1", ["a", "c"]), ("d1", ["a", "c"])):
        await blocks.put("acme", "cms", document, digests)

    counts = await blocks.counts("acme", "cms", ["a", "b", "c", "d"])

    assert counts == BlockCounts(documents=2, with_block={"a": 2, "c": 1})
    assert set(await blocks.of_document("acme", "cms", "d1") or ()) == {"a", "c"}
    assert await blocks.of_document("acme", "cms", "d3") is None


async def test_sources_and_projects_are_counted_apart(blocks: SharedBlocks) -> None:
    for project, source in (("acme", "cms"), ("acme", "cms2"), ("globex", "cms")):
        await blocks.put(project, source, "d1", ["a"])

    await blocks.forget("acme", "cms")
    await blocks.remove_forgotten("acme", "cms")

    assert await blocks.counts("acme", "cms", ["a"]) == BlockCounts(documents=0, with_block={})
    assert await blocks.of_document("acme", "cms", "d1") is None
    assert (await blocks.counts("acme", "cms2", ["a"])).documents == 1
    assert (await blocks.counts("globex", "cms", ["a"])).with_block == {"a": 1}


async def test_of_a_source_that_is_being_forgotten_nothing_counts_until_what_was_counted_is_removed(
    blocks: SharedBlocks,
) -> None:
    await blocks.put("acme", "cms", "d1", ["a"])
    await blocks.remove_forgotten("acme", "cms")
    before = await blocks.counts("acme", "cms", ["a"])

    await blocks.forget("acme", "cms")
    await blocks.forget("acme", "cms")
    await blocks.put("acme", "cms", "d2", ["a"])
    meanwhile = await blocks.counts("acme", "cms", ["a"]), await blocks.of_document("acme", "cms", "d1")
    for _ in range(2):
        await blocks.remove_forgotten("acme", "cms")
    await blocks.put("acme", "cms", "d3", ["a"])

    assert before == BlockCounts(documents=1, with_block={"a": 1})
    assert meanwhile == (BlockCounts(documents=0, with_block={}), None)
    assert await blocks.counts("acme", "cms", ["a"]) == BlockCounts(documents=1, with_block={"a": 1})
    assert await blocks.of_document("acme", "cms", "d2") is None


async def test_a_process_finds_what_another_one_left_of_a_forgotten_source(database: "Database") -> None:
    blocks = MongoBlocks(database["block_counts"], database["document_blocks"], batch=1)
    pending = forgotten_sources(database["block_counts"])
    await pending.ensure_indexes()
    for number in range(3):
        await blocks.put("acme", "cms", f"d{number}", ["a"])

    await blocks.forget("acme", "cms")
    found = await pending("", without=frozenset())
    await blocks.remove_forgotten("acme", "cms")

    assert [(each.project, each.id) for each in found.items] == [("acme", "cms")]
    assert (await pending("", without=frozenset())).items == []
    assert [await database[name].count_documents({}) for name in ("block_counts", "document_blocks")] == [0, 0]


class Sleeping:
    """A collection whose next search lasts until another process has done something."""

    def __init__(self, collection: "Collection", meanwhile: Callable[[], Awaitable[None]]) -> None:
        self.collection = collection
        self._meanwhile: Callable[[], Awaitable[None]] | None = meanwhile

    def find(self, *given: Any) -> "Sleeping":  # noqa: ANN401 - as the collection has it
        self._found = self.collection.find(*given)
        return self

    def limit(self, number: int) -> "Sleeping":
        self._found = self._found.limit(number)
        return self

    async def to_list(self, length: int | None) -> list[Any]:
        if self._meanwhile is not None:
            meanwhile, self._meanwhile = self._meanwhile, None
            await meanwhile()
        return await self._found.to_list(length)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as the collection has it
        return getattr(self.collection, name)


@pytest.mark.parametrize("deleted_again", [False, True])
async def test_a_process_that_slept_while_another_removed_a_source_removes_nothing_of_the_next_one_of_its_name(
    database: "Database",
    deleted_again: bool,  # noqa: FBT001
) -> None:
    other = MongoBlocks(database["block_counts"], database["document_blocks"])
    await other.put("acme", "cms", "d1", ["a"])
    await other.forget("acme", "cms")

    async def removed_and_made_anew() -> None:
        await other.remove_forgotten("acme", "cms")
        await other.put("acme", "cms", "d2", ["b"])
        if deleted_again:
            await other.forget("acme", "cms")

    documents = cast("Collection", Sleeping(database["document_blocks"], removed_and_made_anew))
    await MongoBlocks(database["block_counts"], documents).remove_forgotten("acme", "cms")

    counts, rows = [
        [each["_id"] async for each in database[name].find()] for name in ("block_counts", "document_blocks")
    ]
    assert sorted(counts) == [*["acme/cms/!"] * deleted_again, "acme/cms/-", "acme/cms/b"]
    assert rows == ["acme/cms/d2"]


async def test_a_removed_document_counts_no_longer_and_removing_it_again_changes_nothing(blocks: SharedBlocks) -> None:
    for document in ("d1", "d2"):
        await blocks.put("acme", "cms", document, ["a", "b"])

    removed = [await blocks.remove("acme", "cms", "d1") for _ in range(2)]

    assert removed == [2, 0]
    assert await blocks.counts("acme", "cms", ["a", "b"]) == BlockCounts(documents=1, with_block={"a": 1, "b": 1})


class FailingOnce:
    """A collection of counts whose next change fails before it is made, if that is asked for."""

    def __init__(self, collection: "Collection") -> None:
        self.collection = collection
        self.fails = False

    async def bulk_write(self, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - as the collection has it
        if self.fails:
            self.fails = False
            raise AutoReconnect
        return await self.collection.bulk_write(*given, **named)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as the collection has it
        return getattr(self.collection, name)


async def test_what_a_failed_call_left_uncounted_is_counted_by_the_next_one(database: "Database") -> None:
    counts = FailingOnce(database["block_counts"])
    blocks = MongoBlocks(cast("Collection", counts), database["document_blocks"])

    async def after_failure(digests: list[str] | None) -> None:
        counts.fails = True
        with pytest.raises(DependencyUnavailable):
            await (blocks.put("acme", "cms", "d1", digests) if digests else blocks.remove("acme", "cms", "d1"))

    async def counted() -> BlockCounts:
        return await blocks.counts("acme", "cms", ["a", "b", "c"])

    await after_failure(["a"])
    await blocks.put("acme", "cms", "d1", ["a"])
    assert await counted() == BlockCounts(documents=1, with_block={"a": 1})
    await after_failure(["b"])
    await blocks.put("acme", "cms", "d1", ["c"])
    assert await counted() == BlockCounts(documents=1, with_block={"c": 1})
    await after_failure(["b", "c"])
    assert await blocks.of_document("acme", "cms", "d1") == ["b", "c"]
    assert await counted() == BlockCounts(documents=1, with_block={"b": 1, "c": 1})
    await after_failure(None)
    assert await blocks.remove("acme", "cms", "d1") == 2
    assert await counted() == BlockCounts(documents=0, with_block={})
    assert await blocks.remove("acme", "cms", "d1") == 0
