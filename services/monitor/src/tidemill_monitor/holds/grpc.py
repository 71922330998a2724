"""HoldService: message -> use case -> message."""

from dataclasses import dataclass

from tidemill.monitor.v1 import hold_service_pb2 as pb
from tidemill.monitor.v1.hold_service_pb2_grpc import HoldServiceServicer
from tidemill_kit.grpc.server import current_caller, page_of, required, write_of
from tidemill_kit.mapping import to_message
from tidemill_monitor.holds.crud import HoldCrud
from tidemill_monitor.holds.messages import hold_of


@dataclass(frozen=True, kw_only=True)
class GrpcHoldService(HoldServiceServicer):
    """Manages legal holds."""

    holds: HoldCrud

    async def CreateHold(self, request: pb.CreateHoldRequest, _context: object) -> pb.CreateHoldResponse:
        """See the contract."""
        required(request, "hold")
        caller = current_caller()
        created = await self.holds.create(caller, hold_of(request.hold, caller.project), write_of(request))
        return to_message(pb.CreateHoldResponse, hold=created)

    async def GetHold(self, request: pb.GetHoldRequest, _context: object) -> pb.GetHoldResponse:
        """See the contract."""
        return to_message(pb.GetHoldResponse, hold=await self.holds.get(current_caller(), request.id))

    async def ListHolds(self, request: pb.ListHoldsRequest, _context: object) -> pb.ListHoldsResponse:
        """See the contract."""
        page = await self.holds.list(current_caller(), page_of(request, filters={"state": "state"}))
        return to_message(pb.ListHoldsResponse, holds=page.items, next_page_token=page.next_token)

    async def ReleaseHold(self, request: pb.ReleaseHoldRequest, _context: object) -> pb.ReleaseHoldResponse:
        """See the contract."""
        released = await self.holds.release(current_caller(), request.id, write_of(request))
        return to_message(pb.ReleaseHoldResponse, hold=released)
