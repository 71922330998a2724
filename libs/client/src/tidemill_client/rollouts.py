"""Rollouts: a candidate on its way to users, and the commands that a person has over it."""

from collections.abc import Callable, Collection

from tidemill.inference.v1.deployment_pb2 import Deployment
from tidemill.inference.v1.deployment_service_pb2 import (
    ApproveRolloutRequest,
    GetDeploymentRequest,
    PromoteRolloutRequest,
    RollBackRolloutRequest,
)
from tidemill.inference.v1.rollout_pb2 import Rollout, RolloutState
from tidemill.monitor.v1.lineage_service_pb2 import GetTimelineRequest, GetTimelineResponse
from tidemill_client.connection import Connection
from tidemill_client.waiting import poll

PATIENCE_S = 3600.0
ENDED = frozenset({RolloutState.ROLLOUT_STATE_PROMOTED, RolloutState.ROLLOUT_STATE_ROLLED_BACK})
"""A rollout in one of these moves nobody any more."""


class Rollouts:
    """Every method names the deployment; the rollout is the active one, or the given id."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, deployment: str) -> Rollout:
        """Return the active rollout, or the last one; its id is empty where there was none yet."""
        request = GetDeploymentRequest(id=deployment)
        return (await self._connection.deployments.GetDeployment(request)).deployment.rollout

    async def approve(self, deployment: str, *, rollout: str = "", rationale: str = "") -> Deployment:
        """Approve a rollout."""
        request = ApproveRolloutRequest(deployment=deployment, rollout=rollout, rationale=rationale)
        return (await self._connection.deployments.ApproveRollout(request)).deployment

    async def promote(self, deployment: str, *, rollout: str = "", rationale: str = "") -> Deployment:
        """Make the candidate live now.

        Raises:
            PreconditionFailed: its gate has not passed, or what was evaluated against is no longer live.

        """
        request = PromoteRolloutRequest(deployment=deployment, rollout=rollout, rationale=rationale)
        return (await self._connection.deployments.PromoteRollout(request)).deployment

    async def roll_back(self, deployment: str, *, rollout: str = "", rationale: str = "") -> Deployment:
        """Take the candidate back, also after its promotion."""
        request = RollBackRolloutRequest(deployment=deployment, rollout=rollout, rationale=rationale)
        return (await self._connection.deployments.RollBackRollout(request)).deployment

    async def timeline(self, deployment: str, *, rollout: str = "") -> GetTimelineResponse:
        """Return what happened, from the dataset version to the promotion, oldest first; `cut` where there is more."""
        request = GetTimelineRequest(deployment=deployment, rollout=rollout)
        return await self._connection.lineage.GetTimeline(request)

    async def wait(
        self,
        deployment: str,
        *,
        states: Collection[RolloutState.ValueType] = ENDED,
        within_s: float = PATIENCE_S,
        watch: Callable[[Rollout], None] = lambda _rollout: None,
    ) -> Rollout:
        """Wait until the deployment's rollout is in one of these states, and return it.

        Raises:
            DeadlineExceeded: it is in none of them within the time.

        """
        return await poll(
            lambda: self.get(deployment),
            lambda found: found.state in states,
            what=f"the rollout of {deployment}",
            within_s=within_s,
            watch=watch,
        )
