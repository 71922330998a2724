import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from services.trainer.tests.registry.fakes import Registry, manifest_of, model_files, safetensors
from tidemill.trainer.v1 import model_pb2 as pb
from tidemill.trainer.v1 import model_registry_service_pb2 as rpc
from tidemill.trainer.v1.model_registry_service_pb2_grpc import (
    ModelRegistryServiceStub,
    add_ModelRegistryServiceServicer_to_server,
)
from tidemill_core.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    Unauthenticated,
)
from tidemill_kit.grpc.uploads import Patience, UploadPlaces
from tidemill_testkit.access import access_of, admin_channel, installation
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.direct_calls import DirectServer
from tidemill_testkit.polling import eventually
from tidemill_trainer.registry.grpc import GrpcModelRegistryService
from tidemill_trainer.settings import TrainerSettings


@dataclass(kw_only=True)
class ApiClient:
    """A real gRPC server on a free port, and a stub for project acme."""

    registry: Registry
    port: int
    stub: ModelRegistryServiceStub

    async def import_folder(self, files: dict[str, bytes], *, model: str = "smollm2") -> rpc.ImportModelResponse:
        source = pb.ModelSource(folder=pb.FolderSource(files=manifest_files(files)))
        return await self.stub.ImportModel(rpc.ImportModelRequest(model=model, source=source))

    async def upload(self, version: str, path: str, content: bytes) -> rpc.UploadModelFileResponse:
        return await self.stub.UploadModelFile(messages(version, path, [content[:5], content[5:]]))


def manifest_files(files: dict[str, bytes]) -> list[pb.ManifestFile]:
    return [pb.ManifestFile(path=f.path, size=f.size, sha256=f.sha256) for f in manifest_of(files).files]


async def messages(version: str, path: str, chunks: list[bytes]) -> AsyncIterator[rpc.UploadModelFileRequest]:
    yield rpc.UploadModelFileRequest(start=rpc.UploadModelFileStart(version=version, path=path))
    for chunk in chunks:
        yield rpc.UploadModelFileRequest(chunk=chunk)


def settings(folder: Path) -> TrainerSettings:
    return without_servers().model_copy(update={"data_dir": folder})


@cache
def without_servers() -> TrainerSettings:
    return TrainerSettings.model_validate(
        {
            "grpc_port": 0,
            "access_issuers": (installation().setting,),
            "kafka_bootstrap_servers": "127.0.0.1:1",
            "mongo_uri": "mongodb://127.0.0.1:1",
            "s3_endpoint": "127.0.0.1:1",
            "s3_access_key": "key",
            "s3_secret_key": "secret",
            "data_dir": Path(),
            "ingest_address": "127.0.0.1:1",
        }
    )


@pytest.fixture
async def api(registry: Registry, tmp_path: Path) -> AsyncIterator[ApiClient]:
    servicer = GrpcModelRegistryService(
        crud=registry.crud,
        approvals=registry.approvals,
        import_model=registry.import_model,
        upload=registry.upload,
        download=registry.download,
        places=UploadPlaces(Patience(max_concurrent=2, of_project=2, idle_s=1.0, whole_s=60.0)),
        download_places=UploadPlaces(Patience(max_concurrent=2, of_project=2, idle_s=1.0, whole_s=60.0)),
    )
    server = DirectServer(
        settings(tmp_path),
        [(add_ModelRegistryServiceServicer_to_server, servicer)],
        access=access_of(),
        audit=RecordedCalls(),
    )
    await server.start()
    channel = admin_channel(f"127.0.0.1:{server.port}", project="acme")
    yield ApiClient(registry=registry, port=server.port, stub=ModelRegistryServiceStub(channel))
    await channel.close()
    await server.stop(1.0)


async def test_an_upload_that_stands_still_ends_and_gives_its_place_back(api: ApiClient) -> None:
    begun = await api.import_folder(model_files())
    start = rpc.UploadModelFileRequest(start=rpc.UploadModelFileStart(version=begun.version.id, path="config.json"))

    async def stands_still() -> AsyncIterator[rpc.UploadModelFileRequest]:
        yield start
        await asyncio.Event().wait()

    with pytest.raises(DeadlineExceeded, match="no part of the upload came for 1 s"):
        await api.stub.UploadModelFile(stands_still())
    for path, content in model_files().items():
        await api.upload(begun.version.id, path, content)


