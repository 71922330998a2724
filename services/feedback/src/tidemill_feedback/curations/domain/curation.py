"""The rule by which reactions become a batch of examples."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tidemill_core.aggregate import Aggregate, Event, ObjectRef
from tidemill_core.approvals import MAX_AUTHORS, with_author
from tidemill_core.errors import Violation
from tidemill_core.resources import MAX_LABEL_LENGTH, label_violations, refuse, slug_violations
from tidemill_feedback.curations.domain.example import ExampleKind
from tidemill_feedback.curations.domain.filters import Filters
from tidemill_feedback.curations.domain.ledger import Counts, CurationRef
from tidemill_feedback.curations.domain.reliability import reliability
from tidemill_feedback.errors import CurationExists, EpochOver
from tidemill_feedback.reactions.domain.reaction import CORRECTION, PREFERENCE, RATING

DEFAULT_MIN_OUTPUT_CHARS = 1
DEFAULT_MAX_OUTPUT_CHARS = 4000
DEFAULT_MINIMUM = 1
DEFAULT_RATING_THRESHOLD = 0.5
MADE_OF: Mapping[ExampleKind, tuple[str, ...]] = {
    ExampleKind.DEMONSTRATION: (CORRECTION,),
    ExampleKind.PREFERENCE: (CORRECTION, PREFERENCE),
    ExampleKind.UNPAIRED_PREFERENCE: (RATING,),
}
"""The metrics whose reactions make examples of a kind."""
_OF_CORRECTIONS = ("max_repeats", "exclude_contradicted", "min_rater_reliability", "exclude_spam")
"""Rules that compare corrections, or read them."""
MAX_CHARS = 100_000
_MAX_RELIABILITY = math.floor(100 * reliability(0, 0)) / 100
SHORTEST, LONGEST = timedelta(seconds=1), timedelta(days=3650)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a user decides about a curation; zeros mean the defaults."""

    dataset: str
    deployment: str
    feedback: tuple[str, ...]
    kind: ExampleKind = ExampleKind.DEMONSTRATION
    new_examples: int
    per_user_at_most: int = 0
    min_output_chars: int = 0
    max_output_chars: int = 0
    rating_threshold: float = 0.0
    at_latest_every: timedelta | None = None
    at_least: int = 0
    paused: bool = False
    max_user_share: float = 0.0
    cohort_label: str = ""
    """A label of reactions: those with the same value are of one cohort."""
    max_cohort_share: float = 0.0
    max_repeats: int = 0
    """How many different questions the same, or nearly the same, correction of a user may answer."""
    exclude_contradicted: bool = False
    min_rater_reliability: float = 0.0
    """At most that of a rater of whom nothing is known, so that new ones can begin."""
    exclude_spam: bool = False
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def filters(self) -> Filters:
        """Return what an example must be."""
        return Filters(
            deployment=self.deployment,
            per_user_at_most=self.per_user_at_most,
            min_output_chars=self.min_output_chars or DEFAULT_MIN_OUTPUT_CHARS,
            max_output_chars=self.max_output_chars or DEFAULT_MAX_OUTPUT_CHARS,
            max_user_share=self.max_user_share,
            cohort_label=self.cohort_label,
            max_cohort_share=self.max_cohort_share,
            max_repeats=self.max_repeats,
            exclude_contradicted=self.exclude_contradicted,
            min_rater_reliability=self.min_rater_reliability,
            exclude_spam=self.exclude_spam,
            feedback=self.feedback,
            needs_answers=self.kind is not ExampleKind.DEMONSTRATION,
        )

    def is_good(self, rating: float) -> bool:
        """Return whether an answer that was rated so is a good one."""
        return rating >= (self.rating_threshold or DEFAULT_RATING_THRESHOLD)

    def check(self, curation_id: str, *, at_most: int) -> None:
        """Refuse a rule that cannot be followed, as one that asks for more than the `at_most` examples of a batch.

        Raises:
            InvalidInput: all violations at once.

        """
        refuse(_violations(curation_id, self, at_most))


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """All examples of one completion, without older ones that did not fit."""

    object: ObjectRef
    kind: ExampleKind = ExampleKind.DEMONSTRATION
    examples: int
    new: int
    left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CurationWasCompleted(Event):
    """The curation has enough examples; carries the reference to the batch."""

    dataset: str
    deployment: str
    batch: Batch
    authors: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Curation(Aggregate):
    """Completes again and again, each time with all examples that count."""

    rule: Rule
    completions: int = 0
    """Continues after a deletion, so that numbers are unique."""
    since: datetime
    """When the current wait began: the creation or the last completion."""
    epoch: int = 0
    """The lease epoch of the worker that completed it last, or is about to."""
    left_out: int = 0
    """How many older examples did not fit into the last batch."""
    incarnations: int = 0
    """How often it was created; rows of earlier incarnations do not count."""
    deployments: int = 0
    """How often its rule changed whose reactions count, by deployment and metric: they are listed anew."""
    authors: tuple[str, ...] = ()
    """The subjects that created this incarnation or changed what it selects; of very many the last."""

    @property
    def ref(self) -> CurationRef:
        """Return the reference of this incarnation."""
        return CurationRef(self.project, self.id, self.incarnations)

    def begin(self, rule: Rule, *, now: datetime) -> None:
        """Create the curation, also again after a deletion.

        Raises:
            CurationExists: it exists.

        """
        if self.incarnations and not self.deleted:
            raise CurationExists(self.id)
        self.deleted, self.since, self.authors = False, now, ()
        self.incarnations += 1
        self.configure(rule)

    def add_author(self, subject: str) -> None:
        """Record an author, unless the subject is not known."""
        self.authors = with_author(self.authors, subject)[-MAX_AUTHORS:]

    def configure(self, rule: Rule) -> None:
        """Take another rule."""
        before = self.rule
        self.deployments += (rule.deployment, rule.feedback) != (before.deployment, before.feedback)
        self.rule, self.labels = rule, dict(rule.labels)

    def holds(self, counts: Counts, *, now: datetime) -> bool:
        """Return whether the rule is met."""
        rule = self.rule
        if rule.paused or not counts.new or counts.examples < (rule.at_least or DEFAULT_MINIMUM):
            return False
        late = self.latest is not None and now >= self.latest
        return counts.new >= rule.new_examples or late

    @property
    def latest(self) -> datetime | None:
        """Return when it completes with fewer new examples, None for never."""
        every = self.rule.at_latest_every
        return self.since + every if every else None

    def take(self, epoch: int) -> None:
        """Exclude every earlier holder of the lease.

        Raises:
            EpochOver: a later holder has written.

        """
        if epoch < self.epoch:
            raise EpochOver(self.id)
        self.epoch = epoch

    def complete(self, batch: Batch, *, rule: Rule, number: int, epoch: int, now: datetime) -> None:
        """Complete for the `number`th time with a batch chosen by `rule`; idempotent.

        Does nothing if the rule has changed or was paused meanwhile: then the batch is chosen again.

        Raises:
            EpochOver: another worker has the lease.

        """
        if self.epoch != epoch:
            raise EpochOver(self.id)
        if self.completions + 1 != number or self.rule != rule:
            return
        self.completions, self.since, self.left_out = number, now, batch.left_out
        self.pending.append(
            CurationWasCompleted(
                occurred_at=now,
                dataset=rule.dataset,
                deployment=rule.deployment,
                batch=batch,
                authors=self.authors,
            )
        )

    def waits_for(self, counts: Counts) -> str:
        """Return what it waits for, human-readable."""
        rule, minimum = self.rule, self.rule.at_least or DEFAULT_MINIMUM
        if rule.paused:
            return "paused: resume it"
        waits = f"{counts.new} of {rule.new_examples} new examples"
        if counts.examples < minimum and minimum > rule.new_examples:
            waits = f"{counts.examples} of {minimum} examples in all, {waits}"
        if counts.pending:
            waits += f", {counts.pending} more being processed"
        if self.latest is not None:
            waits += f", or fewer from {self.latest.isoformat(timespec='seconds')} on"
        if self.left_out:
            waits += f"; {self.left_out} older examples did not fit into the last batch"
        return waits


