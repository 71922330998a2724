"""Count what came of an answer in a rollout."""

from dataclasses import dataclass

from tidemill_inference.application.ports.deployments import Deployments
from tidemill_inference.application.ports.rollouts import Outcomes
from tidemill_inference.domain.errors import DeploymentNotFound
from tidemill_inference.domain.step_counts import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordOutcome:
    """Outcomes that arrive after the step, rollout or deployment has ended are dropped."""

    deployments: Deployments
    outcomes: Outcomes

    async def __call__(self, project: str, deployment_id: str, outcome: Outcome) -> None:
        """Keep it; the same inference again replaces it.

        Raises:
            DependencyUnavailable: the store does not answer.

        """
        try:
            rollout = (await self.deployments.get(project, deployment_id)).active_rollout
        except DeploymentNotFound:
            return
        if rollout and (rollout.id, rollout.step) == (outcome.rollout, outcome.step):
            await self.outcomes.record(project, outcome)