async def test_a_folder_is_registered_through_the_api(api: ApiClient) -> None:
    begun = await api.import_folder(model_files())
    for path, content in model_files().items():
        await api.upload(begun.version.id, path, content)
    done = await api.stub.CompleteModelVersion(rpc.CompleteModelVersionRequest(id=begun.version.id))
    found = await api.stub.GetModelVersion(rpc.GetModelVersionRequest(id="smollm2"))
    model = await api.stub.GetModel(rpc.GetModelRequest(id="smollm2"))

    assert begun.created
    assert [artifact.stored for artifact in begun.version.artifacts] == [False, False]
    assert done.version.state == pb.MODEL_VERSION_STATE_READY
    assert found.version == done.version
    assert [(a.path, a.stored, a.bucket) for a in found.version.artifacts] == [
        ("config.json", True, "exchange"),
        ("model.safetensors", True, "exchange"),
    ]
    assert found.version.seq == 1
    assert (model.model.latest_version, model.model.version_count) == (1, 1)


@pytest.mark.heavy
async def test_a_file_is_streamed_in_pieces_and_one_that_is_not_there_is_refused(api: ApiClient) -> None:
    content = safetensors(100_000)
    await api.registry.register(model_files(model__safetensors=content))

    request = rpc.DownloadModelFileRequest(version="smollm2@1", path="model.safetensors")
    pieces = [piece.chunk async for piece in api.stub.DownloadModelFile(request)]

    assert (len(pieces), b"".join(pieces)) == (2, content)
    request.offset = len(content) - 3
    assert b"".join([piece.chunk async for piece in api.stub.DownloadModelFile(request)]) == content[-3:]
    request.offset = len(content) + 1
    with pytest.raises(InvalidInput, match=f"offset: is {len(content) + 1}; allowed: 0 to {len(content)}"):
        await anext(aiter(api.stub.DownloadModelFile(request)))
    with pytest.raises(NotFound, match=r"has no file other\.json"):
        await anext(
            aiter(api.stub.DownloadModelFile(rpc.DownloadModelFileRequest(version="smollm2", path="other.json")))
        )


async def test_the_same_folder_again_is_not_created_again(api: ApiClient) -> None:
    await api.import_folder(model_files())

    assert not (await api.import_folder(model_files())).created


async def test_a_refused_file_is_named(api: ApiClient) -> None:
    with pytest.raises(InvalidInput, match=r"model\.bin"):
        await api.import_folder(model_files() | {"model.bin": b"\x80\x04"})


async def test_a_model_that_names_code_fails_with_the_name_of_the_file(api: ApiClient) -> None:
    files = model_files(config__json=b'{"auto_map": {"AutoModel": "x.Y"}}')
    begun = await api.import_folder(files)

    with pytest.raises(InvalidInput, match=r"config\.json: names code"):
        await api.upload(begun.version.id, "config.json", files["config.json"])

    done = await api.stub.CompleteModelVersion(rpc.CompleteModelVersionRequest(id=begun.version.id))
    assert done.version.state == pb.MODEL_VERSION_STATE_FAILED
    assert "config.json" in done.version.message


async def test_a_remote_model_keeps_the_name_of_its_secret_only(api: ApiClient) -> None:
    remote = pb.OpenAiSource(model="gpt", base_url="https://api.openai.com/v1", api_key_secret="OPENAI_API_KEY")  # noqa: S106 - a name
    literal = pb.OpenAiSource(model="gpt", base_url="https://api.openai.com/v1", api_key_secret="sk-12345")  # noqa: S106 - the mistake

    taken = await api.stub.ImportModel(rpc.ImportModelRequest(model="gpt", source=pb.ModelSource(openai=remote)))
    with pytest.raises(InvalidInput) as refused:
        await api.stub.ImportModel(rpc.ImportModelRequest(model="gpt", source=pb.ModelSource(openai=literal)))

    assert taken.version.state == pb.MODEL_VERSION_STATE_READY
    assert taken.version.source.openai == remote
    assert refused.value.reason == "SECRET_GIVEN"
    assert "sk-12345" not in str(refused.value)


async def test_a_source_must_be_given(api: ApiClient) -> None:
    with pytest.raises(InvalidInput, match="source: must be folder, hugging_face or openai"):
        await api.stub.ImportModel(rpc.ImportModelRequest(model="gpt"))


async def test_an_upload_says_first_what_it_is(api: ApiClient) -> None:
    async def without_start() -> AsyncIterator[rpc.UploadModelFileRequest]:
        yield rpc.UploadModelFileRequest(chunk=b"x")

    with pytest.raises(InvalidInput, match="first message"):
        await api.stub.UploadModelFile(without_start())


async def test_a_chunk_above_two_megabytes_is_refused_and_one_of_two_is_taken(api: ApiClient) -> None:
    content = bytes(2 * 1024 * 1024 + 1)
    begun = await api.import_folder(model_files(big__txt=content))

    with pytest.raises(InvalidInput, match="the limit is 2097152"):
        await api.stub.UploadModelFile(messages(begun.version.id, "big.txt", [content]))
    taken = await api.stub.UploadModelFile(messages(begun.version.id, "big.txt", [content[:-1], content[-1:]]))

    assert taken.version.stored_bytes == len(content)


