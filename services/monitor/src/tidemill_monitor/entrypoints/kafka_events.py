"""Consumes every topic of events, from its beginning."""

from collections.abc import Mapping
from typing import Any, cast

from pydantic import RootModel

from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription
from tidemill_monitor.application.record_event import RecordEvent
from tidemill_monitor.domain import inference_events, ingest_events, loop_events
from tidemill_monitor.domain.events import EventBody, EventMeta
from tidemill_monitor.entrypoints.metrics import LoopMetrics

TOPICS = (
    "tidemill.ingest.document.v1",
    "tidemill.ingest.dataset.v1",
    "tidemill.rag.index.v1",
    "tidemill.inference.inference.v1",
    "tidemill.inference.deployment.v1",
    "tidemill.feedback.feedback.v1",
    "tidemill.feedback.curation.v1",
    "tidemill.trainer.run.v1",
    "tidemill.trainer.model.v1",
    "tidemill.evaluator.evaluation.v1",
)

EVENT_TYPES: Mapping[str, type[EventBody]] = {
    "tidemill.ingest.document.ingested.v1": ingest_events.DocumentIsThere,
    "tidemill.ingest.document.updated.v1": ingest_events.DocumentIsThere,
    "tidemill.ingest.document.deleted.v1": ingest_events.DocumentDeleted,
    "tidemill.ingest.document.rejected.v1": ingest_events.DocumentRejected,
    "tidemill.ingest.dataset.version_published.v1": ingest_events.DatasetVersionPublished,
    "tidemill.ingest.dataset.version_withheld.v1": ingest_events.DatasetVersionWithheld,
    "tidemill.rag.index.build_started.v1": ingest_events.IndexBuildStarted,
    "tidemill.rag.index.went_live.v1": ingest_events.IndexWentLive,
    "tidemill.rag.index.collection_deleted.v1": ingest_events.CollectionDeleted,
    "tidemill.inference.inference.completed.v1": inference_events.InferenceCompleted,
    "tidemill.inference.inference.failed.v1": inference_events.InferenceFailed,
    "tidemill.inference.inference.cancelled.v1": inference_events.InferenceCancelled,
    "tidemill.inference.deployment.configured.v1": inference_events.DeploymentConfigured,
    "tidemill.inference.deployment.deleted.v1": inference_events.DeploymentDeleted,
    "tidemill.inference.rollout.started.v1": inference_events.RolloutStarted,
    "tidemill.inference.rollout.advanced.v1": inference_events.RolloutAdvanced,
    "tidemill.inference.rollout.promoted.v1": inference_events.RolloutPromoted,
    "tidemill.inference.rollout.rolled_back.v1": inference_events.RolloutRolledBack,
    "tidemill.inference.rollout.refused.v1": inference_events.RolloutRefused,
    "tidemill.feedback.feedback.recorded.v1": loop_events.FeedbackRecorded,
    "tidemill.feedback.feedback.withdrawn.v1": loop_events.FeedbackWithdrawn,
    "tidemill.feedback.curation.completed.v1": loop_events.CurationCompleted,
    "tidemill.trainer.run.queued.v1": loop_events.RunQueued,
    "tidemill.trainer.run.succeeded.v1": loop_events.RunSucceeded,
    "tidemill.trainer.run.failed.v1": loop_events.RunFailed,
    "tidemill.trainer.model.version_registered.v1": loop_events.ModelVersionRegistered,
    "tidemill.trainer.model.version_failed.v1": loop_events.ModelVersionFailed,
    "tidemill.trainer.model.deleted.v1": loop_events.ModelDeleted,
    "tidemill.evaluator.evaluation.started.v1": loop_events.EvaluationStarted,
    "tidemill.evaluator.evaluation.completed.v1": loop_events.EvaluationCompleted,
    "tidemill.evaluator.evaluation.failed.v1": loop_events.EvaluationFailed,
}
"""Every event type there is. One that is missing here would be passed over: the contract test forbids it."""


def lineage(record: RecordEvent, metrics: LoopMetrics, *, topics: tuple[str, ...] = TOPICS) -> Subscription:
    """Return the subscription."""

    async def handle(event: EventContext, body: RootModel[Any]) -> None:
        meta = EventMeta(type=event.type, time=event.time)
        metrics.added(await record(event.project, meta, body.root))
        metrics.count(event.project, meta, body.root)

    return Subscription(
        name="monitor.lineage",
        topics=topics,
        delivery=Delivery.ONCE,
        routes={ce_type: Route(model_of(event_type), handle) for ce_type, event_type in EVENT_TYPES.items()},
    )


def model_of(event_type: type[EventBody]) -> type[RootModel[Any]]:
    """Return what reads a body into a dataclass of the domain, which knows no library."""
    return cast("type[RootModel[Any]]", RootModel.__class_getitem__(event_type))
