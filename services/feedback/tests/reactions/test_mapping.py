"""Feedback as messages, and as it is stored since its first version."""

from datetime import timedelta

from tidemill.feedback.v1 import feedback_pb2 as pb
from tidemill_feedback.reactions.domain.feedback import Feedback, FeedbackState, Given
from tidemill_feedback.reactions.messages import feedback_message, reaction_of
from tidemill_feedback.reactions.mongo import FEEDBACK
from tidemill_kit.store.aggregates import Identity
from tidemill_testkit.clocks import NOON
from tidemill_testkit.mapping import unsent

IDENTITY = Identity(
    id="f1", project="acme", labels={}, version=2, seq=2, create_time=NOON, update_time=NOON, deleted=False
)
STORED = {
    "inference": "i1",
    "metric": "correction",
    "end_user": "u1",
    "rater": "user",
    "asked_by": "u1",
    "deployment": "helpdesk",
    "variant": "live",
    "rollout": "",
    "state": "recorded",
    "message": "",
    "counts": True,
    "current": {"number": None, "text": "Right.", "observe_time": NOON},
    "history": [{"number": None, "text": "Wrong.", "observe_time": NOON - timedelta(hours=1)}],
    "times": 2,
}


def test_feedback_is_stored_as_it_always_was() -> None:
    feedback = FEEDBACK.decode(IDENTITY, STORED, 1)

    assert (feedback.state, feedback.current) == (
        FeedbackState.RECORDED,
        Given(number=None, text="Right.", observe_time=NOON),
    )
    assert FEEDBACK.encode(feedback) == STORED


def test_feedback_is_sent_with_its_current_value_and_without_what_callers_may_not_know() -> None:
    message = feedback_message(FEEDBACK.decode(IDENTITY, STORED, 1))

    assert (message.state, message.counts, message.etag) == (pb.FEEDBACK_STATE_RECORDED, True, "2")
    assert reaction_of(message).correction == "Right."
    assert unsent(pb.Feedback, Feedback) == {"asked_by", "current", "history", "rollout", "variant"}


def test_withdrawn_feedback_has_no_value() -> None:
    withdrawn = FEEDBACK.decode(IDENTITY, STORED | {"state": "withdrawn", "current": None}, 1)

    message = feedback_message(withdrawn)

    assert message.WhichOneof("value") is None
    assert not message.HasField("observe_time")
