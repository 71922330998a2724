"""The rule by which corrections become a batch of examples."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tidemill_feedback.domain.errors import CurationExists, EpochOver
from tidemill_feedback.domain.ledger import Counts, CurationRef, Filters
from tidemill_kit.core.aggregate import Aggregate, Event, ObjectRef

DEFAULT_MIN_OUTPUT_CHARS = 1
DEFAULT_MAX_OUTPUT_CHARS = 4000
DEFAULT_MINIMUM = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a user decides about a curation; zeros mean the defaults."""

    dataset: str
    deployment: str
    feedback: tuple[str, ...]
    new_examples: int
    per_user_at_most: int = 0
    min_output_chars: int = 0
    max_output_chars: int = 0
    at_latest_every: timedelta | None = None
    at_least: int = 0
    paused: bool = False
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def filters(self) -> Filters:
        """Return what an example must be."""
        return Filters(
            deployment=self.deployment,
            per_user_at_most=self.per_user_at_most,
            min_output_chars=self.min_output_chars or DEFAULT_MIN_OUTPUT_CHARS,
            max_output_chars=self.max_output_chars or DEFAULT_MAX_OUTPUT_CHARS,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """All examples of one completion, but for older ones that it has no space for."""

    object: ObjectRef
    examples: int
    new: int
    left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CurationWasCompleted(Event):
    """There are enough examples; the event says where they lie."""

    dataset: str
    deployment: str
    batch: Batch


@dataclass(slots=True, kw_only=True)
class Curation(Aggregate):
    """Completes again and again, each time with all examples that count."""

    rule: Rule
    completions: int = 0
    """Numbers go on through deletion, so that no completion is taken for another."""
    since: datetime
    """Since when it waits: its beginning, or its last completion."""
    epoch: int = 0
    """The lease epoch of the worker that completed it last, or is about to."""
    left_out: int = 0
    """How many older examples the last batch had no space for."""
    incarnations: int = 0
    """How often it began; what is kept for an earlier life is not its own."""
    deployments: int = 0
    """How often its rule took another deployment, and be it one that it had before."""

    @property
    def ref(self) -> CurationRef:
        """Return the name of this incarnation."""
        return CurationRef(self.project, self.id, self.incarnations)

    def begin(self, rule: Rule, *, now: datetime) -> None:
        """Come to life, or back to it after a deletion.

        Raises:
            CurationExists: it lives already.

        """
        if self.incarnations and not self.deleted:
            raise CurationExists(self.id)
        self.deleted, self.since = False, now
        self.incarnations += 1
        self.configure(rule)

    def configure(self, rule: Rule) -> None:
        """Take another rule."""
        self.deployments += rule.deployment != self.rule.deployment
        self.rule, self.labels = rule, dict(rule.labels)

    def delete(self) -> None:
        """Become a tombstone that counts on."""
        self.deleted = True

    def holds(self, counts: Counts, *, now: datetime) -> bool:
        """Return whether it is time to complete."""
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
        """Shut out every earlier holder of the lease.

        Raises:
            EpochOver: a later one was here.

        """
        if epoch < self.epoch:
            raise EpochOver(self.id)
        self.epoch = epoch

    def complete(self, batch: Batch, *, rule: Rule, number: int, epoch: int, now: datetime) -> None:
        """Complete for the `number`th time with what was chosen by `rule`; a repetition changes nothing.

        Nor does it where the rule is another one meanwhile, or it was paused: then the batch is chosen anew.

        Raises:
            EpochOver: another worker reconciles it by now.

        """
        if self.epoch != epoch:
            raise EpochOver(self.id)
        if self.completions + 1 != number or self.rule != rule:
            return
        self.completions, self.since, self.left_out = number, now, batch.left_out
        self.pending.append(
            CurationWasCompleted(occurred_at=now, dataset=rule.dataset, deployment=rule.deployment, batch=batch)
        )

    def waits_for(self, counts: Counts) -> str:
        """Return what it waits for, for people."""
        rule, minimum = self.rule, self.rule.at_least or DEFAULT_MINIMUM
        if rule.paused:
            return "paused: unpause it"
        waits = f"{counts.new} of {rule.new_examples} new examples"
        if counts.examples < minimum and minimum > rule.new_examples:
            waits = f"{counts.examples} of {minimum} examples in all, {waits}"
        if counts.pending:
            waits += f", {counts.pending} more being looked at"
        if self.latest is not None:
            waits += f", or fewer from {self.latest.isoformat(timespec='seconds')} on"
        if self.left_out:
            waits += f"; the last batch had no room for {self.left_out} older examples"
        return waits
