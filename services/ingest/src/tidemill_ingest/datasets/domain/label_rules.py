"""Which examples a dataset takes by what reviewers agreed on of them."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from tidemill_core.errors import Violation
from tidemill_core.resources import slug_violations
from tidemill_ingest.labels.domain import ItemLabels, LabelValue, field_term, text_of

MAX_RULES = 20
MAX_VALUES = 100
MAX_VALUE_CHARS = 200
MAX_COUNTED = 100
"""Values of a field that are counted in a version, the most frequent ones."""


class FieldKind(Enum):
    """What the values of a field of a review queue are."""

    CATEGORY = "category"
    BOOLEAN = "boolean"
    NUMBER = "number"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueField:
    """A field of a review queue."""

    kind: FieldKind
    choices: tuple[str, ...] = ()

    @property
    def allowed(self) -> tuple[str, ...]:
        """The values that a rule may name."""
        return ("true", "false") if self.kind is FieldKind.BOOLEAN else self.choices


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRule:
    """Takes the examples that have one of the labels, and no others; or leaves these out."""

    queue: str
    field: str
    values: tuple[str, ...] = ()
    min: float | None = None
    max: float | None = None
    exclude: bool = False

    @property
    def name(self) -> str:
        """The field among those of all queues."""
        return field_term(self.queue, self.field)

    def takes(self, value: LabelValue | None) -> bool:
        """Return whether an example with this label of the field is taken; None where it has none that counts."""
        return (value is not None and self._has(value)) is not self.exclude

    def _has(self, value: LabelValue) -> bool:
        if self.values or isinstance(value, (bool, str)):
            return text_of(value) in self.values
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)

    def violations(self, place: str) -> Iterator[Violation]:
        """Yield what is wrong with it, whatever the queue has."""
        yield from slug_violations(f"{place}.queue", self.queue)
        yield from slug_violations(f"{place}.field", self.field)
        bounds = {name: each for name in ("min", "max") if (each := getattr(self, name)) is not None}
        if bool(self.values) == bool(bounds):
            text = "names values and bounds: use one of them" if bounds else "is empty: name values, or min or max"
            yield Violation(f"{place}.values", text)
        if len(self.values) > MAX_VALUES or len(set(self.values)) < len(self.values):
            text = f"has {len(self.values)} entries; name 1 to {MAX_VALUES}, each once"
            yield Violation(f"{place}.values", text)
        if any(not 0 < len(each) <= MAX_VALUE_CHARS for each in self.values):
            yield Violation(f"{place}.values", f"needs 1 to {MAX_VALUE_CHARS} characters in each value")
        for name, bound in bounds.items():
            if not math.isfinite(bound):
                yield Violation(f"{place}.{name}", "is no finite number")
        if self.min is not None and self.max is not None and self.min > self.max:
            yield Violation(f"{place}.min", f"is {self.min:g}, above max, which is {self.max:g}")

    def unfit(self, fields: Mapping[str, QueueField] | None, place: str) -> Iterator[Violation]:
        """Yield why no label of the queue can be meant; None where there is no such queue."""
        if fields is None:
            text = f"is {self.queue}, and the project has no such review queue: create it, or name another one"
            yield Violation(f"{place}.queue", text)
            return
        field = fields.get(self.field)
        if field is None:
            text = f"is {self.field}, which {self.queue} has not; use one of {', '.join(fields)}"
            yield Violation(f"{place}.field", text)
        elif field.kind is FieldKind.TEXT:
            yield Violation(f"{place}.field", f"is {self.field}, a text: use a category, a boolean or a number")
        elif field.kind is FieldKind.NUMBER and self.values:
            yield Violation(f"{place}.values", f"are given, and {self.field} is a number: use min and max")
        elif field.kind is not FieldKind.NUMBER and not self.values:
            text = f"and max are given, and {self.field} is a {field.kind.value}: use values"
            yield Violation(f"{place}.min", text)
        elif unknown := [each for each in self.values if each not in field.allowed]:
            text = f"has {unknown[0][:80]!r}, which {self.name} has not; use {', '.join(field.allowed[:20])}"
            yield Violation(f"{place}.values", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCount:
    """How many examples have a value of a field; without a value, no label of it."""

    queue: str
    field: str
    value: str
    examples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelUse:
    """With which labels a version was made."""

    rules: tuple[LabelRule, ...]
    digest: str
    counts: tuple[LabelCount, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSelection:
    """The examples that rules leave out, and what they were decided by."""

    left_out: frozenset[str]
    use: LabelUse


def rule_violations(rules: Sequence[LabelRule], *, field: str) -> Iterator[Violation]:
    """Yield what is wrong with the rules of a dataset, also together."""
    if len(rules) > MAX_RULES:
        yield Violation(field, f"has {len(rules)} entries, and {MAX_RULES} is the limit")
    for place, each in enumerate(rules):
        yield from each.violations(f"{field}[{place}]")
    seen = dict[tuple[str, bool], LabelRule]()
    for place, each in enumerate(rules):
        if (each.name, each.exclude) in seen:
            text = f"is about {each.name} again: have one rule that takes and one that excludes by a field"
            yield Violation(f"{field}[{place}]", text)
        other = seen.get((each.name, not each.exclude))
        if other and (both := _contradiction(*((each, other) if other.exclude else (other, each)))):
            yield Violation(f"{field}[{place}]", f"takes and excludes {both} of {each.name}: keep one of both")
        seen[each.name, each.exclude] = each


def _contradiction(taking: LabelRule, excluding: LabelRule) -> str:
    """Return what two rules of one field contradict each other about; "" for nothing."""
    if both := [each for each in taking.values if each in excluding.values]:
        return repr(both[0][:80])
    if taking.values or excluding.values:
        return ""
    (low, high), (lowest, highest) = _bounds(taking), _bounds(excluding)
    return "every value" if lowest <= low and high <= highest else ""


def _bounds(rule: LabelRule) -> tuple[float, float]:
    return -math.inf if rule.min is None else rule.min, math.inf if rule.max is None else rule.max


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A label of an example."""

    value: LabelValue
    resolve_time: datetime | None

    def counts_for(self, rule: LabelRule, changed: datetime | None) -> bool:
        """Return whether it was resolved of what the example is now; what excludes counts until it is resolved anew."""
        return rule.exclude or changed is None or self.resolve_time is None or self.resolve_time > changed


