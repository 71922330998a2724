"""The registry and the stub that other services are tested with answer alike."""

import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.trainer.tests.registry.fakes import Registry, manifest_of, model_files
from services.trainer.tests.registry.test_grpc import settings
from tidemill.trainer.v1 import model_pb2 as pb
from tidemill.trainer.v1 import model_registry_service_pb2 as rpc
from tidemill.trainer.v1.model_registry_service_pb2_grpc import (
    ModelRegistryServiceStub,
    add_ModelRegistryServiceServicer_to_server,
)
from tidemill_core.errors import InvalidInput, NotFound, PreconditionFailed, TidemillError
from tidemill_kit.grpc.uploads import Patience, UploadPlaces
from tidemill_testkit.access import access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.direct_calls import DirectServer
from tidemill_testkit.stubs.trainer import StubModelRegistry
from tidemill_trainer.registry.grpc import GrpcModelRegistryService

GPT = pb.ModelSource(openai=pb.OpenAiSource(model="gpt", base_url="https://api.example/v1", api_key_secret="KEY"))  # noqa: S106 - a name
HUB = pb.ModelSource(hugging_face=pb.HuggingFaceSource(repository="org/model"))


@dataclass(frozen=True, kw_only=True)
class Api:
    """A client of the registry, or of its stub."""

    port: int
    stub: ModelRegistryServiceStub

    async def import_model(self, source: pb.ModelSource, *, model: str = "m") -> rpc.ImportModelResponse:
        return await self.stub.ImportModel(rpc.ImportModelRequest(model=model, source=source))

    async def upload(self, version: str, path: str, content: bytes) -> pb.ModelVersion:
        async def messages() -> AsyncIterator[rpc.UploadModelFileRequest]:
            yield rpc.UploadModelFileRequest(start=rpc.UploadModelFileStart(version=version, path=path))
            yield rpc.UploadModelFileRequest(chunk=content)

        return (await self.stub.UploadModelFile(messages())).version

    async def complete(self, version: str) -> pb.ModelVersion:
        return (await self.stub.CompleteModelVersion(rpc.CompleteModelVersionRequest(id=version))).version

    async def get(self, reference: str) -> pb.ModelVersion:
        return (await self.stub.GetModelVersion(rpc.GetModelVersionRequest(id=reference))).version


@pytest.fixture(params=["registry", "stub"])
async def api(request: pytest.FixtureRequest, tmp_path: Path, registry: Registry) -> AsyncIterator[Api]:
    places = UploadPlaces(Patience(max_concurrent=2, of_project=2, idle_s=5.0, whole_s=60.0))
    registry.hub.away = True
    servicer = (
        StubModelRegistry()  # type: ignore[abstract] # it has what others call
        if request.param == "stub"
        else GrpcModelRegistryService(
            crud=registry.crud,
            approvals=registry.approvals,
            import_model=registry.import_model,
            upload=registry.upload,
            download=registry.download,
            places=places,
            download_places=places,
        )
    )
    server = DirectServer(
        settings(tmp_path),
        [(add_ModelRegistryServiceServicer_to_server, servicer)],
        access=access_of(),
        audit=RecordedCalls(),
    )
    await server.start()
    async with admin_channel(f"127.0.0.1:{server.port}", project="acme") as channel:
        yield Api(port=server.port, stub=ModelRegistryServiceStub(channel))
    await server.stop(1.0)


def folder(files: Mapping[str, bytes]) -> pb.ModelSource:
    listed = [
        pb.ManifestFile(path=path, size=len(content), sha256=hashlib.sha256(content).hexdigest())
        for path, content in files.items()
    ]
    return pb.ModelSource(folder=pb.FolderSource(files=listed))


async def test_a_folder_is_ready_once_its_files_are_there(api: Api) -> None:
    files = model_files()

    begun = await api.import_model(folder(files))
    for path, content in files.items():
        await api.upload("m@1", path, content)
    uploaded = await api.get("m@1")
    ready = await api.complete("m@1")

    assert (begun.created, begun.version.id, begun.version.state) == (True, "m@1", pb.MODEL_VERSION_STATE_UPLOADING)
    assert not any(artifact.stored for artifact in begun.version.artifacts)
    assert (uploaded.state, uploaded.stored_bytes) == (pb.MODEL_VERSION_STATE_UPLOADING, uploaded.total_bytes)
    assert (ready.state, ready.model, ready.number, ready.project) == (pb.MODEL_VERSION_STATE_READY, "m", 1, "acme")
    assert ready.digest == manifest_of(files).digest
    assert [artifact.path for artifact in ready.artifacts] == sorted(files)
    for artifact in ready.artifacts:
        assert artifact.stored
        assert artifact.key == f"acme/m@1/{artifact.sha256}"
        assert artifact.bucket
    assert await api.get("m") == ready


