"""Consumes what is known of answers, so that queues sample them."""

from datetime import datetime

from pydantic import BaseModel, Field

from tidemill_feedback.reactions.domain.reaction import RATING
from tidemill_feedback.reviews.domain.sampling import RecordedAnswer
from tidemill_feedback.reviews.sample_answers import SampleAnswers
from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription

NAME = "feedback.reviews"
INFERENCE_TOPIC = "tidemill.inference.inference.v1"
FEEDBACK_TOPIC = "tidemill.feedback.feedback.v1"
COMPLETED = "tidemill.inference.inference.completed.v1"
RECORDED = "tidemill.feedback.feedback.recorded.v1"
_LIVE = frozenset({"", "PURPOSE_UNSPECIFIED", "PURPOSE_LIVE"})


class UsedDocument(BaseModel):
    """The used field of a document whose passages an answer was given."""

    document: str


class AnsweringVariant(BaseModel):
    """The used field of the variant that answered."""

    configuration: str = ""


class AnswerCompleted(BaseModel):
    """The used fields of inference.completed."""

    inference: str
    deployment: str = ""
    variant: AnsweringVariant = Field(default_factory=AnsweringVariant)
    purpose: str = ""
    end_user: str = ""
    documents: list[UsedDocument] = Field(default_factory=list)
    finish_reason: str = ""
    citation_valid: float | None = None


class AnswerRated(BaseModel):
    """The used fields of feedback.recorded; the rest is read of inference where a queue samples it."""

    inference: str
    deployment: str = ""
    metric: str
    number: float | None = None


def answers(sample: SampleAnswers) -> Subscription:
    """Return the subscription; an answer of which no queue samples the deployment costs next to nothing."""

    async def completed(event: EventContext, body: AnswerCompleted) -> None:
        await sample.completed(event.caller, _answer(body, event.time))

    async def rated(event: EventContext, body: AnswerRated) -> None:
        if body.metric == RATING and body.number is not None:
            await sample.rated(event.caller, deployment=body.deployment, inference=body.inference, rating=body.number)

    return Subscription(
        name=NAME,
        topics=(INFERENCE_TOPIC, FEEDBACK_TOPIC),
        delivery=Delivery.LATEST,
        routes={COMPLETED: Route(AnswerCompleted, completed), RECORDED: Route(AnswerRated, rated)},
    )


def _answer(body: AnswerCompleted, answered_at: datetime) -> RecordedAnswer:
    return RecordedAnswer(
        inference=body.inference,
        deployment=body.deployment,
        end_user=body.end_user,
        documents=tuple(dict.fromkeys(each.document for each in body.documents)),
        stratum=body.variant.configuration,
        support=body.citation_valid,
        finish_reason=body.finish_reason,
        live=body.purpose in _LIVE,
        answered_at=answered_at,
    )
