"""Decide on a rollout by hand: promote, roll back, approve."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tidemill_core.application import Caller, Clock, Request
from tidemill_core.errors import InvalidInput, Violation
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.ports import DeploymentRef, Deployments
from tidemill_inference.engines.ports import Warm, warms_nothing
from tidemill_inference.rollouts.domain.rollout import Approval
from tidemill_inference.rollouts.domain.step_counts import StepCounts
from tidemill_inference.rollouts.outcomes import CountOutcomes
from tidemill_inference.rollouts.ports import Enqueue, enqueues_nothing
from tidemill_inference.rollouts.prepare_candidate import PrepareCandidate

MAX_RATIONALE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutCommand:
    """Which rollout; an empty `rollout` is the deployment's active one, or its last."""

    deployment: str
    rollout: str = ""
    rationale: str = ""
    request: Request
    validate_only: bool = False

    def check(self) -> None:
        """Refuse a rationale that is too long.

        Raises:
            InvalidInput: names its length and the limit.

        """
        if len(self.rationale) > MAX_RATIONALE:
            text = f"has {len(self.rationale)} characters: take at most {MAX_RATIONALE}"
            raise InvalidInput.of(Violation(field="rationale", description=text))

    def meant(self, deployment: Deployment) -> str:
        """Return the id of the rollout that was there when it was asked: what follows it was not decided on."""
        return self.rollout or (deployment.rollout.id if deployment.rollout else "")

    @property
    def message(self) -> str:
        """The reason that the rollout shows."""
        return f"by hand: {self.rationale}" if self.rationale else "by hand"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromoteRollout:
    """Emits RolloutWasPromoted and DeploymentWasConfigured. Of two at once one wins; the other finds it promoted."""

    deployments: Deployments
    prepare: PrepareCandidate
    count: CountOutcomes
    clock: Clock
    enqueue: Enqueue = enqueues_nothing

    async def __call__(self, caller: Caller, command: RolloutCommand) -> Deployment:
        """Return the deployment with its candidate live.

        Raises:
            DeploymentNotFound, RolloutNotFound: there is no such thing.
            NoActiveRollout: no evaluation has passed the gate, or the rollout has ended.
            ApprovalsMissing: approvals are missing.
            CandidateNotReady: its version is gone, not ready, or does not match its manifest.

        """
        command.check()
        now = self.clock.now()
        current = await _counted(self.deployments, self.count, caller, command)
        counts = _counts(current)

        def change(stored: Deployment) -> None:
            stored.promote_rollout(command.meant(current), message=command.message, counts=counts, now=now)

        if rollout := current.active_rollout:
            await self.prepare(caller.project, rollout.candidate.model)
        if command.validate_only:
            return _previewed(current, change)
        saved = await self.deployments.update(caller.project, command.deployment, change, request=command.request)
        self.enqueue(DeploymentRef(project=caller.project, id=command.deployment))
        return saved


@dataclass(frozen=True, slots=True, kw_only=True)
class RollBackRollout:
    """Emits RolloutWasRolledBack, and DeploymentWasConfigured where the candidate was live already."""

    deployments: Deployments
    count: CountOutcomes
    clock: Clock
    warm: Warm = warms_nothing
    enqueue: Enqueue = enqueues_nothing

    async def __call__(self, caller: Caller, command: RolloutCommand) -> Deployment:
        """Return the deployment without its candidate.

        Raises:
            DeploymentNotFound, RolloutNotFound: there is no such thing.
            NoActiveRollout: there is nothing to take back.

        """
        command.check()
        now = self.clock.now()
        current = await _counted(self.deployments, self.count, caller, command)
        counts = _counts(current)

        def change(stored: Deployment) -> None:
            stored.roll_back_rollout(command.meant(current), message=command.message, counts=counts, now=now)

        if command.validate_only:
            return _previewed(current, change)
        saved = await self.deployments.update(caller.project, command.deployment, change, request=command.request)
        self.warm(caller.project, saved.live.model)
        self.enqueue(DeploymentRef(project=caller.project, id=command.deployment))
        return saved


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproveRollout:
    """Each named approver counts once. The promotion follows when nothing else is missing."""

    deployments: Deployments
    clock: Clock
    enqueue: Enqueue = enqueues_nothing

    async def __call__(self, caller: Caller, command: RolloutCommand) -> Deployment:
        """Return the deployment with the approval.

        Raises:
            DeploymentNotFound, RolloutNotFound: there is no such thing.
            NoActiveRollout: there is nothing to agree to.

        """
        command.check()
        given = Approval(approver=caller.subject, rationale=command.rationale, approve_time=self.clock.now())

        def change(stored: Deployment) -> None:
            stored.approve_rollout(command.rollout, given)

        if command.validate_only:
            return _previewed(await self.deployments.get(caller.project, command.deployment), change)
        saved = await self.deployments.update(caller.project, command.deployment, change, request=command.request)
        self.enqueue(DeploymentRef(project=caller.project, id=command.deployment))
        return saved


async def _counted(
    deployments: Deployments, count: CountOutcomes, caller: Caller, command: RolloutCommand
) -> Deployment:
    return await count(await deployments.get(caller.project, command.deployment))


def _counts(deployment: Deployment) -> StepCounts:
    return deployment.rollout.counts if deployment.rollout else StepCounts()


def _previewed(current: Deployment, change: Callable[[Deployment], None]) -> Deployment:
    change(current)
    return replace(current, pending=[])
