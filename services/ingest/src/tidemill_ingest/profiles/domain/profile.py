"""What a profile says, and how it differs from another one."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Self

from tidemill_ingest.profiles.domain.balance import Balance
from tidemill_ingest.profiles.domain.sketch import MAX_CATEGORIES, OTHER, Distribution, Sketch
from tidemill_ingest.profiles.domain.versions import UNKNOWN

MIN_NAMED = 5
"""So many versions must have a name that callers choose, for it to be said."""
_CHOSEN = ("metadata.", "variables.")
_CHOSEN_COLUMNS = frozenset({"cohort"})
"""Of which callers choose all names."""
NO_COHORT = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What a profile has; of `exclusive` ones each version has exactly one category."""

    numbers: tuple[str, ...]
    exclusive: tuple[str, ...]
    categories: tuple[str, ...]
    balanced: tuple[str, ...]
    """Those whose categories are groups: each version has one at most."""


OF_SOURCES = Columns(
    numbers=("characters", "words", "readability", "identifiers"),
    exclusive=("language", "media_type", "channel", "outcome", "duplicate"),
    categories=("withheld_for", "identifiers", "with_identifiers", "fields"),
    balanced=("language", "media_type"),
)
OF_DATASETS = Columns(
    numbers=(
        "question_characters",
        "answer_characters",
        "answer_words",
        "readability",
        "identifiers",
        "passages",
        "best_passage_score",
        "examples_of_end_user",
    ),
    exclusive=("split", "question_language", "answer_language", "cohort", "near_documents", "reviewed"),
    categories=("identifiers", "with_identifiers", "labels", "review_labels", "fields"),
    balanced=("question_language", "answer_language", "labels"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberColumn:
    """The distribution of one measure."""

    name: str
    count: int
    mean: float
    quantiles: tuple[float, ...]
    rank_error: float
    outliers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryCount:
    """One category."""

    name: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryColumn:
    """Counts by one property; `exclusive` where each version has exactly one category."""

    name: str
    exclusive: bool
    counts: tuple[CategoryCount, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileDay:
    """How many there are of one day."""

    day: date
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What is known of many versions together."""

    count: int
    numbers: tuple[NumberColumn, ...]
    categories: tuple[CategoryColumn, ...]
    days: tuple[ProfileDay, ...]
    distinct_texts: float
    distinct_documents: float
    balances: tuple[Balance, ...] = ()

    def with_columns(self, columns: tuple[CategoryColumn, ...]) -> Self:
        """Return it with further columns."""
        return replace(self, categories=(*self.categories, *columns))


def label_columns(labels: Iterable[tuple[str, Iterable[str]]]) -> tuple[CategoryColumn, ...]:
    """Return how many documents have labels, and which; `labels` are documents with some of theirs."""
    found = defaultdict[str, set[str]](set)
    for document, values in labels:
        found[document].update(values)
    reviewed = {"yes": len(found)} if found else {}
    counted = Counter(value for values in found.values() for value in values)
    return tuple(
        CategoryColumn(name=name, exclusive=False, counts=tuple(_ordered(counts)))
        for name, counts in (("reviewed", reviewed), ("review_labels", dict(counted.most_common(MAX_CATEGORIES))))
    )


def merged(days: Iterable[tuple[date, Sketch]]) -> tuple[Sketch, tuple[ProfileDay, ...]]:
    """Return the sketch of all days, and how many there are of each."""
    whole, counts = Sketch(), list[ProfileDay]()
    for day, sketch in days:
        whole.merge(sketch)
        counts.append(ProfileDay(day=day, count=sketch.count))
    return whole, tuple(counts)


def profile_of(sketch: Sketch, days: tuple[ProfileDay, ...], *, columns: Columns = OF_SOURCES) -> Profile:
    """Return what a sketch says."""
    return Profile(
        count=sketch.count,
        numbers=tuple(_number(name, sketch.numbers.get(name) or Distribution()) for name in columns.numbers),
        categories=tuple(
            CategoryColumn(
                name=name,
                exclusive=name in columns.exclusive,
                counts=tuple(_ordered(sketch.counts(name), all_chosen=name in _CHOSEN_COLUMNS)),
            )
            for name in (*columns.exclusive, *columns.categories)
        ),
        days=days,
        distinct_texts=min(sketch.texts.estimate, sketch.count),
        distinct_documents=min(sketch.documents.estimate, sketch.count),
        balances=tuple(_balances(sketch, columns)),
    )


def _balances(sketch: Sketch, columns: Columns) -> Iterator[Balance]:
    for name, sizes in _groups(sketch, columns):
        if balance := Balance.of(name, sizes):
            yield balance


def _groups(sketch: Sketch, columns: Columns) -> Iterator[tuple[str, Iterable[int]]]:
    """Yield the sizes of groups, of what is in one; not of columns some of whose categories were counted together."""
    for name in columns.balanced:
        counts = sketch.counts(name)
        if OTHER not in counts:
            yield name, [count for category, count in counts.items() if category != UNKNOWN]
    yield "cohort", sketch.cohorts.values()
    fields = defaultdict[str, list[int]](list)
    for label, count in sketch.counts("review_labels").items():
        fields[label.partition("=")[0]].append(count)
    if OTHER not in fields:
        yield from fields.items()
    yield "end_user", sketch.end_users.values()


def _number(name: str, values: Distribution) -> NumberColumn:
    return NumberColumn(
        name=name,
        count=values.count,
        mean=values.total / values.count if values.count else 0.0,
        quantiles=values.quantiles(),
        rank_error=values.rank_error,
        outliers=values.outliers(),
    )


def _ordered(counts: Mapping[str, int], *, all_chosen: bool = False) -> Iterator[CategoryCount]:
    """Yield the most frequent first; rare names that callers chose are counted together, at the end."""
    rest = 0
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        chosen = name != NO_COHORT if all_chosen else name.startswith(_CHOSEN)
        if name == OTHER or (chosen and count < MIN_NAMED):
            rest += count
        else:
            yield CategoryCount(name=name, count=count)
    if rest:
        yield CategoryCount(name=OTHER, count=rest)
