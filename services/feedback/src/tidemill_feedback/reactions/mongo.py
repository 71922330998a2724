"""How feedback is stored, and the lists that it is read by."""

from datetime import datetime

from tidemill_feedback.reactions.domain.feedback import Feedback, Given
from tidemill_feedback.reactions.messages import feedback_payload
from tidemill_kit.mapping import DocumentCodec, Form
from tidemill_kit.store.mongo import Collection, Document, translated

FEEDBACK = DocumentCodec(
    Feedback,
    {  # of declared metrics and choices alone
        Feedback: Form(sparse=("conversation", "other")),
        Given: Form(sparse=("flag", "category", "measure", "preference", "absent")),
    },
    event=feedback_payload,
)
LISTS = (
    ("inference",),
    ("conversation",),
    ("deployment",),
    ("inference", "deployment"),
    ("deployment", "metric"),
    ("end_user",),
    ("asked_by",),
)


class MongoOldFeedback:
    """Implements `ports.OldFeedback`; the index of the list of all feedback leads to the oldest."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def ids(self, project: str, *, before: datetime, limit: int) -> list[str]:
        """See `OldFeedback.ids`."""
        old: Document = {
            "project": project,
            "deleted": False,
            "create_time": {"$lt": before},
            "update_time": {"$lt": before},
        }
        with translated():
            found = self._collection.find(old, {"id": True}).sort([("create_time", 1), ("id", 1)]).limit(limit)
            return [each["id"] for each in await found.to_list(limit)]
