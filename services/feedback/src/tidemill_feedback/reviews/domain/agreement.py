"""How well reviewers agree: Krippendorff's alpha, and what it says of a queue and of each reviewer.

Krippendorff, K. (2011): Computing Krippendorff's Alpha-Reliability.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from tidemill_feedback.reviews.domain.item import Review, ReviewItem
from tidemill_feedback.reviews.domain.labels import Label, LabelField, LabelKind, Value, same, values_of

MIN_CONSTANT = 20
"""So many equal labels in a row of items are no chance any more, where others differ."""


@dataclass(frozen=True, slots=True)
class Rating:
    """A value that a reviewer gave to a field of an item."""

    item: str
    reviewer: str
    value: Value


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


def ratings_of(field: LabelField, items: Iterable[ReviewItem]) -> Sequence[Rating]:
    """Return the values of a field, of all items but gold ones."""
    return [
        Rating(item.id, review.reviewer, values[field.name])
        for item in items
        if not item.gold
        for review in item.reviews
        if field.name in (values := values_of(review.labels))
    ]


def paired(ratings: Iterable[Rating]) -> Mapping[str, Mapping[str, Value]]:
    """Return the values by item and reviewer, of the items with at least two."""
    items = defaultdict[str, dict[str, Value]](dict)
    for each in ratings:
        items[each.item][each.reviewer] = each.value
    return {item: values for item, values in items.items() if len(values) > 1}


def alpha(field: LabelField, units: Sequence[Sequence[Value]]) -> float | None:
    """Return Krippendorff's alpha of units with at least two values: nominal, or interval for numbers.

    None where it is not defined: no two values differ, or there are fewer than two units.
    """
    units = [each for each in units if len(each) > 1]
    if len(units) < 2:  # noqa: PLR2004 - one unit has nothing that chance could be
        return None
    spread = _interval if field.kind is LabelKind.NUMBER else _nominal
    together = [value for unit in units for value in unit]
    expected = spread(together) / (len(together) - 1)
    if not expected:
        return None
    return 1 - sum(spread(unit) / (len(unit) - 1) for unit in units) / expected


def reviewer_reports(fields: Sequence[LabelField], items: Sequence[ReviewItem]) -> Sequence[ReviewerReport]:
    """Return a report for each reviewer, by name."""
    compared = [each for each in fields if each.compared]
    reviews = defaultdict[str, list[tuple[ReviewItem, Review]]](list)
    for item in items:
        for review in item.reviews:
            reviews[review.reviewer].append((item, review))
    by_field = {each.name: paired(ratings_of(each, items)) for each in compared}
    return [_report(name, compared, reviews[name], by_field) for name in sorted(reviews)]


def _report(
    reviewer: str,
    fields: Sequence[LabelField],
    reviews: Sequence[tuple[ReviewItem, Review]],
    by_field: Mapping[str, Mapping[str, Mapping[str, Value]]],
) -> ReviewerReport:
    shared = {each.name: [values for values in by_field[each.name].values() if reviewer in values] for each in fields}
    alphas = [alpha(each, [[*values.values()] for values in shared[each.name]]) for each in fields]
    gold = [(item, review) for item, review in reviews if item.gold]
    resolved = [(item, review) for item, review in reviews if item.resolved is not None]
    return ReviewerReport(
        reviewer=reviewer,
        reviews=len(reviews),
        alpha=_mean(each for each in alphas if each is not None),
        resolved_share=_share(fields, [(item.resolved.labels, review) for item, review in resolved if item.resolved]),
        gold_reviews=len(gold),
        gold_accuracy=_share(fields, [(item.expected, review) for item, review in gold]),
        constant_fields=tuple(each.name for each in fields if _constant(reviewer, shared[each.name])),
    )


def _share(fields: Sequence[LabelField], judged: Sequence[tuple[Sequence[Label], Review]]) -> float | None:
    """Return how many of the right values a reviewer gave."""
    hits = []
    for labels, review in judged:
        right, said = values_of(labels), values_of(review.labels)
        hits += [same(each, said.get(each.name), right[each.name]) for each in fields if each.name in right]
    return _mean(hits)


def _constant(reviewer: str, shared: Sequence[Mapping[str, Value]]) -> bool:
    own = {values[reviewer] for values in shared}
    others = {value for values in shared for name, value in values.items() if name != reviewer}
    return len(shared) >= MIN_CONSTANT and len(own) == 1 and len(others) > 1


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return fmean(found) if found else None


def _nominal(values: Sequence[Value]) -> float:
    """Return the number of ordered pairs of values that differ."""
    return len(values) ** 2 - sum(count**2 for count in Counter(values).values())


def _interval(values: Sequence[Value]) -> float:
    """Return the sum of the squared differences of ordered pairs."""
    numbers = [float(each) for each in values]
    middle = fmean(numbers)  # keeps the sums small, so that equal values differ by nothing
    return 2 * len(numbers) * sum((each - middle) ** 2 for each in numbers)
