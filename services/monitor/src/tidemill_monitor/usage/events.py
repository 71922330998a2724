"""The projection of events to metrics."""

from typing import Any

from tidemill_kit.events.subscriptions import EventContext, Subscription
from tidemill_monitor.events.meta import EventMeta
from tidemill_monitor.events.subscription import projection
from tidemill_monitor.usage.count_event import CountEvent


def usage(count: CountEvent) -> Subscription:
    """Return the subscription."""

    async def handle(event: EventContext, meta: EventMeta, body: Any) -> None:  # noqa: ANN401 - any type of event
        count(event.caller, meta, body)

    return projection("usage", handle)
