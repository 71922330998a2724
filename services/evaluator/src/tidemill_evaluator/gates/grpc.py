"""The RPCs of EvaluationService about gates."""

from dataclasses import dataclass

from tidemill.evaluator.v1 import evaluation_service_pb2 as pb
from tidemill_evaluator.gates.crud import CHANGEABLE, GateCrud
from tidemill_evaluator.gates.messages import gate_of
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, required, write_of
from tidemill_kit.mapping import to_message


@dataclass(frozen=True, kw_only=True)
class GateRpcs:
    """Message -> use case -> message."""

    gates: GateCrud

    async def CreateGate(self, request: pb.CreateGateRequest, _context: object) -> pb.CreateGateResponse:
        """See the contract."""
        required(request, "gate")
        caller = current_caller()
        created = await self.gates.create(caller, gate_of(request.gate, caller.project), write_of(request))
        return to_message(pb.CreateGateResponse, gate=created)

    async def GetGate(self, request: pb.GetGateRequest, _context: object) -> pb.GetGateResponse:
        """See the contract."""
        return to_message(pb.GetGateResponse, gate=await self.gates.get(current_caller(), request.id))

    async def ListGates(self, request: pb.ListGatesRequest, _context: object) -> pb.ListGatesResponse:
        """See the contract."""
        page = await self.gates.list(current_caller(), page_of(request, filters={"candidate": "candidate"}))
        return to_message(pb.ListGatesResponse, gates=page.items, next_page_token=page.next_token)

    async def UpdateGate(self, request: pb.UpdateGateRequest, _context: object) -> pb.UpdateGateResponse:
        """See the contract."""
        required(request, "gate")
        caller = current_caller()
        fields, write = paths_of(request.update_mask, allowed=CHANGEABLE), write_of(request, etag=request.gate.etag)
        gate = await self.gates.update(caller, gate_of(request.gate, caller.project), fields, write)
        return to_message(pb.UpdateGateResponse, gate=gate)

    async def DeleteGate(self, request: pb.DeleteGateRequest, _context: object) -> pb.DeleteGateResponse:
        """See the contract."""
        deleted = await self.gates.delete(current_caller(), request.id, write_of(request))
        return to_message(pb.DeleteGateResponse, gate=deleted)
