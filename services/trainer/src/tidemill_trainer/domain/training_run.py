"""One training of a recipe on a dataset version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum

from tidemill_kit.core.aggregate import Aggregate, Event
from tidemill_kit.core.application import derived_id
from tidemill_trainer.domain.base_facts import BaseFacts
from tidemill_trainer.domain.errors import RunFinished, RunLost, RunNotRetriable
from tidemill_trainer.domain.fit import Choice, ExampleCounts, Fit
from tidemill_trainer.domain.losses import LossPoint, thinned
from tidemill_trainer.domain.recipe import Recipe
from tidemill_trainer.domain.training_plan import DatasetVersion, RunLimits, TrainingPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class RunWasQueued(Event):
    """The run waits for a worker, for the first time or again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHasSucceeded(Event):
    """The run registered a version."""

    model_version: str
    seconds: float
    loss: float | None
    fit: Fit | None = None
    examples: ExampleCounts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHasFailed(Event):
    """The run made nothing, or was cancelled."""

    reason: str
    message: str


class RunState(Enum):
    """SUCCEEDED is final; FAILED and CANCELLED can be tried again."""

    QUEUED = "queued"
    RUNNING = "running"
    REGISTERING = "registering"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


OUT_OF_MEMORY = "OUT_OF_MEMORY"
IN_WORK = frozenset({RunState.QUEUED, RunState.RUNNING, RunState.REGISTERING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is; `seconds` is how long it has computed, over all its attempts since it was queued."""

    step: int = 0
    steps: int = 0
    losses: tuple[LossPoint, ...] = ()
    remaining_s: float | None = None
    seconds: float = 0.0

    @property
    def loss(self) -> float | None:
        """The last logged loss, None before there is one."""
        return self.losses[-1].loss if self.losses else None


def run_id(project: str, plan: str, dataset_version: str) -> str:
    """Return the id of the run that a new dataset version starts: the same for the same version."""
    return derived_id("training_run", project, plan, dataset_version)


@dataclass(slots=True, kw_only=True)
class TrainingRun(Aggregate):
    """Plan, base, recipe and limits are copied when it is queued and never change, but for the base of a retry.

    Every write of a worker names its lease epoch; one of an earlier epoch, or for a run that is no longer in work,
    raises RunLost and changes nothing.
    """

    plan: str
    dataset: DatasetVersion
    base: str
    """`model@version`; what the plan says, where that meant nothing when it was queued."""
    recipe: Recipe
    limits: RunLimits
    state: RunState = RunState.QUEUED
    progress: Progress = field(default_factory=Progress)
    reason: str = ""
    message: str = ""
    model_version: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of code and libraries that it ran with."""
    attempt: int = 0
    epoch: int = 0
    furthest: int = 0
    """The last step that any attempt has reached since it was queued."""
    fruitless: int = 0
    """How many attempts were begun since then and did not end by waiting.

    A worker that such a run takes down can tell nothing else of it.
    """
    fit: Fit | None = None
    """How it was fitted into its memory, once that is known."""
    smaller_than: Choice | None = None
    """The choice that took more than its limit: only smaller ones are left."""
    shrunk: bool = False
    """True once it has gone on by itself with a smaller choice since it was queued."""
    examples: ExampleCounts | None = None
    warnings: tuple[str, ...] = ()
    start_time: datetime | None = None
    finish_time: datetime | None = None

    @classmethod
    def queue(  # noqa: PLR0913 - all of it is known at once, and fixed from then on
        cls,
        *,
        run: str,
        plan: TrainingPlan,
        dataset: DatasetVersion,
        base: str,
        now: datetime,
        facts: BaseFacts | None = None,
    ) -> "TrainingRun":
        """Return a new run of a plan as it is now, on a base of which these are the facts."""
        queued = cls(
            id=run,
            project=plan.project,
            labels=dict(plan.labels),
            plan=plan.id,
            dataset=dataset,
            base=base,
            recipe=plan.settings.recipe_on(facts or BaseFacts()),
            limits=plan.settings.limits,
            message="waits for a worker",
        )
        queued.pending.append(RunWasQueued(occurred_at=now))
        return queued

    @property
    def is_in_work(self) -> bool:
        """True while a worker has something to do for it."""
        return self.state in IN_WORK

    @property
    def has_begun(self) -> bool:
        """True once it has computed on its base."""
        return bool(self.versions)

    def claim(self, epoch: int, *, now: datetime) -> None:
        """Let the worker of this lease epoch train it; one that was registering does so until it computes again.

        Raises:
            RunLost: a later epoch has it, or nothing is left to do.

        """
        if epoch < self.epoch or not self.is_in_work:
            raise RunLost(self.id)
        self.epoch, self.message = epoch, ""
        self.state = RunState.RUNNING if self.state is RunState.QUEUED else self.state
        self.attempt += 1
        self.fruitless += 1
        self.start_time = self.start_time or now

    def begin(self, *, versions: Mapping[str, str], epoch: int) -> None:
        """Record that the attempt computes, and what it runs with."""
        self.refuse_unless_claimed(epoch)
        self.state, self.versions = RunState.RUNNING, dict(versions)

    def fitted(self, fit: Fit, examples: ExampleCounts, *, warnings: Sequence[str], epoch: int) -> None:
        """Record how the attempt fits its memory, and which examples it trains on."""
        self.refuse_unless_claimed(epoch)
        self.fit, self.examples, self.warnings = fit, examples, tuple(warnings)

    @property
    def may_shrink(self) -> bool:
        """True where it may go on by itself after it took too much memory: once, with a smaller choice."""
        return self.limits.memory_auto and self.fit is not None and not self.shrunk

    def shrink(self, *, limits: RunLimits, epoch: int) -> None:
        """Begin another attempt within these limits, with a smaller choice than the one that took too much memory."""
        self.refuse_unless_claimed(epoch)
        self.limits = replace(limits, memory_auto=True)
        self.smaller_than, self.shrunk = self.fit.choice if self.fit else None, True
        self.attempt += 1

    def advance(self, progress: Progress, *, epoch: int) -> None:
        """Record how far it is."""
        self.refuse_unless_claimed(epoch)
        if progress.step > self.furthest:
            self.furthest, self.fruitless = progress.step, 0
        self.progress = replace(progress, losses=thinned(progress.losses))

    def wait(self, message: str, *, epoch: int) -> None:
        """Say what it waits for: the attempt ends without a worker being lost."""
        self.refuse_unless_claimed(epoch)
        self.message, self.fruitless = message, max(0, self.fruitless - 1)

    def register(self, *, epoch: int) -> None:
        """Begin to register what it made: from here on it can no longer be cancelled."""
        self.refuse_unless_claimed(epoch)
        self.state = RunState.REGISTERING

    def succeed(self, model_version: str, *, now: datetime, epoch: int) -> None:
        """Record what was registered."""
        self.refuse_unless_claimed(epoch)
        self.state, self.model_version, self.finish_time, self.message = RunState.SUCCEEDED, model_version, now, ""
        self.progress = replace(self.progress, remaining_s=0.0)
        self.pending.append(
            RunHasSucceeded(
                occurred_at=now,
                model_version=model_version,
                seconds=self.progress.seconds,
                loss=self.progress.loss,
                fit=self.fit,
                examples=self.examples,
            )
        )

    def fail(self, *, reason: str, message: str, now: datetime, epoch: int) -> None:
        """End it without a result."""
        self.refuse_unless_claimed(epoch)
        self._end(RunState.FAILED, reason=reason, message=message, now=now)

    def cancel(self, *, now: datetime) -> None:
        """Stop it for whoever asked; one that is cancelled already stays so.

        Raises:
            RunFinished: it is registering, or done.

        """
        if self.state is RunState.CANCELLED:
            return
        if self.state not in {RunState.QUEUED, RunState.RUNNING}:
            raise RunFinished(self.id, state=self.state.value)
        self._end(RunState.CANCELLED, reason="CANCELLED", message="somebody cancelled it", now=now)

    def retry(self, *, base: str, limits: RunLimits, now: datetime) -> None:
        """Queue it again, with the recipe that it had; with this base, where it has not begun on another.

        One that took too much memory takes these limits, and of what is picked for it something smaller.

        Raises:
            RunNotRetriable: it neither failed nor was cancelled.

        """
        if self.state not in {RunState.FAILED, RunState.CANCELLED}:
            raise RunNotRetriable(self.id, state=self.state.value)
        self.base = self.base if self.has_begun else base
        if self.reason == OUT_OF_MEMORY:
            self.smaller_than = self.fit.choice if self.fit and limits.memory_auto else None
            self.limits = limits
        self.shrunk, self.fit = False, None
        self.state, self.reason, self.message = RunState.QUEUED, "", "waits for a worker"
        self.progress, self.start_time, self.finish_time = Progress(), None, None
        self.furthest = self.fruitless = 0
        self.pending.append(RunWasQueued(occurred_at=now))

    def refuse_unless_claimed(self, epoch: int) -> None:
        """Refuse a worker whose lease has passed on, and one whose run was cancelled.

        Raises:
            RunLost: it is one of these.

        """
        if epoch != self.epoch or self.state not in {RunState.RUNNING, RunState.REGISTERING}:
            raise RunLost(self.id)

    def _end(self, state: RunState, *, reason: str, message: str, now: datetime) -> None:
        self.state, self.reason, self.message, self.finish_time = state, reason, message, now
        self.pending.append(RunHasFailed(occurred_at=now, reason=reason, message=message))
