"""What a model learns from: a question as it was asked, and an answer that is right, preferred, good or bad."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message of a prompt."""

    role: str
    """system, user or assistant."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageUse:
    """A span of a document version that was given with the question."""

    id: str
    document: str
    version: int
    start: int
    end: int
    source: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What the model saw, and what the question was asked with. It never changes, so it is asked for once."""

    question: str
    messages: tuple[Turn, ...]
    passages: tuple[PassageUse, ...]
    earlier: tuple[Turn, ...] = ()
    """The messages before the question, as asked."""
    variables: Mapping[str, object] = field(default_factory=dict)
    principals: tuple[str, ...] = ()
    answer: str | None = None
    """What the model answered, as recorded; None for prompts that were kept without it."""


class ExampleKind(Enum):
    """What a reaction teaches."""

    DEMONSTRATION = "demonstration"
    """The right answer to a prompt."""
    PREFERENCE = "preference"
    """A better answer, and the model's own, which it is preferred to."""
    UNPAIRED_PREFERENCE = "unpaired_preference"
    """The model's own answer, which is good or bad."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One line of a batch."""

    id: str
    inference: str
    feedback: str
    end_user: str
    prompt: Prompt
    output: str
    observe_time: datetime
    asked_by: str = ""
    """Who asked the question, where that is not the author of the reaction."""
    kind: ExampleKind = ExampleKind.DEMONSTRATION
    rejected: str | None = None
    """Of a preference: the answer that the output is preferred to."""
    label: bool | None = None
    """Of an unpaired preference: whether the answer is good."""
    change_time: datetime | None = None
    """When the reaction was stored last."""
    cohort: str = ""
    """The value of the curation's cohort label that the reaction has."""
