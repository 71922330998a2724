"""Give the deployment what a run says: its arms while it runs, and what is live again when it has ended."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from tidemill_core.application import Clock, Request
from tidemill_inference.deployments.domain.errors import DeploymentNotFound
from tidemill_inference.deployments.ports import Deployments
from tidemill_inference.experiments.count_arms import CountArms
from tidemill_inference.experiments.domain.errors import DeploymentBusy, DeploymentChanged
from tidemill_inference.experiments.domain.experiment import Experiment
from tidemill_inference.experiments.domain.run import EndReason, ExperimentRun
from tidemill_inference.experiments.domain.split import ExperimentHasEnded
from tidemill_inference.experiments.ports import Experiments
from tidemill_inference.rollouts.ports import Outcomes


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOver:
    """The experiment says what is to be, and its deployment follows: after a crash between both it is repeated.

    The deployment emits ExperimentHasStarted and ExperimentHasEnded, each once for a run.
    """

    experiments: Experiments
    deployments: Deployments
    outcomes: Outcomes
    count: CountArms
    clock: Clock

    async def __call__(self, experiment: Experiment) -> Experiment:
        """Return the experiment as it is then: a run that its deployment does not take ends.

        Raises:
            DependencyUnavailable: the store does not answer; repeat it later.

        """
        run = experiment.run
        if run is None or run.released:
            return experiment
        if run.running:
            experiment = await self._given(experiment)
        run = experiment.run
        return experiment if run is None or run.running else await self._released(experiment, run)

    async def _given(self, experiment: Experiment) -> Experiment:
        split, now = experiment.split(), self.clock.now()
        try:
            deployment = await self.deployments.get(experiment.project, experiment.deployment)
            if deployment.experiment != split:
                await self.deployments.update(
                    experiment.project,
                    experiment.deployment,
                    lambda stored: stored.run_experiment(split, now=now),
                    request=Request.internal(),
                )
        except DeploymentNotFound as error:
            return await self._ended(experiment, EndReason.DEPLOYMENT_DELETED, error.message, now=now)
        except DeploymentChanged as error:
            return await self._ended(experiment, EndReason.DEPLOYMENT_CHANGED, error.message, now=now)
        except DeploymentBusy as error:
            return await self._ended(experiment, EndReason.DEPLOYMENT_BUSY, error.message, now=now)
        return experiment

    async def _ended(self, experiment: Experiment, reason: EndReason, message: str, *, now: datetime) -> Experiment:
        counts, run = await self.count.compared(experiment), experiment.run
        if run is None:
            return experiment

        def change(stored: Experiment) -> None:
            stored.end(run.id, reason, message, counts=counts, now=now)

        return await self.experiments.update(experiment.project, experiment.id, change, request=Request.internal())

    async def _released(self, experiment: Experiment, run: ExperimentRun) -> Experiment:
        ended = ExperimentHasEnded(
            occurred_at=run.finish_time or self.clock.now(),
            experiment=run.id,
            reason=run.reason.value if run.reason else "",
            message=run.message,
            best=run.best,
            configuration=run.configuration_of(run.best),
            decided_by=run.decided_by,
        )
        with suppress(DeploymentNotFound):  # nothing answers there
            await self.deployments.update(
                experiment.project,
                experiment.deployment,
                lambda stored: stored.end_experiment(ended),
                request=Request.internal(),
            )
        await self.outcomes.forget(experiment.project, run.id)
        return await self.experiments.update(
            experiment.project, experiment.id, lambda stored: stored.release(run.id), request=Request.internal()
        )
