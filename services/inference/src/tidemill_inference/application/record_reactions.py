"""Count what people say of answers in a rollout."""

from dataclasses import dataclass

from tidemill_inference.application.ports.deployments import Deployments
from tidemill_inference.application.ports.rollouts import GivenRating, Outcomes
from tidemill_inference.domain.errors import DeploymentNotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRating:
    """The same rating again changes nothing; a later one of the same feedback replaces it."""

    deployments: Deployments
    outcomes: Outcomes

    async def __call__(self, project: str, deployment_id: str, rating: GivenRating) -> bool:
        """Return whether it counts: only those do that are about the active rollout."""
        try:
            deployment = await self.deployments.get(project, deployment_id)
        except DeploymentNotFound:
            return False
        rollout = deployment.active_rollout
        if rollout is None or rollout.id != rating.rollout:
            return False
        await self.outcomes.rate(project, rating)
        return True
