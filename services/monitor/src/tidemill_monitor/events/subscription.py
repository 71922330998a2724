"""Every event type that monitor consumes, and how a projection subscribes to them."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from pydantic import RootModel

from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription
from tidemill_monitor.events.evaluator import EvaluationCompleted, EvaluationFailed, EvaluationStarted
from tidemill_monitor.events.feedback import CurationCompleted, FeedbackRecorded, FeedbackWithdrawn
from tidemill_monitor.events.inference import (
    DeploymentConfigured,
    DeploymentDeleted,
    InferenceCancelled,
    InferenceCompleted,
    InferenceFailed,
    RolloutAdvanced,
    RolloutPromoted,
    RolloutRefused,
    RolloutRolledBack,
    RolloutStarted,
)
from tidemill_monitor.events.ingest import (
    DatasetVersionPublished,
    DatasetVersionWithheld,
    DocumentDeleted,
    DocumentIsThere,
)
from tidemill_monitor.events.meta import Counted, EventMeta
from tidemill_monitor.events.rag import IndexBuildStarted, IndexWentLive
from tidemill_monitor.events.trainer import (
    ModelVersionFailed,
    ModelVersionRegistered,
    RunFailed,
    RunQueued,
    RunSucceeded,
)

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

EVENT_TYPES: Mapping[str, type] = {
    "tidemill.ingest.document.ingested.v1": DocumentIsThere,
    "tidemill.ingest.document.updated.v1": DocumentIsThere,
    "tidemill.ingest.document.deleted.v1": DocumentDeleted,
    "tidemill.ingest.document.rejected.v1": Counted,
    "tidemill.ingest.dataset.version_published.v1": DatasetVersionPublished,
    "tidemill.ingest.dataset.version_withheld.v1": DatasetVersionWithheld,
    "tidemill.rag.index.build_started.v1": IndexBuildStarted,
    "tidemill.rag.index.went_live.v1": IndexWentLive,
    "tidemill.rag.index.collection_deleted.v1": Counted,
    "tidemill.inference.inference.completed.v1": InferenceCompleted,
    "tidemill.inference.inference.failed.v1": InferenceFailed,
    "tidemill.inference.inference.cancelled.v1": InferenceCancelled,
    "tidemill.inference.deployment.configured.v1": DeploymentConfigured,
    "tidemill.inference.deployment.deleted.v1": DeploymentDeleted,
    "tidemill.inference.rollout.started.v1": RolloutStarted,
    "tidemill.inference.rollout.advanced.v1": RolloutAdvanced,
    "tidemill.inference.rollout.promoted.v1": RolloutPromoted,
    "tidemill.inference.rollout.rolled_back.v1": RolloutRolledBack,
    "tidemill.inference.rollout.refused.v1": RolloutRefused,
    "tidemill.feedback.feedback.recorded.v1": FeedbackRecorded,
    "tidemill.feedback.feedback.withdrawn.v1": FeedbackWithdrawn,
    "tidemill.feedback.curation.completed.v1": CurationCompleted,
    "tidemill.trainer.run.queued.v1": RunQueued,
    "tidemill.trainer.run.succeeded.v1": RunSucceeded,
    "tidemill.trainer.run.failed.v1": RunFailed,
    "tidemill.trainer.model.version_registered.v1": ModelVersionRegistered,
    "tidemill.trainer.model.version_failed.v1": ModelVersionFailed,
    "tidemill.trainer.model.deleted.v1": Counted,
    "tidemill.evaluator.evaluation.started.v1": EvaluationStarted,
    "tidemill.evaluator.evaluation.completed.v1": EvaluationCompleted,
    "tidemill.evaluator.evaluation.failed.v1": EvaluationFailed,
}
"""Every event type. One that is missing here would be passed over: the contract test forbids it."""


def projection(
    name: str,
    handle: Callable[[EventContext, EventMeta, Any], Awaitable[None]],
    *,
    types: Mapping[str, type] = EVENT_TYPES,
    topics: tuple[str, ...] = TOPICS,
) -> Subscription:
    """Return the subscription of one projection, which has a consumer group and dead letters of its own."""

    async def handled(event: EventContext, body: RootModel[Any]) -> None:
        await handle(event, EventMeta(type=event.type, time=event.time), body.root)

    return Subscription(
        name=f"monitor.{name}",
        topics=topics,
        delivery=Delivery.ONCE,
        routes={ce_type: Route(model_of(event_type), handled) for ce_type, event_type in types.items()},
    )


def model_of(event_type: type) -> type[RootModel[Any]]:
    """Return what reads a body into a dataclass, which knows no library."""
    return cast("type[RootModel[Any]]", RootModel.__class_getitem__(event_type))
