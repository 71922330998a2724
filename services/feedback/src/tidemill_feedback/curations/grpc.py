"""CurationService: by which rules reactions become examples."""

from dataclasses import dataclass

from tidemill.feedback.v1 import curation_pb2
from tidemill.feedback.v1 import curation_service_pb2 as pb
from tidemill.feedback.v1.curation_service_pb2_grpc import CurationServiceServicer
from tidemill_feedback.curations.create_curation import CreateCuration
from tidemill_feedback.curations.crud import CHANGEABLE, UpdateCommand, UpdateCuration
from tidemill_feedback.curations.delete_curation import DeleteCuration
from tidemill_feedback.curations.domain.curation import Curation
from tidemill_feedback.curations.read_curations import ReadCurations
from tidemill_feedback.reactions.messages import curation_message, rule_of, version_of
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, request_of


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCases:
    """What the service is made of."""

    create: CreateCuration
    read: ReadCurations
    update: UpdateCuration
    delete: DeleteCuration


class GrpcCurationService(CurationServiceServicer):
    """Message -> use case -> message; errors are translated by the server's interceptor."""

    def __init__(self, use_cases: UseCases) -> None:
        self._do = use_cases

    async def CreateCuration(self, request: pb.CreateCurationRequest, _context: object) -> pb.CreateCurationResponse:
        """Create a curation."""
        curation = await self._do.create(
            current_caller(),
            request.curation.id,
            rule_of(request.curation),
            request=request_of(request),
            validate_only=request.validate_only,
        )
        return pb.CreateCurationResponse(curation=await self._shown(curation))

    async def GetCuration(self, request: pb.GetCurationRequest, _context: object) -> pb.GetCurationResponse:
        """Return one curation."""
        overview = await self._do.read.get(current_caller(), request.id)
        return pb.GetCurationResponse(curation=curation_message(overview))

    async def ListCurations(self, request: pb.ListCurationsRequest, _context: object) -> pb.ListCurationsResponse:
        """Return a page of curations."""
        page = await self._do.read.list(current_caller(), page_of(request, filters={"deployment": "rule.deployment"}))
        return pb.ListCurationsResponse(
            curations=[curation_message(overview) for overview in page.items], next_page_token=page.next_token
        )

    async def UpdateCuration(self, request: pb.UpdateCurationRequest, _context: object) -> pb.UpdateCurationResponse:
        """Change the fields that the mask names."""
        command = UpdateCommand(
            curation=request.curation.id,
            rule=rule_of(request.curation),
            fields=paths_of(request.update_mask, allowed=CHANGEABLE),
            version=version_of(request.curation.etag),
            request=request_of(request),
            validate_only=request.validate_only,
        )
        curation = await self._do.update(current_caller(), command)
        return pb.UpdateCurationResponse(curation=await self._shown(curation))

    async def DeleteCuration(self, request: pb.DeleteCurationRequest, _context: object) -> pb.DeleteCurationResponse:
        """Delete a curation."""
        curation = await self._do.delete(
            current_caller(),
            request.id,
            version=version_of(request.etag),
            request=request_of(request),
            validate_only=request.validate_only,
        )
        return pb.DeleteCurationResponse(curation=await self._shown(curation))

    async def _shown(self, curation: Curation) -> curation_pb2.Curation:
        return curation_message(await self._do.read.overview(curation))
