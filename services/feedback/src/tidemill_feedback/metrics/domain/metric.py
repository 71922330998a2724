"""A metric that a project declares: what may be said of an answer, and what that means."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from tidemill_core.aggregate import Aggregate
from tidemill_core.errors import Violation
from tidemill_core.resources import SLUG, SLUG_FORM, label_violations, refuse, slug_violations

BUILT_IN = ("rating", "comment", "correction", "preference")
RESERVED = (*BUILT_IN, "demonstration")
MIN_CHOICES, MAX_CHOICES = 2, 50
MAX_WEIGHT = 1000
MAX_UNIT_CHARS = 32
MAX_AMOUNT = 1e12
SHORTEST, LONGEST = timedelta(seconds=1), timedelta(days=365)
"""Of the time in which a metric matures."""


class MetricKind(Enum):
    """What values are."""

    BOOLEAN = "boolean"
    NUMBER = "number"
    CATEGORY = "category"


class Optimise(Enum):
    """Which values are better."""

    NONE = "none"
    MAX = "max"
    MIN = "min"


class Level(Enum):
    """What values are about."""

    INFERENCE = "inference"
    CONVERSATION = "conversation"


FIELD_OF = {MetricKind.BOOLEAN: "flag", MetricKind.NUMBER: "number", MetricKind.CATEGORY: "category"}
"""The field of a reaction that has the value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BusinessValue:
    """What a value is worth: `amount` of true or of 1, or `amounts` by choice."""

    unit: str
    amount: float | None = None
    amounts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RaterWeights:
    """How much a reaction counts by its rater."""

    user: float = 1.0
    reviewer: float = 1.0
    judge: float = 1.0

    def of(self, rater: str) -> float:
        """Return the weight of a rater."""
        return {"user": self.user, "reviewer": self.reviewer, "judge": self.judge}[rater]


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One value; the field that the kind names is set."""

    flag: bool | None = None
    number: float | None = None
    category: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What a value means by its metric, as that was declared when the value was given.

    `value` is None for a category, `score` (0 worst, 1 best; of good choices 1, of others 0) where no value is better,
    `business_value` where nothing is declared.
    """

    value: float | None = None
    score: float | None = None
    weight: float = 1.0
    business_value: float | None = None
    unit: str = ""
    mature_time: datetime | None = None
    """Until when its answer may still get another one, by what the metric says of late outcomes."""