async def test_the_same_content_is_the_same_version(api: Api) -> None:
    for source in (folder(model_files()), GPT, HUB):
        first, again = [await api.import_model(source) for _ in range(2)]
        assert (first.created, again.created, again.version.id) == (True, False, first.version.id)

    assert (await api.get("m")).id == "m@2"
    other = await api.import_model(folder(model_files(notes__md=b"other")))
    assert (other.created, other.version.id) == (True, "m@4")


async def test_a_remote_model_is_ready_at_once_and_one_of_a_hub_waits(api: Api) -> None:
    remote = (await api.import_model(GPT, model="remote")).version
    fetched = (await api.import_model(HUB, model="fetched")).version

    assert (remote.state, remote.source) == (pb.MODEL_VERSION_STATE_READY, GPT)
    assert remote.digest
    assert fetched.state == pb.MODEL_VERSION_STATE_IMPORTING
    assert fetched.source.hugging_face.revision == "main"


async def test_models_are_listed_with_their_newest_ready_version(api: Api) -> None:
    await api.import_model(GPT, model="remote")
    await api.import_model(HUB, model="fetched")

    models = (await api.stub.ListModels(rpc.ListModelsRequest(page_size=50))).models

    assert {(each.id, each.latest_version, each.version_count) for each in models} == {
        ("remote", 1, 1),
        ("fetched", 0, 1),
    }


async def refusal(error: type[TidemillError], call: object) -> tuple[str, str]:
    with pytest.raises(error) as refused:
        await call  # type: ignore[misc] # each test gives a coroutine
    return refused.value.reason, refused.value.message


async def test_what_is_not_there_is_not_found(api: Api) -> None:
    await api.import_model(HUB)

    assert (await refusal(NotFound, api.get("other")))[0] == "MODEL_NOT_FOUND"
    assert (await refusal(NotFound, api.get("m@2")))[0] == "MODEL_VERSION_NOT_FOUND"
    assert (await refusal(NotFound, api.get("m")))[0] == "MODEL_VERSION_NOT_FOUND"
    assert (await refusal(InvalidInput, api.get("m@0")))[0] == InvalidInput.reason
    async with admin_channel(f"127.0.0.1:{api.port}", project="other") as channel:
        elsewhere = Api(port=api.port, stub=ModelRegistryServiceStub(channel))
        assert (await refusal(NotFound, elsewhere.get("m@1")))[0] == "MODEL_NOT_FOUND"


async def test_what_must_not_be_part_of_a_model_is_refused(api: Api) -> None:
    files = model_files(config__json=b'{"auto_map": {}}')
    await api.import_model(folder(files))

    assert (await refusal(InvalidInput, api.upload("m@1", "config.json", files["config.json"])))[
        0
    ] == "ARTIFACT_REFUSED"
    assert (await api.get("m@1")).state == pb.MODEL_VERSION_STATE_FAILED
    pickled = folder(model_files(pytorch_model__bin=b"\x80"))
    reason, message = await refusal(InvalidInput, api.import_model(pickled, model="pickled"))
    assert (reason, message.partition(":")[0]) == ("ARTIFACT_REFUSED", "pytorch_model.bin")
    await refusal(InvalidInput, api.import_model(GPT, model="No Slug"))


async def test_an_upload_is_what_the_manifest_announced(api: Api) -> None:
    files = model_files()
    await api.import_model(folder(files))
    await api.import_model(GPT, model="remote")

    assert (await refusal(InvalidInput, api.upload("m@1", "config.json", b"{}")))[0] == "UPLOAD_REFUSED"
    assert (await refusal(NotFound, api.upload("m@1", "other.json", b"{}")))[0] == "FILE_NOT_EXPECTED"
    assert (await refusal(PreconditionFailed, api.upload("remote@1", "a.json", b"{}")))[0] == "VERSION_NOT_UPLOADING"
    reason, message = await refusal(PreconditionFailed, api.complete("m@1"))
    assert reason == "FILES_MISSING"
    assert "config.json" in message


async def test_validating_an_import_stores_nothing(api: Api) -> None:
    request = rpc.ImportModelRequest(model="m", source=GPT, validate_only=True)

    preview = await api.stub.ImportModel(request)

    assert (preview.created, preview.version.id) == (True, "m@1")
    await refusal(NotFound, api.get("m@1"))
