import asyncio
import re
from pathlib import Path

import pytest

from services.trainer.tests.registry.fakes import ADA, Registry, model_files
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import ResourceKey
from tidemill_core.models.manifest import ArtifactFile
from tidemill_trainer.errors import SourceRefused
from tidemill_trainer.registry.domain.model_version import (
    ModelVersion,
    ModelVersionHasFailed,
    ModelVersionWasRegistered,
    VersionState,
)
from tidemill_trainer.registry.domain.sources import HuggingFaceSource

OLD, NEW = "a" * 40, "b" * 40
REPOSITORY = "org/model"
MAIN = HuggingFaceSource(repository=REPOSITORY)
FIRST = ResourceKey(project="acme", id="smollm2@1")


class Killed(BaseException):
    """Simulates a kill of the worker's process."""


async def first(registry: Registry) -> ModelVersion:
    return await registry.crud.get_version(ADA, "smollm2@1")


async def test_what_may_be_part_of_a_model_is_fetched_and_the_rest_left_there(registry: Registry) -> None:
    extra = {".gitattributes": b"*", "pytorch_model.bin": b"\x80", "modeling.py": b"import os", "onnx/model.onnx": b"x"}
    registry.hub.publish(REPOSITORY, OLD, model_files() | extra)
    begun = await registry.begin(MAIN)

    assert begun.version.state is VersionState.IMPORTING
    assert registry.enqueued == [FIRST]
    assert await registry.fetch(FIRST)

    version = await first(registry)
    assert version.state is VersionState.READY
    assert [artifact.file.path for artifact in version.artifacts] == ["config.json", "model.safetensors"]
    assert isinstance(version.source, HuggingFaceSource)
    assert version.source.commit == OLD
    assert version.stored_bytes == version.expected_bytes
    assert [type(event) for event in registry.versions.published] == [ModelVersionWasRegistered]


async def test_while_the_hub_is_away_the_version_says_so_and_waits(registry: Registry) -> None:
    registry.hub.away = True
    await registry.begin(MAIN)

    assert not await registry.fetch(FIRST)
    assert "waits for hugging_face" in (await first(registry)).message
    assert (await registry.begin(MAIN)).created is False

    registry.hub.away = False
    registry.hub.publish(REPOSITORY, OLD, model_files())
    assert await registry.fetch(FIRST)
    version = await first(registry)
    assert (version.state, version.message) == (VersionState.READY, "")


async def test_a_killed_import_goes_on_at_the_next_file_and_at_the_same_commit(registry: Registry) -> None:
    registry.hub.away = True
    await registry.begin(MAIN)
    registry.hub.away = False
    registry.hub.publish(REPOSITORY, OLD, model_files())
    registry.hub.fails_at["model.safetensors"] = Killed()
    with pytest.raises(Killed):
        await registry.fetch(FIRST)
    registry.hub.publish(REPOSITORY, NEW, model_files(notes__md=b"newer"))

    assert await registry.fetch(FIRST)

    version = await first(registry)
    assert isinstance(version.source, HuggingFaceSource)
    assert version.source.commit == OLD
    assert registry.hub.fetched == ["config.json", "model.safetensors"]
    assert len(registry.versions.published) == 1


async def test_a_worker_that_slept_through_its_lease_changes_nothing(registry: Registry) -> None:
    registry.hub.publish(REPOSITORY, OLD, model_files())
    await registry.begin(MAIN)

    put_at_last = registry.artifacts.put

    async def put_slowly(project: str, version: str, *, file: ArtifactFile, local: Path) -> ObjectRef:
        """A second worker finishes the import while the first one stores its first file."""
        registry.artifacts.put = put_at_last  # type: ignore[method-assign] # undoes the line below
        content = await asyncio.to_thread(local.read_bytes)
        assert await registry.fetch(FIRST)
        await asyncio.to_thread(local.write_bytes, content)
        return await put_at_last(project, version, file=file, local=local)

    registry.artifacts.put = put_slowly  # type: ignore[method-assign] # one worker is slow once

    assert await registry.fetch(FIRST)
    version = await first(registry)
    assert (version.state, version.epoch) == (VersionState.READY, 2)
    assert [type(event) for event in registry.versions.published] == [ModelVersionWasRegistered]


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (model_files(config__json=b'{"auto_map": {}}'), r"config\.json"),
        (model_files(model__safetensors=b"nonsense"), r"model\.safetensors"),
        ({"config.json": b"{}", "pytorch_model.bin": b"\x80"}, "safetensors"),
    ],
)
async def test_a_repository_that_may_not_be_loaded_fails_with_the_name_of_the_file(
    registry: Registry, files: dict[str, bytes], why: str
) -> None:
    registry.hub.publish(REPOSITORY, OLD, files)
    await registry.begin(MAIN)

    assert await registry.fetch(FIRST)

    version = await first(registry)
    assert version.state is VersionState.FAILED
    (failed,) = registry.versions.published
    assert isinstance(failed, ModelVersionHasFailed)
    assert failed.message == version.message
    assert re.search(why, version.message)


async def test_a_repository_that_is_not_there_is_refused_at_once(registry: Registry) -> None:
    with pytest.raises(SourceRefused, match="org/model at main"):
        await registry.begin(MAIN)


async def test_a_failed_import_can_be_begun_anew(registry: Registry) -> None:
    registry.hub.publish(REPOSITORY, OLD, {"config.json": b"{}"})
    await registry.begin(MAIN)
    await registry.fetch(FIRST)

    again = await registry.begin(MAIN, request="r2")
    retried = await registry.begin(MAIN, request="r2")

    assert (again.version.id, again.created) == ("smollm2@2", True)
    assert (retried.version.id, retried.created) == ("smollm2@2", True)


async def test_a_branch_that_moved_is_a_new_version_and_its_commit_by_name_is_the_same(registry: Registry) -> None:
    registry.hub.publish(REPOSITORY, OLD, model_files())
    await registry.begin(MAIN)
    await registry.fetch(FIRST)
    by_commit = await registry.begin(HuggingFaceSource(repository=REPOSITORY, revision=OLD))

    registry.hub.publish(REPOSITORY, NEW, model_files(notes__md=b"newer"))
    moved = await registry.begin(MAIN)
    registry.hub.away = True
    offline = await registry.begin(MAIN)

    assert (by_commit.version.id, by_commit.created) == ("smollm2@1", False)
    assert (moved.version.id, moved.created) == ("smollm2@2", True)
    assert (offline.version.id, offline.created) == ("smollm2@2", False)


async def test_a_commit_that_was_learned_by_the_worker_is_found_by_its_name(registry: Registry) -> None:
    registry.hub.away = True
    await registry.begin(MAIN)
    registry.hub.away = False
    registry.hub.publish(REPOSITORY, OLD, model_files())
    await registry.fetch(FIRST)

    same_files = await registry.begin_folder(model_files())
    same_commit = await registry.begin(HuggingFaceSource(repository=REPOSITORY, revision=OLD))

    assert same_files.id == same_commit.version.id == "smollm2@1"


async def test_an_import_whose_model_was_deleted_ends(registry: Registry) -> None:
    registry.hub.publish(REPOSITORY, OLD, model_files())
    await registry.begin(MAIN)
    await registry.delete()

    assert await registry.fetch(FIRST)
    assert registry.hub.fetched == []
    assert registry.versions.published == []