@dataclass(slots=True, kw_only=True)
class FeedbackMetric(Aggregate):
    """A metric beside those that are built in. It publishes no events; feedback of a deleted one stays."""

    kind: MetricKind
    level: Level = Level.INFERENCE
    optimise: Optimise = Optimise.NONE
    min: float | None = None
    max: float | None = None
    choices: tuple[str, ...] = ()
    good_choices: tuple[str, ...] = ()
    """Of a category: those that are better than the others."""
    matures_after: timedelta | None = None
    absent: bool = False
    """What no value of a boolean means once it has matured."""
    absent_number: float | None = None
    """The same of a number."""
    value: BusinessValue | None = None
    weights: RaterWeights = field(default_factory=RaterWeights)

    def check(self) -> None:
        """Refuse what is no metric.

        Raises:
            InvalidInput: names every field that breaks its rule.

        """
        refuse(self._violations())

    @property
    def absent_value(self) -> Value:
        """What no value means once it has matured."""
        if self.kind is MetricKind.NUMBER:
            return Value(number=self.absent_number)
        return Value(flag=self.absent)

    def value_violations(self, given: Value) -> Iterator[Violation]:
        """Yield what is wrong with a value, where one is given; none quotes what may be free text."""
        bounds = None if self.min is None or self.max is None else (self.min, self.max)
        if bounds and given.number is not None and not bounds[0] <= given.number <= bounds[1]:
            yield Violation("number", f"is {given.number!r}; {self.id} is {bounds[0]:g} to {bounds[1]:g}")
        if given.category is not None and self.choices and given.category not in self.choices:
            shown = repr(given.category) if SLUG.fullmatch(given.category) else f"of {len(given.category)} characters"
            yield Violation("category", f"is {shown}; {self.id} is one of {', '.join(self.choices)}")

    def measure(self, given: Value, *, rater: str, asked_at: datetime | None = None) -> Measure:
        """Return what a checked value means; `asked_at` is when the question came, where that is known."""
        value = self._number_of(given)
        worth = self.value
        return Measure(
            value=value,
            score=self._score(value) if given.category is None else self._score_of(given.category),
            weight=self.weights.of(rater),
            business_value=None if worth is None else _worth(worth, value, given.category),
            unit="" if worth is None else worth.unit,
            mature_time=asked_at + self.matures_after if asked_at and self.matures_after else None,
        )

    @staticmethod
    def _number_of(given: Value) -> float | None:
        return given.number if given.flag is None else float(given.flag)

    def _score(self, value: float | None) -> float | None:
        if value is None or self.optimise is Optimise.NONE:
            return None
        if self.min is not None and self.max is not None:
            value = min(1.0, max(0.0, (value - self.min) / (self.max - self.min)))
        return value if self.optimise is Optimise.MAX else 1.0 - value

    def _score_of(self, category: str) -> float | None:
        return float(category in self.good_choices) if self.good_choices else None

    def _violations(self) -> Iterator[Violation]:
        yield from slug_violations("metric.id", self.id)
        if self.id in RESERVED:
            yield Violation("metric.id", f"is {self.id!r}, which every project has: choose another id")
        yield from label_violations("metric.labels", self.labels)
        yield from self._bound_violations()
        yield from self._choice_violations()
        yield from self._maturity_violations()
        if self.value is not None:
            yield from _worth_violations(self, self.value)
        for name in ("user", "reviewer", "judge"):
            weight = self.weights.of(name)
            if not 0 <= weight <= MAX_WEIGHT:
                yield Violation(f"metric.weights.{name}", f"is {weight:g}; use 0 to {MAX_WEIGHT}")

    def _bound_violations(self) -> Iterator[Violation]:
        bounds = {"min": self.min, "max": self.max}
        if self.kind is not MetricKind.NUMBER:
            for name in (name for name, bound in bounds.items() if bound is not None):
                yield Violation(f"metric.{name}", f"is set, and a {self.kind.value} has none: leave it out")
            return
        for name, bound in bounds.items():
            if bound is None:
                yield Violation(f"metric.{name}", "is missing: a number has a min and a max")
            elif not abs(bound) <= MAX_AMOUNT:
                yield Violation(f"metric.{name}", f"is {bound!r}; use {-MAX_AMOUNT:g} to {MAX_AMOUNT:g}")
        if self.min is not None and self.max is not None and self.min >= self.max:
            yield Violation("metric.max", f"is {self.max:g}; use more than min, which is {self.min:g}")

    def _maturity_violations(self) -> Iterator[Violation]:
        if self.matures_after is None:
            named = {"absent": self.absent, "absent_number": self.absent_number is not None}
            for name in (name for name, is_set in named.items() if is_set):
                yield Violation(f"metric.{name}", "is set without matures_after: set both, or none")
            return
        if not SHORTEST <= self.matures_after <= LONGEST:
            yield Violation("metric.matures_after", f"is {self.matures_after}; use {SHORTEST} to {LONGEST}")
        if self.kind is MetricKind.CATEGORY or self.level is not Level.INFERENCE:
            text = f"is set, and only booleans and numbers of inferences mature: {self.id} is a {self.kind.value} of"
            yield Violation("metric.matures_after", f"{text} {self.level.value}s")
            return
        yield from self._absent_violations()

    def _absent_violations(self) -> Iterator[Violation]:
        number, is_number = self.absent_number, self.kind is MetricKind.NUMBER
        if is_number and self.absent:
            yield Violation("metric.absent", "is set, and a number has none: set absent_number")
        if not is_number:
            if number is not None:
                yield Violation("metric.absent_number", "is set, and a boolean has none: set absent, or none")
            return
        bounds = f"use {self.min:g} to {self.max:g}" if self.min is not None and self.max is not None else "give it"
        if number is None:
            yield Violation("metric.absent_number", f"is missing: say what no value of {self.id} means; {bounds}")
        elif self.min is not None and self.max is not None and not self.min <= number <= self.max:
            yield Violation("metric.absent_number", f"is {number!r}; {bounds}")

    def _good_violations(self) -> Iterator[Violation]:
        for index, choice in enumerate(self.good_choices[: MAX_CHOICES + 1]):
            place = f"metric.good_choices[{index}]"
            if choice not in self.choices:
                text = f"is {choice[:80]!r}, which is none of the choices, {', '.join(self.choices)[:400]}"
                yield Violation(place, text)
            elif choice in self.good_choices[:index]:
                yield Violation(place, f"is {choice!r}, which is there twice: leave one out")
        if self.good_choices and set(self.choices) <= set(self.good_choices):
            yield Violation("metric.good_choices", "has all choices: leave out those that are not better")

    def _choice_violations(self) -> Iterator[Violation]:
        if self.kind is not MetricKind.CATEGORY:
            for name, choices in {"choices": self.choices, "good_choices": self.good_choices}.items():
                if choices:
                    yield Violation(f"metric.{name}", f"is set, and a {self.kind.value} has none: leave it out")
            return
        if self.optimise is not Optimise.NONE:
            text = (
                f"is {self.optimise.value}; choices have no order: use none, and name the better ones in good_choices"
            )
            yield Violation("metric.optimise", text)
        yield from self._good_violations()
        distinct = len(set(self.choices))
        if distinct != len(self.choices) or not MIN_CHOICES <= distinct <= MAX_CHOICES:
            text = f"has {len(self.choices)} choices, {distinct} of them distinct; name {MIN_CHOICES} to {MAX_CHOICES}"
            yield Violation("metric.choices", f"{text}, each once")
        for index, choice in enumerate(self.choices[:MAX_CHOICES]):
            if not SLUG.fullmatch(choice):
                yield Violation(f"metric.choices[{index}]", f"is {choice[:80]!r}; use {SLUG_FORM}")


