"""What reviewers say of an item: declared fields, and values of them."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from tidemill_core.characters import clean_line, says_something
from tidemill_core.errors import Violation
from tidemill_core.resources import slug_violations

MAX_FIELDS = 20
MAX_CHOICES = 100
MAX_CHOICE_CHARS = 200
MAX_DESCRIPTION_CHARS = 1000
DEFAULT_TEXT_CHARS = 4000
MAX_TEXT_CHARS = 16_000

Value = str | bool | float


class LabelKind(Enum):
    """What the values of a field are."""

    CATEGORY = "category"
    BOOLEAN = "boolean"
    NUMBER = "number"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelField:
    """One thing that reviewers say of an item."""

    name: str
    kind: LabelKind
    description: str = ""
    choices: tuple[str, ...] = ()
    min: float | None = None
    max: float | None = None
    tolerance: float = 0.0
    max_chars: int = 0
    required: bool = False

    @property
    def compared(self) -> bool:
        """Whether reviews can agree on it: texts are not compared."""
        return self.kind is not LabelKind.TEXT

    @property
    def text_chars(self) -> int:
        """The maximum length of a text; 0 of other kinds."""
        return 0 if self.compared else self.max_chars or DEFAULT_TEXT_CHARS

    def violations(self, place: str) -> Iterator[Violation]:
        """Yield what is wrong with the declaration."""
        yield from slug_violations(f"{place}.name", self.name)
        if len(self.description) > MAX_DESCRIPTION_CHARS:
            text = f"has {len(self.description)} characters, and {MAX_DESCRIPTION_CHARS} is the limit"
            yield Violation(f"{place}.description", text)
        yield from self._choice_violations(f"{place}.choices")
        yield from self._number_violations(place)
        if not 0 <= self.max_chars <= MAX_TEXT_CHARS or (self.max_chars and self.compared):
            yield Violation(f"{place}.max_chars", f"is {self.max_chars}; use 0 to {MAX_TEXT_CHARS}, for texts only")

    def _choice_violations(self, place: str) -> Iterator[Violation]:
        count, category = len(self.choices), self.kind is LabelKind.CATEGORY
        if category and not 2 <= count <= MAX_CHOICES:  # noqa: PLR2004 - one is no choice
            yield Violation(place, f"has {count} entries; a category needs 2 to {MAX_CHOICES}")
        if not category and count:
            yield Violation(place, f"has {count} entries; only categories have choices: leave it empty")
        if len(set(self.choices)) < count:
            yield Violation(place, "names a choice twice: name each once")
        if any(not each or len(each) > MAX_CHOICE_CHARS or clean_line(each) != each for each in self.choices):
            text = f"needs 1 to {MAX_CHOICE_CHARS} visible characters in each choice, without white space around them"
            yield Violation(place, text)

    def _number_violations(self, place: str) -> Iterator[Violation]:
        number = self.kind is LabelKind.NUMBER
        given = {"min": self.min, "max": self.max, "tolerance": self.tolerance or None}
        for name, value in given.items():
            if value is not None and (not number or not math.isfinite(value)):
                yield Violation(f"{place}.{name}", f"is {value:g}; use a finite number, for numbers only")
        if self.min is not None and self.max is not None and not self.min < self.max:
            yield Violation(f"{place}.min", f"is {self.min:g}; use less than max, {self.max:g}")
        if self.tolerance < 0:
            yield Violation(f"{place}.tolerance", f"is {self.tolerance:g}; use 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A value of one field: a category and a text are a str, a boolean is a bool, a number is a float."""

    field: str
    kind: LabelKind
    value: Value


def schema_violations(fields: Sequence[LabelField]) -> Iterator[Violation]:
    """Yield what is wrong with the fields of a queue."""
    if not 1 <= len(fields) <= MAX_FIELDS:
        yield Violation("fields", f"has {len(fields)} entries; use 1 to {MAX_FIELDS}")
    for place, each in enumerate(fields):
        yield from each.violations(f"fields[{place}]")
    twice = [name for name, count in Counter(each.name for each in fields).items() if count > 1]
    if twice:
        yield Violation("fields", f"names {twice[0][:80]!r} twice: name each field once")


