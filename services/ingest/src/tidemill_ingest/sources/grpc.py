"""SourceService."""

from typing import Any

from grpc.aio import ServicerContext

from tidemill.ingest.v1 import source_service_pb2 as pb
from tidemill.ingest.v1 import source_service_pb2_grpc
from tidemill_ingest.sources.crud import CHANGEABLE, CreateSource, DeleteSource, ManageSources, UpdateSource
from tidemill_ingest.sources.messages import source_message, source_of
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, request_of, required

Context = ServicerContext[Any, Any]


class SourceServicer(source_service_pb2_grpc.SourceServiceServicer):
    """Message -> command -> use case -> message."""

    def __init__(self, sources: ManageSources) -> None:
        self._sources = sources

    async def CreateSource(self, request: pb.CreateSourceRequest, context: Context) -> pb.CreateSourceResponse:  # noqa: ARG002
        """See the contract."""
        required(request, "source")
        command = CreateSource(
            source=source_of(request.source, current_caller().project),
            request=request_of(request),
            validate_only=request.validate_only,
        )
        return pb.CreateSourceResponse(source=source_message(await self._sources.create(current_caller(), command)))

    async def GetSource(self, request: pb.GetSourceRequest, context: Context) -> pb.GetSourceResponse:  # noqa: ARG002
        """See the contract."""
        source = await self._sources.get(current_caller(), request.id)
        return pb.GetSourceResponse(source=source_message(source))

    async def ListSources(self, request: pb.ListSourcesRequest, context: Context) -> pb.ListSourcesResponse:  # noqa: ARG002
        """See the contract."""
        page = await self._sources.list(current_caller(), page_of(request, filters={}))
        return pb.ListSourcesResponse(
            sources=[source_message(source) for source in page.items], next_page_token=page.next_token
        )

    async def UpdateSource(self, request: pb.UpdateSourceRequest, context: Context) -> pb.UpdateSourceResponse:  # noqa: ARG002
        """See the contract."""
        required(request, "source")
        command = UpdateSource(
            source=source_of(request.source, current_caller().project),
            fields=paths_of(request.update_mask, allowed=CHANGEABLE),
            etag=request.source.etag,
            request=request_of(request),
            validate_only=request.validate_only,
        )
        return pb.UpdateSourceResponse(source=source_message(await self._sources.update(current_caller(), command)))

    async def DeleteSource(self, request: pb.DeleteSourceRequest, context: Context) -> pb.DeleteSourceResponse:  # noqa: ARG002
        """See the contract."""
        command = DeleteSource(
            source_id=request.id,
            etag=request.etag,
            request=request_of(request),
            validate_only=request.validate_only,
        )
        deleted = await self._sources.delete(current_caller(), command)
        return pb.DeleteSourceResponse(source=source_message(deleted))
