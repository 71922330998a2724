"""Client of the inference service, which has the deployments."""

import grpc

from tidemill.inference.v1 import deployment_pb2, deployment_service_pb2
from tidemill.inference.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from tidemill.inference.v1.rollout_pb2 import RolloutState
from tidemill_core.application import Caller
from tidemill_core.grpc.context import acting_as
from tidemill_core.resources import owner_of
from tidemill_evaluator.harness_runs.domain.harness_run import Live

_ENDED = frozenset({RolloutState.ROLLOUT_STATE_PROMOTED, RolloutState.ROLLOUT_STATE_ROLLED_BACK})


class InferenceDeployments:
    """Implements `ports.Deployments`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._deployments = DeploymentServiceStub(channel)

    async def live(self, caller: Caller, deployment: str) -> Live:
        """See `Deployments.live`."""
        request = deployment_service_pb2.GetDeploymentRequest(id=deployment)
        with acting_as(caller):
            found = (await self._deployments.GetDeployment(request)).deployment
        return Live(
            configuration=found.live.digest,
            model=found.live.model,
            passages_of=_owners(found, caller.project),
            rolling_out=found.HasField("rollout") and found.rollout.state not in _ENDED,
        )


def _owners(found: deployment_pb2.Deployment, project: str) -> tuple[str, ...]:
    retrieval = found.live.retrieval
    names = [name for name in (retrieval.collection, *retrieval.other_collections) if name]
    return tuple(sorted({owner_of(name, project) for name in names}))
