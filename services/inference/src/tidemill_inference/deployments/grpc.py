"""DeploymentService: message -> use case -> message."""

from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from tidemill.inference.v1 import deployment_service_pb2 as pb
from tidemill.inference.v1 import deployment_service_pb2_grpc
from tidemill_core.application import Request
from tidemill_inference.deployments.crud import (
    CreateDeployment,
    DeleteDeployment,
    DeploymentChange,
    DeploymentToCreate,
    UpdateDeployment,
)
from tidemill_inference.deployments.messages import CHANGEABLE, change_of, deployment_message, spec_of
from tidemill_inference.deployments.ports import Deployments
from tidemill_inference.rollouts.commands import (
    ApproveRollout,
    PromoteRollout,
    RollBackRollout,
    RolloutCommand,
)
from tidemill_inference.rollouts.outcomes import CountOutcomes
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, request_of

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentUseCases:
    """What the service can do."""

    deployments: Deployments
    create: CreateDeployment
    update: UpdateDeployment
    delete: DeleteDeployment
    count: CountOutcomes
    promote: PromoteRollout
    roll_back: RollBackRollout
    approve: ApproveRollout


class _RolloutRequest(Protocol):
    """A request that names a rollout."""

    deployment: str
    rollout: str
    rationale: str
    validate_only: bool


class GrpcDeploymentService(deployment_service_pb2_grpc.DeploymentServiceServicer):
    """Serves deployments; errors are mapped by the kit's interceptor."""

    def __init__(self, use_cases: DeploymentUseCases) -> None:
        self._use = use_cases

    async def CreateDeployment(
        self, request: pb.CreateDeploymentRequest, _context: Context
    ) -> pb.CreateDeploymentResponse:
        """Create a deployment."""
        command = DeploymentToCreate(
            id=request.deployment.id,
            spec=spec_of(request.deployment),
            labels=dict(request.deployment.labels),
            rollouts_paused=request.deployment.rollouts_paused,
            request=request_of(request),
            validate_only=request.validate_only,
        )
        deployment = await self._use.create(current_caller(), command)
        return pb.CreateDeploymentResponse(deployment=deployment_message(deployment))

    async def GetDeployment(self, request: pb.GetDeploymentRequest, _context: Context) -> pb.GetDeploymentResponse:
        """Return one deployment."""
        deployment = await self._use.count(await self._use.deployments.get(current_caller().project, request.id))
        return pb.GetDeploymentResponse(deployment=deployment_message(deployment))

    async def ListDeployments(
        self, request: pb.ListDeploymentsRequest, _context: Context
    ) -> pb.ListDeploymentsResponse:
        """Return a page of deployments."""
        page = await self._use.deployments.list(current_caller().project, page=page_of(request, filters={}))
        return pb.ListDeploymentsResponse(
            deployments=[deployment_message(await self._use.count(each)) for each in page.items],
            next_page_token=page.next_token,
        )

    async def UpdateDeployment(
        self, request: pb.UpdateDeploymentRequest, _context: Context
    ) -> pb.UpdateDeploymentResponse:
        """Change the fields that the mask names."""
        paths = paths_of(request.update_mask, allowed=CHANGEABLE)
        command = DeploymentChange(
            id=request.deployment.id,
            change=change_of(request.deployment, paths),
            labels=dict(request.deployment.labels) if "labels" in paths else None,
            rollouts_paused=request.deployment.rollouts_paused if "rollouts_paused" in paths else None,
            request=request_of(request),
            etag=request.deployment.etag,
            validate_only=request.validate_only,
        )
        deployment = await self._use.update(current_caller(), command)
        return pb.UpdateDeploymentResponse(deployment=deployment_message(deployment))

    async def DeleteDeployment(
        self, request: pb.DeleteDeploymentRequest, _context: Context
    ) -> pb.DeleteDeploymentResponse:
        """Delete a deployment."""
        deployment = await self._use.delete(
            current_caller(),
            request.id,
            request=request_of(request),
            etag=request.etag,
            validate_only=request.validate_only,
        )
        return pb.DeleteDeploymentResponse(deployment=deployment_message(deployment))

    async def PromoteRollout(self, request: pb.PromoteRolloutRequest, _context: Context) -> pb.PromoteRolloutResponse:
        """Make the candidate live now."""
        deployment = await self._use.promote(current_caller(), _command(request, request_of(request)))
        return pb.PromoteRolloutResponse(deployment=deployment_message(deployment))

    async def RollBackRollout(
        self, request: pb.RollBackRolloutRequest, _context: Context
    ) -> pb.RollBackRolloutResponse:
        """Take the candidate back, or its promotion."""
        deployment = await self._use.roll_back(current_caller(), _command(request, request_of(request)))
        return pb.RollBackRolloutResponse(deployment=deployment_message(deployment))

    async def ApproveRollout(self, request: pb.ApproveRolloutRequest, _context: Context) -> pb.ApproveRolloutResponse:
        """Agree to the promotion."""
        deployment = await self._use.approve(current_caller(), _command(request, request_of(request)))
        return pb.ApproveRolloutResponse(deployment=deployment_message(deployment))


def _command(message: _RolloutRequest, request: Request) -> RolloutCommand:
    return RolloutCommand(
        deployment=message.deployment,
        rollout=message.rollout,
        rationale=message.rationale,
        request=request,
        validate_only=message.validate_only,
    )
