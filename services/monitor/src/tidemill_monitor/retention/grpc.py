"""RetentionService: message -> use case -> message."""

from dataclasses import dataclass

from tidemill.monitor.v1 import retention_service_pb2 as pb
from tidemill.monitor.v1.retention_service_pb2_grpc import RetentionServiceServicer
from tidemill_kit.grpc.server import current_caller, page_of, write_of
from tidemill_kit.mapping import to_message
from tidemill_monitor.retention.crud import RetentionCrud
from tidemill_monitor.retention.messages import retention_of


@dataclass(frozen=True, kw_only=True)
class GrpcRetentionService(RetentionServiceServicer):
    """Sets how long a project keeps its data."""

    retention: RetentionCrud

    async def SetRetention(self, request: pb.SetRetentionRequest, _context: object) -> pb.SetRetentionResponse:
        """See the contract."""
        caller = current_caller()
        given = retention_of(request, caller.project)
        changed = await self.retention.set(caller, given.kind, given.days, write_of(request))
        return to_message(pb.SetRetentionResponse, retention=changed)

    async def ListRetention(self, request: pb.ListRetentionRequest, _context: object) -> pb.ListRetentionResponse:
        """See the contract."""
        page = await self.retention.list(current_caller(), page_of(request, filters={}))
        return to_message(pb.ListRetentionResponse, retention=page.items, next_page_token=page.next_token)
