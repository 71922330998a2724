"""SourceService."""

from typing import Any

from grpc.aio import ServicerContext

from tidemill.ingest.v1 import source_service_pb2 as pb
from tidemill.ingest.v1 import source_service_pb2_grpc
from tidemill_ingest.documents.messages import required, source_message, source_of
from tidemill_ingest.documents.ports import Sources
from tidemill_ingest.sources.crud import (
    CHANGEABLE,
    ChangeSources,
    CreateSourceCommand,
    DeleteSourceCommand,
    UpdateSourceCommand,
)
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, request_of

Context = ServicerContext[Any, Any]


class SourceServicer(source_service_pb2_grpc.SourceServiceServicer):
    """Message -> command -> use case -> message."""

    def __init__(self, *, sources: Sources, changing: ChangeSources) -> None:
        self._sources = sources
        self._changing = changing

    async def CreateSource(self, request: pb.CreateSourceRequest, context: Context) -> pb.CreateSourceResponse:  # noqa: ARG002
        """See the contract."""
        required(request, "source")
        command = CreateSourceCommand(
            source=source_of(request.source, current_caller().project),
            request=request_of(request),
            validate_only=request.validate_only,
        )
        return pb.CreateSourceResponse(source=source_message(await self._changing.create(command)))

    async def GetSource(self, request: pb.GetSourceRequest, context: Context) -> pb.GetSourceResponse:  # noqa: ARG002
        """See the contract."""
        source = await self._sources.get(current_caller().project, request.id)
        return pb.GetSourceResponse(source=source_message(source))

    async def ListSources(self, request: pb.ListSourcesRequest, context: Context) -> pb.ListSourcesResponse:  # noqa: ARG002
        """See the contract."""
        page = await self._sources.list(current_caller().project, page=page_of(request))
        return pb.ListSourcesResponse(
            sources=[source_message(source) for source in page.items], next_page_token=page.next_token
        )

    async def UpdateSource(self, request: pb.UpdateSourceRequest, context: Context) -> pb.UpdateSourceResponse:  # noqa: ARG002
        """See the contract."""
        required(request, "source")
        command = UpdateSourceCommand(
            source=source_of(request.source, current_caller().project),
            fields=paths_of(request.update_mask, allowed=CHANGEABLE),
            etag=request.source.etag,
            request=request_of(request),
            validate_only=request.validate_only,
        )
        return pb.UpdateSourceResponse(source=source_message(await self._changing.update(command)))

    async def DeleteSource(self, request: pb.DeleteSourceRequest, context: Context) -> pb.DeleteSourceResponse:  # noqa: ARG002
        """See the contract."""
        command = DeleteSourceCommand(
            source_id=request.id,
            etag=request.etag,
            request=request_of(request),
            validate_only=request.validate_only,
        )
        deleted = await self._changing.delete(current_caller(), command)
        return pb.DeleteSourceResponse(source=source_message(deleted))
