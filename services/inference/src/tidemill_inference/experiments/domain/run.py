"""One run of an experiment: its arms with what they answer with, and where it stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum

from tidemill_inference.deployments.domain.configuration import Configuration
from tidemill_inference.experiments.domain.cohorts import CohortCounts
from tidemill_inference.experiments.domain.comparison import Counts
from tidemill_inference.experiments.domain.scores import ArmCounts


class RunState(Enum):
    """Where a run stands."""

    RUNNING = 1
    ENDED = 2


class EndReason(Enum):
    """Why a run ended."""

    BEST_ARM = "BEST_ARM"
    AT_MOST = "AT_MOST"
    ANSWER_LIMIT = "ANSWER_LIMIT"
    ARMS_STOPPED = "ARMS_STOPPED"
    BY_HAND = "BY_HAND"
    DEPLOYMENT_CHANGED = "DEPLOYMENT_CHANGED"
    DEPLOYMENT_DELETED = "DEPLOYMENT_DELETED"
    DEPLOYMENT_BUSY = "DEPLOYMENT_BUSY"


class StopReason(Enum):
    """Why an arm was stopped."""

    GUARDRAIL = "GUARDRAIL"
    NOT_READY = "NOT_READY"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunArm:
    """An arm of a run; `counts` are those of its last change, or of its end."""

    name: str
    weight: int
    configuration: Configuration
    stop_reason: StopReason | None = None
    stop_message: str = ""
    counts: ArmCounts = field(default_factory=ArmCounts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is decided on a run: arms to stop, weights to move, its end."""

    stops: Mapping[str, tuple[StopReason, str]] = field(default_factory=dict)
    weights: Mapping[str, int] = field(default_factory=dict)
    reason: EndReason | None = None
    message: str = ""
    best: str = ""
    users: float = 0.0
    """What was known when weights moved."""

    @property
    def nothing(self) -> bool:
        """Whether all stays as it is."""
        return not (self.stops or self.weights or self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentRun:
    """A run, the control its first arm; `epoch` counts the changes of its arms and weights.

    `cohorts` are counted with the arms, by labels of requests. `released` says that its deployment has it no more,
    after which nothing is left to do. `adapted_users` is what was known when weights moved last.
    """

    id: str
    number: int
    baseline: str
    arms: tuple[RunArm, ...]
    cohorts: tuple[CohortCounts, ...] = ()
    start_time: datetime
    state: RunState = RunState.RUNNING
    epoch: int = 0
    adapted_users: float = 0.0
    finish_time: datetime | None = None
    reason: EndReason | None = None
    message: str = ""
    best: str = ""
    decided_by: str = ""
    released: bool = False

    @property
    def running(self) -> bool:
        """Whether its arms answer."""
        return self.state is RunState.RUNNING

    @property
    def control(self) -> str:
        """The name of the arm that answers as the deployment does."""
        return self.arms[0].name

    @property
    def names(self) -> Sequence[str]:
        """The names of all arms, the control's first."""
        return [arm.name for arm in self.arms]

    @property
    def active(self) -> Sequence[RunArm]:
        """The arms that were not stopped."""
        return [arm for arm in self.arms if arm.stop_reason is None]

    def configuration_of(self, name: str) -> str:
        """Return the digest of an arm's configuration, "" of none."""
        return next((arm.configuration.digest for arm in self.arms if arm.name == name), "")

    def with_counts(self, counts: Counts) -> "ExperimentRun":
        """Return it with what counts by now."""
        arms = tuple(replace(arm, counts=counts.arms[arm.name]) for arm in self.arms)
        return replace(self, arms=arms, cohorts=counts.cohorts.counts)

    def changed(self, change: Change, *, now: datetime) -> "ExperimentRun":
        """Return it with its arms as they are from the next epoch on, or at its end."""
        arms = tuple(
            replace(arm, weight=change.weights.get(arm.name, arm.weight), stop_reason=stopped, stop_message=why)
            for arm in self.arms
            for stopped, why in [change.stops.get(arm.name, (arm.stop_reason, arm.stop_message))]
        )
        run = replace(self, arms=arms, epoch=self.epoch + 1)
        if change.weights:
            run = replace(run, adapted_users=change.users)
        return run.ended(change.reason, change.message, best=change.best, now=now) if change.reason else run

    def ended(
        self, reason: EndReason, message: str, *, now: datetime, best: str = "", decided_by: str = ""
    ) -> "ExperimentRun":
        """Return it at its end."""
        return replace(
            self,
            state=RunState.ENDED,
            reason=reason,
            message=message,
            best=best,
            decided_by=decided_by,
            finish_time=now,
        )
