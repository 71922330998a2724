"""Rollouts: read, approve, promote, roll back and wait."""

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
"""Terminal states."""


class Rollouts:
    """The rollouts of a project, by deployment; the rollout is the active one unless an id is given."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, deployment: str) -> Rollout:
        """Return the active or the latest rollout; its id is empty if there was none."""
        request = GetDeploymentRequest(id=deployment)
        return (await self._connection.deployments.GetDeployment(request)).deployment.rollout

    async def approve(self, deployment: str, *, rollout: str = "", rationale: str = "") -> Deployment:
        """Approve a rollout."""
        request = ApproveRolloutRequest(deployment=deployment, rollout=rollout, rationale=rationale)
        return (await self._connection.deployments.ApproveRollout(request)).deployment

    async def promote(self, deployment: str, *, rollout: str = "", rationale: str = "") -> Deployment:
        """Promote the candidate now.

        Raises:
            PreconditionFailed: its gate has not passed, or what was evaluated against is no longer live.

        """
        request = PromoteRolloutRequest(deployment=deployment, rollout=rollout, rationale=rationale)
        return (await self._connection.deployments.PromoteRollout(request)).deployment

    async def roll_back(self, deployment: str, *, rollout: str = "", rationale: str = "") -> Deployment:
        """Roll back to the baseline, also after a promotion."""
        request = RollBackRolloutRequest(deployment=deployment, rollout=rollout, rationale=rationale)
        return (await self._connection.deployments.RollBackRollout(request)).deployment

    async def timeline(self, deployment: str, *, rollout: str = "") -> GetTimelineResponse:
        """Return the timeline, from the dataset version to the promotion, oldest first; `cut` if it is truncated."""
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
