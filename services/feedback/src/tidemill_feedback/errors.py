"""Errors of feedback.

InvalidInput
├── NotLive                 the inference is not a live one
└── NothingCorrected        the correction equals the answer
NotFound
├── FeedbackNotFound
├── CurationNotFound
├── FeedbackMetricNotFound
└── InferenceUnknown        unknown id; by event the reaction is pending
    └── ConversationUnknown the same of a conversation
AlreadyExists
└── CurationExists
PreconditionFailed
├── InferenceUnanswered     it has no answer yet; by event the reaction is pending
├── AnswerUsesTools         it calls tools, or rests on what they returned: nothing is learnt from it
├── TooManyWait             the limit of pending reactions for one inference
└── ProjectDeleted          nothing more of the project is stored
Conflict
└── EpochOver               a later holder of the lease has written
"""

from tidemill_core.errors import (
    AlreadyExists,
    Conflict,
    InvalidInput,
    NotFound,
    PreconditionFailed,
    Violation,
)


class NotLive(InvalidInput):
    """Only live inferences accept feedback."""

    reason = "NOT_LIVE"

    def __init__(self, inference: str) -> None:
        text = f"{inference} is a shadow or evaluation request; only live inferences accept feedback"
        super().__init__(violations=[Violation("inference", text)], inference=inference)


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
