"""Count the outcomes of a rollout's current step."""

from collections import OrderedDict
from dataclasses import dataclass, field, replace

from tidemill_inference.application.ports.deployments import DeploymentRef
from tidemill_inference.application.ports.rollouts import Outcomes
from tidemill_inference.domain.deployment import Deployment
from tidemill_inference.domain.rollout import Rollout
from tidemill_inference.domain.step_counts import StepCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class CountOutcomes:
    """Counts the outcomes of the current step; they are read again only after a new one was recorded."""

    outcomes: Outcomes
    max_kept: int = 256
    """Of how many deployments the counts are kept: those that were asked for last."""
    _counted: OrderedDict[DeploymentRef, tuple[object, StepCounts]] = field(default_factory=OrderedDict, init=False)
    """What was counted last of each deployment's rollout, and at which mark."""

    async def __call__(self, deployment: Deployment) -> Deployment:
        """Return the deployment with the counts of its active rollout as they are now."""
        rollout = deployment.active_rollout
        if rollout is None:
            return deployment
        counts = await self.step(DeploymentRef(project=deployment.project, id=deployment.id), rollout)
        return replace(deployment, rollout=replace(rollout, counts=counts))

    async def step(self, ref: DeploymentRef, rollout: Rollout) -> StepCounts:
        """Return the counts of a rollout's step; what is too old to count is dropped."""
        of, step = (ref.project, rollout.id, rollout.step), rollout.current
        mark = (*of, await self.outcomes.mark(*of))
        known = self._counted.pop(ref, None)
        if known and known[0] == mark:
            self._counted[ref] = known
            return known[1]
        counts = StepCounts.of(await self.outcomes.of_step(*of, newest=step.kept), shadow=step.shadow)
        await self.outcomes.trim(*of, newest=step.kept)
        self._counted[ref] = mark, counts
        while len(self._counted) > self.max_kept:
            self._counted.popitem(last=False)
        return counts
