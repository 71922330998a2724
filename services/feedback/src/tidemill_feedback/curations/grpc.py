"""CurationService: by which rules reactions become examples."""

from dataclasses import dataclass

from tidemill.feedback.v1 import curation_service_pb2 as pb
from tidemill.feedback.v1.curation_service_pb2_grpc import CurationServiceServicer
from tidemill_feedback.curations.crud import CHANGEABLE, CurationCrud
from tidemill_feedback.curations.messages import curation_message, refused_message, rule_of
from tidemill_kit.grpc.lists import Order
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, write_of

_OBSERVED = Order("observe_time", "oldest first", "newest first")


@dataclass(frozen=True, kw_only=True)
class GrpcCurationService(CurationServiceServicer):
    """Message -> use case -> message; errors are translated by the server's interceptor."""

    curations: CurationCrud

    async def CreateCuration(self, request: pb.CreateCurationRequest, _context: object) -> pb.CreateCurationResponse:
        """Create a curation."""
        given = request.curation
        created = await self.curations.create(current_caller(), given.id, rule_of(given), write_of(request))
        return pb.CreateCurationResponse(curation=curation_message(created))

    async def GetCuration(self, request: pb.GetCurationRequest, _context: object) -> pb.GetCurationResponse:
        """Return one curation."""
        return pb.GetCurationResponse(curation=curation_message(await self.curations.get(current_caller(), request.id)))

    async def ListCurations(self, request: pb.ListCurationsRequest, _context: object) -> pb.ListCurationsResponse:
        """Return a page of curations."""
        page = await self.curations.list(current_caller(), page_of(request, filters={"deployment": "rule.deployment"}))
        return pb.ListCurationsResponse(curations=[*map(curation_message, page.items)], next_page_token=page.next_token)

    async def UpdateCuration(self, request: pb.UpdateCurationRequest, _context: object) -> pb.UpdateCurationResponse:
        """Change the fields that the mask names."""
        given, paths = request.curation, paths_of(request.update_mask, allowed=CHANGEABLE)
        write = write_of(request, etag=given.etag)
        updated = await self.curations.update(current_caller(), given.id, rule_of(given), paths, write)
        return pb.UpdateCurationResponse(curation=curation_message(updated))

    async def DeleteCuration(self, request: pb.DeleteCurationRequest, _context: object) -> pb.DeleteCurationResponse:
        """Delete a curation."""
        deleted = await self.curations.delete(current_caller(), request.id, write_of(request))
        return pb.DeleteCurationResponse(curation=curation_message(deleted))

    async def ListRefusedExamples(
        self, request: pb.ListRefusedExamplesRequest, _context: object
    ) -> pb.ListRefusedExamplesResponse:
        """Return a page of the corrections that are no examples."""
        asked = page_of(request, filters={"reason": "refusal"}, order=_OBSERVED)
        page = await self.curations.refused(current_caller(), request.curation, asked)
        return pb.ListRefusedExamplesResponse(
            examples=[*map(refused_message, page.items)], next_page_token=page.next_token
        )
