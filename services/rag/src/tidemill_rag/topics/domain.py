"""What is known of topics of documents: share, typical terms, examples and growth, and what is far from all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from tidemill_core.errors import Violation

MIN_DOCUMENTS = 20
"""Of fewer documents no topics are computed."""
MAX_COUNT = 30
DOCUMENTS_PER_TOPIC = 10
"""There is at most one topic for so many documents."""
MAX_SOURCES = 100
OUTLIER_QUANTILE, SIGNIFICANCE = 0.98, 0.05
MAX_OUTLIERS, MAX_EXAMPLES = 20, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """A run of days (UTC), both ends included."""

    first: date
    last: date

    def has(self, moment: datetime | None) -> bool:
        """Return whether a moment is in it; an unknown one is in none."""
        return moment is not None and self.first <= moment.date() <= self.last

    def meets(self, other: "Days") -> bool:
        """Return whether they have a day in common."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which topics are asked for; 0 stands for the defaults."""

    collection: str
    sources: tuple[str, ...] = ()
    principals: tuple[str, ...] = ()
    count: int = 0
    outlier_quantile: float = 0.0
    period: Days | None = None
    baseline: Days | None = None
    significance: float = 0.0

    def violations(self) -> Iterator[Violation]:
        """Yield what is wrong with it."""
        if self.count and not 1 < self.count <= MAX_COUNT:
            yield Violation("count", f"is {self.count}; use 2 to {MAX_COUNT}, or 0 to have the number chosen")
        if self.outlier_quantile and not 0 < self.outlier_quantile < 1:
            text = f"is {self.outlier_quantile:g}; use a number between 0 and 1, such as {OUTLIER_QUANTILE:g}"
            yield Violation("outlier_quantile", text)
        if not 0 <= self.significance < 1:
            text = f"is {self.significance:g}; send a number between 0 and 1, such as {SIGNIFICANCE:g}"
            yield Violation("significance", text)
        if len(self.sources) > MAX_SOURCES:
            yield Violation("sources", f"has {len(self.sources)} sources; name at most {MAX_SOURCES}")
        if self.baseline and not self.period:
            yield Violation("period", "is not set, and baseline is: name both, or the period alone")
        if self.baseline and self.period and self.baseline.meets(self.period):
            text = f"has days of the period: end it before {self.period.first}, or begin it after {self.period.last}"
            yield Violation("baseline", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """A document of the sample; `vector` has length 1, and `text` is of its passages."""

    document: str
    source: str
    key: str
    title: str
    time: datetime | None
    """When its current version was accepted; None where the index version does not know."""
    vector: bytes
    """Of 32-bit floats, in the machine's order."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicTerm:
    """A word that is typical of a topic, and how many of its documents have it."""

    term: str
    weight: float
    documents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """Which cluster each document is of, the largest cluster being 0, and what is typical of each."""

    members: tuple[int, ...]
    distances: tuple[float, ...]
    """To the nearest centre: 1 less the cosine."""
    terms: tuple[tuple[TopicTerm, ...], ...]
    separation: float

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.terms)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicDocument:
    """A document, and how far it is from the centre of its topic."""

    document: str
    source: str
    key: str
    title: str
    distance: float
    topic: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicMonth:
    """How many documents have their current version of a month."""

    month: str
    documents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A cluster of documents whose embeddings are alike; numbers count from 1."""

    number: int
    documents: int
    share: float
    spread: float
    terms: tuple[TopicTerm, ...]
    examples: tuple[TopicDocument, ...]
    months: tuple[TopicMonth, ...]
    documents_of_period: int = 0
    documents_of_baseline: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicShift:
    """Whether topics have other shares than before: chi-square, and Cramer's V as the effect."""

    effect: float
    p_value: float
    shifted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """The topics of a collection, the largest first."""

    topics: tuple[Topic, ...]
    outliers: tuple[TopicDocument, ...]
    outlier_distance: float
    documents: int
    sampled: bool
    separation: float
    index: int
    shift: TopicShift | None = None
    warnings: tuple[str, ...] = ()


def spread_evenly(count: int, *, limit: int) -> Sequence[int]:
    """Return up to `limit` numbers below `count`, the first and the last among them where it is above 1."""
    if count <= limit:
        return range(count)
    return [round(step * (count - 1) / (limit - 1)) for step in range(limit)]
