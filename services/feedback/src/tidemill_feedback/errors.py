"""Errors of feedback.

InvalidInput
├── NotLive                 the inference is not a live one
├── NotComparable           a choice between answers of which one cannot be preferred to the other
└── NothingCorrected        the correction equals the answer
NotFound
├── FeedbackNotFound
├── CurationNotFound
├── FeedbackMetricNotFound
├── ReviewQueueNotFound
├── ReviewItemNotFound
└── InferenceUnknown        unknown id; by event the reaction is pending
    └── ConversationUnknown the same of a conversation
AlreadyExists
├── CurationExists
├── ReviewQueueExists
└── ReviewGiven             the claim has another review
PreconditionFailed
├── InferenceUnanswered     it has no answer yet; by event the reaction is pending
├── AnswerNotRecorded       it was recorded without its text: nothing is learnt from it
├── AnswerUsesTools         it calls tools, or rests on what they returned: nothing is learnt from it
├── TooManyWait             the limit of pending reactions for one inference
├── ReviewQueueFull         the limit of open items of a queue
├── ClaimExpired            others have the place of the claim, or it never was
├── NotReviewable           the item is not to be reviewed, or cannot be resolved
└── ProjectDeleted          nothing more of the project is stored
Conflict
└── EpochOver               a later holder of the lease has written
PermissionDenied
└── NotReviewer             the caller has not the right to review
"""

from tidemill_core.errors import (
    AlreadyExists,
    Conflict,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    Violation,
)
from tidemill_core.rights import REVIEW_FEEDBACK

_DIFFERENCES = {
    "END_USERS_DIFFER": "the answers were given to different end users",
    "DEPLOYMENTS_DIFFER": "the answers are of different deployments",
    "QUESTION_NOT_RECORDED": "what was asked is not recorded, which `record: full` does",
    "QUESTIONS_DIFFER": "the answers are to different questions",
    "ANSWERS_ALIKE": "both answers are the same",
}


class NotLive(InvalidInput):
    """Only live inferences accept feedback."""

    reason = "NOT_LIVE"

    def __init__(self, inference: str) -> None:
        text = f"{inference} is a shadow or evaluation request; only live inferences accept feedback"
        super().__init__(violations=[Violation("inference", text)], inference=inference)


class NotComparable(InvalidInput):
    """A choice is between two different answers to one question, of one deployment to one end user."""

    def __init__(self, inference: str, *, reason: str) -> None:
        self.reason = reason
        text = f"{_DIFFERENCES[reason]}: choose between two answers to one question"
        super().__init__(violations=[Violation("preference", text)], inference=inference)


class NothingCorrected(InvalidInput):
    """The correction equals the recorded answer."""

    reason = "NOTHING_CORRECTED"

    def __init__(self, inference: str) -> None:
        text = (
            f"equals the recorded answer of {inference}: send another text, "
            "or withdraw the correction that you gave before"
        )
        super().__init__(violations=[Violation("correction", text)], inference=inference)


class AnswerUsesTools(PreconditionFailed):
    """Examples are texts: what a model is to call, or was returned by a call, is none."""

    reason = "ANSWER_USES_TOOLS"

    def __init__(self, inference: str) -> None:
        super().__init__(
            f"the answer {inference} calls tools, or rests on what they returned: no example is made of it",
            inference=inference,
        )


class AnswerNotRecorded(PreconditionFailed):
    """Without its text, an answer is neither preferred nor good or bad."""

    reason = "ANSWER_NOT_RECORDED"

    def __init__(self, inference: str) -> None:
        super().__init__(
            f"the text of answer {inference} was not recorded: no example is made of it", inference=inference
        )


class FeedbackNotFound(NotFound):
    """The caller's project has no feedback with this id."""

    reason = "FEEDBACK_NOT_FOUND"

    def __init__(self, feedback_id: str) -> None:
        super().__init__(f"there is no feedback {feedback_id} in this project: list it", feedback=feedback_id)


class CurationNotFound(NotFound):
    """The caller's project has no curation with this id."""

    reason = "CURATION_NOT_FOUND"

    def __init__(self, curation_id: str) -> None:
        super().__init__(
            f"there is no curation {curation_id} in this project: list them, or create it first", curation=curation_id
        )


class FeedbackMetricNotFound(NotFound):
    """The caller's project declares no metric with this id."""

    reason = "FEEDBACK_METRIC_NOT_FOUND"

    def __init__(self, metric_id: str) -> None:
        super().__init__(
            f"there is no metric {metric_id} in this project: list them, or declare it first", metric=metric_id
        )