def _worth(worth: BusinessValue, value: float | None, category: str | None) -> float:
    return worth.amounts.get(category or "", 0.0) if value is None else (worth.amount or 0.0) * value


def _worth_violations(metric: FeedbackMetric, worth: BusinessValue) -> Iterator[Violation]:
    if not 1 <= len(worth.unit) <= MAX_UNIT_CHARS or not worth.unit.isprintable():
        text = f"has {len(worth.unit)} characters; write 1 to {MAX_UNIT_CHARS} that are printed, for example EUR"
        yield Violation("metric.value.unit", text)
    by_choice = metric.kind is MetricKind.CATEGORY
    if by_choice == (worth.amount is not None):
        text = "is set: a category has amounts by choice" if by_choice else "is missing: say what true, or 1, is worth"
        yield Violation("metric.value.amount", text)
    if by_choice != bool(worth.amounts):
        text = "is empty: say what choices are worth" if by_choice else f"is set: a {metric.kind.value} has one amount"
        yield Violation("metric.value.amounts", text)
    if unknown := [each for each in worth.amounts if by_choice and each not in metric.choices]:
        text = f"is the amount of none of the choices, {', '.join(metric.choices)[:400]}"
        yield Violation(f"metric.value.amounts[{unknown[0][:63]!r}]", text)
    amounts = [*worth.amounts.values(), *([] if worth.amount is None else [worth.amount])]
    if any(not math.isfinite(each) or abs(each) > MAX_AMOUNT for each in amounts):
        yield Violation("metric.value", f"has an amount beyond {-MAX_AMOUNT:g} to {MAX_AMOUNT:g}")
