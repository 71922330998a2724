"""Delete the outcomes of ended rollouts that a crashed process has left."""

from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.application import Clock
from tidemill_inference.application.ports.deployments import DeploymentRef, Deployments
from tidemill_inference.application.ports.rollouts import ActiveRollouts, Outcomes
from tidemill_inference.domain.errors import DeploymentNotFound

QUIET = timedelta(hours=1)
"""Younger outcomes stay: a replica may still reconcile their rollout, or record them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetOutcomes:
    """Drops the outcomes of all rollouts that are no deployment's active one; repeating it changes nothing."""

    active: ActiveRollouts
    deployments: Deployments
    outcomes: Outcomes
    clock: Clock

    async def __call__(self) -> None:
        """Return once they are gone.

        Raises:
            DependencyUnavailable: the store does not answer.

        """
        quiet = await self.outcomes.quiet(since=self.clock.now() - QUIET)  # first: what begins later is none of them
        if not quiet:
            return
        active = {(ref.project, await self._rollout(ref)) for ref in await self.active.all()}
        for project, rollout in quiet:
            if (project, rollout) not in active:
                await self.outcomes.forget(project, rollout)

    async def _rollout(self, ref: DeploymentRef) -> str:
        try:
            rollout = (await self.deployments.get(ref.project, ref.id)).active_rollout
        except DeploymentNotFound:
            return ""
        return rollout.id if rollout else ""