class InferenceUnknown(NotFound):
    """The caller's project has no such inference."""

    reason = "INFERENCE_NOT_FOUND"

    def __init__(self, inference: str) -> None:
        super().__init__(
            f"there is no inference {inference} in this project: send the id of an answer, or its request id",
            inference=inference,
        )


class ConversationUnknown(InferenceUnknown):
    """The caller's project has no such conversation, or nothing was answered in it yet."""

    reason = "CONVERSATION_NOT_FOUND"

    def __init__(self, conversation: str) -> None:
        super(InferenceUnknown, self).__init__(
            f"there is no conversation {conversation} with an answer in this project: "
            "send the id that its questions named, once one of them is answered",
            conversation=conversation,
        )


class CurationExists(AlreadyExists):
    """The id is taken."""

    reason = "CURATION_EXISTS"

    def __init__(self, curation_id: str) -> None:
        super().__init__(f"curation {curation_id} exists already: update it", curation=curation_id)


class InferenceUnanswered(PreconditionFailed):
    """The inference is being answered, was cancelled or failed."""

    reason = "INFERENCE_UNANSWERED"

    def __init__(self, inference: str) -> None:
        super().__init__(
            f"inference {inference} has no answer yet: send the reaction once it is completed", inference=inference
        )


class TooManyWait(PreconditionFailed):
    """The limit of pending reactions of one inference. Permanent, so that invented ids do not block others."""

    reason = "TOO_MANY_WAIT"

    def __init__(self, inference: str, *, limit: int) -> None:
        super().__init__(
            f"{limit} reactions wait for inference {inference}, which is the limit: "
            "send this one again once the inference is completed",
            inference=inference,
            limit=limit,
        )


class ProjectDeleted(PreconditionFailed):
    """The project was deleted; services go on calling for it while they erase."""

    reason = "PROJECT_DELETED"

    def __init__(self, project: str) -> None:
        super().__init__(f"project {project} was deleted: nothing more of it is stored")


class EpochOver(Conflict):
    """Another worker has the lease of the curation."""

    reason = "EPOCH_OVER"

    def __init__(self, curation_id: str) -> None:
        super().__init__(f"another worker has taken over curation {curation_id}", curation=curation_id)


class ReviewQueueNotFound(NotFound):
    """The caller's project has no review queue with this id."""

    reason = "REVIEW_QUEUE_NOT_FOUND"

    def __init__(self, queue: str) -> None:
        super().__init__(f"there is no review queue {queue} in this project: list them, or create it", queue=queue)


class ReviewItemNotFound(NotFound):
    """The caller's project has no review item with this id."""

    reason = "REVIEW_ITEM_NOT_FOUND"

    def __init__(self, item: str) -> None:
        super().__init__(f"there is no review item {item} in this project: it may have been erased", item=item)


class ReviewQueueExists(AlreadyExists):
    """The id is taken."""

    reason = "REVIEW_QUEUE_EXISTS"

    def __init__(self, queue: str) -> None:
        super().__init__(f"review queue {queue} exists already: update it", queue=queue)


class ReviewGiven(AlreadyExists):
    """A review is given once for a claim."""

    reason = "REVIEW_GIVEN"

    def __init__(self, item: str) -> None:
        super().__init__(
            f"another review of item {item} was submitted for this claim, or imported in your name: it stays", item=item
        )


class ReviewQueueFull(PreconditionFailed):
    """The limit of open items."""

    reason = "REVIEW_QUEUE_FULL"

    def __init__(self, queue: str, *, limit: int) -> None:
        super().__init__(
            f"review queue {queue} has {limit} open items, which is its max_open_items: "
            "have some reviewed, or set a higher limit",
            queue=queue,
            limit=limit,
        )


class ClaimExpired(PreconditionFailed):
    """The claim holds no more."""

    reason = "CLAIM_EXPIRED"

    def __init__(self, item: str) -> None:
        super().__init__(
            f"the claim of item {item} expired and others have its place, or it is not yours: claim another item",
            item=item,
        )


class NotReviewable(PreconditionFailed):
    """An item that cannot be reviewed or resolved."""

    reason = "NOT_REVIEWABLE"

    def __init__(self, item: str, why: str) -> None:
        super().__init__(f"{item} {why}", item=item)


class NotReviewer(PermissionDenied):
    """The caller has not the right to review."""

    reason = "RIGHT_REQUIRED"

    def __init__(self) -> None:
        super().__init__(
            f"reviewing needs the right {REVIEW_FEEDBACK}: use a key of a role with --allow {REVIEW_FEEDBACK}, "
            "or of an operator",
            right=REVIEW_FEEDBACK,
        )
