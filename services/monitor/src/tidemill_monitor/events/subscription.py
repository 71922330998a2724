"""Every event type that monitor consumes, and how a projection subscribes to them."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from pydantic import RootModel

from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription
from tidemill_monitor.events import evaluator, feedback, inference, ingest, rag, trainer
from tidemill_monitor.events.meta import EventMeta

TOPICS = (
    "tidemill.ingest.document.v1",
    "tidemill.ingest.dataset.v1",
    "tidemill.rag.index.v1",
    "tidemill.inference.inference.v1",
    "tidemill.inference.deployment.v1",
    "tidemill.inference.prompt.v1",
    "tidemill.inference.budget.v1",
    "tidemill.feedback.feedback.v1",
    "tidemill.feedback.curation.v1",
    "tidemill.feedback.review.v1",
    "tidemill.trainer.run.v1",
    "tidemill.trainer.model.v1",
    "tidemill.evaluator.evaluation.v1",
)

GATHER_S = 0.25
"""What is seen of events may be so late, where many come."""
EVENT_TYPES: Mapping[str, type] = {
    ce_type: body
    for service in (ingest, rag, inference, feedback, trainer, evaluator)
    for ce_type, body in service.TYPES.items()
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
        gather_s=GATHER_S,
        routes={ce_type: Route(model_of(event_type), handled) for ce_type, event_type in types.items()},
    )


def model_of(event_type: type) -> type[RootModel[Any]]:
    """Return what reads a body into a dataclass, which knows no library."""
    return cast("type[RootModel[Any]]", RootModel.__class_getitem__(event_type))
