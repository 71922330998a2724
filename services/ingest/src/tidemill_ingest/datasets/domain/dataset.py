"""A name under which immutable versions of examples are published, one for each completion of a curation."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum

from tidemill_core.aggregate import Aggregate, ObjectRef
from tidemill_core.approvals import Approval, ApprovalPolicy, with_approval
from tidemill_core.errors import Violation
from tidemill_core.resources import label_violations, refuse, slug_violations
from tidemill_ingest.datasets.domain.events import (
    DatasetVersionApproved,
    DatasetVersionPublished,
    DatasetVersionWithheld,
)
from tidemill_ingest.datasets.domain.label_rules import LabelRule, rule_violations
from tidemill_ingest.datasets.domain.version import DatasetVersion, ExampleBatchOffer, Part, VersionDraft
from tidemill_ingest.errors import (
    BatchAlreadyHandled,
    DatasetExists,
    DatasetNotFound,
    DatasetVersionNotFound,
    TooManyOffers,
)
from tidemill_ingest.limits import MAX_LABELS

DEFAULT_SHARE = 0.3
LARGEST_SHARE = 0.9
BY_QUESTION = "question"
UNCHANGED = "UNCHANGED"
BATCH_REFUSED = "BATCH_REFUSED"


class DatasetState(Enum):
    """Where a dataset stands."""

    NEW = "new"
    """Not saved yet."""
    ACTIVE = "active"
    DELETED = "deleted"
    """Its versions stay readable for their retention; its groups stay assigned and its numbers counted for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """The last offer that made no version; gone with the next version."""

    reason: str
    message: str
    curation: str
    curation_seq: int
    withhold_time: datetime

    def gives_way_to(self, offer: ExampleBatchOffer) -> bool:
        """Return whether the offer is not an older one, which was still waiting when this was refused at once."""
        return self.curation != offer.curation or self.curation_seq <= offer.curation_seq


