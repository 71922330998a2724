"""The consumer of what services report of erasures."""

from collections.abc import Awaitable, Callable
from typing import Any

from tidemill_core.errors import InvalidInput
from tidemill_kit.erasure.erasures import REPORTS
from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription
from tidemill_monitor.erasures.domain.erasure import Count, Report
from tidemill_monitor.events.monitor import ErasureCompleted
from tidemill_monitor.events.subscription import model_of

_QUOTED = 40
COMPLETED = "tidemill.monitor.erasure.completed.v1"


def erasure_reports(
    record: Callable[[str, str, Report], Awaitable[None]], *, topics: tuple[str, ...] = (REPORTS,)
) -> Subscription:
    """Return the subscription; while monitor is down, reports wait in their topic."""

    async def completed(context: EventContext, body: Any) -> None:  # noqa: ANN401 - the model is made from the dataclass
        event: ErasureCompleted = body.root
        if context.source != f"/tidemill/{event.service}":
            text = f"is {event.service[:_QUOTED]!r}, and the event comes from {context.source[:_QUOTED]!r}"
            raise InvalidInput.at(field="service", text=text)
        await record(context.project, event.id, report_of(event))

    return Subscription(
        name="monitor.erasure_reports",
        topics=topics,
        delivery=Delivery.ONCE,
        routes={COMPLETED: Route(model_of(ErasureCompleted), completed)},
        of_deleted=True,
    )


def report_of(event: ErasureCompleted) -> Report:
    """Return the report in an event."""
    return Report(
        service=event.service,
        counts=tuple(Count(kind=each.kind, count=each.count) for each in event.counts),
        start_time=event.start_time,
        complete_time=event.complete_time,
    )
