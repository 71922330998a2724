"""SourceService."""

from tidemill.ingest.v1 import source_service_pb2 as pb
from tidemill.ingest.v1 import source_service_pb2_grpc
from tidemill_ingest.sources.crud import CHANGEABLE, ManageSources
from tidemill_ingest.sources.messages import source_message, source_of
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, required, write_of


class SourceServicer(source_service_pb2_grpc.SourceServiceServicer):
    """Message -> use case -> message."""

    def __init__(self, sources: ManageSources) -> None:
        self._sources = sources

    async def CreateSource(self, request: pb.CreateSourceRequest, _context: object) -> pb.CreateSourceResponse:
        """See the contract."""
        caller = current_caller()
        required(request, "source")
        source = await self._sources.create(caller, source_of(request.source, caller.project), write_of(request))
        return pb.CreateSourceResponse(source=source_message(source))

    async def GetSource(self, request: pb.GetSourceRequest, _context: object) -> pb.GetSourceResponse:
        """See the contract."""
        caller = current_caller()
        source = await self._sources.get(caller, request.id)
        polls = await self._sources.polls_of(caller, [source])
        return pb.GetSourceResponse(source=source_message(source, polls.get(source.id)))

    async def ListSources(self, request: pb.ListSourcesRequest, _context: object) -> pb.ListSourcesResponse:
        """See the contract."""
        caller = current_caller()
        page = await self._sources.list(caller, page_of(request, filters={}))
        polls = await self._sources.polls_of(caller, page.items)
        found = [source_message(each, polls.get(each.id)) for each in page.items]
        return pb.ListSourcesResponse(sources=found, next_page_token=page.next_token)

    async def UpdateSource(self, request: pb.UpdateSourceRequest, _context: object) -> pb.UpdateSourceResponse:
        """See the contract."""
        caller = current_caller()
        required(request, "source")
        fields = paths_of(request.update_mask, allowed=CHANGEABLE)
        write = write_of(request, etag=request.source.etag)
        source = await self._sources.update(caller, source_of(request.source, caller.project), fields, write)
        return pb.UpdateSourceResponse(source=source_message(source))

    async def DeleteSource(self, request: pb.DeleteSourceRequest, _context: object) -> pb.DeleteSourceResponse:
        """See the contract."""
        deleted = await self._sources.delete(current_caller(), request.id, write_of(request))
        return pb.DeleteSourceResponse(source=source_message(deleted))