@dataclass(slots=True, kw_only=True)
class Dataset(Aggregate):
    """What its owner declared, what is offered to it, and the versions that it published."""

    state: DatasetState = DatasetState.NEW
    held_out_share: float = DEFAULT_SHARE
    """The share of new groups that are held out."""
    group_by: str = BY_QUESTION
    approval: ApprovalPolicy = field(default_factory=ApprovalPolicy)
    """Who has to agree to a version before trainings start on it; of versions from now on."""
    label_rules: tuple[LabelRule, ...] = ()
    """Which examples are taken by their labels; of versions from now on."""
    offers: tuple[ExampleBatchOffer, ...] = ()
    """What waits to become a version, in the order of its events."""
    last_seq_by_curation: dict[str, int] = field(default_factory=dict)
    """The last completion that was reported, by curation."""
    versions: tuple[DatasetVersion, ...] = ()
    version_count: int = 0
    split: ObjectRef | None = None
    """Where the assignment of groups lies that were assigned when all of them were one object."""
    held_out_debt: int = 0
    """What rounding left over for the held-out part; see `Split`."""
    last_withheld: Withheld | None = None
    epoch: int = 0
    """Of the worker that may write."""
    deleted_at: datetime | None = None

    def check(self) -> None:
        """Refuse what breaks a rule.

        Raises:
            InvalidInput: naming every field that does.

        """
        refuse(self._violations())

    @property
    def newest(self) -> DatasetVersion | None:
        """The version that was published last, where it is not past its retention."""
        return self.versions[-1] if self.versions else None

    def version_named(self, reference: str) -> DatasetVersion:
        """Return the version that `dataset@number` names, or the newest one where it is `dataset`.

        Raises:
            DatasetVersionNotFound: there is none, or not any more.

        """
        _, at, number = reference.partition("@")
        known = {str(each.number): each for each in self.versions}
        found = known.get(number) if at else self.newest
        if found is None:
            raise DatasetVersionNotFound(reference, known=[each.number for each in self.versions])
        return found

    def declare(self, desired: "Dataset") -> None:
        """Begin, or begin again after a deletion: numbers and groups count on.

        Raises:
            DatasetExists: it is there.

        """
        if self.state is DatasetState.ACTIVE:
            raise DatasetExists(self.id)
        self.state, self.deleted_at = DatasetState.ACTIVE, None
        self.labels, self.held_out_share, self.group_by = desired.labels, desired.held_out_share, desired.group_by
        self.approval, self.label_rules = desired.approval, desired.label_rules

    def delete(self, *, now: datetime) -> None:
        """End it; nothing that waits becomes a version."""
        self.require_active()
        self.state, self.deleted_at, self.offers, self.last_withheld = DatasetState.DELETED, now, (), None

    def require_active(self) -> None:
        """Refuse what only a dataset that is there can do.

        Raises:
            DatasetNotFound: it is not there, or not any more.

        """
        if self.state is not DatasetState.ACTIVE:
            raise DatasetNotFound(self.id)

    def offer(self, offer: ExampleBatchOffer, *, at_most: int) -> None:
        """Let it wait; a completion that was reported before, or is older than one that was, changes nothing.

        Raises:
            DatasetNotFound: it is not there.
            TooManyOffers: so many wait already.

        """
        self.require_active()
        if offer.curation_seq <= self.last_seq_by_curation.get(offer.curation, 0):
            return
        if len(self.offers) >= at_most:
            raise TooManyOffers(self.id, limit=at_most)
        self.last_seq_by_curation = {**self.last_seq_by_curation, offer.curation: offer.curation_seq}
        self.offers = (*self.offers, offer)

    def refuse(self, offer: ExampleBatchOffer, *, message: str, now: datetime) -> None:
        """Say why this offer is not even let wait; it does not count as reported, so that it can be reported again.

        Raises:
            DatasetNotFound: it is not there.

        """
        self.require_active()
        if offer.curation_seq > self.last_seq_by_curation.get(offer.curation, 0):
            self._withhold(offer, reason=BATCH_REFUSED, message=message, now=now)

    def claim(self, epoch: int) -> None:
        """Shut out every worker with a lower epoch.

        Raises:
            BatchAlreadyHandled: a later one was here.

        """
        if epoch < self.epoch:
            raise BatchAlreadyHandled(self.id)
        self.epoch = epoch

    def publish(  # noqa: PLR0913 - what makes a version is saved in one change
        self, offer: ExampleBatchOffer, draft: VersionDraft, *, held_out_debt: int, epoch: int, now: datetime, keep: int
    ) -> None:
        """Make a version of what was offered; the content of the newest version again makes none.

        Raises:
            BatchAlreadyHandled: a later worker was here, or nothing waits for it any more.

        """
        newest = self.newest
        if newest is not None and newest.draft.digest == draft.digest:
            message = f"the content is that of {newest.id}: new examples are needed"
            return self.withhold(
                offer, reason=UNCHANGED, message=message, held_out_debt=held_out_debt, epoch=epoch, now=now
            )
        self._finish(offer, held_out_debt=held_out_debt, epoch=epoch)
        self.version_count += 1
        version = DatasetVersion(
            dataset=self.id,
            number=self.version_count,
            seq=self.seq + len(self.pending) + 1,
            draft=draft,
            curation=offer.curation,
            curation_seq=offer.curation_seq,
            published_at=now,
            approval=self.approval,
            authors=offer.authors,
        )
        self.versions = (*self.versions, version)[-keep:]
        if self.last_withheld and self.last_withheld.gives_way_to(offer):
            self.last_withheld = None
        self.pending.append(DatasetVersionPublished(occurred_at=now, version=version, deployment=offer.deployment))
        return None

    def approve(self, version: DatasetVersion, given: Approval, *, now: datetime) -> None:
        """Add an approval to a version of its own; the last one that is required is reported.

        Raises:
            DatasetNotFound: it is not there.

        """
        self.require_active()
        approved = replace(version, approvals=with_approval(version.approvals, given))
        self.versions = tuple(approved if each.number == version.number else each for each in self.versions)
        if version.missing_approvals and not approved.missing_approvals:
            self.pending.append(DatasetVersionApproved(occurred_at=now, version=approved))

    def withhold(  # noqa: PLR0913 - what is published of an offer
        self,
        offer: ExampleBatchOffer,
        *,
        reason: str,
        message: str,
        held_out_debt: int | None,
        epoch: int,
        now: datetime,
    ) -> None:
        """Make no version of what was offered, and say why; groups that it showed first stay assigned.

        Raises:
            BatchAlreadyHandled: a later worker was here, or nothing waits for it any more.

        """
        self._finish(offer, held_out_debt=held_out_debt, epoch=epoch)
        self._withhold(offer, reason=reason, message=message, now=now)

    def is_past(self, *, deleted_before: datetime) -> bool:
        """Return whether it was deleted so long ago that its versions may go."""
        return self.deleted_at is not None and self.deleted_at < deleted_before

    def forget(self, *, deleted_before: datetime) -> None:
        """Give up the versions of a dataset that was deleted so long ago."""
        if self.is_past(deleted_before=deleted_before):
            self.versions = ()

    def rewrite(self, key: str, part: Part, *, epoch: int) -> None:
        """Let every version that has the object `key` as a part have another one, of which examples were erased.

        Raises:
            BatchAlreadyHandled: a later worker was here.

        """
        self.claim(epoch)
        self.versions = tuple(replace(each, draft=each.draft.rewritten(key, part)) for each in self.versions)

    def kept_keys(self) -> frozenset[str]:
        """Return the keys of the objects that are needed."""
        parts = {part.object.key for each in self.versions for part in (each.draft.train, each.draft.held_out)}
        return frozenset(parts | ({self.split.key} if self.split else set()))

    def _withhold(self, offer: ExampleBatchOffer, *, reason: str, message: str, now: datetime) -> None:
        if self.last_withheld is None or self.last_withheld.gives_way_to(offer):
            self.last_withheld = Withheld(
                reason=reason,
                message=message,
                curation=offer.curation,
                curation_seq=offer.curation_seq,
                withhold_time=now,
            )
        event = DatasetVersionWithheld(
            occurred_at=now,
            reason=reason,
            message=message,
            curation=offer.curation,
            curation_seq=offer.curation_seq,
        )
        self.pending.append(event)

    def _finish(self, offer: ExampleBatchOffer, *, held_out_debt: int | None, epoch: int) -> None:
        """Let the offer wait no longer; `held_out_debt` is None where no groups were assigned."""
        left = tuple(each for each in self.offers if each.id != offer.id)
        if epoch != self.epoch or len(left) == len(self.offers):
            raise BatchAlreadyHandled(self.id)
        self.offers = left
        if held_out_debt is not None:
            self.split, self.held_out_debt = None, held_out_debt

    def _violations(self) -> Iterator[Violation]:
        yield from slug_violations("dataset.id", self.id)
        yield from label_violations("dataset.labels", self.labels, max_labels=MAX_LABELS)
        if not (math.isfinite(self.held_out_share) and 0 < self.held_out_share <= LARGEST_SHARE):
            text = f"is {self.held_out_share:g}; send 0 (for {DEFAULT_SHARE}) to {LARGEST_SHARE}"
            yield Violation("dataset.held_out_share", text)
        yield from self.approval.violations("dataset.approval")
        yield from rule_violations(self.label_rules, field="dataset.label_rules")
        if self.group_by != BY_QUESTION:
            yield Violation("dataset.group_by", f"is {self.group_by[:80]!r}; allowed: {BY_QUESTION}")