async def test_a_client_that_goes_away_in_the_middle_leaves_nothing(api: ApiClient) -> None:
    begun = await api.import_folder(model_files())
    sent = asyncio.Event()

    async def endless() -> AsyncIterator[rpc.UploadModelFileRequest]:
        yield rpc.UploadModelFileRequest(
            start=rpc.UploadModelFileStart(version=begun.version.id, path="model.safetensors")
        )
        yield rpc.UploadModelFileRequest(chunk=model_files()["model.safetensors"][:10])
        sent.set()
        await asyncio.Event().wait()

    call = api.stub.UploadModelFile(endless())
    await sent.wait()
    await eventually(lambda: len(api.registry.files_left()) == 1)
    call.cancel()
    await eventually(lambda: api.registry.files_left() == [])

    assert api.registry.artifacts.objects == {}


async def test_unknown_things_are_answered_with_what_exists(api: ApiClient) -> None:
    await api.import_folder(model_files())

    with pytest.raises(NotFound, match="existing: smollm2"):
        await api.stub.GetModel(rpc.GetModelRequest(id="gpt"))
    with pytest.raises(NotFound, match=r"smollm2@1 \(uploading\)"):
        await api.stub.GetModelVersion(rpc.GetModelVersionRequest(id="smollm2"))
    with pytest.raises(PreconditionFailed, match=r"config\.json"):
        await api.stub.CompleteModelVersion(rpc.CompleteModelVersionRequest(id="smollm2@1"))


async def test_lists_page(api: ApiClient) -> None:
    for name in ("a", "b", "c"):
        await api.import_folder(model_files(notes__md=name.encode()), model=name)

    first = await api.stub.ListModels(rpc.ListModelsRequest(page_size=2))
    second = await api.stub.ListModels(rpc.ListModelsRequest(page_size=2, page_token=first.next_page_token))
    versions = await api.stub.ListModelVersions(rpc.ListModelVersionsRequest(model="a"))

    assert len(first.models) + len(second.models) == 3
    assert {model.id for model in [*first.models, *second.models]} == {"a", "b", "c"}
    assert second.next_page_token == ""
    assert [version.id for version in versions.versions] == ["a@1"]
    with pytest.raises(InvalidInput, match="page_size"):
        await api.stub.ListModelVersions(rpc.ListModelVersionsRequest(model="a", page_size=-1))


@pytest.mark.parametrize("etag", ["17", "nonsense"])
async def test_a_model_is_deleted_only_as_it_was_seen(api: ApiClient, etag: str) -> None:
    await api.import_folder(model_files())

    with pytest.raises(Conflict):
        await api.stub.DeleteModel(rpc.DeleteModelRequest(id="smollm2", etag=etag))
    seen = (await api.stub.GetModel(rpc.GetModelRequest(id="smollm2"))).model
    await api.stub.DeleteModel(rpc.DeleteModelRequest(id="smollm2", etag=seen.etag))

    with pytest.raises(NotFound, match="there are none"):
        await api.stub.GetModel(rpc.GetModelRequest(id="smollm2"))


async def test_calls_without_a_project_are_refused(api: ApiClient) -> None:
    channel = admin_channel(f"127.0.0.1:{api.port}", project="No project")

    with pytest.raises(Unauthenticated):
        await ModelRegistryServiceStub(channel).ListModels(rpc.ListModelsRequest())

    await channel.close()


async def test_a_policy_is_declared_and_shown_with_each_version_and_its_importer_does_not_approve_it(
    api: ApiClient,
) -> None:
    await api.import_folder(model_files())
    model = pb.Model(id="smollm2", approval=pb.ModelApprovalPolicy(count=2))
    request = rpc.UpdateModelRequest(model=model, update_mask=FieldMask(paths=["approval"]))
    changed = (await api.stub.UpdateModel(request)).model
    one = (await api.stub.GetModelVersion(rpc.GetModelVersionRequest(id="smollm2@1"))).version
    (listed,) = (await api.stub.ListModelVersions(rpc.ListModelVersionsRequest(model="smollm2"))).versions
    again = (await api.import_folder(model_files())).version

    assert changed.approval == pb.ModelApprovalPolicy(count=2, role="operator")
    assert [(each.missing_approvals, each.approver_role) for each in (one, listed, again)] == [(2, "operator")] * 3
    with pytest.raises(PermissionDenied, match=r"by the same person|counts people"):
        await api.stub.ApproveModelVersion(rpc.ApproveModelVersionRequest(id="smollm2@1"))
