"""The intent of a request: the header Idempotency-Key, with a digest of what is asked."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from enum import Enum
from typing import Any

from tidemill_core.application import Request, derived_id
from tidemill_core.resources import check_request_id
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.generation.domain.tools import ToolChoice

IDEMPOTENCY_HEADER = "Idempotency-Key"

MORE_SAMPLING = ("presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs")
_MORE_KINDS = ("tool_call", "tool_result", "reasoning", "json")


def request_of(key: str, question: Question) -> Request:
    """Return the caller's intent: the header Idempotency-Key, and, where it is sent, a digest of what is asked.

    Whether the answer is streamed is no part of it, so that a stream that broke can be asked for again as a whole.

    Raises:
        InvalidInput: the key is too long.

    """
    check_request_id(key, field=IDEMPOTENCY_HEADER)
    if not key:
        return Request.digested("", "")
    asked = asdict(question)
    _leave_out_what_was_added(asked)
    for how_not_what in ("yielding", "notes", "history", "no_cache", "engine"):
        del asked[how_not_what]
    if not question.conversation:
        del asked["conversation"]  # requests had the same digest before there were any
    said = json.dumps(asked, sort_keys=True, default=_name_of)
    return Request.of(key, said.encode())


def requests_of(key: str, questions: Sequence[Question]) -> list[Request]:
    """Return the intent of each question of a request: the first has the key itself, and all the digest of them all.

    The questions differ by their messages only: all else, which may be much, is digested once.

    Raises:
        InvalidInput: the key is too long.

    """
    first = request_of(key, questions[0])
    if len(questions) == 1:
        return [first]
    if not key:
        return [Request.digested("", "") for _ in questions]
    texts = json.dumps([[message.text for message in each.messages] for each in questions])
    digest = hashlib.sha256(f"{first.digest}{texts}".encode()).hexdigest()
    others = [derived_id("prompt", key, str(number)) for number in range(1, len(questions))]
    return [Request.digested(each, digest) for each in (key, *others)]


_ADDED = (
    "tools",
    "output",
    "store",
    "previous",
    "instructed",
    "cuttable",
    "index",
    "best_of",
    "prompt",
    "unsaved",
    "free_sampling",
)


def _leave_out_what_was_added(asked: dict[str, Any]) -> None:
    """Remove what a question did not have once, where it says nothing: the same request has the same digest then."""
    for name in _ADDED:
        if not asked[name]:
            del asked[name]
    if asked["tool_choice"] == asdict(ToolChoice()):
        del asked["tool_choice"]
    if asked["candidates"] == 1:
        del asked["candidates"]
    for holder, names in (
        (asked["sampling"], MORE_SAMPLING),
        *((part, _MORE_KINDS) for message in asked["messages"] for part in message["parts"]),
    ):
        for name in names:
            if not holder[name]:
                del holder[name]


def _name_of(value: object) -> str:
    if isinstance(value, Enum):
        return value.name
    raise TypeError(type(value).__name__)
