"""What can go wrong in feedback, beyond bad input.

InvalidInput
├── NotLive                 the inference was no answer to a user
└── NothingCorrected        the correction says what was answered
NotFound
├── FeedbackNotFound
├── CurationNotFound
└── InferenceUnknown        inference has none with this id: by event it is waited for
AlreadyExists
└── CurationExists
PreconditionFailed
├── InferenceUnanswered     there is no answer yet to react to: by event it is waited for
└── TooManyWait             as many reactions as may wait for one inference do
Conflict
└── EpochOver               a later holder of the lease is at work
"""

from tidemill_kit.core.errors import (
    AlreadyExists,
    Conflict,
    InvalidInput,
    NotFound,
    PreconditionFailed,
    Violation,
)


class NotLive(InvalidInput):
    """Only answers to users are judged by users."""

    reason = "NOT_LIVE"

    def __init__(self, inference: str) -> None:
        text = f"{inference} was asked for shadow or evaluation; only reactions to live answers count"
        super().__init__(
            f"inference: {text}", violations=[Violation(field="inference", description=text)], inference=inference
        )


class NothingCorrected(InvalidInput):
    """There is nothing to learn from it."""

    reason = "NOTHING_CORRECTED"

    def __init__(self, inference: str) -> None:
        text = (
            f"says the same as the recorded answer of {inference}: send another text, "
            "or withdraw the correction that you gave before"
        )
        super().__init__(
            f"correction: {text}", violations=[Violation(field="correction", description=text)], inference=inference
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


class InferenceUnknown(NotFound):
    """The caller's project has no such inference."""

    reason = "INFERENCE_NOT_FOUND"

    def __init__(self, inference: str) -> None:
        super().__init__(
            f"there is no inference {inference} in this project: send the id of an answer, or its request id",
            inference=inference,
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
    """Whoever made the inference up could otherwise hold up everybody else's reactions, so it is refused for good."""

    reason = "TOO_MANY_WAIT"

    def __init__(self, inference: str, *, limit: int) -> None:
        super().__init__(
            f"{limit} reactions wait for inference {inference}, which is the limit: "
            "send this one again once the inference is completed",
            inference=inference,
            limit=limit,
        )


class EpochOver(Conflict):
    """Another process reconciles the curation by now."""

    reason = "EPOCH_OVER"

    def __init__(self, curation_id: str) -> None:
        super().__init__(f"another worker tends curation {curation_id} by now", curation=curation_id)
