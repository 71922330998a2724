"""Who a question is from: its end user and principals come from the credential, unless its holder acts for users."""

import hashlib
from dataclasses import replace
from typing import Final

from tidemill_core.application import Caller, Request
from tidemill_core.rights import ACT_FOR_USERS, end_user_of, has_right, manages, principals_of
from tidemill_inference.generation.domain.errors import UnsavedPromptRefused
from tidemill_inference.generation.domain.question import Purpose, Question

_COMPARES: Final = frozenset(
    {
        "tidemill.inference.v1.PromptService/UpdatePrompt",
        "tidemill.evaluator.v1.PromptTestService/StartPromptTest",
    }
)
"""A credential with scopes compares if one of these is among them: a key of an app, for Generate alone, does not."""


def spoken_by(
    caller: Caller,
    question: Question,
    *,
    end_user_field: str = "end_user",
    principals_field: str = "principals",
    may_name_others: bool = True,
) -> Question:
    """Return the question with the end user and principals that the caller may ask for.

    Raises:
        SpeaksForAnother: it names others.

    """
    return replace(
        question,
        end_user=end_user_of(caller, question.end_user, field=end_user_field),
        principals=principals_of(caller, question.principals, field=principals_field, may_name_others=may_name_others),
    )


def compared_by(caller: Caller, question: Question) -> Question:
    """Return the question with what the caller may compare: who manages the project could deploy it.

    Raises:
        UnsavedPromptRefused: it brings a prompt, and the caller is no operator, or its credential is not for that.

    """
    compares = manages(caller) and (bool(caller.via) or caller.scopes is None or bool(caller.scopes & _COMPARES))
    if question.unsaved and not compares:
        raise UnsavedPromptRefused
    return replace(question, free_sampling=question.purpose is Purpose.EVALUATION and compares)


def owned(caller: Caller, end_user: str) -> bool:
    """Whether what belongs to an end user is shown to a caller."""
    return has_right(caller, ACT_FOR_USERS) or (bool(end_user) and end_user == caller.subject)


def request_by(caller: Caller, request: Request) -> Request:
    """Return the intent as the caller's own: no other caller gets its answer by the request's id."""
    if has_right(caller, ACT_FOR_USERS):
        return request
    return replace(request, digest=hashlib.sha256(f"{request.digest}\0{caller.subject}".encode()).hexdigest())
