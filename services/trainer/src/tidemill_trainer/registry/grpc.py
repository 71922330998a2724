"""gRPC ModelRegistryService."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from tidemill.trainer.v1 import model_registry_service_pb2 as pb
from tidemill.trainer.v1.model_pb2 import Model
from tidemill.trainer.v1.model_pb2 import ModelVersion as VersionMessage
from tidemill.trainer.v1.model_registry_service_pb2_grpc import ModelRegistryServiceServicer
from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, request_of, write_of
from tidemill_kit.grpc.uploads import UploadPlaces
from tidemill_kit.mapping import from_message, to_message
from tidemill_trainer.registry.approvals import ModelApprovals
from tidemill_trainer.registry.crud import ModelCrud, ModelOverview
from tidemill_trainer.registry.domain.approvals import Missing
from tidemill_trainer.registry.domain.model_version import ModelVersion
from tidemill_trainer.registry.download import DownloadVersion
from tidemill_trainer.registry.import_model import ImportCommand, ImportModel
from tidemill_trainer.registry.messages import approval_of_message, source_of, version_message
from tidemill_trainer.registry.upload import UploadVersion

LARGEST_CHUNK = 2 * 1024 * 1024
PIECE_BYTES = 256 * 1024


class GrpcModelRegistryService(ModelRegistryServiceServicer):
    """Message -> use case -> message; errors are translated by the server's interceptor."""

    def __init__(  # noqa: PLR0913 - keyword-only, and each of another kind
        self,
        *,
        crud: ModelCrud,
        approvals: ModelApprovals,
        import_model: ImportModel,
        upload: UploadVersion,
        download: DownloadVersion,
        places: UploadPlaces,
        download_places: UploadPlaces,
    ) -> None:
        self._approvals = approvals
        self._crud = crud
        self._import_model = import_model
        self._upload = upload
        self._download = download
        self._places = places
        self._download_places = download_places

    async def ImportModel(self, request: pb.ImportModelRequest, _context: object) -> pb.ImportModelResponse:
        """Import a version, or return the one with this content."""
        source, intent = source_of(request.source), request_of(request)
        command = from_message(ImportCommand, request, source=source, request=intent)
        imported = await self._import_model(current_caller(), command)
        return pb.ImportModelResponse(version=await self._shown(imported.version), created=imported.created)

    async def UploadModelFile(
        self, request_iterator: AsyncIterator[pb.UploadModelFileRequest], _context: object
    ) -> pb.UploadModelFileResponse:
        """Store one file of a version."""
        caller = current_caller()
        async with self._places.held(caller.project):
            messages = self._places.patiently(request_iterator)
            start = await _start_of(messages)
            version = await self._upload.file(
                caller, version_id=start.version, path=start.path, chunks=_chunks_of(messages)
            )
        return pb.UploadModelFileResponse(version=await self._shown(version))

    async def DownloadModelFile(
        self, request: pb.DownloadModelFileRequest, _context: object
    ) -> AsyncIterator[pb.DownloadModelFileResponse]:
        """Stream one file of a version."""
        caller = current_caller()
        pieces = self._pieces_of(caller, version_id=request.version, path=request.path, offset=request.offset)
        async with aclosing(self._download_places.given(caller.project, pieces)) as given:
            async for piece in given:
                yield pb.DownloadModelFileResponse(chunk=piece)

    async def _pieces_of(
        self, caller: Caller, *, version_id: str, path: str, offset: int
    ) -> AsyncGenerator[bytes, None]:
        async with self._download.file(caller, version_id=version_id, path=path) as local:
            size = local.stat().st_size
            if not 0 <= offset <= size:
                raise InvalidInput.at(field="offset", text=f"is {offset}; allowed: 0 to {size}")
            with local.open("rb") as file:
                file.seek(offset)
                while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
                    yield piece

    async def CompleteModelVersion(
        self, request: pb.CompleteModelVersionRequest, _context: object
    ) -> pb.CompleteModelVersionResponse:
        """Make an uploaded version READY."""
        version = await self._upload.complete(current_caller(), version_id=request.id, request=request_of(request))
        return pb.CompleteModelVersionResponse(version=await self._shown(version))

    async def GetModel(self, request: pb.GetModelRequest, _context: object) -> pb.GetModelResponse:
        """Return one model."""
        return pb.GetModelResponse(model=_model_message(await self._crud.get(current_caller(), request.id)))

    async def ListModels(self, request: pb.ListModelsRequest, _context: object) -> pb.ListModelsResponse:
        """Return a page of models."""
        page = await self._crud.list(current_caller(), page_of(request, filters={}))
        return pb.ListModelsResponse(
            models=[_model_message(overview) for overview in page.items], next_page_token=page.next_token
        )

    async def UpdateModel(self, request: pb.UpdateModelRequest, _context: object) -> pb.UpdateModelResponse:
        """Change the approval policy or labels."""
        caller, paths = current_caller(), paths_of(request.update_mask, allowed=("approval", "labels"))
        model = await self._approvals.update(
            caller,
            request.model.id,
            approval=approval_of_message(request.model.approval) if "approval" in paths else None,
            labels=request.model.labels if "labels" in paths else None,
            write=write_of(request, etag=request.model.etag),
        )
        latest = (await self._crud.get(caller, request.model.id)).latest_version
        return pb.UpdateModelResponse(model=to_message(Model, model, latest_version=latest))

    async def ApproveModelVersion(
        self, request: pb.ApproveModelVersionRequest, _context: object
    ) -> pb.ApproveModelVersionResponse:
        """Approve a version."""
        version = await self._approvals.approve(
            current_caller(), request.id, rationale=request.rationale, write=write_of(request)
        )
        return pb.ApproveModelVersionResponse(version=await self._shown(version))

    async def DeleteModel(self, request: pb.DeleteModelRequest, _context: object) -> pb.DeleteModelResponse:
        """Delete a model and its versions."""
        model = await self._crud.delete(current_caller(), request.id, write_of(request))
        return pb.DeleteModelResponse(model=to_message(Model, model, latest_version=0))

    async def GetModelVersion(self, request: pb.GetModelVersionRequest, _context: object) -> pb.GetModelVersionResponse:
        """Return one version, or a model's newest ready one."""
        caller = current_caller()
        version = await self._crud.get_version(caller, request.id)
        base = await self._crud.base_of(caller, version)
        return pb.GetModelVersionResponse(
            version=await self._shown(version), base=None if base is None else await self._shown(base)
        )

    async def ListModelVersions(
        self, request: pb.ListModelVersionsRequest, _context: object
    ) -> pb.ListModelVersionsResponse:
        """Return a page of a model's versions."""
        caller = current_caller()
        page = await self._crud.list_versions(caller, request.model, page_of(request, filters={}))
        policy = await self._approvals.policy_of(caller, request.model)
        return pb.ListModelVersionsResponse(
            versions=[version_message(version, Missing.of(version, policy)) for version in page.items],
            next_page_token=page.next_token,
        )

    async def _shown(self, version: ModelVersion) -> VersionMessage:
        return version_message(version, await self._approvals.missing(current_caller(), version))


def _model_message(overview: ModelOverview) -> Model:
    return to_message(Model, overview.model, latest_version=overview.latest_version)


async def _start_of(messages: AsyncIterator[pb.UploadModelFileRequest]) -> pb.UploadModelFileStart:
    first = await anext(messages, None)
    if first is None or first.WhichOneof("part") != "start":
        raise InvalidInput.at(field="start", text="the first message must have version and path")
    return first.start


async def _chunks_of(messages: AsyncIterator[pb.UploadModelFileRequest]) -> AsyncIterator[bytes]:
    async for message in messages:
        if message.WhichOneof("part") != "chunk":
            raise InvalidInput.at(field="chunk", text="every message after the first must be a chunk")
        if len(message.chunk) > LARGEST_CHUNK:
            raise InvalidInput.at(field="chunk", text=f"has {len(message.chunk)} bytes; the limit is {LARGEST_CHUNK}")
        yield message.chunk
