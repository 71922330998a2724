"""What came of the answers of a rollout: recorded, reacted to, counted, and deleted when it has ended."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from cachetools import LRUCache

from tidemill_core.application import Caller, Clock, ResourceKey
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.domain.errors import DeploymentNotFound
from tidemill_inference.deployments.ports import Deployments
from tidemill_inference.rollouts.domain.policy import RATING
from tidemill_inference.rollouts.domain.rollout import Rollout
from tidemill_inference.rollouts.domain.step_counts import Outcome, ServerEnd, StepCounts
from tidemill_inference.rollouts.domain.values import mature_times
from tidemill_inference.rollouts.ports import (
    ActiveRollouts,
    AnsweredIn,
    ErasedEndUsers,
    Outcomes,
    Reaction,
    RunningExperiments,
    answered_in_none,
    no_erased_end_users,
    no_experiments,
)

QUIET = timedelta(hours=1)
"""Younger outcomes stay: a replica may still reconcile their rollout, or record them."""
_FEW = 2000
"""So many outcomes are counted within some hundredths of a second; more are in a thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordOutcome:
    """Outcomes that arrive after the step, rollout or deployment has ended are dropped."""

    deployments: Deployments
    outcomes: Outcomes
    erased: ErasedEndUsers = no_erased_end_users

    async def __call__(
        self, project: str, deployment_id: str, outcome: Outcome | ServerEnd, *, asked_at: datetime | None = None
    ) -> None:
        """Keep it; the same inference again replaces it, and the end of the same server is kept once.

        Raises:
            DependencyUnavailable: the store does not answer.

        """
        try:
            deployment = await self.deployments.get(project, deployment_id)
        except DeploymentNotFound:
            return
        rollout, run = deployment.active_rollout, deployment.experiment
        compared = rollout and (rollout.id, rollout.step) == (outcome.rollout, outcome.step)
        if not compared and not (run and run.run == outcome.rollout):
            return
        match outcome:
            case ServerEnd():
                await self.outcomes.record_end(project, outcome)
            case Outcome():
                labels = run.cohorts.labels if run else ()
                cohorts = {name: value for name in labels if (value := outcome.cohorts.get(name))}
                kept = replace(outcome, cohorts=cohorts, asked_at=asked_at if labels else None)
                await self.outcomes.record(project, kept)
                await self._check_user(project, outcome, asked_at)

    async def _check_user(self, project: str, outcome: Outcome, asked_at: datetime | None) -> None:
        """Remove it where its user was erased meanwhile: the erasure may not have seen it."""
        if outcome.user and asked_at:
            until = (await self.erased(project, [outcome.user])).get(outcome.user)
            if until and asked_at <= until:
                await self.outcomes.remove(project, outcome.inference)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What was counted last of a deployment's rollout: at which mark, and when a value matures that did not count."""

    mark: object
    counts: StepCounts
    until: datetime | None

    def holds(self, mark: object, now: datetime) -> bool:
        """Whether it would be the same now."""
        return self.mark == mark and (self.until is None or now < self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Counts, and the work that adds the bounds of their differences, which all wait for who read the same."""

    counts: StepCounts
    work: asyncio.Task[StepCounts]


@dataclass(frozen=True, slots=True, kw_only=True)
class CountOutcomes:
    """Counts the outcomes of the current step; they are read again only after something was recorded, or matured."""

    outcomes: Outcomes
    clock: Clock
    counted: LRUCache[ResourceKey, Counted] = field(default_factory=lambda: LRUCache(256))
    compared: LRUCache[ResourceKey, Compared] = field(default_factory=lambda: LRUCache(256))

    async def __call__(self, deployment: Deployment) -> Deployment:
        """Return the deployment with the counts of its active rollout as they are now."""
        rollout = deployment.active_rollout
        if rollout is None:
            return deployment
        counts = await self.step(ResourceKey(project=deployment.project, id=deployment.id), rollout)
        return replace(deployment, rollout=replace(rollout, counts=counts))

    async def with_differences(self, deployment: Deployment) -> Deployment:
        """Return the same with the bounds of what is compared: in a thread, one at a time, and once for all who ask."""
        counted = await self(deployment)
        rollout, ref = counted.active_rollout, ResourceKey(project=deployment.project, id=deployment.id)
        if rollout is None:
            return counted
        counts = rollout.counts
        while (known := self.compared.get(ref)) is None or known.counts is not counts:
            if known is None or known.work.done():
                work = asyncio.create_task(asyncio.to_thread(counts.with_differences))
                self.compared[ref] = Compared(counts=counts, work=work)
            else:
                await asyncio.wait([known.work])
        await asyncio.wait([known.work])  # which goes on for the others where one of them is cancelled
        return replace(counted, rollout=replace(rollout, counts=known.work.result()))

    async def step(self, ref: ResourceKey, rollout: Rollout) -> StepCounts:
        """Return the counts of a rollout's step; what is too old to count is dropped."""
        of, now = (ref.project, rollout.id, rollout.step), self.clock.now()
        kept = rollout.policy.kept(rollout.current)
        mark = (*of, await self.outcomes.mark(*of))
        known = self.counted.get(ref)
        if known and known.holds(mark, now):
            return known.counts
        found = await self.outcomes.of_step(*of, newest=kept)
        count = partial(_counted, found, rollout, now)
        counts, matures = count() if len(found) <= _FEW else await asyncio.to_thread(count)
        counts = replace(counts, server_ends=await self.outcomes.ends(*of))
        await self.outcomes.trim(*of, newest=kept, before=now - QUIET)
        meanwhile = self.counted.get(ref)
        if meanwhile and meanwhile.holds(mark, now):
            return meanwhile.counts
        self.counted[ref] = Counted(mark=mark, counts=counts, until=matures)
        return counts


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetOutcomes:
    """Drops the outcomes of all rollouts that are no deployment's active one, and of experiments that do not run.

    Repeating it changes nothing.
    """

    active: ActiveRollouts
    deployments: Deployments
    outcomes: Outcomes
    clock: Clock
    running: RunningExperiments = no_experiments

    async def __call__(self) -> int:
        """Return of how many rollouts and runs of experiments they are gone.

        Raises:
            DependencyUnavailable: the store does not answer.

        """
        quiet = await self.outcomes.quiet(since=self.clock.now() - QUIET)  # first: what begins later is none of them
        if not quiet:
            return 0
        active = {(ref.project, await self._rollout(ref)) for ref in await self.active.all()}
        active |= {*await self.running()}
        ended = [each for each in quiet if each not in active]
        for project, rollout in ended:
            await self.outcomes.forget(project, rollout)
        return len(ended)

    async def _rollout(self, ref: ResourceKey) -> str:
        try:
            rollout = (await self.deployments.get(ref.project, ref.id)).active_rollout
        except DeploymentNotFound:
            return ""
        return rollout.id if rollout else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordReaction:
    """The same reaction again changes nothing; a later one of the same feedback replaces it."""

    deployments: Deployments
    outcomes: Outcomes
    erased: ErasedEndUsers
    answered_in: AnsweredIn = answered_in_none

    async def __call__(self, caller: Caller, deployment_id: str, reaction: Reaction, *, sent_at: datetime) -> bool:
        """Return whether it counts: only those do that are about the active rollout, of a metric that it reads.

        Feedback names no experiments: where one runs, the record of the answer says whether it was part of it.

        Erasures are asked for after it is recorded: one that began meanwhile may not have seen it.

        Raises:
            DependencyUnavailable: the store does not answer.

        """
        try:
            deployment = await self.deployments.get(caller.project, deployment_id)
        except DeploymentNotFound:
            return False
        if not reaction.rollout and (run := deployment.experiment) and reaction.metric in run.metrics:
            if await self.answered_in(caller.project, reaction.inference) != run.run:
                return False
            reaction = replace(reaction, rollout=run.run)
        elif not _reads(deployment.active_rollout, reaction):
            return False
        await self.outcomes.react(caller.project, reaction)
        if user := reaction.end_user:
            until = (await self.erased(caller.project, [user])).get(user)
            if until and sent_at <= until:
                await self.outcomes.retract(caller.project, reaction)  # what was said since stays
                return False
        return True


def _reads(rollout: Rollout | None, reaction: Reaction) -> bool:
    if rollout is None or rollout.id != reaction.rollout:
        return False
    return reaction.metric in {RATING, *(rule.metric for rule in rollout.policy.abort.metrics)}


def _counted(outcomes: Sequence[Outcome], rollout: Rollout, now: datetime) -> tuple[StepCounts, datetime | None]:
    """Return the counts of the current step's outcomes, and when the next of their values matures."""
    counts = StepCounts.of(outcomes, shadow=rollout.current.shadow, metrics=rollout.policy.abort.metrics, now=now)
    values = (value for each in outcomes for value in each.values)
    return counts, min(mature_times(values, after=now), default=None)
