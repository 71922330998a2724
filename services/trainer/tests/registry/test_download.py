import asyncio
from pathlib import Path

import pytest

from services.trainer.tests.registry.fakes import ADA, Registry, manifest_of, model_files
from services.trainer.tests.registry.test_shared import BOB, NAME, share
from tidemill_core.errors import NotFound
from tidemill_kit.store.objects import ObjectMissing
from tidemill_trainer.errors import FileNotExpected, VersionNotReady
from tidemill_trainer.registry.domain.sources import DerivedSource
from tidemill_trainer.registry.register_version import MadeVersion


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(folder=tmp_path)


async def test_a_file_is_given_as_it_was_uploaded_and_leaves_nothing(registry: Registry) -> None:
    files = model_files()
    await registry.register(files)

    for path, content in files.items():
        async with registry.download.file(ADA, version_id="smollm2", path=path) as local:
            assert local.read_bytes() == content

    assert registry.files_left() == []


async def test_a_file_of_a_version_that_no_client_uploaded_is_given(registry: Registry) -> None:
    content, folder = b"# card", registry.folder / "made"
    await asyncio.to_thread(folder.mkdir)
    await asyncio.to_thread((folder / "README.md").write_bytes, content)
    source = DerivedSource(derivation="d", source_version="helpdesk@1", method="merge")
    made = MadeVersion(
        project="acme",
        model="whole",
        source=source,
        files=manifest_of({"README.md": content}).files,
        creator="ada",
        authors=("ada",),
    )
    await registry.register_version(made, folder)

    async with registry.download.file(ADA, version_id="whole@1", path="README.md") as given:
        assert given.read_bytes() == content


async def test_a_file_that_the_version_has_not_is_refused_with_those_that_it_has(registry: Registry) -> None:
    await registry.register(model_files())

    with pytest.raises(FileNotExpected, match=r"config\.json"):
        async with registry.download.file(ADA, version_id="smollm2@1", path="other.json"):
            pass


async def test_a_version_that_may_not_be_loaded_is_not_given(registry: Registry) -> None:
    version = await registry.begin_folder(model_files())

    with pytest.raises(VersionNotReady, match="uploading"):
        async with registry.download.file(ADA, version_id=version.id, path="config.json"):
            pass


async def test_what_is_erased_is_missing(registry: Registry) -> None:
    await registry.register(model_files())
    registry.artifacts.objects.clear()

    with pytest.raises(ObjectMissing):
        async with registry.download.file(ADA, version_id="smollm2@1", path="config.json"):
            pass
    assert registry.files_left() == []


async def test_what_another_project_shares_is_not_given_away(registry: Registry) -> None:
    await registry.register(model_files())
    share(registry)

    with pytest.raises(NotFound):
        async with registry.download.file(BOB, version_id=f"{NAME}@1", path="config.json"):
            pass
