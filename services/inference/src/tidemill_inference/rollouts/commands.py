"""Decide on a rollout by hand: promote, roll back, approve."""

from collections.abc import Callable
from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, ResourceKey
from tidemill_core.approvals import approval_of, check_rationale
from tidemill_core.resources import Write, update
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.ports import Deployments
from tidemill_inference.engines.ports import Warm, warms_nothing
from tidemill_inference.rollouts.domain.errors import NoActiveRollout
from tidemill_inference.rollouts.domain.rollout import RolloutState
from tidemill_inference.rollouts.domain.step_counts import StepCounts
from tidemill_inference.rollouts.outcomes import CountOutcomes
from tidemill_inference.rollouts.ports import Enqueue, enqueues_nothing
from tidemill_inference.rollouts.prepare_candidate import PrepareCandidate


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutCommand:
    """Which rollout; an empty `rollout` is the deployment's active one, or its last."""

    deployment: str
    rollout: str = ""
    rationale: str = ""
    write: Write

    def meant(self, deployment: Deployment) -> str:
        """Return the id of the rollout that was there when it was asked: what follows it was not decided on."""
        return self.rollout or (deployment.rollout.id if deployment.rollout else "")

    @property
    def message(self) -> str:
        """The reason that the rollout shows."""
        return f"by hand: {self.rationale}" if self.rationale else "by hand"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutCommands:
    """Each returns the deployment as it is then. `warm` gets the model that serves after a rollback."""

    deployments: Deployments
    prepare: PrepareCandidate
    count: CountOutcomes
    clock: Clock
    warm: Warm = warms_nothing
    enqueue: Enqueue = enqueues_nothing

    async def promote(self, caller: Caller, command: RolloutCommand) -> Deployment:
        """Make the candidate live. Of two at once one wins; the other finds it promoted.

        Emits RolloutWasPromoted and DeploymentWasConfigured.

        Raises:
            DeploymentNotFound, RolloutNotFound: there is no such thing.
            NoActiveRollout: no evaluation has passed the gate, or the rollout has ended.
            ApprovalsMissing: approvals are missing.
            CandidateNotReady: its version is gone, not ready, or does not match its manifest.

        """
        check_rationale(command.rationale)
        now = self.clock.now()
        current = await self._counted(caller, command)

        def change(stored: Deployment) -> None:
            stored.promote_rollout(
                command.meant(current), message=command.message, counts=_counts(current), now=now, by=caller.subject
            )

        if rollout := current.active_rollout:
            await self.prepare(caller, rollout, engine=current.spec.engine)
        return await self._saved(caller, command, change)

    async def roll_back(self, caller: Caller, command: RolloutCommand) -> Deployment:
        """Take the candidate back, also after its promotion.

        Emits RolloutWasRolledBack, and DeploymentWasConfigured where the candidate was live already.

        Raises:
            DeploymentNotFound, RolloutNotFound: there is no such thing.
            NoActiveRollout: there is nothing to take back.
            IndexNotReady: rag has the index version before no more.
            DependencyUnavailable: rag does not answer.

        """
        check_rationale(command.rationale)
        now = self.clock.now()
        current = await self._counted(caller, command)
        await self._check_index_before(caller, current, command)

        def change(stored: Deployment) -> None:
            stored.roll_back_rollout(
                command.meant(current), message=command.message, counts=_counts(current), now=now, by=caller.subject
            )

        saved = await self._saved(caller, command, change)
        if not command.write.validate_only:
            self.warm(caller.project, saved.live.model, saved.spec.engine)
        return saved

    async def approve(self, caller: Caller, command: RolloutCommand) -> Deployment:
        """Agree to the promotion, which follows when nothing else is missing. Each named approver counts once.

        Raises:
            DeploymentNotFound, RolloutNotFound: there is no such thing.
            NoActiveRollout: there is nothing to agree to.
            ApproverNotAllowed: the caller lacks the policy's role, is no person, or had the candidate made.

        """
        given = approval_of(caller, rationale=command.rationale, now=self.clock.now())
        current = await self.deployments.get(caller.project, command.deployment)
        authors = frozenset[str]()
        if rollout := current.active_rollout:
            authors = await self.prepare.authors(caller, rollout)

        def change(stored: Deployment) -> None:
            if active := stored.active_rollout:  # it may have started since
                active.policy.approval.check(caller, authors | {*active.authors})
            stored.approve_rollout(command.meant(current), given, authors=authors)

        return await self._saved(caller, command, change)

    async def _check_index_before(self, caller: Caller, current: Deployment, command: RolloutCommand) -> None:
        """Check that a promoted index version is live still, and the one before can be again."""
        rollout = current.rollout
        if rollout is None or rollout.index is None or rollout.state is not RolloutState.PROMOTED:
            return
        if rollout.id != command.meant(current):
            return
        promoted = rollout.index
        live = await self.prepare.indexes.live(caller, promoted.collection, promoted.before)
        if live != promoted.number and not promoted.pending:
            text = f"index version {live} is live by now, and not {promoted.number}, which was promoted"
            raise NoActiveRollout(current.id, missing=text)

    async def _counted(self, caller: Caller, command: RolloutCommand) -> Deployment:
        return await self.count(await self.deployments.get(caller.project, command.deployment))

    async def _saved(self, caller: Caller, command: RolloutCommand, change: Callable[[Deployment], None]) -> Deployment:
        saved = await update(self.deployments, caller.project, command.deployment, change, command.write)
        if not command.write.validate_only:
            self.enqueue(ResourceKey(project=caller.project, id=command.deployment))
        return saved


def _counts(deployment: Deployment) -> StepCounts:
    return deployment.rollout.counts if deployment.rollout else StepCounts()
