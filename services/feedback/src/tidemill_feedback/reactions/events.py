"""Consumes inference's events: completed answers with pending reactions."""

from pydantic import BaseModel

from tidemill_feedback.reactions.match_pending import MatchPending
from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription

NAME = "feedback.inferences"
TOPIC = "tidemill.inference.inference.v1"
COMPLETED = "tidemill.inference.inference.completed.v1"


class InferenceCompleted(BaseModel):
    """The used field of inference.completed; the rest is requested if reactions are pending."""

    inference: str


def inferences(match: MatchPending) -> Subscription:
    """Return the subscription; an answer without pending reactions costs one read by id."""

    async def completed(event: EventContext, body: InferenceCompleted) -> None:
        await match(event.project, body.inference)

    return Subscription(
        name=NAME,
        topics=(TOPIC,),
        delivery=Delivery.LATEST,
        routes={COMPLETED: Route(InferenceCompleted, completed)},
    )
