"""How feedback is stored, and the lists that it is read by."""

from tidemill_feedback.reactions.domain.feedback import Feedback
from tidemill_feedback.reactions.messages import feedback_payload
from tidemill_kit.mapping import DocumentCodec

FEEDBACK = DocumentCodec(Feedback, event=feedback_payload)
LISTS = (
    ("inference",),
    ("deployment",),
    ("inference", "deployment"),
    ("deployment", "metric"),
    ("end_user",),
    ("asked_by",),
)
