"""Of a deleted project and of an erased document no passage is left."""

from pathlib import Path

import pytest

from services.rag.tests.fakes import ADA, Rag, spec, write
from tidemill_core.application import Caller, Request
from tidemill_core.resources import list_all
from tidemill_rag.collections.domain.collection import IndexRef
from tidemill_rag.collections.erase_project import EraseProject
from tidemill_rag.errors import IndexBusy
from tidemill_rag.indexing.erase_document import EraseDocument
from tidemill_testkit.erasure import stored_by

BOB = Caller(project="globex", subject="user:bob")
FIRST = IndexRef(project=ADA.project, collection="handbook", number=1)


def erase(rag: Rag) -> EraseProject:
    return EraseProject(
        collections=rag.collections, ledger=rag.ledger, vectors=rag.vectors, leases=rag.leases, clock=rag.clock
    )


async def tombstones(rag: Rag, project: str) -> dict[str, bool]:
    return {each.id: each.deleted async for each in list_all(rag.collections, project, show_deleted=True)}


@pytest.fixture
async def rag() -> Rag:
    rag = Rag()
    rag.ingest.put("walk", "os.walk walks a directory tree")
    rag.ingest.put("open", "open opens a file")
    await rag.handbook()
    return rag


async def test_a_deleted_project_loses_the_vectors_and_the_ledgers_of_its_collections(rag: Rag) -> None:
    await rag.crud.create(BOB, spec("handbook"), write("bob"))
    before = await rag.vectors.count(FIRST.key)
    assert before > 0

    assert await erase(rag)(ADA) == before
    assert FIRST.key not in rag.vectors.points
    assert {ref.project for ref, _ in rag.ledger.stored} <= {"globex"}
    assert await tombstones(rag, ADA.project) == {"handbook": True}
    assert await tombstones(rag, "globex") == {"handbook": False}
    assert await erase(rag)(ADA) == 0


async def test_what_a_worker_indexes_into_is_not_erased_before_it_has_finished(rag: Rag) -> None:
    async with rag.leases.held(FIRST.key):
        with pytest.raises(IndexBusy):
            await erase(rag)(ADA)
        assert await rag.vectors.count(FIRST.key) > 0
        assert await tombstones(rag, ADA.project) == {"handbook": True}  # so that it begins nothing new

    assert await erase(rag)(ADA) > 0
    assert FIRST.key not in rag.vectors.points


async def test_retired_index_versions_are_erased_too(rag: Rag) -> None:
    await rag.collections.update(
        ADA.project, "handbook", lambda each: each.rebuild("words@1", now=rag.clock.now()), request=Request.internal()
    )
    second = IndexRef(project=ADA.project, collection="handbook", number=2)
    await rag.vectors.create(second.key, dimensions=512)

    await erase(rag)(ADA)

    assert rag.vectors.points == {}


async def test_an_erased_document_has_no_passage_in_any_index_version(rag: Rag) -> None:
    passages = await rag.vectors.ids(FIRST.key, ["walk", "open"])
    await rag.collections.update(
        ADA.project, "handbook", lambda each: each.delete(now=rag.clock.now()), request=Request.internal()
    )
    erase_document = EraseDocument(collections=rag.collections, vectors=rag.vectors)

    assert await erase_document(ADA, "walk") == len(passages["walk"]) > 0
    assert await erase_document(ADA, "walk") == 0
    assert await rag.vectors.ids(FIRST.key, ["walk", "open"]) == {"open": passages["open"]}


async def test_everything_that_rag_stores_is_erased_or_kept_for_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await stored_by("rag", tmp_path, monkeypatch)

    assert (
        stored.not_covered(
            kept={
                "store_holds": "names of folders, and who holds them",
                "bucket:ingest_bucket": "ingest's",
                "bucket:trainer_bucket": "trainer's",
            }
        )
        == set()
    )
