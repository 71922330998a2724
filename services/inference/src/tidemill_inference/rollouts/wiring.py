"""Puts the rollouts together."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import grpc

from tidemill_core.application import SystemClock
from tidemill_inference.deployments.ports import Deployments
from tidemill_inference.engines.ports import Engines, Models
from tidemill_inference.prompts.ports import ReadPrompts
from tidemill_inference.rollouts.events import evaluations, reactions
from tidemill_inference.rollouts.feedback import FeedbackMetrics
from tidemill_inference.rollouts.follow_ups import FollowUps
from tidemill_inference.rollouts.mongo import MongoActiveRollouts, MongoOutcomes
from tidemill_inference.rollouts.outcomes import CountOutcomes, ForgetOutcomes, RecordOutcome, RecordReaction
from tidemill_inference.rollouts.ports import AnsweredIn, answered_in_none
from tidemill_inference.rollouts.prepare_candidate import PrepareCandidate
from tidemill_inference.rollouts.prompts import StoredPrompts
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
from tidemill_kit.erasure.steps import Step, Target
from tidemill_kit.events.subscriptions import Subscription
from tidemill_kit.service.backend import Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutParts:
    """What rollouts are made of."""

    outcomes: MongoOutcomes
    metrics: FeedbackMetrics
    count: CountOutcomes
    forget: ForgetOutcomes
    prepare: PrepareCandidate
    controllers: RolloutControllers
    follow_ups: FollowUps
    consumers: Sequence[Subscription]

    @property
    def of_projects(self) -> Sequence[Step]:
        """See `Erasing.of_projects`: the outcomes go with the documents of the project."""
        return []

    @property
    def of_end_users(self) -> Sequence[Step]:
        """See `Erasing.of_end_users`."""

        async def values_of(target: Target) -> int:
            return await self.outcomes.of_end_user(target.project, target.subject)

        return [Step(kind="values of answers in rollouts", erase=values_of)]


def wire_rollouts(  # noqa: PLR0913 - keyword-only, and each of another kind
    settings: InferenceSettings,
    backend: Backend,
    prompts: ReadPrompts,
    *,
    deployments: Deployments,
    models: Models,
    engines: Engines,
    trainer: grpc.aio.Channel,
    rag: grpc.aio.Channel,
    answered_in: AnsweredIn = answered_in_none,
) -> RolloutParts:
    """Return the rollouts of the deployments."""
    clock, tick = SystemClock(), timedelta(seconds=settings.rollout_tick_s)
    outcomes = backend.indexed(MongoOutcomes(backend.database["rollout_outcomes"]))
    active = backend.indexed(MongoActiveRollouts(backend.database["deployments"]))
    candidates, stored = TrainerCandidates(trainer, timeout_s=settings.call_timeout_s), StoredPrompts(prompts)
    indexes = RagIndexes(rag, timeout_s=settings.call_timeout_s)
    prepare = PrepareCandidate(candidates=candidates, models=models, engines=engines, indexes=indexes, prompts=stored)
    count = CountOutcomes(outcomes=outcomes, clock=clock)
    reconcile = ReconcileRollout(
        deployments=deployments,
        outcomes=outcomes,
        count=count,
        prepare=prepare,
        clock=clock,
        server_ends=settings.rollout_server_ends,
    )
    controllers = rollout_controllers(
        AdvanceRollout(reconcile=reconcile, tick=tick),
        HoldCandidate(deployments=deployments, models=models, engines=engines, tick=tick),
        pending=active.pending,
        leases=backend.leases("rollout_leases"),
        max_concurrent=settings.rollout_max_concurrent,
        poll_interval=timedelta(seconds=settings.rollout_poll_interval_s),
    )
    start = StartRollout(
        deployments=deployments,
        candidates=candidates,
        indexes=indexes,
        prompts=stored,
        clock=clock,
        enqueue=controllers.enqueue,
    )
    erased = backend.erased.end_users
    record = RecordReaction(deployments=deployments, outcomes=outcomes, erased=erased, answered_in=answered_in)
    return RolloutParts(
        outcomes=outcomes,
        metrics=_metrics(settings, backend),
        count=count,
        forget=ForgetOutcomes(active=active, deployments=deployments, outcomes=outcomes, clock=clock),
        prepare=prepare,
        controllers=controllers,
        follow_ups=FollowUps(
            record=RecordOutcome(deployments=deployments, outcomes=outcomes, erased=erased),
            waiting=settings.shadows_waiting,
            max_concurrent=settings.shadow_max_concurrent,
        ),
        consumers=[evaluations(start), reactions(record)],
    )


def _metrics(settings: InferenceSettings, backend: Backend) -> FeedbackMetrics:
    address, timeout_s = settings.feedback_address, settings.call_timeout_s
    channel = backend.channel("feedback", address, timeout_s=timeout_s) if address else None
    return FeedbackMetrics(channel, timeout_s=timeout_s)
