from pathlib import Path

import pytest

from services.trainer.tests.registry.fakes import ADA, Registry, manifest_of, model_files, reason_of, safetensors
from tidemill_core.application import Caller, Request
from tidemill_core.errors import InvalidInput, RequestIdReused
from tidemill_core.models.manifest import ArtifactRefused
from tidemill_trainer.errors import ImportForgotten, LimitExceeded, SourceRefused
from tidemill_trainer.registry.domain.limits import ImportLimits
from tidemill_trainer.registry.domain.model import Model
from tidemill_trainer.registry.domain.model_version import ModelVersionWasRegistered, VersionState
from tidemill_trainer.registry.domain.sources import FolderSource, OpenAiSource
from tidemill_trainer.registry.import_model import ImportCommand

GPT = OpenAiSource(model="gpt-4.1-mini", base_url="https://api.openai.com/v1", api_key_secret="OPENAI_API_KEY")  # noqa: S106 - the name of a secret


async def test_a_folder_begins_a_version_that_waits_for_its_files(registry: Registry) -> None:
    imported = await registry.begin(FolderSource(manifest=manifest_of(model_files())))

    assert imported.created
    assert imported.version.id == "smollm2@1"
    assert imported.version.state is VersionState.UPLOADING
    assert imported.version.missing == ["config.json", "model.safetensors"]


async def test_a_version_names_the_person_whose_credential_imported_it(registry: Registry) -> None:
    mia = Caller(project="acme", subject="user:mia", credential="jti-1")
    command = ImportCommand(model="gpt", source=GPT, request=Request.of("r1", b""))

    assert (await registry.import_model(mia, command)).version.creator == "user:mia"
    assert (await registry.begin(FolderSource(manifest=manifest_of(model_files())))).version.creator == ""


async def test_labels_beyond_their_limits_are_refused(registry: Registry) -> None:
    command = ImportCommand(model="gpt", source=GPT, request=Request.of("r1", b""), labels={"k": "v" * 257})

    with pytest.raises(InvalidInput, match=r"labels\[k\]: .* at most 256 characters"):
        await registry.import_model(ADA, command)


async def test_the_same_content_is_the_same_version(registry: Registry) -> None:
    first = await registry.register(model_files())

    again = await registry.begin(FolderSource(manifest=manifest_of(model_files())))
    other = await registry.begin(FolderSource(manifest=manifest_of(model_files(notes__md=b"more"))))

    assert (again.version.id, again.created, again.version.state) == (first.id, False, VersionState.READY)
    assert (other.version.id, other.created) == ("smollm2@2", True)


async def test_the_same_content_under_another_model_is_another_version(registry: Registry) -> None:
    await registry.register(model_files())

    assert (await registry.begin_folder(model_files(), model="other")).id == "other@1"


async def test_the_same_request_again_begins_one_version(registry: Registry) -> None:
    source = FolderSource(manifest=manifest_of(model_files()))

    first = await registry.begin(source, request="r1")
    again = await registry.begin(source, request="r1")

    assert (again.version.id, again.created) == (first.version.id, first.created) == ("smollm2@1", True)


async def test_an_import_that_is_repeated_after_its_model_was_made_anew_is_refused(registry: Registry) -> None:
    first = FolderSource(manifest=manifest_of(model_files()))
    await registry.begin(first, request="r1")
    await registry.delete()
    await registry.begin(FolderSource(manifest=manifest_of(model_files(notes__md=b"more"))), request="r2")

    with pytest.raises(ImportForgotten, match="smollm2 was deleted since this request"):
        await registry.begin(first, request="r1")


async def test_the_same_request_id_with_another_body_is_refused(registry: Registry) -> None:
    await registry.begin(FolderSource(manifest=manifest_of(model_files())), request="r1")

    with pytest.raises(RequestIdReused):
        await registry.begin(FolderSource(manifest=manifest_of(model_files(notes__md=b"more"))), request="r1")


async def test_a_call_that_broke_off_before_the_version_was_saved_is_completed_by_its_retry(registry: Registry) -> None:
    source = FolderSource(manifest=manifest_of(model_files()))
    request = Request.of("r1", repr(source).encode())
    await registry.models.upsert(_new_model(), lambda model: model.begin(source.key), request=request)

    imported = await registry.begin(source, request="r1")

    assert (imported.version.id, imported.created) == ("smollm2@1", True)


async def test_another_request_takes_up_a_number_whose_version_was_never_saved(registry: Registry) -> None:
    source = FolderSource(manifest=manifest_of(model_files()))
    await registry.models.upsert(_new_model(), lambda model: model.begin(source.key), request=Request.of("r1", b""))

    imported = await registry.begin(source, request="r2")

    assert (imported.version.id, imported.created) == ("smollm2@1", True)


@pytest.mark.parametrize("path", ["../escape.json", "/etc/passwd.json", "a/../../b.json", "a\\b.json", "a//b.json"])
def test_a_path_that_leaves_the_folder_is_refused_by_name(path: str) -> None:
    with pytest.raises(ArtifactRefused) as refused:
        manifest_of(model_files() | {path: b"{}"})

    assert path in str(refused.value)


