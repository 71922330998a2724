"""The projection of events to the lineage graph."""

from typing import Any

from tidemill_kit.events.subscriptions import EventContext, Subscription
from tidemill_monitor.events.meta import EventMeta
from tidemill_monitor.events.subscription import TOPICS, projection
from tidemill_monitor.lineage.record_event import RecordEvent
from tidemill_monitor.metrics import NODES


def lineage(record: RecordEvent, *, topics: tuple[str, ...] = TOPICS) -> Subscription:
    """Return the subscription."""

    async def handle(event: EventContext, meta: EventMeta, body: Any) -> None:  # noqa: ANN401 - any type of event
        for kind, number in (await record(event.caller, meta, body)).items():
            NODES.labels(kind.value).inc(number)

    return projection("lineage", handle, topics=topics)
