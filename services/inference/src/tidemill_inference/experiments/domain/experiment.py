"""An experiment: what is declared of it, and its active or last run."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tidemill_core.aggregate import Aggregate
from tidemill_core.errors import Violation
from tidemill_core.resources import label_violations, refuse, slug_violations
from tidemill_inference.deployments.domain.configuration import DEFAULT_SAMPLING, SamplingLimits
from tidemill_inference.experiments.domain.comparison import Counts, best_arm, broken_guardrail
from tidemill_inference.experiments.domain.errors import ExperimentRunning, NoRunningExperiment
from tidemill_inference.experiments.domain.plan import (
    ALL,
    MAX_COHORTS,
    Arm,
    CohortPlan,
    Guardrail,
    Measured,
    Weighting,
    arms_violations,
    equal_shares,
    guardrail_violations,
)
from tidemill_inference.experiments.domain.run import Change, EndReason, ExperimentRun, RunArm, StopReason
from tidemill_inference.experiments.domain.split import Split, SplitArm
from tidemill_inference.experiments.domain.weights import GROWTH, MIN_MOVE, MIN_USERS, adapted, default_min_weight
from tidemill_inference.rollouts.domain.policy import StickyBy

DEFAULT_ALPHA = 0.05
MIN_ALPHA, MAX_ALPHA = 0.001, 0.2
DEFAULT_LENGTH = timedelta(days=14)
MAX_LENGTH = timedelta(days=90)
PLAN = frozenset(
    {"deployment", "arms", "goal", "guardrails", "weighting", "min_weight", "alpha", "at_most", "sticky_by", "cohorts"}
)
"""The fields that are declared, beside labels."""


@dataclass(slots=True, kw_only=True)
class Experiment(Aggregate):
    """Arms of a deployment, compared on its live requests."""

    deployment: str
    arms: tuple[Arm, ...]
    goal: Measured
    guardrails: tuple[Guardrail, ...] = ()
    weighting: Weighting = Weighting.FIXED
    min_weight: int = 0
    alpha: float = DEFAULT_ALPHA
    at_most: timedelta = DEFAULT_LENGTH
    sticky_by: StickyBy = StickyBy.END_USER
    cohorts: CohortPlan = field(default_factory=CohortPlan)
    run: ExperimentRun | None = None

    @property
    def running(self) -> bool:
        """Whether a run has not ended, or its deployment has it still."""
        return self.run is not None and not self.run.released

    @property
    def names(self) -> Sequence[str]:
        """The names of the arms as they were declared."""
        return [arm.name for arm in self.arms]

    @property
    def ordered(self) -> Sequence[Arm]:
        """The arms with their shares, the control first."""
        shares = [arm.weight for arm in self.arms]
        shares = shares if any(shares) else list(equal_shares(len(self.arms)))
        weighted = [replace(arm, weight=share) for arm, share in zip(self.arms, shares, strict=True)]
        return sorted(weighted, key=lambda arm: not arm.control)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics whose values count."""
        named = [self.goal.metric, *(each.metric for each in self.guardrails)]
        return tuple(dict.fromkeys(each for each in named if each))

    def check(self, limits: SamplingLimits = DEFAULT_SAMPLING, *, max_cohorts: int = MAX_COHORTS) -> None:
        """Refuse what can never work, all of it at once.

        Raises:
            InvalidInput: names every field, its value and its limit.

        """
        refuse(self._violations(limits, max_cohorts))

    def check_idle(self, what: str) -> None:
        """Refuse a change of what runs.

        Raises:
            ExperimentRunning: it does.

        """
        if self.running:
            raise ExperimentRunning(self.id, what=what)

    def start(self, arms: Sequence[RunArm], *, now: datetime) -> None:
        """Begin the next run, with its arms pinned, the control first.

        Raises:
            ExperimentRunning: there is one.

        """
        self.check_idle("it starts again")
        number = self.run.number + 1 if self.run else 1
        self.run = ExperimentRun(
            id=f"{self.id}@{number}",
            number=number,
            baseline=arms[0].configuration.digest,
            arms=tuple(arms),
            start_time=now,
        )

    def stop(self, counts: Counts | None, *, now: datetime, by: str) -> None:
        """End the run by hand.

        Raises:
            NoRunningExperiment: it has ended.

        """
        if self.run is None or not self.run.running:
            raise NoRunningExperiment(self.id)
        run = self.run.with_counts(counts) if counts else self.run
        self.run = run.ended(EndReason.BY_HAND, "stopped by hand", now=now, decided_by=by)

    def split(self) -> Split:
        """Return how its run divides requests."""
        run = self._run()
        return Split(
            run=run.id,
            baseline=run.baseline,
            epoch=run.epoch,
            sticky_by=self.sticky_by,
            metrics=self.metrics,
            cohorts=self.cohorts,
            arms=tuple(
                SplitArm(
                    name=arm.name,
                    weight=arm.weight,
                    configuration=arm.configuration,
                    stopped=arm.stop_reason is not None,
                )
                for arm in run.arms
            ),
        )

    def decide(self, counts: Counts, *, gone: Mapping[str, str], now: datetime, max_answers: int) -> Change:
        """Return what is next: arms that break a guardrail, or cannot answer, stop; the end; weights that move."""
        run = self._run()
        losses = [each.loss_above for each in self.guardrails]
        stops = {arm.name: (StopReason.NOT_READY, gone[arm.name]) for arm in run.active[1:] if arm.name in gone}
        for arm in run.active[1:]:
            broken = broken_guardrail(counts, arm.name, run.control, losses=losses, alpha=self.alpha)
            if broken and arm.name not in stops:
                stops[arm.name] = StopReason.GUARDRAIL, broken[1]
        active = [arm.name for arm in run.active if arm.name not in stops]
        change = Change(stops=stops)
        if len(active) == 1:
            return replace(change, reason=EndReason.ARMS_STOPPED, message="every arm but the control was stopped")
        if best := best_arm(counts, active, alpha=self.alpha):
            return replace(change, reason=EndReason.BEST_ARM, message=self._came(counts), best=best)
        if now >= run.start_time + self.at_most:
            days = self.at_most.total_seconds() / 86400
            text = f"inconclusive after {days:.3g} days: {self._came(counts)}"
            return replace(change, reason=EndReason.AT_MOST, message=text)
        if counts.kept >= max_answers:
            text = f"inconclusive after {counts.kept} answers, the limit: {self._came(counts)}"
            return replace(change, reason=EndReason.ANSWER_LIMIT, message=text)
        weights = self._moved(counts, active) if self.weighting is Weighting.ADAPTIVE else {}
        return replace(change, weights=weights, users=counts.users)

    def reconcile(self, change: Change, counts: Counts, *, seen: ExperimentRun, now: datetime) -> None:
        """Do what was decided on the run as it was `seen`, unless it has changed or ended meanwhile."""
        run = self.run
        if run and run.running and (run.id, run.epoch) == (seen.id, seen.epoch) and not change.nothing:
            self.run = run.with_counts(counts).changed(change, now=now)

    def end(self, run_id: str, reason: EndReason, message: str, *, counts: Counts | None, now: datetime) -> None:
        """End a run whose deployment does not have it any more, or never took it."""
        if self.run and self.run.id == run_id and self.run.running:
            run = self.run.with_counts(counts) if counts else self.run
            self.run = run.ended(reason, message, now=now)

    def release(self, run_id: str) -> None:
        """Record that the deployment of an ended run has it no more."""
        if self.run and self.run.id == run_id and not self.run.running:
            self.run = replace(self.run, released=True)

    def _run(self) -> ExperimentRun:
        if self.run is None:
            raise NoRunningExperiment(self.id)
        return self.run

    def _moved(self, counts: Counts, active: Sequence[str]) -> Mapping[str, int]:
        """Return the weights of active arms where enough is known since the last move, else none."""
        run, known = self._run(), {name: counts.arms[name].goal for name in active}
        if min(each.number for each in known.values()) < MIN_USERS or counts.users < GROWTH * run.adapted_users:
            return {}
        now = {arm.name: arm.weight for arm in run.active if arm.name in known}
        weights = adapted(
            {name: each.low for name, each in known.items()},
            share=sum(now.values()),
            min_weight=min(self.min_weight or default_min_weight(len(run.arms)), *now.values()),
            seed=f"{run.id} {run.epoch}",
        )
        moves = max(abs(weights[name] - now[name]) for name in now)
        return weights if moves >= MIN_MOVE else {}

    def _came(self, counts: Counts) -> str:
        """Say how many came to each arm."""
        return ", ".join(
            f"{name} had {arm.users} users, {arm.goal.number:.3g} of them with {arm.goal.measure}"
            for name, arm in counts.arms.items()
        )

    def _violations(self, limits: SamplingLimits, max_cohorts: int) -> Iterator[Violation]:
        path = "experiment"
        yield from slug_violations(f"{path}.id", self.id)
        yield from slug_violations(f"{path}.deployment", self.deployment)
        yield from arms_violations(f"{path}.arms", self.arms, self.weighting, limits)
        yield from self.goal.violations(f"{path}.goal")
        yield from guardrail_violations(f"{path}.guardrails", self.guardrails)
        yield from label_violations(f"{path}.labels", self.labels)
        yield from self.cohorts.violations(f"{path}.cohorts", max_values=max_cohorts)
        if not (math.isfinite(self.alpha) and MIN_ALPHA <= self.alpha <= MAX_ALPHA):
            yield Violation(f"{path}.alpha", f"is {self.alpha:g}; use {MIN_ALPHA:g} to {MAX_ALPHA:g}")
        if not timedelta() < self.at_most <= MAX_LENGTH:
            text = f"is {self.at_most.total_seconds():g} s; use more than 0 and at most {MAX_LENGTH.days} days"
            yield Violation(f"{path}.at_most", text)
        most = ALL // max(1, len(self.arms))
        if self.min_weight and self.weighting is Weighting.FIXED:
            yield Violation(f"{path}.min_weight", f"is {self.min_weight}; only adaptive weights have it: leave it out")
        elif not 0 <= self.min_weight <= most:
            yield Violation(f"{path}.min_weight", f"is {self.min_weight}; use 1 to {most}, or 0 for the default")
