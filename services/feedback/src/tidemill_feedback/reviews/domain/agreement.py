"""How well reviewers agree: Krippendorff's alpha, and what it says of a queue and of each reviewer.

Krippendorff, K. (2011): Computing Krippendorff's Alpha-Reliability.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from statistics import fmean

from tidemill_feedback.reviews.domain.item import Review, ReviewItem
from tidemill_feedback.reviews.domain.labels import Label, LabelField, LabelKind, Value, same, values_of

MIN_CONSTANT = 20
"""Of fewer items it is not said that a reviewer labels all alike."""
CHANCE = 0.01
"""What is less likely is no chance any more: that all labels are alike, by the share of others' that are."""


Units = Mapping[str, Mapping[str, Value]]
"""The values of a field by item and reviewer, of the items with at least two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewerReport:
    """What can be said of one reviewer."""

    reviewer: str
    reviews: int
    alpha: float | None
    resolved_share: float | None
    gold_reviews: int
    gold_accuracy: float | None
    constant_fields: tuple[str, ...]


def units_of(field: LabelField, items: Iterable[ReviewItem]) -> Units:
    """Return what reviewers say of a field, without gold items."""
    found = {
        item.id: {
            review.reviewer: said[field.name]
            for review in item.reviews
            if field.name in (said := values_of(review.labels))
        }
        for item in items
        if not item.gold
    }
    return {item: values for item, values in found.items() if len(values) > 1}


def alpha(field: LabelField, units: Sequence[Sequence[Value]]) -> float | None:
    """Return Krippendorff's alpha of units with at least two values: nominal, or interval for numbers.

    None where it is not defined: no two values differ, or there are fewer than two units.
    """
    units = [each for each in units if len(each) > 1]
    if len(units) < 2:  # noqa: PLR2004 - one unit has nothing that chance could be
        return None
    differs = _differences(field)
    together = [value for unit in units for value in unit]
    if not (chance := _by_chance(field, together)):
        return None
    observed = sum(sum(differs(unit)) / (len(unit) - 1) for unit in units)
    return 1 - observed / len(together) / chance


def reviewer_reports(
    fields: Sequence[LabelField], items: Iterable[ReviewItem], units: Mapping[str, Units]
) -> Sequence[ReviewerReport]:
    """Return a report for each reviewer, by name; `units` are those of each of the fields, which are compared ones."""
    reviews = defaultdict[str, list[tuple[ReviewItem, Review]]](list)
    for item in items:
        for review in item.reviews:
            reviews[review.reviewer].append((item, review))
    by_field = {each.name: compare_reviewers(each, units[each.name].values()) for each in fields}
    return [_report(name, fields, reviews[name], by_field) for name in sorted(reviews)]


@dataclass(slots=True)
class Comparison:
    """What a reviewer said of one field, beside what the others said of the same items."""

    units: int = 0
    differing: float = 0.0
    """The sum over units of the mean difference from the others."""
    own: set[Value] = dataclass_field(default_factory=set)
    others: int = 0
    others_alike: int = 0
    """How many values of others there are, and how many of them are the reviewer's own."""
    alpha: float | None = None
    """Of the pairs that have a value of theirs, by chance as in the whole field; None where that or two units lack."""

    @property
    def constant(self) -> bool:
        """Whether they say always the same, and by what others say that is no chance."""
        if self.units < MIN_CONSTANT or len(self.own) > 1:
            return False
        return bool((self.others_alike / self.others) ** self.units < CHANCE)


def compare_reviewers(field: LabelField, units: Collection[Mapping[str, Value]]) -> Mapping[str, Comparison]:
    """Compare each reviewer with the others of the same units, each of which has at least two values."""
    found, differs = defaultdict[str, Comparison](Comparison), _differences(field)
    for unit in units:
        counted, others = Counter(unit.values()), len(unit) - 1
        differences = differs([*unit.values()])
        for (reviewer, value), difference in zip(unit.items(), differences, strict=True):
            each = found[reviewer]
            each.units += 1
            each.differing += difference / others
            each.own.add(value)
            each.others += others
            each.others_alike += counted[value] - 1
    chance = _by_chance(field, [value for unit in units for value in unit.values()])
    for each in found.values():
        if chance and each.units > 1:
            each.alpha = 1 - each.differing / each.units / chance
    return found


def _report(
    reviewer: str,
    fields: Sequence[LabelField],
    reviews: Sequence[tuple[ReviewItem, Review]],
    by_field: Mapping[str, Mapping[str, Comparison]],
) -> ReviewerReport:
    compared = {each.name: found for each in fields if (found := by_field[each.name].get(reviewer))}
    gold = [(item, review) for item, review in reviews if item.gold]
    resolved = [(item, review) for item, review in reviews if item.resolved is not None]
    return ReviewerReport(
        reviewer=reviewer,
        reviews=len(reviews),
        alpha=mean_of(each.alpha for each in compared.values() if each.alpha is not None),
        resolved_share=_share(fields, [(item.resolved.labels, review) for item, review in resolved if item.resolved]),
        gold_reviews=len(gold),
        gold_accuracy=_share(fields, [(item.expected, review) for item, review in gold]),
        constant_fields=tuple(name for name, each in compared.items() if each.constant),
    )


def _share(fields: Sequence[LabelField], judged: Sequence[tuple[Sequence[Label], Review]]) -> float | None:
    """Return how many of the right values a reviewer gave."""
    hits = []
    for labels, review in judged:
        right, said = values_of(labels), values_of(review.labels)
        hits += [same(each, said.get(each.name), right[each.name]) for each in fields if each.name in right]
    return mean_of(hits)


def mean_of(values: Iterable[float]) -> float | None:
    """Return the mean; None of no values."""
    found = list(values)
    return fmean(found) if found else None


def _by_chance(field: LabelField, values: Sequence[Value]) -> float:
    """Return the mean difference of two of the values; 0 where no two differ."""
    return sum(_differences(field)(values)) / len(values) / (len(values) - 1) if len(values) > 1 else 0.0


def _differences(field: LabelField) -> Callable[[Sequence[Value]], Sequence[float]]:
    return _interval if field.kind is LabelKind.NUMBER else _nominal


def _nominal(values: Sequence[Value]) -> Sequence[float]:
    """Return for each value how many of all differ from it."""
    counted = Counter(values)
    return [len(values) - counted[each] for each in values]


def _interval(values: Sequence[Value]) -> Sequence[float]:
    """Return for each value the sum of the squared differences of all from it."""
    if len(set(values)) == 1:
        return [0.0] * len(values)  # the mean of equal numbers may be another number
    numbers = [float(each) for each in values]
    middle = fmean(numbers)
    around = sum((each - middle) ** 2 for each in numbers)
    return [len(numbers) * (each - middle) ** 2 + around for each in numbers]
