"""What feedback publishes: ids, numbers and references, never what people wrote."""

from google.protobuf.message import Message

from tidemill.feedback.v1 import curation_pb2
from tidemill.feedback.v1 import events_pb2 as events
from tidemill_core.aggregate import Event
from tidemill_feedback.curations.domain.curation import Curation, CurationWasCompleted
from tidemill_feedback.reactions.domain.feedback import Feedback, FeedbackWasRecorded, FeedbackWasWithdrawn
from tidemill_kit.grpc.requests import timestamp_of

FEEDBACK_TOPIC = "tidemill.feedback.feedback.v1"
CURATION_TOPIC = "tidemill.feedback.curation.v1"
SOURCE = "/tidemill/feedback"

RECORDED = "tidemill.feedback.feedback.recorded.v1"
WITHDRAWN = "tidemill.feedback.feedback.withdrawn.v1"
COMPLETED = "tidemill.feedback.curation.completed.v1"


def feedback_payload(feedback: Feedback, event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload of an event of feedback."""
    match event:
        case FeedbackWasRecorded():
            return RECORDED, events.FeedbackRecorded(
                feedback=feedback.id,
                seq=seq,
                inference=feedback.inference,
                deployment=feedback.deployment,
                metric=feedback.metric,
                number=event.number,
                end_user=feedback.end_user,
                rater=feedback.rater,
                variant=feedback.variant,
                rollout=feedback.rollout,
                observe_time=timestamp_of(event.observe_time),
                counts=feedback.counts,
            )
        case FeedbackWasWithdrawn():
            return WITHDRAWN, events.FeedbackWithdrawn(
                feedback=feedback.id,
                seq=seq,
                inference=feedback.inference,
                deployment=feedback.deployment,
                metric=feedback.metric,
                end_user=feedback.end_user,
                rater=feedback.rater,
                rollout=feedback.rollout,
            )
        case _:
            raise TypeError(event)


def curation_payload(curation: Curation, event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload of an event of a curation."""
    match event:
        case CurationWasCompleted():
            batch = event.batch
            return COMPLETED, events.CurationCompleted(
                curation=curation.id,
                seq=seq,
                dataset=event.dataset,
                deployment=event.deployment,
                batch=curation_pb2.ExampleBatch(
                    bucket=batch.object.bucket,
                    key=batch.object.key,
                    size=batch.object.size,
                    sha256=batch.object.sha256,
                    examples=batch.examples,
                ),
                new_examples=batch.new,
            )
        case _:
            raise TypeError(event)
