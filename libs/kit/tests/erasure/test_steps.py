"""Steps remove what a target names, in bounded batches, and nothing of others."""

import pytest

from tidemill_kit.erasure.documents import documents, erase_documents
from tidemill_kit.erasure.objects import objects
from tidemill_kit.erasure.steps import Scope, Step, Target
from tidemill_kit.store.mongo import Database, document_id, ids_of
from tidemill_kit.store.objects import ObjectStore
from tidemill_local.addresses import Addresses
from tidemill_testkit.buckets import remove_bucket
from tidemill_testkit.objects import InMemoryObjects

ACME = Target(project="acme", scope=Scope.PROJECT)
OTHERS = ("acm", "acme0", "acme-2", "acme.x", "globex")


async def erased(step: Step, target: Target = ACME) -> list[int]:
    counts = [await step.erase(target)]
    while counts[-1]:
        counts.append(await step.erase(target))
    return counts


@pytest.mark.parametrize("project", ["", "acme/d1"])
def test_a_target_without_a_project_is_refused(project: str) -> None:
    with pytest.raises(ValueError, match="no project is named"):
        Target(project=project, scope=Scope.PROJECT)


@pytest.mark.parametrize(("scope", "subject"), [(Scope.PROJECT, "u-17"), (Scope.END_USER, ""), (Scope.DOCUMENT, "")])
def test_a_target_names_a_subject_if_and_only_if_it_is_no_project(scope: Scope, subject: str) -> None:
    with pytest.raises(ValueError, match="subject"):
        Target(project="acme", scope=scope, subject=subject)


@pytest.mark.server
async def test_all_documents_of_a_project_are_removed_in_batches_and_none_of_others(database: Database) -> None:
    collection = database["notes"]
    kept = [document_id(project, "n1") for project in OTHERS] + ["acme"]
    mine = [document_id("acme", f"n{number}") for number in range(1001)]
    await collection.insert_many([{"_id": each, "outbox": [], "requests": ["r1"]} for each in [*kept, *mine]])

    assert await erased(documents("notes", collection)) == [500, 500, 1, 0]
    assert {each["_id"] async for each in collection.find({})} == set(kept)


@pytest.mark.server
async def test_what_another_process_removes_meanwhile_does_not_end_a_step(database: Database) -> None:
    collection = database["notes"]
    await collection.insert_many([{"_id": document_id("acme", f"n{number}")} for number in range(3)])

    class Slow:
        """Loses its first batch to another process."""

        name, lost = collection.name, False

        def find(self, *args: object) -> object:
            return collection.find(*args)

        async def delete_many(self, where: dict[str, object]) -> object:
            if not self.lost:
                self.lost = True
                await collection.delete_many(where)
            return await collection.delete_many(where)

    assert await erase_documents(Slow(), ids_of("acme"), limit=2) == 1  # type: ignore[arg-type] # as far as it is used


@pytest.mark.server
async def test_what_is_old_no_more_when_it_is_about_to_be_removed_stays(database: Database) -> None:
    collection = database["notes"]
    await collection.insert_many([{"_id": document_id("acme", f"n{number}"), "age": 9} for number in range(3)])

    class Changed:
        """Has one of the documents used again right after they were found."""

        def find(self, *args: object) -> object:
            return collection.find(*args)

        async def delete_many(self, where: dict[str, object]) -> object:
            await collection.update_one({"_id": document_id("acme", "n1")}, {"$set": {"age": 0}})
            return await collection.delete_many(where)

    assert await erase_documents(Changed(), {"age": {"$gt": 5}}) == 2  # type: ignore[arg-type] # as far as it is used
    assert [each["_id"] async for each in collection.find({})] == ["acme/n1"]


async def test_all_objects_below_a_project_are_removed_in_batches_and_none_of_others() -> None:
    store = InMemoryObjects("texts")
    kept = [f"{project}/d1/aa" for project in OTHERS]
    for key in [*kept, *(f"acme/d{number}/aa" for number in range(501))]:
        await store.put("texts", key, b"x", media_type="text/plain")

    assert await erased(objects("texts", store, "texts")) == [500, 1, 0]
    assert [each.key for each in await store.list("texts")] == sorted(kept)


@pytest.mark.server
async def test_objects_are_removed_from_a_real_store_too(object_store: ObjectStore, stack: Addresses) -> None:
    bucket = "erasure-steps"
    await object_store.ensure_bucket(bucket)
    try:
        for key in ("acme/d1/aa", "acme/d2/bb", "acme-2/d1/aa"):
            await object_store.put(bucket, key, b"x", media_type="text/plain")

        assert await object_store.delete_some(bucket, "acme/", limit=1) == 1
        assert await erased(objects("texts", object_store, bucket)) == [1, 0]
        assert [each.key for each in await object_store.list(bucket)] == ["acme-2/d1/aa"]
    finally:
        await remove_bucket(stack, bucket)


async def test_a_prefix_that_may_begin_the_names_of_others_is_refused() -> None:
    step = objects("texts", InMemoryObjects("texts"), "texts", below=lambda target: target.project)

    with pytest.raises(ValueError, match="slash"):
        await step.erase(ACME)


def test_a_step_says_what_it_leaves_nothing_in() -> None:
    assert objects("texts", InMemoryObjects("texts"), "texts").covers == ("bucket:texts",)