@pytest.mark.parametrize("path", ["model.bin", "a/model.pt", "model.pkl", "model.ckpt", "modeling_custom.py"])
def test_pickles_and_python_are_refused_by_name(path: str) -> None:
    with pytest.raises(ArtifactRefused) as refused:
        manifest_of(model_files() | {path: b"x"})

    assert path in str(refused.value)


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        ({"model.safetensors": safetensors()}, "config.json"),
        ({"sub/config.json": b"{}", "model.safetensors": safetensors()}, "config.json"),
        ({"config.json": b"{}"}, "safetensors"),
    ],
)
async def test_a_folder_without_config_or_weights_is_no_model(
    registry: Registry, files: dict[str, bytes], missing: str
) -> None:
    with pytest.raises(SourceRefused, match=missing):
        await registry.begin_folder(files)

    assert registry.enqueued == []


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        (ImportLimits(files=1), "number of files is 2; the limit is 1"),
        (ImportLimits(file_bytes=30), "size of model.safetensors"),
        (ImportLimits(json_bytes=22), "size of config.json in bytes is 23; the limit is 22"),
        (ImportLimits(total_bytes=40), "size of all files"),
    ],
)
async def test_a_folder_above_a_limit_is_refused_with_value_and_limit(
    tmp_path: Path, limits: ImportLimits, what: str
) -> None:
    with pytest.raises(LimitExceeded, match=what):
        await Registry(folder=tmp_path, limits=limits).begin_folder(model_files())


async def test_a_folder_at_the_limits_is_taken(tmp_path: Path) -> None:
    files = model_files()
    sizes = [len(content) for content in files.values()]
    limits = ImportLimits(files=2, file_bytes=max(sizes), json_bytes=len(files["config.json"]), total_bytes=sum(sizes))

    version = await Registry(folder=tmp_path, limits=limits).begin_folder(files)

    assert version.state is VersionState.UPLOADING


async def test_a_remote_model_is_ready_at_once(registry: Registry) -> None:
    imported = await registry.begin(GPT, model="gpt")

    assert imported.version.state is VersionState.READY
    assert [type(event) for event in registry.versions.published] == [ModelVersionWasRegistered]


async def test_another_address_is_a_new_version_and_takes_no_secret_over(registry: Registry) -> None:
    await registry.begin(GPT, model="gpt")

    moved = await registry.begin(OpenAiSource(model=GPT.model, base_url="https://elsewhere.example/v1"), model="gpt")

    assert (moved.version.id, moved.created) == ("gpt@2", True)
    assert isinstance(moved.version.source, OpenAiSource)
    assert moved.version.source.api_key_secret == ""


@pytest.mark.parametrize("address", ["http://169.254.169.254/v1", "http://2130706433/v1", "http://a b/v1"])
async def test_an_address_that_no_model_is_behind_is_not_imported(registry: Registry, address: str) -> None:
    with pytest.raises(InvalidInput, match="base_url"):
        await registry.begin(OpenAiSource(model="gpt", base_url=address), model="gpt")


async def test_another_secret_for_the_same_address_is_the_same_version(registry: Registry) -> None:
    await registry.begin(GPT, model="gpt")

    renamed = await registry.begin(
        OpenAiSource(model=GPT.model, base_url=GPT.base_url, api_key_secret="OTHER_KEY"),  # noqa: S106 - ditto
        model="gpt",
    )
    again = await registry.crud.get_version(ADA, "gpt")

    assert (renamed.version.id, renamed.created) == ("gpt@1", False)
    assert isinstance(again.source, OpenAiSource)
    assert again.source.api_key_secret == "OTHER_KEY"  # noqa: S105 - ditto
    assert len(registry.versions.published) == 1


async def test_validating_stores_nothing_and_reports_what_would_happen(registry: Registry) -> None:
    source = FolderSource(manifest=manifest_of(model_files()))
    command = ImportCommand(model="smollm2", source=source, request=Request.of("", b""), validate_only=True)

    would_begin = await registry.import_model(ADA, command)
    version = await registry.register(model_files())
    would_find = await registry.import_model(ADA, command)

    assert (would_begin.created, would_begin.version.id) == (True, "smollm2@1")
    assert version.id == "smollm2@1"
    assert (would_find.created, would_find.version.state) == (False, VersionState.READY)


@pytest.mark.parametrize("model", ["", "Smol", "a b", "a@1", "a/b", "-a", "x" * 64])
async def test_a_model_id_that_is_no_slug_is_refused(registry: Registry, model: str) -> None:
    with pytest.raises(InvalidInput, match=r"model: is .*; use 1 to 63 of"):
        await registry.begin(GPT, model=model)


async def test_projects_do_not_see_each_other(registry: Registry) -> None:
    await registry.begin(GPT, model="gpt")

    with pytest.raises(Exception, match="model gpt does not exist") as missing:
        await registry.crud.get_version(Caller(project="other"), "gpt")

    assert reason_of(missing.value) == "MODEL_NOT_FOUND"


def _new_model() -> Model:
    return Model(id="smollm2", project="acme")
