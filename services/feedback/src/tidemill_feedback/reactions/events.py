"""Consumes submissions of upstream systems (feedback as CloudEvents), and completed answers with pending reactions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr
from pydantic.alias_generators import to_camel

from tidemill_core.errors import InvalidInput
from tidemill_feedback.reactions.domain.reaction import OF_CONVERSATION, Preference, Reaction
from tidemill_feedback.reactions.handle_submission import HandleSubmission
from tidemill_feedback.reactions.match_pending import MatchPending
from tidemill_feedback.reactions.messages import check_correction
from tidemill_feedback.reactions.ports import AnswerGiven, SubmittedEvent
from tidemill_kit.events.bodies import double
from tidemill_kit.events.cloudevents import CloudEvent
from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription, Verify

SUBMISSIONS = "feedback.submissions"
DEAD_LETTERS = f"tidemill.{SUBMISSIONS}.dead.v1"
GIVEN = "tidemill.feedback.submission.feedback_given.v1"
INFERENCES = "feedback.inferences"
INFERENCE_TOPIC = "tidemill.inference.inference.v1"
COMPLETED = "tidemill.inference.inference.completed.v1"
_LIVE = ("PURPOSE_LIVE", "PURPOSE_UNSPECIFIED", "")

# Proto-JSON may be written with the names of the contract or in camel case, and is read in both.
_STRICT = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True)


class TextPart(BaseModel):
    """One piece of a message: text alone."""

    model_config = _STRICT

    text: StrictStr


class AssistantMessage(BaseModel):
    """What the assistant should have said."""

    model_config = _STRICT

    role: Literal["ROLE_ASSISTANT"]
    parts: list[TextPart]


class CorrectionGiven(BaseModel):
    """What should have been answered."""

    model_config = _STRICT

    output: list[AssistantMessage]


class PreferenceGiven(BaseModel):
    """Which of two answers is preferred."""

    model_config = _STRICT

    chosen: StrictStr
    rejected: StrictStr
    tie: StrictBool = False
    chosen_position: StrictInt = 0


class FeedbackGiven(BaseModel):
    """The body of feedback_given: what a sender may say of Feedback; any other field is refused by its name."""

    model_config = _STRICT

    inference: StrictStr = ""
    inference_request_id: StrictStr = ""
    conversation: StrictStr = ""
    metric: StrictStr
    flag: StrictBool | None = None
    number: StrictFloat | StrictInt | None = None
    category: StrictStr | None = None
    comment: StrictStr | None = None
    correction: CorrectionGiven | None = None
    preference: PreferenceGiven | None = None
    end_user: StrictStr = ""
    rater: StrictStr = ""
    observe_time: Annotated[AwareDatetime, Field(strict=True)] | None = None
    labels: dict[StrictStr, StrictStr] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submissions:
    """Handles what comes from Kafka; what can never count ends as a dead letter."""

    take: HandleSubmission
    record_bytes: int

    def subscription(self, topics: Sequence[str], *, verify: Verify | None = None) -> Subscription:
        """Return what to listen to. Submissions of one source about one subject are handled in their order."""
        return Subscription(
            name=SUBMISSIONS,
            topics=tuple(topics),
            delivery=Delivery.ONCE,
            strict=True,
            verify=verify,
            order_by=_subject,
            check_size=self.check_size,
            routes={GIVEN: Route(FeedbackGiven, self.given)},
        )

    def check_size(self, size: int) -> None:
        """Refuse a record of so many bytes.

        Raises:
            InvalidInput: it has more than are taken.

        """
        if size > self.record_bytes:
            text = f"has {size} bytes, and {self.record_bytes} is the limit: send less"
            raise InvalidInput.at(field="data", text=text)

    async def given(self, context: EventContext, body: FeedbackGiven) -> None:
        """Take a reaction.

        Raises:
            InvalidInput: it can never count.
            TooManyWait: its inference is unknown, and enough wait for it.

        """
        event = SubmittedEvent(
            id=context.id,
            source=context.source,
            type=context.type,
            subject=context.subject,
            time=context.time,
            topic=context.topic,
            partition=context.partition,
            offset=context.offset,
            body=body.model_dump_json(exclude_unset=True),
        )
        await self.take(context.caller, reaction_of_body(body), request=context.request, event=event)


def reaction_of_body(body: FeedbackGiven) -> Reaction:
    """Return what the body says.

    Raises:
        InvalidInput: the correction is more than one message.

    """
    return Reaction(
        metric=body.metric,
        inference=body.inference,
        inference_request_id=body.inference_request_id,
        conversation=body.conversation,
        flag=body.flag,
        number=None if body.number is None else double(body.number),
        category=body.category,
        comment=body.comment,
        correction=None if body.correction is None else _text(body.correction),
        preference=None if body.preference is None else Preference(**body.preference.model_dump()),
        end_user=body.end_user,
        rater=body.rater,
        observe_time=body.observe_time,
        labels=body.labels,
    ).cleaned()


def _text(correction: CorrectionGiven) -> str:
    check_correction(len(correction.output), by_assistant=True)
    return "".join(part.text for message in correction.output for part in message.parts)


def _subject(event: CloudEvent) -> str:
    return f"{event.project}\n{event.source}\n{event.subject}"


class InferenceCompleted(BaseModel):
    """The used fields of inference.completed; the rest is requested if reactions are pending."""

    inference: str
    conversation: str = ""
    purpose: str = ""
    create_time: AwareDatetime | None = None


def inferences(match: MatchPending, given: AnswerGiven) -> Subscription:
    """Return the subscription; an answer without pending reactions costs a read by id, or two in a conversation."""

    async def completed(event: EventContext, body: InferenceCompleted) -> None:
        await match(event.caller, body.inference)
        if body.conversation:
            await match(event.caller, f"{OF_CONVERSATION}{body.conversation}")
        if body.purpose in _LIVE:
            await given(event.caller, body.inference, asked_at=body.create_time or event.time)

    return Subscription(
        name=INFERENCES,
        topics=(INFERENCE_TOPIC,),
        delivery=Delivery.LATEST,
        routes={COMPLETED: Route(InferenceCompleted, completed)},
    )
