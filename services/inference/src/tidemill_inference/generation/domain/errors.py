"""What can go wrong with questions, answers and their records.

InvalidInput
└── QuestionRefused         a question that cannot be answered as it is
    └── PreviousNotFound    it goes on from what is not there, or not the caller's
NotFound
├── InferenceNotFound
├── ResponseNotFound        nothing that can be shown again, or not the caller's
└── TextGone                a passage's text was erased, or is past its retention
PreconditionFailed
├── PromptNotRecorded       what a model saw cannot be shown
└── AnswerNotRecorded       one of several answers was given before, and its text is not there to be given again
PermissionDenied
├── AnswerRestricted        it rests on documents that the caller may not read
└── UnsavedPromptRefused    the caller may not render a prompt of its own
Conflict
└── LeaseLost               another replica has taken over the inference
"""

from tidemill_core.errors import Conflict, InvalidInput, NotFound, PermissionDenied, PreconditionFailed, Violation


class QuestionRefused(InvalidInput):
    """A question cannot be answered as it is."""

    reason = "QUESTION_REFUSED"

    def __init__(self, *, field: str, why: str) -> None:
        super().__init__(violations=[Violation(field, why)])


class PreviousNotFound(QuestionRefused):
    """A question goes on from an answer that is not there, or not the caller's: which of both is not said."""

    reason = "PREVIOUS_RESPONSE_NOT_FOUND"

    def __init__(self) -> None:
        why = (
            "is no stored response of yours in this project: it was made with store false or by a deployment without "
            "full records, was removed, or never was"
        )
        super().__init__(field="previous_inference", why=why)


class UnsavedPromptRefused(PermissionDenied):
    """Prompts that are saved nowhere are for operators, and credentials that may write prompts or test them."""

    reason = "ROLE_REQUIRED"

    def __init__(self) -> None:
        super().__init__(
            "unsaved_prompt: takes the role operator, and the scope UpdatePrompt or StartPromptTest where the "
            "credential has scopes; send the name of a saved prompt in `prompt`"
        )


class ResponseNotFound(NotFound):
    """No answer that can be shown again has this id in the caller's project, or it is not the caller's."""

    reason = "RESPONSE_NOT_FOUND"

    def __init__(self, response: str) -> None:
        super().__init__(f"there is no stored response {response} of yours in this project", response=response)


class InferenceNotFound(NotFound):
    """No inference with this id in the caller's project."""

    reason = "INFERENCE_NOT_FOUND"

    def __init__(self, inference: str) -> None:
        super().__init__(f"there is no inference {inference} in this project", inference=inference)


class TextGone(NotFound):
    """The text of a passage is not there any more."""

    reason = "TEXT_GONE"

    def __init__(self, document: str, *, version: int) -> None:
        super().__init__(
            f"the text of document {document}, version {version}, was erased or is past its retention: what a model "
            "saw of it cannot be shown again",
            document=document,
            version=version,
        )


class PromptNotRecorded(PreconditionFailed):
    """What the model saw for an inference cannot be shown."""

    reason = "PROMPT_NOT_RECORDED"

    def __init__(self, inference: str, *, why: str) -> None:
        super().__init__(f"the prompt of inference {inference} cannot be shown: {why}", inference=inference)


class AnswerNotRecorded(PreconditionFailed):
    """One of the answers to a request was given before, and its text is not there to be given again."""

    reason = "ANSWER_NOT_RECORDED"

    def __init__(self, what: str, *, remedy: str) -> None:
        super().__init__(f"{what}: only record mode FULL keeps a text for a retry; {remedy}")


class AnswerRestricted(PermissionDenied):
    """An answer that rests on documents that the caller may not read."""

    reason = "ANSWER_RESTRICTED"

    def __init__(self, inference: str) -> None:
        super().__init__(
            f"inference {inference} rests on documents with readers that the credential is not among: "
            "use another key, or have an operator read it",
            inference=inference,
        )


class LeaseLost(Conflict):
    """Another replica has taken over the inference."""

    reason = "LEASE_LOST"

    def __init__(self, inference: str) -> None:
        super().__init__(f"another replica has taken over inference {inference}: try again", inference=inference)