def _feedback_violations(rule: Rule) -> Iterator[Violation]:
    makers = MADE_OF[rule.kind]
    if not rule.feedback or not set(rule.feedback) <= set(makers):
        names = ", ".join(each[:80] for each in rule.feedback[:10])
        text = f"is [{names}]; examples of kind {rule.kind.value} are made of [{', '.join(makers)}]"
        yield Violation("feedback", text)
    if rule.feedback != (CORRECTION,):
        for name in _OF_CORRECTIONS:
            if getattr(rule, name):
                yield Violation(name, f"is {getattr(rule, name)}; only corrections are compared: leave it out")
    if not 0 <= rule.rating_threshold <= 1:
        yield Violation("rating_threshold", f"is {rule.rating_threshold}; use 0 to 1, 0 means 0.5")


def _violations(curation_id: str, rule: Rule, at_most: int) -> Iterator[Violation]:
    for name, value in (("id", curation_id), ("dataset", rule.dataset), ("deployment", rule.deployment)):
        yield from slug_violations(name, value)
    yield from label_violations("labels", rule.labels)
    yield from _feedback_violations(rule)
    minimum = {"new_examples": 1}
    maximum = {"min_output_chars": MAX_CHARS, "max_output_chars": MAX_CHARS}
    bounded = ("new_examples", "per_user_at_most", "min_output_chars", "max_output_chars", "at_least", "max_repeats")
    for name in bounded:
        value, low, high = getattr(rule, name), minimum.get(name, 0), maximum.get(name, at_most)
        if not low <= value <= high:
            yield Violation(name, f"is {value}; use {low} to {high}")
    if rule.min_output_chars > (rule.max_output_chars or DEFAULT_MAX_OUTPUT_CHARS):
        text = f"is {rule.min_output_chars}; use at most max_output_chars, {rule.filters.max_output_chars}"
        yield Violation("min_output_chars", text)
    yield from _share_violations(rule)
    if rule.at_latest_every is not None and not SHORTEST <= rule.at_latest_every <= LONGEST:
        yield Violation("at_latest_every", f"is {rule.at_latest_every}; use {SHORTEST} to {LONGEST}")


def _share_violations(rule: Rule) -> Iterator[Violation]:
    for name in ("max_user_share", "max_cohort_share"):
        if not 0 <= (share := getattr(rule, name)) <= 1:
            yield Violation(name, f"is {share}; use a share of 0 (no limit) to 1")
    if not 0 <= rule.min_rater_reliability <= _MAX_RELIABILITY:
        text = f"is {rule.min_rater_reliability}; use 0 (no bound) to {_MAX_RELIABILITY}, which new raters have"
        yield Violation("min_rater_reliability", text)
    if len(rule.cohort_label) > MAX_LABEL_LENGTH:
        yield Violation("cohort_label", f"has {len(rule.cohort_label)} characters; use at most {MAX_LABEL_LENGTH}")
    if bool(rule.cohort_label) != bool(rule.max_cohort_share):
        missing, other = (
            ("cohort_label", "max_cohort_share") if rule.max_cohort_share else ("max_cohort_share", "cohort_label")
        )
        yield Violation(missing, f"is not set, and {other} is: set both, or neither")
