"""What feedback receives from inference: answers that reactions may be waiting for."""

from pydantic import BaseModel

from tidemill_feedback.application.match_pending import MatchPending
from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription

NAME = "feedback.inferences"
TOPIC = "tidemill.inference.inference.v1"
COMPLETED = "tidemill.inference.inference.completed.v1"


class InferenceCompleted(BaseModel):
    """The field that is read of inference.completed; the rest is asked for where something waits."""

    inference: str


def inferences(match: MatchPending) -> Subscription:
    """Return the subscription: one read by id for an answer that nothing waits for."""

    async def completed(event: EventContext, body: InferenceCompleted) -> None:
        await match(event.project, body.inference)

    return Subscription(
        name=NAME,
        topics=(TOPIC,),
        delivery=Delivery.LATEST,
        routes={COMPLETED: Route(InferenceCompleted, completed)},
    )
