"""The projection of completed curations to batches that are to be read."""

from tidemill_kit.events.subscriptions import EventContext, Subscription
from tidemill_monitor.events.feedback import CurationCompleted
from tidemill_monitor.events.meta import EventMeta
from tidemill_monitor.events.subscription import projection
from tidemill_monitor.examples.request_batch import RequestBatch

COMPLETED = "tidemill.feedback.curation.completed.v1"


def examples(request: RequestBatch) -> Subscription:
    """Return the subscription."""

    async def handle(event: EventContext, meta: EventMeta, body: CurationCompleted) -> None:
        await request(event.caller, meta, body)

    return projection(
        "examples", handle, types={COMPLETED: CurationCompleted}, topics=("tidemill.feedback.curation.v1",)
    )
