"""What names an answer: all that it is made from, and for whom."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from datetime import timedelta
from enum import Enum

from tidemill_inference.generation.domain.content import Message, Passage, Role
from tidemill_inference.generation.domain.question import Question

_NO_PART = (
    *("conversation", "history", "end_user", "labels", "principals", "record", "purpose", "variant", "passages"),
    *("rollout", "yielding", "notes", "no_cache", "store", "previous", "instructed", "cuttable"),
    *("prompt", "unsaved", "free_sampling"),
)
"""What of a question changes no answer, is refused beside a cache, or is in the key in another form.

Everything else counts, also what questions are given later.
"""
_PARTS = tuple(each.name for each in fields(Question) if each.name not in _NO_PART)


def key_of(
    question: Question, *, configuration: str, index: int, passages: Sequence[Passage], examples: Sequence[str] = ()
) -> str:
    """Return the key of an answer within its project: a digest, which says nothing of what was asked.

    `configuration` is the digest of what answers, `passages` what was found, and `examples` are the ids of those before
    the question. Questions of readers of other groups have
    other keys, also where they find the same.
    """
    spans = [
        [each.document, each.version, each.start, each.end, each.header_start, each.header_end] for each in passages
    ]
    said = {
        "question": _asked(question),
        "principals": sorted(set(question.principals)),
        "configuration": configuration,
        "index": index,
        "passages": spans,
        "collections": [each.collection for each in passages],
    }
    return _digest({**said, "examples": list(examples)} if examples else said)  # without any, keys are as they were


def scope_of(question: Question, *, configuration: str) -> str:
    """Return what names all questions whose answers differ by their messages and passages only: a digest."""
    asked = _asked(question)
    del asked["messages"]
    return _digest({"question": asked, "principals": sorted(set(question.principals)), "configuration": configuration})


def may_be_similar(question: Question) -> bool:
    """Whether an answer to a similar question may answer this one: it is a single message, and asks for one text."""
    return (
        question.messages == (Message.of(Role.USER, question.text),)
        and bool(question.text.strip())
        and not question.tools
        and question.candidates == 1
    )


def numbers_in(text: str) -> list[int]:
    """Return the numbers of a text in order: embedding models hardly distinguish 2023 and 2024."""
    return [int(each) for each in re.findall(r"\d{1,18}", unicodedata.normalize("NFKC", text))]


def _asked(question: Question) -> dict[str, object]:
    asked = {name: getattr(question, name) for name in _PARTS}
    if not question.best_of:
        del asked["best_of"]  # keys are as they were before there was one
    return asked


def _digest(said: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, timedelta):
        return value.total_seconds()
    if is_dataclass(value):  # not by `asdict`, which copies every string
        return {each.name: getattr(value, each.name) for each in fields(value)}
    raise TypeError(type(value))
