from collections.abc import AsyncIterator

import pytest

from services.trainer.tests.registry.fakes import ADA, Registry, chunks_of, model_files, safetensors
from tidemill_core.application import Request
from tidemill_core.errors import DependencyUnavailable, NotFound
from tidemill_core.models.manifest import ArtifactRefused
from tidemill_trainer.errors import FileNotExpected, FilesMissing, UploadRefused, VersionNotUploading
from tidemill_trainer.registry.domain.model_version import (
    ModelVersionHasFailed,
    ModelVersionWasRegistered,
    VersionState,
)
from tidemill_trainer.registry.domain.sources import HuggingFaceSource


async def test_a_version_is_ready_when_all_its_files_are_stored(registry: Registry) -> None:
    version = await registry.register(model_files())

    assert version.state is VersionState.READY
    assert version.stored_bytes == version.expected_bytes == sum(map(len, model_files().values()))
    assert sorted(registry.artifacts.objects) == sorted(
        f"acme/smollm2@1/{artifact.file.sha256}" for artifact in version.artifacts
    )
    (registered,) = registry.versions.published
    assert isinstance(registered, ModelVersionWasRegistered)
    assert (registered.digest, registered.total_bytes) == (version.digest, version.expected_bytes)
    assert registry.files_left() == []


async def test_completing_again_registers_once(registry: Registry) -> None:
    version = await registry.register(model_files())

    assert (await registry.finish(version.id)).state is VersionState.READY
    assert len(registry.versions.published) == 1


async def test_a_version_is_not_complete_without_all_files(registry: Registry) -> None:
    version = await registry.begin_folder(model_files())
    await registry.send(version.id, "config.json", model_files()["config.json"])

    with pytest.raises(FilesMissing, match=r"model\.safetensors"):
        await registry.finish(version.id)


async def test_a_file_that_the_store_lost_is_asked_for_again(registry: Registry) -> None:
    version = await registry.begin_folder(model_files())
    for path, content in model_files().items():
        version = await registry.send(version.id, path, content)
    lost = version.artifacts[0].object
    assert lost is not None
    del registry.artifacts.objects[lost.key]

    with pytest.raises(FilesMissing, match=r"config\.json"):
        await registry.finish(version.id)

    await registry.send(version.id, "config.json", model_files()["config.json"])
    assert (await registry.finish(version.id)).state is VersionState.READY


async def test_uploading_a_file_again_is_harmless(registry: Registry) -> None:
    version = await registry.register(model_files())

    again = await registry.send(version.id, "config.json", model_files()["config.json"])

    assert again.state is VersionState.READY
    assert len(registry.artifacts.objects) == 2


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"model_type": "llam', "has 20 bytes; the manifest has 23"),
        (b'{"model_type": "llama"} ', "more than the 23 bytes"),
        (b'{"model_type": "gpt_x"}', "has sha256"),
        (b"", "has 0 bytes"),
    ],
)
async def test_bytes_other_than_announced_leave_nothing(registry: Registry, content: bytes, why: str) -> None:
    version = await registry.begin_folder(model_files())

    with pytest.raises(UploadRefused, match=why):
        await registry.send(version.id, "config.json", content)

    assert registry.artifacts.objects == {}
    assert registry.files_left() == []
    assert (await registry.crud.get_version(ADA, version.id)).state is VersionState.UPLOADING


async def test_an_upload_that_breaks_off_leaves_nothing_and_can_come_again(registry: Registry) -> None:
    version = await registry.begin_folder(model_files())

    async def broken() -> AsyncIterator[bytes]:
        yield b'{"model'
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await registry.upload.file(ADA, version_id=version.id, path="config.json", chunks=broken())

    assert registry.artifacts.objects == {}
    assert registry.files_left() == []
    stored = await registry.send(version.id, "config.json", model_files()["config.json"])
    assert stored.missing == ["model.safetensors"]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("config.json", b'{"auto_map": {"AutoModel": "evil.Model"}}'),
        ("config.json", rb'{"text_config": [{"\u0061uto_map": {}}]}'),
        ("tokenizer_config.json", b'{"a": {"auto_map": {}}}'),
        ("config.json", b"{not json"),
        ("model.safetensors", b"\x80\x04\x95not safetensors"),
        ("model.safetensors", safetensors() + b"hidden"),
        ("model.safetensors", safetensors()[:-1]),
    ],
)
async def test_a_file_that_may_not_be_loaded_fails_the_version_before_it_is_stored(
    registry: Registry, path: str, content: bytes
) -> None:
    version = await registry.begin_folder(model_files() | {path: content})

    with pytest.raises(ArtifactRefused) as refused:
        await registry.send(version.id, path, content)

    assert path in str(refused.value)
    assert registry.artifacts.objects == {}
    (failed,) = registry.versions.published
    assert isinstance(failed, ModelVersionHasFailed)
    assert path in failed.message
    assert (await registry.finish(version.id)).state is VersionState.FAILED
    with pytest.raises(VersionNotUploading, match=path):
        await registry.send(version.id, path, content)


async def test_a_file_beside_the_manifest_is_refused_with_the_files_that_are_expected(registry: Registry) -> None:
    version = await registry.begin_folder(model_files())

    with pytest.raises(FileNotExpected, match=r"it has config\.json, model\.safetensors"):
        await registry.send(version.id, "other.json", b"{}")


async def test_a_version_that_is_fetched_takes_no_files(registry: Registry) -> None:
    registry.hub.away = True
    version = (await registry.begin(HuggingFaceSource(repository="org/model"))).version

    with pytest.raises(VersionNotUploading):
        await registry.send(version.id, "config.json", b"{}")
    with pytest.raises(VersionNotUploading):
        await registry.finish(version.id)


async def test_an_unknown_version_is_answered_with_those_that_exist(registry: Registry) -> None:
    await registry.register(model_files())

    with pytest.raises(NotFound, match=r"existing: smollm2@1 \(ready\)"):
        await registry.send("smollm2@2", "config.json", b"{}")
    with pytest.raises(NotFound, match="existing: smollm2"):
        await registry.upload.complete(ADA, version_id="gpt@1", request=Request.of("", b""))


async def test_a_file_that_does_not_fit_on_the_disk_is_refused_before_its_first_byte(registry: Registry) -> None:
    files = model_files()
    version = await registry.begin_folder(files)
    huge = version.artifacts[0].file
    object.__setattr__(huge, "size", 1 << 60)  # larger than any disk; no limit of the registry is in the way here

    with pytest.raises(DependencyUnavailable, match="free disk space"):
        async with registry.spool.receive(huge, chunks_of(b"{}")):
            pass
