"""A sweep: trials of a plan's recipe with other settings, and the run of the best of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum

from tidemill_core.aggregate import Aggregate, Event
from tidemill_core.application import derived_id
from tidemill_core.errors import Violation
from tidemill_core.resources import label_violations, refuse, slug_violations
from tidemill_trainer.errors import SweepFinished, SweepLost, SweepUnfinished
from tidemill_trainer.sweeps.domain.space import Point, Space
from tidemill_trainer.training.domain.plan import DatasetVersion, PlanSettings, TrainingPlan
from tidemill_trainer.training.domain.run import RunState, TrainingRun
from tidemill_trainer.training.domain.search import (
    DEFAULT_HELD_OUT,
    DEFAULT_MEASUREMENTS,
    DEFAULT_TRIALS,
    Budget,
    Dimension,
    Pruning,
)
from tidemill_trainer.training.domain.trial import HeldOut, Trial

MAX_PARALLEL = 16
MIN_HELD_OUT, MAX_HELD_OUT = 0.05, 0.5
MAX_MEASUREMENTS = 50
MAX_SEED = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepHasEnded(Event):
    """The sweep succeeded, failed or was cancelled."""


class SweepState(Enum):
    """SUCCEEDED, FAILED and CANCELLED are final."""

    RUNNING = "running"
    TRAINING_WINNER = "training_winner"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


IN_WORK = frozenset({SweepState.RUNNING, SweepState.TRAINING_WINNER})


class SweepTrialState(Enum):
    """All but RUNNING are final."""

    RUNNING = "running"
    MEASURED = "measured"
    PRUNED = "pruned"
    FAILED = "failed"


_STATES: Mapping[RunState, SweepTrialState] = {
    RunState.MEASURED: SweepTrialState.MEASURED,
    RunState.PRUNED: SweepTrialState.PRUNED,
    RunState.FAILED: SweepTrialState.FAILED,
    RunState.CANCELLED: SweepTrialState.FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepTrial:
    """One point of the space, and how it did."""

    number: int
    run: str
    point: Point
    state: SweepTrialState = SweepTrialState.RUNNING
    losses: tuple[float, ...] = ()
    """On the held-out part, after each measurement."""
    seconds: float = 0.0
    reason: str = ""

    @property
    def loss(self) -> float:
        """The loss at its end."""
        return self.losses[-1] if self.losses else float("inf")

    def observed(self, run: TrainingRun) -> "SweepTrial":
        """Return the trial as its run has it by now."""
        state = _STATES.get(run.state, SweepTrialState.RUNNING)
        return replace(
            self,
            state=state,
            losses=tuple(point.loss for point in run.progress.held_out_losses),
            seconds=run.progress.seconds,
            reason=run.reason if state is SweepTrialState.FAILED else "",
        )


@dataclass(slots=True, kw_only=True)
class Sweep(Aggregate):
    """A sweep. Everything above `state` is fixed when it is created.

    Every write of its controller carries the epoch of the sweep's lease. `open` is true while it may have runs in work,
    also after its end: the controller cancels these, and closes it.
    """

    plan: str
    dataset: DatasetVersion
    start: PlanSettings
    """The plan's settings when it was created, with its base resolved."""
    space: tuple[Dimension, ...]
    max_trials: int = DEFAULT_TRIALS
    max_parallel: int = 1
    held_out: float = DEFAULT_HELD_OUT
    measurements: int = DEFAULT_MEASUREMENTS
    pruning: Pruning = field(default_factory=Pruning)
    budget: Budget = field(default_factory=Budget)
    seed: int = 0
    origin: str = ""
    """What its runs' ids derive from: another one where a sweep of the same id was deleted before."""
    requester: str = ""
    authors: tuple[str, ...] = ()
    state: SweepState = SweepState.RUNNING
    open: bool = True
    reason: str = ""
    message: str = ""
    trials: tuple[SweepTrial, ...] = ()
    winner: int = 0
    run: str = ""
    model_version: str = ""
    finish_time: datetime | None = None
    epoch: int = 0

    @property
    def searched(self) -> Space:
        """The space over the plan's settings."""
        return Space(start=self.start, dimensions=self.space)

    @property
    def seconds(self) -> float:
        """Computing time of all trials."""
        return sum(trial.seconds for trial in self.trials)

    @property
    def cost(self) -> float:
        """What that costs."""
        return self.budget.cost_of(self.seconds)

    @property
    def running(self) -> list[SweepTrial]:
        """The trials in work."""
        return self._in(SweepTrialState.RUNNING)

    @property
    def measured(self) -> list[SweepTrial]:
        """The trials that came to their end."""
        return self._in(SweepTrialState.MEASURED)

    @property
    def failed(self) -> list[SweepTrial]:
        """The trials that failed."""
        return self._in(SweepTrialState.FAILED)

    @property
    def best(self) -> SweepTrial | None:
        """The one of them with the lowest loss at its end, of equal ones the first."""
        return min(self.measured, key=lambda trial: trial.loss, default=None)

    @property
    def trial_count(self) -> int:
        """How many trials it has at most: one for each point, where the space has fewer than `max_trials`."""
        return int(min(self.max_trials, self.searched.size))

    def check(self, *, max_trials: int) -> None:
        """Check all but the space.

        Raises:
            InvalidInput: names every field that breaks its rule.

        """
        refuse(self._violations(max_trials))

    def plan_of(self, point: Point) -> TrainingPlan:
        """Return the plan as it would be at a point."""
        return TrainingPlan(
            id=self.plan,
            project=self.project,
            labels={**self.start.labels, **self.labels},
            settings=self.searched.at(point),
            authors=self.authors,
        )

    def queued(self, trial: SweepTrial, *, now: datetime) -> TrainingRun:
        """Return the run of a trial."""
        held_out = HeldOut(share=self.held_out, seed=self.seed, measurements=self.measurements)
        return self._queued(trial.run, trial.point, now=now, trial=Trial(number=trial.number, held_out=held_out))

    def queued_winner(self, *, now: datetime) -> TrainingRun:
        """Return the run of the winner."""
        run = self._queued(self.run, self.trials[self.winner - 1].point, now=now)
        run.request(self.requester)
        return run

    def claim(self, epoch: int) -> None:
        """Assign it to the worker with this lease epoch.

        Raises:
            SweepLost: a later epoch has it, or nothing is left to do.

        """
        if epoch < self.epoch or not self.open or self.deleted:
            raise SweepLost(self.id)
        self.epoch = epoch

    def observe(self, runs: Mapping[str, TrainingRun], *, epoch: int) -> None:
        """Record how its trials do."""
        self.refuse_unless_claimed(epoch)
        self.trials = tuple(
            trial.observed(runs[trial.run]) if trial.state is SweepTrialState.RUNNING and trial.run in runs else trial
            for trial in self.trials
        )

    def start_trial(self, point: Point, *, epoch: int) -> None:
        """Add the next trial."""
        self._refuse_unless(SweepState.RUNNING, epoch)
        number, self.message = len(self.trials) + 1, ""
        run = derived_id("sweep_trial", self.project, self.origin, str(number))
        self.trials = (*self.trials, SweepTrial(number=number, run=run, point=point))

    def refuse_trial(self, number: int, *, reason: str, epoch: int) -> None:
        """Record that the recipe refuses a trial's settings: it has no run."""
        self.refuse_unless_claimed(epoch)
        self.trials = tuple(
            replace(trial, state=SweepTrialState.FAILED, reason=reason) if trial.number == number else trial
            for trial in self.trials
        )

    def choose(self, *, epoch: int) -> None:
        """Choose the winner, whose settings are then trained on the whole train split."""
        self._refuse_unless(SweepState.RUNNING, epoch)
        if (best := self.best) is not None:
            self.state, self.winner = SweepState.TRAINING_WINNER, best.number
            self.run = derived_id("sweep_winner", self.project, self.origin)

    def succeed(self, model_version: str, *, now: datetime, epoch: int) -> None:
        """Record what the winner's run registered."""
        self._refuse_unless(SweepState.TRAINING_WINNER, epoch)
        self.model_version = model_version
        self._end(SweepState.SUCCEEDED, now=now, message=self.message)

    def record_winner(self, model_version: str, *, epoch: int) -> None:
        """Record what the winner's run had begun to register when the sweep was cancelled."""
        self.refuse_unless_claimed(epoch)
        if not self.model_version:
            self.model_version = model_version
            self.message += f"; its winner was being registered, and is {model_version}"

    def fail(self, *, reason: str, message: str, now: datetime, epoch: int) -> None:
        """Fail it."""
        self.refuse_unless_claimed(epoch)
        if self.state in IN_WORK:
            self._end(SweepState.FAILED, reason=reason, message=message, now=now)

    def wait(self, message: str, *, epoch: int) -> None:
        """Record for people what it does or waits for."""
        self.refuse_unless_claimed(epoch)
        self.message = message

    def close(self, *, epoch: int) -> None:
        """Record that none of its runs is in work any more."""
        self.refuse_unless_claimed(epoch)
        self.open = self.state in IN_WORK

    def cancel(self, *, now: datetime, message: str = "cancelled by a user") -> None:
        """Cancel it; no effect if it is already cancelled.

        Raises:
            SweepFinished: it has ended.

        """
        if self.state is SweepState.CANCELLED:
            return
        if self.state not in IN_WORK:
            raise SweepFinished(self.id, state=self.state.value)
        self._end(SweepState.CANCELLED, reason="CANCELLED", message=message, now=now)

    def refuse_open(self) -> None:
        """Check that it may be deleted.

        Raises:
            SweepUnfinished: it may have runs in work.

        """
        if self.open:
            raise SweepUnfinished(self.id)

    def refuse_unless_claimed(self, epoch: int) -> None:
        """Check that the worker with this epoch owns it.

        Raises:
            SweepLost: another epoch owns it, or it is closed.

        """
        if epoch != self.epoch or not self.open or self.deleted:
            raise SweepLost(self.id)

    def _refuse_unless(self, state: SweepState, epoch: int) -> None:
        self.refuse_unless_claimed(epoch)
        if self.state is not state:
            raise SweepLost(self.id)

    def _end(self, state: SweepState, *, now: datetime, message: str, reason: str = "") -> None:
        self.state, self.reason, self.message, self.finish_time = state, reason, message, now
        self.pending.append(SweepHasEnded(occurred_at=now))

    def _in(self, state: SweepTrialState) -> list[SweepTrial]:
        return [trial for trial in self.trials if trial.state is state]

    def _queued(self, run: str, point: Point, *, now: datetime, trial: Trial | None = None) -> TrainingRun:
        return TrainingRun.queue(
            run=run,
            plan=self.plan_of(point),
            dataset=self.dataset,
            base=self.start.base,
            now=now,
            sweep=self.id,
            trial=trial,
        )

    def _violations(self, max_trials: int) -> Iterator[Violation]:
        yield from slug_violations("sweep.id", self.id)
        yield from label_violations("sweep.labels", self.labels)
        pruning, budget = self.pruning, self.budget
        bounds: list[tuple[str, float, float, float]] = [
            ("max_trials", self.max_trials, 1, max_trials),
            ("max_parallel", self.max_parallel, 1, MAX_PARALLEL),
            ("held_out", self.held_out, MIN_HELD_OUT, MAX_HELD_OUT),
            ("measurements", self.measurements, 1, MAX_MEASUREMENTS),
            ("seed", self.seed, 0, MAX_SEED),
            ("pruning.keep_percent", pruning.keep_percent, 1, 100),
            ("pruning.startup_trials", pruning.startup_trials, 1, max_trials),
            ("pruning.warmup_measurements", pruning.warmup_measurements, 0, MAX_MEASUREMENTS),
            ("budget.cost", budget.cost, 0, 1e12),
            ("budget.price_per_hour", budget.price_per_hour, 0, 1e9),
        ]
        for name, value, low, high in bounds:
            if not low <= value <= high:
                yield Violation(f"sweep.{name}", f"is {value:g}; it must be {low:g} to {high:g}")
        if budget.cost and not budget.price_per_hour:
            yield Violation("sweep.budget.price_per_hour", "is required with cost: send what an hour of a trial costs")
        if budget.time is not None and budget.time <= timedelta(0):
            yield Violation("sweep.budget.time", f"is {budget.time}; it must be above 0, or unset")
