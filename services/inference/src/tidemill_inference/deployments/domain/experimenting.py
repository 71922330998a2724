"""What answers under a name, and the experiment that divides its live requests among arms."""

from dataclasses import dataclass
from datetime import datetime

from tidemill_core.aggregate import Aggregate
from tidemill_inference.deployments.domain.configuration import Configuration
from tidemill_inference.experiments.domain.errors import DeploymentBusy, DeploymentChanged
from tidemill_inference.experiments.domain.split import ExperimentHasEnded, ExperimentHasStarted, Split
from tidemill_inference.rollouts.domain.rollout import Rollout

REMEMBERED = 50
"""Evaluations that were decided on, and runs that have ended, so that what comes again has no second effect."""


@dataclass(slots=True, kw_only=True)
class Experimenting(Aggregate):
    """The configuration that answers, the rollout that may change it, and the experiment that runs beside neither."""

    live: Configuration
    rollout: Rollout | None = None
    experiment: Split | None = None
    """The arms that answer live requests, while an experiment runs."""
    ended_experiments: tuple[str, ...] = ()
    """Runs that have ended here, so that none begins again."""

    @property
    def active_rollout(self) -> Rollout | None:
        """The rollout whose end is open."""
        return self.rollout if self.rollout and self.rollout.active else None

    def run_experiment(self, split: Split, *, now: datetime) -> None:
        """Let the arms of a run answer, or take over how they have changed; what has been taken over stays.

        Raises:
            DeploymentBusy: a rollout, or another experiment, has the requests.
            DeploymentChanged: another configuration is live, or the run has ended here.

        """
        running = self.experiment
        if running and running.run == split.run:
            self.experiment = max(running, split, key=lambda each: each.epoch)
            return
        if split.run in self.ended_experiments or self.live.digest != split.baseline:
            raise DeploymentChanged(self.id)
        if running:
            raise DeploymentBusy(self.id, what=f"experiment {running.run}")
        if self.rollout and self.rollout.unfinished:
            raise DeploymentBusy(self.id, what=f"a rollout of {self.rollout.named_candidate}")
        self.experiment = split
        self.pending.append(
            ExperimentHasStarted(occurred_at=now, experiment=split.run, baseline=split.baseline, arms=split.arms)
        )

    def end_experiment(self, ended: ExperimentHasEnded) -> None:
        """Let what is live answer all requests again; a run that is not there is kept from beginning."""
        run = ended.experiment
        if self.experiment and self.experiment.run == run:
            self.experiment = None
            self.pending.append(ended)
        if run not in self.ended_experiments:
            self.ended_experiments = (*self.ended_experiments, run)[-REMEMBERED:]

    def end_outdated(self, *, now: datetime) -> None:
        """End the experiment whose control answers no more, as another configuration is live."""
        if self.experiment and self.experiment.baseline != self.live.digest:
            text = "another configuration is live: the arms have to be compared with it"
            self._end_run(self.experiment.run, "DEPLOYMENT_CHANGED", text, now=now)

    def end_deleted(self, *, now: datetime) -> None:
        """End the experiment, as nothing answers here any more."""
        if self.experiment:
            self._end_run(self.experiment.run, "DEPLOYMENT_DELETED", f"deployment {self.id} was deleted", now=now)

    def _end_run(self, run: str, reason: str, message: str, *, now: datetime) -> None:
        self.end_experiment(ExperimentHasEnded(occurred_at=now, experiment=run, reason=reason, message=message))
