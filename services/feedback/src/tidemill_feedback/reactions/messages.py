"""What callers send and see, from and to what feedback means."""

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from tidemill.content.v1 import content_pb2
from tidemill.feedback.v1 import curation_pb2, feedback_pb2
from tidemill_core.errors import InvalidInput, Violation
from tidemill_feedback.curations.domain.curation import Rule
from tidemill_feedback.curations.read_curations import Overview
from tidemill_feedback.reactions.domain.feedback import Feedback, FeedbackState
from tidemill_feedback.reactions.domain.reaction import COMMENT, CORRECTION, Reaction
from tidemill_kit.grpc.server import etag_of, timestamp_of

STATES = {
    FeedbackState.PENDING: feedback_pb2.FEEDBACK_STATE_PENDING,
    FeedbackState.RECORDED: feedback_pb2.FEEDBACK_STATE_RECORDED,
    FeedbackState.IGNORED: feedback_pb2.FEEDBACK_STATE_IGNORED,
    FeedbackState.WITHDRAWN: feedback_pb2.FEEDBACK_STATE_WITHDRAWN,
}
_NO_VERSION = -1
"""What no save is counted as: an etag that we never gave."""


def reaction_of(message: feedback_pb2.Feedback) -> Reaction:
    """Return what a caller thinks of an answer.

    Raises:
        InvalidInput: the correction is not one message of the assistant, of text, or the time is none.

    """
    value = message.WhichOneof("value")
    return Reaction(
        metric=message.metric,
        inference=message.inference,
        inference_request_id=message.inference_request_id,
        number=message.number if value == "number" else None,
        comment=message.comment if value == COMMENT else None,
        correction=_correction_of(message.correction) if value == CORRECTION else None,
        end_user=message.end_user,
        rater=message.rater,
        observe_time=_moment_of(message.observe_time) if message.HasField("observe_time") else None,
        labels=dict(message.labels),
    ).cleaned()


def _moment_of(stamp: Timestamp) -> datetime:
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        text = f"has {stamp.seconds} seconds and {stamp.nanos} nanos, which is no time"
        raise InvalidInput.of(Violation(field="observe_time", description=text)) from error


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
        raise InvalidInput.of(Violation(field="correction.output", description=text))
    if not by_assistant:
        raise InvalidInput.of(Violation(field="correction.output[0].role", description="must be ROLE_ASSISTANT"))


def feedback_message(feedback: Feedback) -> feedback_pb2.Feedback:
    """Return feedback as callers see it."""
    message = feedback_pb2.Feedback(
        id=feedback.id,
        state=STATES[feedback.state],
        inference=feedback.inference,
        metric=feedback.metric,
        end_user=feedback.end_user,
        rater=feedback.rater,
        labels=feedback.labels,
        project=feedback.project,
        seq=feedback.seq,
        etag=etag_of(feedback.version),
        create_time=timestamp_of(feedback.create_time),
        update_time=timestamp_of(feedback.update_time),
        deployment=feedback.deployment,
        times=feedback.times,
        message=feedback.message,
        counts=feedback.state is FeedbackState.RECORDED and feedback.counts,
    )
    given = feedback.current
    if given is not None:
        message.observe_time.FromDatetime(given.observe_time)
        if feedback.metric == CORRECTION:
            part = content_pb2.Part(text=given.text)
            message.correction.output.add(role=content_pb2.ROLE_ASSISTANT, parts=[part])
        elif feedback.metric == COMMENT:
            message.comment = given.text
        elif given.number is not None:
            message.number = given.number
    return message


def rule_of(message: curation_pb2.Curation) -> Rule:
    """Return the rule of a curation message."""
    every: timedelta | None = None
    if message.HasField("at_latest_every"):
        # Bounded, because a Duration holds more than a timedelta can; the rule refuses what is too long by name.
        every = timedelta(seconds=max(-(10**10), min(10**10, message.at_latest_every.seconds)))
        every += timedelta(microseconds=message.at_latest_every.nanos // 1000)
    return Rule(
        dataset=message.dataset,
        deployment=message.deployment,
        feedback=tuple(dict.fromkeys(message.feedback)),
        new_examples=message.new_examples,
        per_user_at_most=message.per_user_at_most,
        min_output_chars=message.min_output_chars,
        max_output_chars=message.max_output_chars,
        at_latest_every=every,
        at_least=message.at_least,
        paused=message.paused,
        labels=dict(message.labels),
    )


def version_of(etag: str) -> int:
    """Return the version that an etag names; "" names none, 0."""
    if not etag:
        return 0
    return int(etag) if etag.isdecimal() else _NO_VERSION


def curation_message(overview: Overview) -> curation_pb2.Curation:
    """Return a curation as callers see it."""
    curation, counts = overview.curation, overview.counts
    rule = curation.rule
    message = curation_pb2.Curation(
        id=curation.id,
        project=curation.project,
        seq=curation.seq,
        etag=etag_of(curation.version),
        labels=curation.labels,
        create_time=timestamp_of(curation.create_time),
        update_time=timestamp_of(curation.update_time),
        dataset=rule.dataset,
        deployment=rule.deployment,
        feedback=rule.feedback,
        per_user_at_most=rule.per_user_at_most,
        min_output_chars=rule.min_output_chars,
        max_output_chars=rule.max_output_chars,
        new_examples=rule.new_examples,
        at_least=rule.at_least,
        paused=rule.paused,
        progress=curation_pb2.CurationProgress(
            new_examples=counts.new,
            examples=counts.examples,
            filtered=counts.filtered,
            contested=counts.contested,
            completions=curation.completions,
            since=timestamp_of(curation.since),
            message=curation.waits_for(counts),
        ),
    )
    if rule.at_latest_every is not None:
        message.at_latest_every.FromTimedelta(rule.at_latest_every)
    return message
