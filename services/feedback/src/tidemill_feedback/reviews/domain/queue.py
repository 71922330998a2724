"""A review queue: what is asked of reviewers, and how their answers resolve an item."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum

from tidemill_core.aggregate import Aggregate
from tidemill_core.errors import Violation
from tidemill_core.resources import label_violations, refuse, slug_violations
from tidemill_feedback.errors import ReviewQueueExists
from tidemill_feedback.reviews.domain.labels import LabelField, change_violations, schema_violations

DEFAULT_CLAIM_TIME = timedelta(minutes=15)
SHORTEST, LONGEST = timedelta(seconds=10), timedelta(days=7)
DEFAULT_OPEN_ITEMS = 1000
MAX_OPEN_ITEMS = 10_000
MAX_REVIEWERS = 25
MAX_ITEM_CHARS = 1_000_000
MAX_GOLD_SHARE = 0.5
MAX_INSTRUCTIONS_CHARS = 10_000
DEFAULT_BELOW = 0.5


class SamplingStrategy(Enum):
    """Which answers become items."""

    NEWEST = "newest"
    RANDOM = "random"
    STRATIFIED = "stratified"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewSampling:
    """Which live answers of a deployment become items; zeros mean the defaults."""

    deployment: str
    strategy: SamplingStrategy
    share: float = 0.0
    max_open_per_stratum: int = 0
    support_below: float = 0.0
    rating_below: float = 0.0

    def violations(self) -> Iterator[Violation]:
        """Yield what is wrong with it."""
        yield from slug_violations("sampling.deployment", self.deployment)
        for name in ("share", "support_below", "rating_below"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                yield Violation(f"sampling.{name}", f"is {value:g}; use 0 to 1")
        if self.strategy is SamplingStrategy.RANDOM and not self.share:
            yield Violation("sampling.share", "is 0; RANDOM takes a share: use more than 0, up to 1")
        stratified = self.strategy is SamplingStrategy.STRATIFIED
        if stratified and not 1 <= self.max_open_per_stratum <= MAX_OPEN_ITEMS:
            text = f"is {self.max_open_per_stratum}; STRATIFIED needs 1 to {MAX_OPEN_ITEMS}"
            yield Violation("sampling.max_open_per_stratum", text)
        if not stratified and self.max_open_per_stratum:
            yield Violation("sampling.max_open_per_stratum", "is for STRATIFIED only: leave it out")
        if self.strategy is not SamplingStrategy.UNCERTAIN and (self.support_below or self.rating_below):
            yield Violation("sampling.support_below", "and rating_below are for UNCERTAIN only: leave them out")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSpec:
    """What a user decides about a queue; zeros mean the defaults."""

    fields: tuple[LabelField, ...]
    instructions: str = ""
    sampling: ReviewSampling | None = None
    reviewers: int = 0
    claim_time: timedelta | None = None
    gold_share: float = 0.0
    min_agreement: float = 0.0
    max_open_items: int = 0
    paused: bool = False
    labels: dict[str, str] = field(default_factory=dict)

    def check(self, queue_id: str) -> None:
        """Refuse a queue that cannot work.

        Raises:
            InvalidInput: all violations at once.

        """
        refuse(_violations(queue_id, self))

    @property
    def open_limit(self) -> int:
        """How many items may be open."""
        return self.max_open_items or DEFAULT_OPEN_ITEMS


@dataclass(frozen=True, slots=True)
class EndedQueue:
    """A queue that was deleted, and up to which incarnation its items are removed."""

    project: str
    queue: str
    until: int

    @property
    def key(self) -> str:
        """The name among those of all projects."""
        return f"{self.project}/{self.queue}"


@dataclass(slots=True, kw_only=True)
class ReviewQueue(Aggregate):
    """Its items are aggregates of their own; those of an earlier incarnation belong to a deleted queue."""

    spec: QueueSpec
    incarnations: int = 0
    """How often it was created."""
    dropping: bool = False
    """It was deleted, perhaps created again since, and may have items left of before."""

    @property
    def key(self) -> str:
        """What the items of this incarnation name."""
        return key_of(self.id, self.incarnations)

    @property
    def slots(self) -> int:
        """How many reviews resolve an item."""
        return self.spec.reviewers or 1

    @property
    def claim_time(self) -> timedelta:
        """How long a claim holds."""
        return self.spec.claim_time or DEFAULT_CLAIM_TIME

    @property
    def ended(self) -> int:
        """The last incarnation that was deleted; 0 for none."""
        return ended_of(self.incarnations, deleted=self.deleted)

    def begin(self, spec: QueueSpec) -> None:
        """Create the queue, also again after a deletion.

        Raises:
            ReviewQueueExists: it exists.

        """
        if self.incarnations and not self.deleted:
            raise ReviewQueueExists(self.id)
        self.deleted = False
        self.incarnations += 1
        self.spec, self.labels = spec, dict(spec.labels)

    def configure(self, spec: QueueSpec) -> None:
        """Take another spec.

        Raises:
            InvalidInput: reviews that there are would not fit.

        """
        refuse(change_violations(self.spec.fields, spec.fields))
        self.spec, self.labels = spec, dict(spec.labels)


def key_of(queue_id: str, incarnation: int) -> str:
    """Return what the items of an incarnation of a queue name."""
    return f"{queue_id}/{incarnation}"


def ended_of(incarnations: int, *, deleted: bool) -> int:
    """Return the last incarnation of a queue that was deleted; 0 for none."""
    return incarnations if deleted else incarnations - 1


def _violations(queue_id: str, spec: QueueSpec) -> Iterator[Violation]:
    yield from slug_violations("id", queue_id)
    yield from label_violations("labels", spec.labels)
    yield from schema_violations(spec.fields)
    if len(spec.instructions) > MAX_INSTRUCTIONS_CHARS:
        text = f"has {len(spec.instructions)} characters, and {MAX_INSTRUCTIONS_CHARS} is the limit"
        yield Violation("instructions", text)
    text_chars = sum(each.text_chars for each in spec.fields)
    if text_chars * max(1, spec.reviewers) > MAX_ITEM_CHARS:
        text = (
            f"allow {text_chars} characters of text in each of {max(1, spec.reviewers)} reviews, and {MAX_ITEM_CHARS} "
            "is the limit of an item: lower max_chars, or reviewers"
        )
        yield Violation("fields", text)
    if spec.sampling is not None:
        yield from spec.sampling.violations()
    for name, limit in (("reviewers", MAX_REVIEWERS), ("max_open_items", MAX_OPEN_ITEMS)):
        if not 0 <= (value := getattr(spec, name)) <= limit:
            yield Violation(name, f"is {value}; use 0 to {limit}")
    for name, share in (("gold_share", MAX_GOLD_SHARE), ("min_agreement", 1.0)):
        if not 0 <= (value := getattr(spec, name)) <= share:
            yield Violation(name, f"is {value:g}; use 0 to {share:g}")
    if spec.claim_time is not None and not SHORTEST <= spec.claim_time <= LONGEST:
        yield Violation("claim_time", f"is {spec.claim_time}; use {SHORTEST} to {LONGEST}")
