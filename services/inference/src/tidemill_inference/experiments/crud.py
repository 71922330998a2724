"""Use cases: create, get, list, update, delete and stop experiments."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Final

from tidemill_core import resources
from tidemill_core.application import Caller, Clock, Page, PageRequest, ResourceKey
from tidemill_core.errors import InvalidInput
from tidemill_core.resources import Write, copy_fields
from tidemill_inference.deployments.domain.configuration import DEFAULT_SAMPLING, SamplingLimits
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.ports import Deployments
from tidemill_inference.engines.ports import Warm, warms_nothing
from tidemill_inference.experiments.arms import Arms
from tidemill_inference.experiments.count_arms import CountArms
from tidemill_inference.experiments.domain.errors import DeploymentBusy
from tidemill_inference.experiments.domain.experiment import PLAN, Experiment
from tidemill_inference.experiments.domain.plan import MAX_COHORTS
from tidemill_inference.experiments.domain.run import RunArm
from tidemill_inference.experiments.hand_over import HandOver
from tidemill_inference.experiments.ports import Enqueue, Experiments
from tidemill_inference.rollouts.ports import DeclaredMetrics

CHANGEABLE: Final = PLAN | {"labels"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentCrud:
    """`warm` gets the models of the arms when a run starts."""

    experiments: Experiments
    deployments: Deployments
    arms: Arms
    metrics: DeclaredMetrics
    count: CountArms
    hand_over: HandOver
    clock: Clock
    enqueue: Enqueue
    warm: Warm = warms_nothing
    limits: SamplingLimits = DEFAULT_SAMPLING
    max_cohorts: int = MAX_COHORTS

    async def get(self, caller: Caller, experiment_id: str) -> Experiment:
        """Return an experiment, with what is known of its arms by now."""
        return await self.count.read(await self.experiments.get(caller.project, experiment_id))

    async def list(self, caller: Caller, page: PageRequest) -> Page[Experiment]:
        """Return a page, with what was known at the last change of each."""
        return await self.experiments.list(caller.project, page=page)

    async def create(self, caller: Caller, given: Experiment, write: Write) -> Experiment:
        """Return the new experiment, whose first run has started; the id of a deleted one may be reused.

        Raises:
            InvalidInput: naming every field that breaks its rule, or arms that are the same configuration.
            DeploymentNotFound, ReferenceNotFound: something that it names is not there.
            DeploymentBusy: the deployment has a rollout, or another experiment.
            AlreadyExists: the id is taken.

        """
        given.check(self.limits, max_cohorts=self.max_cohorts)
        fresh, now = replace(given, project=caller.project, run=None), self.clock.now()
        arms = await self._checked(caller, fresh)
        restored = resources.restored(fresh, CHANGEABLE)

        def begin(stored: Experiment) -> None:
            restored(stored)
            stored.start(arms, now=now)

        return await self._started(await resources.create(self.experiments, fresh, write, begin=begin), write)

    async def update(self, caller: Caller, given: Experiment, paths: AbstractSet[str], write: Write) -> Experiment:
        """Return the updated experiment; where more than labels change, its next run has started.

        Raises:
            InvalidInput, DeploymentNotFound, ReferenceNotFound, DeploymentBusy: as `create`.
            ExperimentNotFound: there is none.
            ExperimentRunning: more than labels would change while it runs.
            Conflict: it changed since the etag.

        """
        current = await self.experiments.get(caller.project, given.id)
        arms = await self._rearranged(caller, current, given, paths)
        now = self.clock.now()

        def change(stored: Experiment) -> None:
            if arms:
                stored.check_idle("changing it")
            copy_fields(given, stored, paths)
            stored.check(self.limits, max_cohorts=self.max_cohorts)
            if arms:
                stored.start(arms, now=now)

        updated = await resources.update(self.experiments, caller.project, given.id, change, write)
        return await self._started(updated, write) if arms else updated

    async def stop(self, caller: Caller, experiment_id: str, write: Write) -> Experiment:
        """End its run: what is live answers again, and the result is what is known by now.

        Raises:
            ExperimentNotFound: there is none.
            NoRunningExperiment: it has ended.
            Conflict: it changed since the etag.

        """
        current = await self.experiments.get(caller.project, experiment_id)
        running = current.run is not None and current.run.running
        counts, now = await self.count.compared(current) if running else None, self.clock.now()

        def change(stored: Experiment) -> None:
            stored.stop(counts, now=now, by=caller.subject)

        stopped = await resources.update(self.experiments, caller.project, experiment_id, change, write)
        return await self._started(stopped, write)

    async def delete(self, caller: Caller, experiment_id: str, write: Write) -> Experiment:
        """Return the deleted experiment; records of its answers stay.

        Raises:
            ExperimentNotFound: there is none.
            ExperimentRunning: it has not ended.
            Conflict: it changed since the etag.

        """
        return await resources.delete(
            self.experiments,
            caller.project,
            experiment_id,
            write,
            change=lambda stored: stored.check_idle("deleting it"),
        )

    async def _rearranged(
        self, caller: Caller, current: Experiment, given: Experiment, paths: AbstractSet[str]
    ) -> Sequence[RunArm]:
        """Return the arms of the run that a change starts, none where nothing but labels changes."""
        changes = [each for each in paths & PLAN if getattr(given, each) != getattr(current, each)]
        if not changes:
            return []
        current.check_idle("changing it")
        changed = deepcopy(current)
        copy_fields(given, changed, paths)
        changed.check(self.limits, max_cohorts=self.max_cohorts)
        return await self._checked(caller, changed)

    async def _checked(self, caller: Caller, experiment: Experiment) -> Sequence[RunArm]:
        """Return the pinned arms of what could run now."""
        deployment = await self.deployments.get(caller.project, experiment.deployment)
        _check_free(deployment, experiment.id)
        measured = {"experiment.goal.metric": experiment.goal}
        measured |= {
            f"experiment.guardrails[{number}].metric": each.measured
            for number, each in enumerate(experiment.guardrails)
        }
        for field, each in measured.items():
            if not each.declared:
                continue
            matures_after = await self.metrics.check(caller, each.declared, field=field)
            if matures_after >= experiment.at_most:
                hours = matures_after.total_seconds() / 3600
                text = f"is {each.metric}, which matures after {hours:g} h, and at_most is no longer: make it longer"
                raise InvalidInput.at(field=field, text=text)
        return await self.arms.pinned(caller, experiment, deployment)

    async def _started(self, experiment: Experiment, write: Write) -> Experiment:
        """Return it as its deployment has taken it over."""
        if write.validate_only or experiment.run is None:
            return experiment
        self.enqueue(ResourceKey(project=experiment.project, id=experiment.id))
        for arm in experiment.run.active[1:] if experiment.run.running else ():
            self.warm(experiment.project, arm.configuration.model, "")
        return await self.hand_over(experiment)


def _check_free(deployment: Deployment, experiment_id: str) -> None:
    """Refuse a deployment whose requests something else has; what this very experiment has is found later."""
    if (running := deployment.experiment) and running.run.rpartition("@")[0] != experiment_id:
        raise DeploymentBusy(deployment.id, what=f"experiment {running.run}")
    if deployment.rollout and deployment.rollout.unfinished:
        raise DeploymentBusy(deployment.id, what=f"a rollout of {deployment.rollout.named_candidate}")