def select(
    rules: tuple[LabelRule, ...],
    examples: Mapping[str, datetime | None],
    found: Mapping[str, Sequence[ItemLabels]],
) -> LabelSelection:
    """Return which examples the rules leave out; `examples` says since when each is what it is, where that is known.

    Of several labels of a field the one that was resolved last counts. A rule that takes counts no label that was
    resolved before the example changed: reviewers may have seen another text.
    """
    names = {each.name: each for each in sorted(rules, key=lambda each: not each.exclude)}
    left_out, counted, lines = set[str](), {name: Counter[str]() for name in names}, list[str]()
    for example, changed in sorted(examples.items(), key=lambda each: each[0]):
        labels = dict[str, _Found]()
        for item in sorted(found.get(example, ()), key=lambda each: (str(each.resolve_time), each.item)):
            for each in item.labels:
                if (name := field_term(item.queue, each.field)) in names:
                    labels[name] = _Found(value=each.value, resolve_time=item.resolve_time)
                    lines.append(json.dumps([example, name, text_of(each.value), str(item.resolve_time)]))
        values = {rule: _value(rule, labels, changed) for rule in rules}
        for name, counts in counted.items():
            value = values[names[name]]
            counts["" if value is None else text_of(value)] += 1
        if not all(rule.takes(value) for rule, value in values.items()):
            left_out.add(example)
    kept = tuple(
        LabelCount(queue=names[name].queue, field=names[name].field, value=value, examples=count)
        for name, of_field in counted.items()
        for value, count in sorted(of_field.most_common(MAX_COUNTED), key=lambda each: (-each[1], each[0]))
    )
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return LabelSelection(left_out=frozenset(left_out), use=LabelUse(rules=rules, digest=digest, counts=kept))


def _value(rule: LabelRule, labels: Mapping[str, _Found], changed: datetime | None) -> LabelValue | None:
    """Return the value that a rule goes by; None without one."""
    label = labels.get(rule.name)
    return label.value if label and label.counts_for(rule, changed) else None
