"""Consumes feedback's own events, so that each saved reaction reaches the curations also after a crash."""

from pydantic import BaseModel

from tidemill_feedback.curations.record_correction import RecordCorrection
from tidemill_feedback.reactions.domain.reaction import TEACHING
from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription

NAME = "feedback.corrections"
TOPIC = "tidemill.feedback.feedback.v1"
RECORDED = "tidemill.feedback.feedback.recorded.v1"
WITHDRAWN = "tidemill.feedback.feedback.withdrawn.v1"


class FeedbackChanged(BaseModel):
    """The fields that are used of both events; the rest is read from the store."""

    feedback: str
    metric: str


def corrections(record: RecordCorrection) -> Subscription:
    """Return the subscription."""

    async def changed(event: EventContext, body: FeedbackChanged) -> None:
        if body.metric in TEACHING:
            await record(event.caller, body.feedback)

    return Subscription(
        name=NAME,
        topics=(TOPIC,),
        delivery=Delivery.LATEST,
        routes={each: Route(FeedbackChanged, changed) for each in (RECORDED, WITHDRAWN)},
    )
