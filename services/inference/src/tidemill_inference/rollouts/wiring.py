"""Puts the rollouts together."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import grpc

from tidemill_core.application import SystemClock
from tidemill_inference.deployments.ports import Deployments
from tidemill_inference.engines.ports import Engines, Models
from tidemill_inference.rollouts.events import evaluations, reactions
from tidemill_inference.rollouts.follow_ups import FollowUps
from tidemill_inference.rollouts.mongo import MongoActiveRollouts, MongoOutcomes
from tidemill_inference.rollouts.outcomes import CountOutcomes, ForgetOutcomes, RecordOutcome, RecordRating
from tidemill_inference.rollouts.prepare_candidate import PrepareCandidate
from tidemill_inference.rollouts.rag import RagIndexes
from tidemill_inference.rollouts.reconcile import (
    AdvanceRollout,
    HoldCandidate,
    RolloutControllers,
    rollout_controllers,
)
from tidemill_inference.rollouts.reconcile_rollout import ReconcileRollout
from tidemill_inference.rollouts.start_rollout import StartRollout
from tidemill_inference.rollouts.trainer import TrainerCandidates
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.events.subscriptions import Subscription
from tidemill_kit.service.backend import Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutParts:
    """What rollouts are made of."""

    outcomes: MongoOutcomes
    count: CountOutcomes
    forget: ForgetOutcomes
    prepare: PrepareCandidate
    controllers: RolloutControllers
    follow_ups: FollowUps
    consumers: Sequence[Subscription]


def wire_rollouts(  # noqa: PLR0913 - keyword-only, and each of another kind
    settings: InferenceSettings,
    backend: Backend,
    *,
    deployments: Deployments,
    models: Models,
    engines: Engines,
    trainer: grpc.aio.Channel,
    rag: grpc.aio.Channel,
) -> RolloutParts:
    """Return the rollouts of the deployments."""
    clock, tick = SystemClock(), timedelta(seconds=settings.rollout_tick_s)
    outcomes = backend.indexed(MongoOutcomes(backend.database["rollout_outcomes"]))
    active = backend.indexed(MongoActiveRollouts(backend.database["deployments"]))
    candidates = TrainerCandidates(trainer, timeout_s=settings.call_timeout_s)
    indexes = RagIndexes(rag, timeout_s=settings.call_timeout_s)
    prepare = PrepareCandidate(candidates=candidates, models=models, engines=engines, indexes=indexes)
    count = CountOutcomes(outcomes=outcomes)
    reconcile = ReconcileRollout(deployments=deployments, outcomes=outcomes, count=count, prepare=prepare, clock=clock)
    controllers = rollout_controllers(
        AdvanceRollout(reconcile=reconcile, tick=tick),
        HoldCandidate(deployments=deployments, models=models, engines=engines, tick=tick),
        pending=active.pending,
        leases=backend.leases("rollout_leases"),
        max_concurrent=settings.rollout_max_concurrent,
        poll_interval=timedelta(seconds=settings.rollout_poll_interval_s),
    )
    start = StartRollout(
        deployments=deployments, candidates=candidates, indexes=indexes, clock=clock, enqueue=controllers.enqueue
    )
    rate = RecordRating(deployments=deployments, outcomes=outcomes)
    return RolloutParts(
        outcomes=outcomes,
        count=count,
        forget=ForgetOutcomes(active=active, deployments=deployments, outcomes=outcomes, clock=clock),
        prepare=prepare,
        controllers=controllers,
        follow_ups=FollowUps(
            record=RecordOutcome(deployments=deployments, outcomes=outcomes),
            waiting=settings.shadows_waiting,
            max_concurrent=settings.shadow_max_concurrent,
        ),
        consumers=[evaluations(start), reactions(rate)],
    )
