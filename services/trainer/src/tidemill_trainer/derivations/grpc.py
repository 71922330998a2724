"""gRPC DerivationService."""

from tidemill.trainer.v1 import derivation_service_pb2 as pb
from tidemill.trainer.v1.derivation_service_pb2_grpc import DerivationServiceServicer
from tidemill_kit.grpc.server import current_caller, page_of, request_of, write_of
from tidemill_trainer.derivations.crud import DerivationCrud
from tidemill_trainer.derivations.messages import derivation_message, derivation_of


class GrpcDerivationService(DerivationServiceServicer):
    """Message -> use case -> message; errors are translated by the server's interceptor."""

    def __init__(self, derivations: DerivationCrud) -> None:
        self._derivations = derivations

    async def CreateDerivation(
        self, request: pb.CreateDerivationRequest, _context: object
    ) -> pb.CreateDerivationResponse:
        """Create a derivation."""
        requested = derivation_of(request.derivation)
        derivation = await self._derivations.create(current_caller(), requested, write_of(request))
        return pb.CreateDerivationResponse(derivation=derivation_message(derivation))

    async def GetDerivation(self, request: pb.GetDerivationRequest, _context: object) -> pb.GetDerivationResponse:
        """Return one derivation."""
        derivation = await self._derivations.get(current_caller(), request.id)
        return pb.GetDerivationResponse(derivation=derivation_message(derivation))

    async def ListDerivations(self, request: pb.ListDerivationsRequest, _context: object) -> pb.ListDerivationsResponse:
        """Return a page of derivations."""
        page = await self._derivations.list(current_caller(), page_of(request, filters={"model": "model"}))
        return pb.ListDerivationsResponse(
            derivations=[derivation_message(each) for each in page.items], next_page_token=page.next_token
        )

    async def CancelDerivation(
        self, request: pb.CancelDerivationRequest, _context: object
    ) -> pb.CancelDerivationResponse:
        """Cancel a derivation."""
        cancelled = await self._derivations.cancel(current_caller(), request.id, request=request_of(request))
        return pb.CancelDerivationResponse(derivation=derivation_message(cancelled))

    async def DeleteDerivation(
        self, request: pb.DeleteDerivationRequest, _context: object
    ) -> pb.DeleteDerivationResponse:
        """Delete a derivation."""
        deleted = await self._derivations.delete(current_caller(), request.id, write_of(request))
        return pb.DeleteDerivationResponse(derivation=derivation_message(deleted))
