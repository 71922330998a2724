"""A reaction to an answer, and its validation."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tidemill_core.application import derived_id
from tidemill_core.characters import clean, clean_line, says_something
from tidemill_core.errors import Violation
from tidemill_feedback.metrics.domain.metric import BUILT_IN, FIELD_OF, FeedbackMetric, Level, Value

RATING, COMMENT, CORRECTION, PREFERENCE = "rating", "comment", "correction", "preference"
TEACHING = (CORRECTION, RATING, PREFERENCE)
"""The metrics of which examples can be made."""
RATERS = ("user", "reviewer", "judge")
OF_CONVERSATION = "conversation:"
"""Begins the targets that are conversations; no id of an inference begins so."""
_EARLIEST_YEAR = 2000
_FIELD_OF = {RATING: "number", COMMENT: "comment", CORRECTION: "correction", PREFERENCE: "preference"}
_FIELDS = ("flag", "number", "category", "comment", "correction", "preference")
_PLACES = 2
"""Where the answers of a choice were shown: 1 or 2, 0 where that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactionLimits:
    """How much one reaction may say."""

    comment_chars: int = 4000
    correction_chars: int = 16000
    name_chars: int = 200
    """Of ids and pseudonyms, and of the keys and values of labels."""
    labels: int = 32
    ahead: timedelta = timedelta(minutes=5)
    """How far a clock may be ahead of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """A choice between the answers of two inferences; of a tie neither is preferred."""

    chosen: str
    rejected: str
    tie: bool = False
    chosen_position: int = 0

    @property
    def pair(self) -> str:
        """Both inferences, whichever is chosen."""
        return " ".join(sorted((self.chosen, self.rejected)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """A reaction as it is sent; one of the fields of values is set, as `metric` says."""

    metric: str
    inference: str = ""
    inference_request_id: str = ""
    conversation: str = ""
    flag: bool | None = None
    number: float | None = None
    category: str | None = None
    comment: str | None = None
    correction: str | None = None
    preference: Preference | None = None
    end_user: str = ""
    rater: str = ""
    observe_time: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    absent: bool = False
    """Whether it was not sent: it is what no value means."""

    def cleaned(self) -> "Reaction":
        """Return it without invisible and control characters."""
        return replace(
            self,
            comment=None if self.comment is None else clean(self.comment),
            correction=None if self.correction is None else clean(self.correction),
            end_user=clean_line(self.end_user),
            labels={key: clean_line(value) for key, value in self.labels.items()},
        )

    def target_in(self, project: str) -> str:
        """Return the inference that it is about, or OF_CONVERSATION with a conversation.

        inference derives ids from request ids in the same way.
        """
        if self.conversation:
            return f"{OF_CONVERSATION}{self.conversation}"
        if self.preference:
            return self.preference.chosen
        return self.inference or derived_id(project, "inference", self.inference_request_id)

    @property
    def value(self) -> Value:
        """Return what is a value of a declared metric."""
        return Value(flag=self.flag, number=self.number, category=self.category)

    @property
    def text(self) -> str:
        """Return what was written, "" for a rating, a choice, and for values of declared metrics."""
        return self.correction or self.comment or ""


def violations(  # noqa: PLR0913 - a reaction, and all that it is checked against
    reaction: Reaction,
    limits: ReactionLimits,
    *,
    observed_at: datetime,
    now: datetime,
    declared: FeedbackMetric | None = None,
    known: Sequence[str] = BUILT_IN,
) -> Iterator[Violation]:
    """Yield all violations of a reaction; they contain the length of user text, never the text.

    `observed_at` is the time of its event, the default of `observe_time`. `declared` is the metric that it names, if
    its project declares that, and `known` what it could have named.
    """
    yield from _target_violations(reaction, declared)
    if declared is not None:
        yield from _field_violations(reaction, FIELD_OF[declared.kind])
        yield from declared.value_violations(reaction.value)
    elif reaction.metric in BUILT_IN:
        yield from _value_violations(reaction, limits)
    else:
        text = f"is {reaction.metric[:80]!r}; use one of {', '.join(known)}, or declare it as a metric first"
        yield Violation("metric", text)
    if reaction.rater and reaction.rater not in RATERS:
        text = f"is {reaction.rater[:80]!r}; use one of {', '.join(RATERS)}, or leave it empty for {RATERS[0]}"
        yield Violation("rater", text)
    name, moment = ("observe_time", reaction.observe_time) if reaction.observe_time else ("time", observed_at)
    if moment.year < _EARLIEST_YEAR:
        yield Violation(name, f"is in the year {moment.year}; send a time from {_EARLIEST_YEAR} on")
    if moment > now + limits.ahead:
        yield Violation(name, f"is {moment.isoformat()}, which is more than {limits.ahead} ahead of now")
    yield from _length_violations(reaction, limits)


def _target_violations(reaction: Reaction, declared: FeedbackMetric | None) -> Iterator[Violation]:
    named = [each for each in ("inference", "inference_request_id", "conversation") if getattr(reaction, each)]
    if reaction.preference is not None:
        yield from _choice_violations(reaction, reaction.preference)
    elif declared is not None and declared.level is Level.CONVERSATION:
        if named != ["conversation"]:
            yield Violation("target", f"name the conversation that the {declared.id} is about in conversation")
    elif named not in (["inference"], ["inference_request_id"]):
        yield Violation("target", "name the inference by one of inference and inference_request_id")
    if reaction.inference.startswith(OF_CONVERSATION):
        yield Violation("inference", f"begins with {OF_CONVERSATION!r}; no id of an inference does")


def _choice_violations(reaction: Reaction, choice: Preference) -> Iterator[Violation]:
    other = reaction.inference_request_id or reaction.conversation
    if other or reaction.inference not in ("", choice.chosen):
        yield Violation("target", "is not preference.chosen: leave it out")
    for name in ("chosen", "rejected"):
        if not getattr(choice, name) or getattr(choice, name).startswith(OF_CONVERSATION):
            yield Violation(f"preference.{name}", "names no inference: send the id of an answer")
    if choice.chosen == choice.rejected:
        yield Violation("preference.rejected", "is preference.chosen: name two inferences")
    if not 0 <= choice.chosen_position <= _PLACES:
        yield Violation("preference.chosen_position", f"is {choice.chosen_position}; use 1 or 2, 0 if it is not known")


def _value_violations(reaction: Reaction, limits: ReactionLimits) -> Iterator[Violation]:
    yield from _field_violations(reaction, _FIELD_OF[reaction.metric])
    number = reaction.number
    if number is not None and (math.isnan(number) or not 0 <= number <= 1):
        yield Violation("number", f"is {number!r}; a rating is 0 (bad) to 1 (good)")
    for name, maximum in (("comment", limits.comment_chars), ("correction", limits.correction_chars)):
        said = getattr(reaction, name)
        if said is not None and not says_something(said):
            yield Violation(name, f"is empty: it has no letter, number or symbol; write 1 to {maximum} characters")
        elif said is not None and len(said) > maximum:
            yield Violation(name, f"has {len(said)} characters; write at most {maximum}")


def _field_violations(reaction: Reaction, expected: str) -> Iterator[Violation]:
    for name in _FIELDS:
        if (getattr(reaction, name) is not None) != (name == expected):
            yield Violation(name, f"a {reaction.metric} is given in {expected}, and in nothing else")


def _length_violations(reaction: Reaction, limits: ReactionLimits) -> Iterator[Violation]:
    for name in ("chosen", "rejected") if reaction.preference else ():
        if (length := len(getattr(reaction.preference, name))) > limits.name_chars:
            yield Violation(f"preference.{name}", f"has {length} characters; use at most {limits.name_chars}")
    for name in ("inference", "inference_request_id", "conversation", "end_user"):
        if len(getattr(reaction, name)) > limits.name_chars:
            yield Violation(name, f"has {len(getattr(reaction, name))} characters; use at most {limits.name_chars}")
    if len(reaction.labels) > limits.labels:
        yield Violation("labels", f"has {len(reaction.labels)} entries; use at most {limits.labels}")
    longest = max((len(text) for entry in reaction.labels.items() for text in entry), default=0)
    if longest > limits.name_chars:
        yield Violation("labels", f"has a key or value of {longest} characters; use at most {limits.name_chars}")
