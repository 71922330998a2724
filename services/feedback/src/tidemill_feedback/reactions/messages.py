"""Mapping of feedback to its messages and events: those have ids and numbers, never what people wrote."""

from dataclasses import asdict
from datetime import datetime

from google.protobuf.message import Message

from tidemill.content.v1 import content_pb2
from tidemill.feedback.v1 import events_pb2 as events
from tidemill.feedback.v1 import feedback_pb2
from tidemill_core.aggregate import Event
from tidemill_core.errors import InvalidInput
from tidemill_feedback.metrics.domain.metric import Measure
from tidemill_feedback.reactions.domain.feedback import (
    Feedback,
    FeedbackState,
    FeedbackWasRecorded,
    FeedbackWasWithdrawn,
    Given,
)
from tidemill_feedback.reactions.domain.reaction import COMMENT, CORRECTION, PREFERENCE, Preference, Reaction
from tidemill_kit.mapping import from_message, from_timestamp, to_message

TOPIC = "tidemill.feedback.feedback.v1"
RECORDED = "tidemill.feedback.feedback.recorded.v1"
WITHDRAWN = "tidemill.feedback.feedback.withdrawn.v1"


def reaction_of(message: feedback_pb2.Feedback) -> Reaction:
    """Return what a caller thinks of an answer.

    Raises:
        InvalidInput: the correction is not one message of the assistant, of text, or the time is none.

    """
    value, given = message.WhichOneof("value"), message.HasField("observe_time")
    observed = from_timestamp(message.observe_time, field="observe_time") if given else None
    return Reaction(
        metric=message.metric,
        inference=message.inference,
        inference_request_id=message.inference_request_id,
        conversation=message.conversation,
        flag=message.flag if value == "flag" else None,
        number=message.number if value == "number" else None,
        category=message.category if value == "category" else None,
        comment=message.comment if value == COMMENT else None,
        correction=_correction_of(message.correction) if value == CORRECTION else None,
        preference=from_message(Preference, message.preference) if value == PREFERENCE else None,
        end_user=message.end_user,
        rater=message.rater,
        observe_time=observed,
        labels=dict(message.labels),
    ).cleaned()


def _correction_of(correction: feedback_pb2.Correction) -> str:
    output = correction.output
    if not output:
        return ""
    check_correction(len(output), by_assistant=output[0].role == content_pb2.ROLE_ASSISTANT)
    return "".join(part.text for part in output[0].parts)


def check_correction(messages: int, *, by_assistant: bool) -> None:
    """Refuse a correction that is more than one message, or not the assistant's.

    Raises:
        InvalidInput: names what is wrong.

    """
    if messages > 1:
        text = f"has {messages} messages; send one, with the right answer"
        raise InvalidInput.at(field="correction.output", text=text)
    if not by_assistant:
        raise InvalidInput.at(field="correction.output[0].role", text="must be ROLE_ASSISTANT")


def feedback_message(feedback: Feedback) -> feedback_pb2.Feedback:
    """Return feedback as callers see it."""
    given = feedback.current
    return to_message(
        feedback_pb2.Feedback,
        feedback,
        inference_request_id=None,
        inference=None if feedback.conversation else feedback.inference,
        conversation=feedback.conversation or None,
        last_inference=feedback.inference if feedback.conversation else None,
        observe_time=given.observe_time if given else None,
        absent=given.absent if given else None,
        mature_time=given.measure.mature_time if given and given.measure else None,
        counts=feedback.state is FeedbackState.RECORDED and feedback.counts,
        **({"number": None} if given is None else _value(feedback.metric, given)),
    )


def feedback_payload(feedback: Feedback, event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload of an event of feedback."""
    match event:
        case FeedbackWasRecorded():
            said = {**_measured(event.measure), "conversation": feedback.conversation or None}
            return RECORDED, to_message(events.FeedbackRecorded, event, feedback, seq=seq, feedback=feedback.id, **said)
        case FeedbackWasWithdrawn():
            return WITHDRAWN, to_message(
                events.FeedbackWithdrawn,
                feedback,
                seq=seq,
                feedback=feedback.id,
                conversation=feedback.conversation or None,
            )
        case _:
            raise TypeError(event)


def _measured(measure: Measure | None) -> dict[str, float | str | datetime | None]:
    """Return what an event says of a declared metric; of the others nothing."""
    if measure is None:
        return dict.fromkeys(("value", "score", "weight", "business_value", "unit", "mature_time"))
    return asdict(measure) | {"unit": measure.unit or None}


def _value(metric: str, given: Given) -> dict[str, object]:
    if given.flag is not None:
        return {"flag": given.flag}
    if given.category:
        return {"category": given.category}
    if metric == CORRECTION:
        part = content_pb2.Part(text=given.text)
        output = content_pb2.Message(role=content_pb2.ROLE_ASSISTANT, parts=[part])
        return {"correction": feedback_pb2.Correction(output=[output])}
    if given.preference:
        return {"preference": to_message(feedback_pb2.Preference, given.preference)}
    return {"comment": given.text} if metric == COMMENT else {"number": given.number}
