"""How feedback is written down."""

from collections.abc import Callable
from dataclasses import asdict

from google.protobuf.message import Message

from tidemill_core.aggregate import Event
from tidemill_feedback.curations.messages import FEEDBACK_TOPIC, SOURCE, feedback_payload
from tidemill_feedback.errors import FeedbackNotFound
from tidemill_feedback.reactions.domain.feedback import Feedback, FeedbackState, Given
from tidemill_kit.store.aggregates import Identity, MongoAggregates, NewEvents
from tidemill_kit.store.mongo import Collection, Document

LISTS = (
    ("inference",),
    ("deployment",),
    ("inference", "deployment"),
    ("deployment", "metric"),
    ("end_user",),
    ("asked_by",),
)


class FeedbackCodec:
    """Feedback <-> document, and its events -> messages."""

    schema = 1

    def encode(self, aggregate: Feedback) -> Document:
        """Return the state."""
        return {
            "inference": aggregate.inference,
            "metric": aggregate.metric,
            "end_user": aggregate.end_user,
            "rater": aggregate.rater,
            "asked_by": aggregate.asked_by,
            "deployment": aggregate.deployment,
            "variant": aggregate.variant,
            "rollout": aggregate.rollout,
            "state": aggregate.state.value,
            "message": aggregate.message,
            "counts": aggregate.counts,
            "current": asdict(aggregate.current) if aggregate.current else None,
            "history": [asdict(given) for given in aggregate.history],
            "times": aggregate.times,
        }

    def decode(self, identity: Identity, state: Document, schema: int) -> Feedback:  # noqa: ARG002 - there is one
        """Return the feedback."""
        parts = {
            "state": FeedbackState(state["state"]),
            "current": Given(**state["current"]) if state["current"] else None,
            "history": tuple(Given(**given) for given in state["history"]),
        }
        return Feedback(**identity.fields(), **(state | parts))

    def event(self, aggregate: Feedback, event: Event, seq: int) -> tuple[str, Message]:
        """Return the ce_type and the payload."""
        return feedback_payload(aggregate, event, seq)


def mongo_feedback(collection: Collection, *, enqueue: Callable[[NewEvents], None]) -> MongoAggregates[Feedback]:
    """Return the store of feedback."""
    return MongoAggregates(
        collection,
        codec=FeedbackCodec(),
        topic=FEEDBACK_TOPIC,
        source=SOURCE,
        missing=FeedbackNotFound,
        enqueue=enqueue,
        lists=LISTS,
    )
