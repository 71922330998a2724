"""Take a rollout one move further, when its outcomes say so."""

import asyncio
from dataclasses import dataclass

from tidemill_core.application import Clock, Request, ResourceKey
from tidemill_core.approvals import ApprovalMissing
from tidemill_core.errors import TRANSIENT, TidemillError
from tidemill_inference.background import background
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.domain.errors import DeploymentNotFound
from tidemill_inference.deployments.ports import Deployments
from tidemill_inference.rollouts.domain.changes import IndexChange
from tidemill_inference.rollouts.domain.errors import CandidateNotReady
from tidemill_inference.rollouts.domain.rollout import MAX_SERVER_ENDS, Decision, Move, Rollout
from tidemill_inference.rollouts.domain.step_counts import Reason, StepCounts
from tidemill_inference.rollouts.outcomes import CountOutcomes
from tidemill_inference.rollouts.ports import Outcomes
from tidemill_inference.rollouts.prepare_candidate import PrepareCandidate


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileRollout:
    """Emits what became of the rollout. Every write is conditional on the epoch of the lease that it is done under."""

    deployments: Deployments
    outcomes: Outcomes
    count: CountOutcomes
    prepare: PrepareCandidate
    clock: Clock
    server_ends: int = MAX_SERVER_ENDS
    """See `Rollout.decide`."""

    async def __call__(self, ref: ResourceKey, *, epoch: int) -> bool:
        """Make at most one transition; return whether the rollout is still active.

        Raises:
            RolloutLeaseLost: another replica reconciles it, and nothing was changed.
            DependencyUnavailable: trainer, stores or engine do not answer; call again later.

        """
        deployment = await self._taken(ref, epoch)
        if deployment is None or (rollout := deployment.rollout) is None:
            return False
        if not rollout.active:
            await self.outcomes.forget(ref.project, rollout.id)
            if rollout.index and rollout.index.pending:
                await self._make_live(ref, rollout.at(epoch), rollout.index)
            return False
        counts = await self.count.step(ref, rollout) if rollout.ready else StepCounts()
        decision = await self._lost(ref, rollout) or await self._decided(deployment, rollout, counts)
        if decision.move is Move.PROMOTE:
            try:
                decision = await self._prepared(ref, deployment, rollout, decision)
            except ApprovalMissing as error:
                await self._delayed(ref, rollout, error.message)
                return True
        if decision.move is not Move.STAY:
            await self._save(ref, rollout, decision, counts)
        elif not (rollout.ready or rollout.hold or deployment.rollouts_paused):
            await self._begin(ref, deployment, rollout)
        return True

    async def _taken(self, ref: ResourceKey, epoch: int) -> Deployment | None:
        """Return the deployment, fenced with this epoch before any decision."""
        try:
            deployment = await self.deployments.get(ref.project, ref.id)
            rollout = deployment.rollout
            if rollout is None or not rollout.unfinished or rollout.at(epoch) == rollout:
                return deployment

            def take(stored: Deployment) -> None:
                if stored.rollout and stored.rollout.unfinished:
                    stored.rollout = stored.rollout.at(epoch)

            return await self.deployments.update(ref.project, ref.id, take, request=Request.internal())
        except DeploymentNotFound:
            return None

    async def _decided(self, deployment: Deployment, rollout: Rollout, counts: StepCounts) -> Decision:
        """Return what is next; in a thread, as to weigh many different scores takes long."""
        return await asyncio.to_thread(
            rollout.decide,
            counts,
            now=self.clock.now(),
            paused=deployment.rollouts_paused,
            server_ends=self.server_ends,
        )

    async def _lost(self, ref: ResourceKey, rollout: Rollout) -> Decision | None:
        """Return that an index version has to be taken back at once: its users get errors, or it is out of date.

        Where rag does not answer, it stays as it is.
        """
        if rollout.index is None:
            return None
        try:
            await self.prepare.check_index(background(ref.project), rollout.index)
        except CandidateNotReady as error:
            return _taking_back(error)
        except TidemillError:
            return None
        return None

    async def _begin(self, ref: ResourceKey, deployment: Deployment, rollout: Rollout) -> None:
        """Load the candidate, and begin the first step once it is; one that cannot be loaded is taken back.

        One whose version people still have to agree to waits for them.
        """
        try:
            loaded = await self._prepared(ref, deployment, rollout, Decision(move=Move.STAY))
        except ApprovalMissing as error:
            await self._delayed(ref, rollout, error.message)
            return
        except TRANSIENT as error:
            await self._delayed(ref, rollout, error.message)
            raise
        if loaded.move is Move.ROLL_BACK:
            await self._save(ref, rollout, loaded, StepCounts())
            return
        now = self.clock.now()

        def begin(stored: Deployment) -> None:
            stored.begin_rollout(rollout.id, epoch=rollout.epoch, now=now)

        await self.deployments.update(ref.project, ref.id, begin, request=Request.internal())

    async def _delayed(self, ref: ResourceKey, rollout: Rollout, why: str) -> None:
        """Say what the rollout waits for, where it does not say so already."""

        def delay(stored: Deployment) -> None:
            stored.delay_rollout(rollout.id, epoch=rollout.epoch, why=why)

        if rollout.waiting(why) != rollout:
            await self.deployments.update(ref.project, ref.id, delay, request=Request.internal())

    async def _prepared(
        self, ref: ResourceKey, deployment: Deployment, rollout: Rollout, decision: Decision
    ) -> Decision:
        """Return the decision, or that the candidate has to be taken back because it cannot answer."""
        try:
            await self.prepare(background(ref.project), rollout, engine=deployment.spec.engine)
        except CandidateNotReady as error:
            return _taking_back(error)
        return decision

    async def _make_live(self, ref: ResourceKey, rollout: Rollout, change: IndexChange) -> None:
        """Have rag make live what was decided. A crash before it is recorded repeats it."""
        now, number = self.clock.now(), change.pending
        try:
            await self.prepare.indexes.promote(background(ref.project), change)
        except CandidateNotReady as error:
            reason, message = Reason(error.reason), error.message

            def fail(stored: Deployment) -> None:
                stored.fail_index(rollout.id, number, reason=reason, message=message, epoch=rollout.epoch, now=now)

            await self.deployments.update(ref.project, ref.id, fail, request=Request.internal())
            return

        def finish(stored: Deployment) -> None:
            stored.finish_index(rollout.id, number, epoch=rollout.epoch)

        await self.deployments.update(ref.project, ref.id, finish, request=Request.internal())

    async def _save(self, ref: ResourceKey, seen: Rollout, decision: Decision, counts: StepCounts) -> None:
        now = self.clock.now()

        def change(stored: Deployment) -> None:
            stored.reconcile_rollout(decision, counts, seen=seen, now=now)

        await self.deployments.update(ref.project, ref.id, change, request=Request.internal())


def _taking_back(error: CandidateNotReady) -> Decision:
    return Decision(move=Move.ROLL_BACK, reason=Reason(error.reason), message=error.message)
