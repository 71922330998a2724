"""Controllers of rollouts: one advances those that are active, one keeps their candidates loaded."""

import time
from dataclasses import dataclass, field, replace
from datetime import timedelta

from tidemill_core.application import Requeue, ResourceKey
from tidemill_inference.background import background
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.domain.errors import DeploymentNotFound
from tidemill_inference.deployments.ports import Deployments
from tidemill_inference.engines.ports import Engines, Models, ModelVersion
from tidemill_inference.rollouts.reconcile_rollout import ReconcileRollout
from tidemill_kit.workers.controller import Controller, Holder, Pending

_MAX_PAUSE = timedelta(seconds=1)
"""A reconciliation that takes long is followed by a pause as long, up to this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvanceRollout:
    """Advances a rollout until it has ended. One lease is kept all the time: each new epoch is a write."""

    reconcile: ReconcileRollout
    tick: timedelta

    async def __call__(self, ref: ResourceKey, epoch: int) -> Requeue | None:
        """Take the rollout a step further, and ask to be called again after a tick while it is active."""
        started = time.monotonic()
        if not await self.reconcile(ref, epoch=epoch):
            return None
        took = timedelta(seconds=time.monotonic() - started)
        return Requeue(after=max(self.tick, min(took, _MAX_PAUSE)), keep_lease=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldCandidate:
    """Keeps the candidate of an active rollout loaded in this process, so that no request waits for it."""

    deployments: Deployments
    models: Models
    engines: Engines
    tick: timedelta
    _held: dict[ResourceKey, tuple[str, ModelVersion]] = field(default_factory=dict, init=False)
    """The rollout that holds a candidate."""

    async def __call__(self, ref: ResourceKey, _epoch: int) -> Requeue | None:
        """Load or release the candidate, and look again after a tick while there is a rollout."""
        deployment = await self._deployment(ref)
        rollout = deployment.active_rollout if deployment else None
        holder, version = self._held.get(ref, ("", None))
        if version and (rollout is None or rollout.id != holder):
            await self.engines.release(ref.project, version, holder=holder)
            del self._held[ref]
        if deployment is None or rollout is None:
            return None
        if rollout.ready and ref not in self._held:  # its first load, by AdvanceRollout, reports what is wrong
            version = await self.models.resolve(background(ref.project), rollout.candidate.model, field="candidate")
            version = replace(version, engine=deployment.spec.engine)
            await self.engines.prepare(ref.project, version, holder=rollout.id)
            self._held[ref] = rollout.id, version
        return Requeue(after=self.tick)

    async def _deployment(self, ref: ResourceKey) -> Deployment | None:
        try:
            return await self.deployments.get(ref.project, ref.id)
        except DeploymentNotFound:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutControllers:
    """Both controllers, which have the same keys."""

    advancing: Controller[ResourceKey]
    holding: Controller[ResourceKey]

    def enqueue(self, ref: ResourceKey) -> None:
        """Have both look at a deployment's rollout soon."""
        self.advancing.enqueue(ref)
        self.holding.enqueue(ref)


def rollout_controllers(  # noqa: PLR0913 - what both are made of
    advance: AdvanceRollout,
    hold: HoldCandidate,
    *,
    pending: Pending[ResourceKey],
    leases: Holder,
    max_concurrent: int,
    poll_interval: timedelta,
) -> RolloutControllers:
    """Return the controllers; `leases` let one replica advance a rollout, while every replica holds its candidate."""
    return RolloutControllers(
        advancing=Controller(
            "rollouts",
            reconcile=advance,
            pending=pending,
            leases=leases,
            max_concurrent=max_concurrent,
            poll_interval=poll_interval,
        ),
        holding=Controller(
            "rollout_candidates",
            reconcile=hold,
            pending=pending,
            max_concurrent=max_concurrent,
            poll_interval=poll_interval,
        ),
    )
