"""One immutable set of examples with its train and held-out part."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from tidemill_core.aggregate import ObjectRef
from tidemill_core.approvals import Approval, ApprovalPolicy, counted
from tidemill_ingest.datasets.domain.label_rules import LabelUse


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Where the JSON lines of a part lie."""

    object: ObjectRef
    examples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What a version is made of; `shared` are questions and answers in both parts."""

    offered: int
    duplicates: int
    overlap: int
    erased: int
    groups: int
    end_users: int
    mean_output_chars: float
    shared: int
    unmasked: int = 0
    """Left out: masking them took too much work."""
    empty: int = 0
    """Left out: their answers say nothing."""
    excluded: int = 0
    """Left out: the label rules of the dataset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a curation offers: JSON lines in feedback's exchange bucket."""

    object: ObjectRef
    examples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleBatchOffer:
    """One completion of a curation; its id derives from the event that reported it."""

    id: str
    curation: str
    curation_seq: int
    deployment: str
    batch: Batch
    offered_at: datetime
    authors: tuple[str, ...] = ()
    """The subjects that made the curation what it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionDraft:
    """A version before it has its number."""

    digest: str
    train: Part
    held_out: Part
    statistics: Statistics
    label_use: LabelUse | None = None
    """With which labels it was made, where the dataset had rules."""

    def rewritten(self, key: str, part: Part) -> "VersionDraft":
        """Return it with another part where the object `key` was one; its content hash stays what was published."""
        train, held_out = (part if each.object.key == key else each for each in (self.train, self.held_out))
        gone = self.train.examples + self.held_out.examples - train.examples - held_out.examples
        statistics = replace(self.statistics, erased=self.statistics.erased + gone)
        return replace(self, train=train, held_out=held_out, statistics=statistics)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersion:
    """Never changes once it is published, except that examples are erased and that it is approved."""

    dataset: str
    number: int
    seq: int
    """The number of the event that reported it."""
    draft: VersionDraft
    curation: str
    curation_seq: int
    published_at: datetime
    approval: ApprovalPolicy = field(default_factory=ApprovalPolicy)
    """What the dataset asked for when it was published."""
    approvals: tuple[Approval, ...] = ()
    authors: tuple[str, ...] = ()
    """The subjects that made its curation what it is: they may not approve it."""

    @property
    def missing_approvals(self) -> int:
        """How many people still have to agree before trainings start on it."""
        return self.approval.missing(self.approvals, self.authors)

    @property
    def counted_approvals(self) -> tuple[Approval, ...]:
        """The approvals that count."""
        return counted(self.approvals, self.authors)

    @property
    def examples(self) -> int:
        """How many it has in both parts."""
        return self.draft.train.examples + self.draft.held_out.examples

    @property
    def id(self) -> str:
        """Its name outside of ingest."""
        return f"{self.dataset}@{self.number}"
