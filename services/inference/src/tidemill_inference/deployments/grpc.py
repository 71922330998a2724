"""DeploymentService: message -> use case -> message."""

from google.protobuf.message import Message

from tidemill.inference.v1 import deployment_service_pb2 as pb
from tidemill.inference.v1 import deployment_service_pb2_grpc
from tidemill.inference.v1.caching_pb2 import CacheSavings
from tidemill_inference.caching.domain.savings import Savings, total_of
from tidemill_inference.caching.ports import ReadingSavings
from tidemill_inference.deployments.crud import DeploymentCrud
from tidemill_inference.deployments.messages import CHANGEABLE, change_of, deployment_message, spec_of
from tidemill_inference.deployments.ports import Deployments
from tidemill_inference.rollouts.commands import RolloutCommand, RolloutCommands
from tidemill_inference.rollouts.outcomes import CountOutcomes
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, write_of
from tidemill_kit.mapping import from_message, to_message


class GrpcDeploymentService(deployment_service_pb2_grpc.DeploymentServiceServicer):
    """Serves deployments; errors are mapped by the kit's interceptor."""

    def __init__(
        self,
        deployments: Deployments,
        crud: DeploymentCrud,
        *,
        count: CountOutcomes,
        rollouts: RolloutCommands,
        savings: ReadingSavings,
    ) -> None:
        self._deployments = deployments
        self._crud = crud
        self._count = count
        self._rollouts = rollouts
        self._savings = savings

    async def CreateDeployment(
        self, request: pb.CreateDeploymentRequest, _context: object
    ) -> pb.CreateDeploymentResponse:
        """Create a deployment."""
        deployment = await self._crud.create(
            current_caller(),
            request.deployment.id,
            spec_of(request.deployment),
            labels=request.deployment.labels,
            rollouts_paused=request.deployment.rollouts_paused,
            write=write_of(request),
        )
        return pb.CreateDeploymentResponse(deployment=deployment_message(deployment))

    async def GetDeployment(self, request: pb.GetDeploymentRequest, _context: object) -> pb.GetDeploymentResponse:
        """Return one deployment."""
        found = await self._deployments.get(current_caller().project, request.id)
        deployment = await self._count.with_differences(found)
        return pb.GetDeploymentResponse(deployment=deployment_message(deployment))

    async def ListDeployments(self, request: pb.ListDeploymentsRequest, _context: object) -> pb.ListDeploymentsResponse:
        """Return a page of deployments."""
        page = await self._deployments.list(current_caller().project, page=page_of(request, filters={}))
        return pb.ListDeploymentsResponse(
            deployments=[deployment_message(await self._count(each)) for each in page.items],
            next_page_token=page.next_token,
        )

    async def UpdateDeployment(
        self, request: pb.UpdateDeploymentRequest, _context: object
    ) -> pb.UpdateDeploymentResponse:
        """Change the fields that the mask names."""
        paths = paths_of(request.update_mask, allowed=CHANGEABLE)
        deployment = await self._crud.update(
            current_caller(),
            request.deployment.id,
            change=change_of(request.deployment, paths),
            labels=request.deployment.labels if "labels" in paths else None,
            rollouts_paused=request.deployment.rollouts_paused if "rollouts_paused" in paths else None,
            write=write_of(request, etag=request.deployment.etag),
        )
        return pb.UpdateDeploymentResponse(deployment=deployment_message(deployment))

    async def DeleteDeployment(
        self, request: pb.DeleteDeploymentRequest, _context: object
    ) -> pb.DeleteDeploymentResponse:
        """Delete a deployment."""
        deployment = await self._crud.delete(current_caller(), request.id, write_of(request))
        return pb.DeleteDeploymentResponse(deployment=deployment_message(deployment))

    async def PromoteRollout(self, request: pb.PromoteRolloutRequest, _context: object) -> pb.PromoteRolloutResponse:
        """Make the candidate live now."""
        deployment = await self._rollouts.promote(current_caller(), _command(request))
        return pb.PromoteRolloutResponse(deployment=deployment_message(deployment))

    async def RollBackRollout(self, request: pb.RollBackRolloutRequest, _context: object) -> pb.RollBackRolloutResponse:
        """Take the candidate back, or its promotion."""
        deployment = await self._rollouts.roll_back(current_caller(), _command(request))
        return pb.RollBackRolloutResponse(deployment=deployment_message(deployment))

    async def ApproveRollout(self, request: pb.ApproveRolloutRequest, _context: object) -> pb.ApproveRolloutResponse:
        """Agree to the promotion."""
        deployment = await self._rollouts.approve(current_caller(), _command(request))
        return pb.ApproveRolloutResponse(deployment=deployment_message(deployment))

    async def GetCacheSavings(self, request: pb.GetCacheSavingsRequest, _context: object) -> pb.GetCacheSavingsResponse:
        """Return what the cache saved, day by day."""
        days = await self._savings(current_caller(), request.id, days=request.days)
        return pb.GetCacheSavingsResponse(
            days=[_savings(each.savings, day=each.day.isoformat()) for each in days],
            total=_savings(total_of(days)),
        )


def _savings(savings: Savings, *, day: str = "") -> CacheSavings:
    return to_message(CacheSavings, savings, day=day)


def _command(request: Message) -> RolloutCommand:
    return from_message(RolloutCommand, request, write=write_of(request))
