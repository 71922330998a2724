"""gRPC SweepService."""

from tidemill.trainer.v1 import sweep_service_pb2 as pb
from tidemill.trainer.v1.sweep_service_pb2_grpc import SweepServiceServicer
from tidemill_kit.grpc.server import current_caller, page_of, request_of, write_of
from tidemill_trainer.sweeps.crud import SweepCrud
from tidemill_trainer.sweeps.messages import sweep_message, sweep_of


class GrpcSweepService(SweepServiceServicer):
    """Message -> use case -> message; errors are translated by the server's interceptor."""

    def __init__(self, sweeps: SweepCrud) -> None:
        self._sweeps = sweeps

    async def CreateSweep(self, request: pb.CreateSweepRequest, _context: object) -> pb.CreateSweepResponse:
        """Create a sweep."""
        sweep = await self._sweeps.create(current_caller(), sweep_of(request.sweep), write_of(request))
        return pb.CreateSweepResponse(sweep=sweep_message(sweep))

    async def GetSweep(self, request: pb.GetSweepRequest, _context: object) -> pb.GetSweepResponse:
        """Return one sweep."""
        return pb.GetSweepResponse(sweep=sweep_message(await self._sweeps.get(current_caller(), request.id)))

    async def ListSweeps(self, request: pb.ListSweepsRequest, _context: object) -> pb.ListSweepsResponse:
        """Return a page of sweeps."""
        page = await self._sweeps.list(current_caller(), page_of(request, filters={"plan": "plan"}))
        return pb.ListSweepsResponse(
            sweeps=[sweep_message(sweep) for sweep in page.items], next_page_token=page.next_token
        )

    async def CancelSweep(self, request: pb.CancelSweepRequest, _context: object) -> pb.CancelSweepResponse:
        """Cancel a sweep."""
        sweep = await self._sweeps.cancel(current_caller(), request.id, request=request_of(request))
        return pb.CancelSweepResponse(sweep=sweep_message(sweep))

    async def DeleteSweep(self, request: pb.DeleteSweepRequest, _context: object) -> pb.DeleteSweepResponse:
        """Delete a sweep."""
        sweep = await self._sweeps.delete(current_caller(), request.id, write_of(request))
        return pb.DeleteSweepResponse(sweep=sweep_message(sweep))