def change_violations(before: Sequence[LabelField], after: Sequence[LabelField]) -> Iterator[Violation]:
    """Yield why reviews by the fields `before` would not fit those `after`: fields and choices are only added."""
    now = {each.name: each for each in after}
    for old in before:
        new = now.pop(old.name, None)
        if new is None:
            yield Violation("fields", f"lacks {old.name!r}, of which there may be reviews: keep it")
        elif (new.kind, new.min, new.max, new.tolerance) != (old.kind, old.min, old.max, old.tolerance):
            yield Violation("fields", f"changes kind or bounds of {old.name!r}: use a new field, or another queue")
        elif not set(old.choices) <= set(new.choices):
            yield Violation("fields", f"removes choices of {old.name!r}: keep them")
        elif new.required and not old.required:
            yield Violation("fields", f"makes {old.name!r} required, which earlier reviews may lack: leave it optional")
    for added in now.values():
        if added.required:
            yield Violation("fields", f"adds {added.name!r} as required, which earlier reviews lack: make it optional")


def label_violations(
    place: str, labels: Sequence[Label], fields: Sequence[LabelField], *, complete: bool = True
) -> Iterator[Violation]:
    """Yield what is wrong with the labels of a review; `complete` ones have all that is required."""
    declared = {each.name: each for each in fields}
    given = Counter(each.field for each in labels)
    for name, count in given.items():
        if name not in declared:
            text = f"is no field of the queue; use {', '.join(declared)}"
            yield Violation(f"{place}[{name[:40]}]", text)
        elif count > 1:
            yield Violation(f"{place}[{name}]", f"is given {count} times: give it once")
    for each in labels:
        if (field := declared.get(each.field)) and (text := _refusal(field, each)):
            yield Violation(f"{place}[{each.field}]", text)
    for name, field in declared.items():
        if complete and field.required and name not in given:
            yield Violation(f"{place}[{name}]", "is missing, and the queue requires it")


def comparable(labels: Iterable[Label]) -> tuple[Label, ...]:
    """Return the labels without texts."""
    return tuple(each for each in labels if each.kind is not LabelKind.TEXT)


def values_of(labels: Iterable[Label]) -> Mapping[str, Value]:
    """Return the values by field."""
    return {each.field: each.value for each in labels}


def same(field: LabelField, one: Value | None, other: Value | None) -> bool:
    """Return whether two values of a field agree; None is none given."""
    if one is None or other is None:
        return one is other
    if field.kind is LabelKind.NUMBER:
        return abs(float(one) - float(other)) <= field.tolerance
    return one == other


def in_order(labels: Sequence[Label], fields: Sequence[LabelField]) -> tuple[Label, ...]:
    """Return labels in the order of the fields, so that equal reviews are equal."""
    order = {each.name: place for place, each in enumerate(fields)}
    return tuple(sorted(labels, key=lambda each: order.get(each.field, len(order))))


def _refusal(field: LabelField, label: Label) -> str:
    """Return why a label is refused, without quoting texts; "" where it is not."""
    value = label.value
    if label.kind is not field.kind:
        return f"is given as {label.kind.value}, and the field is a {field.kind.value}: send that"
    match value:
        case bool():
            return ""
        case str() if field.kind is LabelKind.CATEGORY:
            return "" if value in field.choices else f"is none of its choices; use {', '.join(field.choices[:20])}"
        case str():
            return _text_refusal(field, value)
        case _:
            return _number_refusal(field, value)


def _text_refusal(field: LabelField, value: str) -> str:
    limit = field.text_chars
    if not says_something(value):
        return "says nothing: write a text, or leave the field out"
    return f"has {len(value)} characters, and {limit} is the limit" if len(value) > limit else ""


def _number_refusal(field: LabelField, value: float) -> str:
    if not math.isfinite(value):
        return "is no finite number"
    low = field.min is None or value >= field.min
    high = field.max is None or value <= field.max
    if low and high:
        return ""
    lowest = "any" if field.min is None else f"{field.min:g}"
    highest = "any" if field.max is None else f"{field.max:g}"
    return f"is {value:g}; use {lowest} to {highest}"
