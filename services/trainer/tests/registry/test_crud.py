from collections.abc import Sequence

import pytest

from services.trainer.tests.registry.fakes import ADA, Registry, model_files
from tidemill_core.application import PageRequest
from tidemill_core.errors import Conflict, InvalidInput
from tidemill_trainer.errors import ModelNotFound, ModelVersionNotFound
from tidemill_trainer.registry.domain.model import ModelWasDeleted
from tidemill_trainer.registry.domain.model_version import ModelVersion


def note(text: str) -> dict[str, bytes]:
    return model_files(notes__md=text.encode())


async def test_a_bare_name_is_the_newest_ready_version(registry: Registry) -> None:
    await registry.register(note("one"))
    await registry.register(note("two"))
    await registry.begin_folder(note("three"))

    assert (await registry.crud.get_version(ADA, "smollm2")).id == "smollm2@2"
    assert (await registry.crud.get_version(ADA, "smollm2@3")).id == "smollm2@3"
    assert (await registry.crud.get(ADA, "smollm2")).latest_version == 2


async def test_the_newest_ready_version_is_found_behind_many_that_are_not(registry: Registry) -> None:
    await registry.register(note("ready"))
    for number in range(45):
        await registry.begin_folder(note(str(number)))

    assert (await registry.crud.get_version(ADA, "smollm2")).id == "smollm2@1"


async def test_a_model_without_a_ready_version_names_those_it_has(registry: Registry) -> None:
    await registry.begin_folder(model_files())

    with pytest.raises(ModelVersionNotFound, match=r"smollm2@1 \(uploading\)"):
        await registry.crud.get_version(ADA, "smollm2")
    assert (await registry.crud.get(ADA, "smollm2")).latest_version == 0


@pytest.mark.parametrize("reference", ["smollm2@0", "smollm2@x", "smollm2@1@2"])
async def test_a_reference_that_is_none_is_refused(registry: Registry, reference: str) -> None:
    with pytest.raises(InvalidInput, match="model@number"):
        await registry.crud.get_version(ADA, reference)


async def test_versions_are_listed_a_page_at_a_time(registry: Registry) -> None:
    for number in range(5):
        await registry.begin_folder(note(str(number)))

    pages: list[list[int]] = []
    token = ""
    while not pages or token:
        page = await registry.crud.list_versions(ADA, "smollm2", PageRequest(size=2, token=token))
        pages.append([version.number for version in page.items])
        token = page.next_token

    assert pages == [[1, 2], [3, 4], [5]]


async def test_models_are_listed_with_their_newest_version(registry: Registry) -> None:
    await registry.register(note("a"), model="a")
    await registry.begin_folder(note("b"), model="b")

    page = await registry.crud.list(ADA, PageRequest())

    assert [(overview.model.id, overview.latest_version) for overview in page.items] == [("a", 1), ("b", 0)]


async def test_a_page_of_models_reads_their_newest_versions_by_one_query(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abcde":
        await registry.register(note(name), model=name)
    await registry.begin_folder(note("more of e"), model="e")
    queries, read = list[int](), registry.versions.get_many

    async def counted(project: str, ids: Sequence[str]) -> dict[str, ModelVersion]:
        queries.append(len(ids))
        return await read(project, ids)

    monkeypatch.setattr(registry.versions, "get_many", counted)
    page = await registry.crud.list(ADA, PageRequest())

    assert [(overview.model.id, overview.latest_version) for overview in page.items] == [(name, 1) for name in "abcde"]
    assert queries == [5, 1]


async def test_a_deleted_model_is_gone_with_its_versions(registry: Registry) -> None:
    await registry.register(model_files())

    deleted = await registry.delete(request="d1")
    again = await registry.delete(request="d1")

    assert deleted.id == again.id == "smollm2"
    assert [type(event) for event in registry.models.published] == [ModelWasDeleted]
    for reference in ("smollm2", "smollm2@1"):
        with pytest.raises(ModelNotFound, match="there are none"):
            await registry.crud.get_version(ADA, reference)


async def test_a_deletion_that_is_repeated_leaves_what_was_made_anew_since(registry: Registry) -> None:
    await registry.register(model_files())
    await registry.delete(request="d1")
    await registry.register(model_files())

    await registry.delete(request="d1")

    assert (await registry.crud.get_version(ADA, "smollm2")).id == "smollm2@2"


async def test_the_same_content_after_a_deletion_is_a_new_version(registry: Registry) -> None:
    await registry.register(model_files())
    await registry.delete()

    version = await registry.register(model_files())

    assert version.id == "smollm2@2"
    with pytest.raises(ModelVersionNotFound, match=r"smollm2@2 \(ready\)"):
        await registry.crud.get_version(ADA, "smollm2@1")


async def test_only_the_model_that_was_seen_is_deleted(registry: Registry) -> None:
    await registry.register(model_files())

    with pytest.raises(Conflict) as refusal:
        await registry.delete(etag="7")
    assert refusal.value.reason == "MODEL_CHANGED"

    assert (await registry.crud.get_version(ADA, "smollm2")).id == "smollm2@1"


async def test_validating_a_deletion_deletes_nothing(registry: Registry) -> None:
    await registry.register(model_files())

    await registry.delete(validate_only=True)

    assert (await registry.crud.get_version(ADA, "smollm2")).id == "smollm2@1"
    with pytest.raises(ModelNotFound, match="existing: smollm2"):
        await registry.delete("other")
