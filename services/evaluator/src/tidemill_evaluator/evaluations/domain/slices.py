"""Slices of a set of cases by their labels, and what a candidate gains in each."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidemill_evaluator.suites.domain.cases import PAIR, VARIANT_OF, Case

LENGTH = "length"
"""Label by the characters of the question, unless a case of the set has one of that name."""
OTHER = "(other)"
MAX_LABELS, MAX_VALUES = 10, 10
"""Of a set: the labels that most cases have, and of each the values that most cases have; others are one slice."""
MIN_NAMED = 5
"""Held-out values of fewer end users are not named, but in `OTHER`: they could identify a person."""
_LENGTHS = ((80, "short"), (300, "medium"))
"""Greatest number of characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceComparison:
    """Paired difference of a metric on the cases of a set that have one value of a label.

    The interval is of this slice alone; `adjusted_p_value` is corrected for all slices of the evaluation.
    """

    case_set: str
    metric: str
    label: str
    value: str
    cases: int
    """Questions that both sides answered."""
    clusters: int
    baseline: float
    candidate: float
    difference: float
    low: float
    high: float
    enough: bool
    """Whether it has the clusters that a statement needs; without it there are no p-values."""
    p_value: float | None = None
    """Two-sided, of a mean difference of 0."""
    adjusted_p_value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedSlices:
    """Those of an evaluation, and how many small ones are left out."""

    comparisons: Sequence[SliceComparison] = ()
    left_out: int = 0


NO_SLICES = ComparedSlices()


def slices_of(cases: Sequence[Case], *, held_out: bool) -> Mapping[str, Mapping[str, str]]:
    """Return the values by label of each case (by id).

    A label whose values all cases share slices nothing, nor does one with a value of its own for most of them, nor the
    ones of pairs and variants. Values of few people's held-out cases are not named; one without an end user is another
    person's.
    """
    people = {case.id: (case.end_user, "" if case.end_user else case.id) for case in cases} if held_out else {}
    values = defaultdict[str, dict[str, str]](dict)
    own = any(LENGTH in case.labels for case in cases)
    for case in cases:
        for label, value in {**({} if own else {LENGTH: _length(case.question)}), **case.labels}.items():
            if label not in {PAIR, VARIANT_OF}:
                values[label][case.id] = value
    most = sorted(values, key=lambda label: (-len(values[label]), label))[:MAX_LABELS]
    found: dict[str, dict[str, str]] = {case.id: {} for case in cases}
    for label in most:
        named = _named(values[label], people)
        if len(set(named.values())) > 1:
            for name, value in named.items():
                found[name][label] = value
    return found


def _named(values: Mapping[str, str], people: Mapping[str, tuple[str, str]]) -> Mapping[str, str]:
    """Return the values, with the rare ones as one; nothing where most cases have one of their own.

    `people` are those who asked the cases, where that counts.
    """
    counts = sorted(Counter(values.values()).items(), key=lambda each: (-each[1], each[0]))
    if len(counts) > max(MAX_VALUES, len(values) // 2):
        return {}
    askers = defaultdict[str, set[tuple[str, str]]](set)
    for case, value in values.items() if people else ():
        askers[value].add(people[case])
    kept = {value for value, _ in counts[:MAX_VALUES] if not people or len(askers[value]) >= MIN_NAMED}
    return {case: value if value in kept else OTHER for case, value in values.items()}


def _length(question: str) -> str:
    return next((name for limit, name in _LENGTHS if len(question) <= limit), "long")
