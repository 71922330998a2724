"""The ledger's rows: desired and indexed state of each document. Decides whether a passage is current."""

from dataclasses import dataclass
from datetime import datetime

from tidemill_core.aggregate import ObjectRef


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredDocument:
    """The state of a document as of event `seq`; without `content` it is deleted."""

    document: str
    source: str
    key: str
    seq: int
    version: int = 0
    version_time: datetime | None = None
    """When the version was accepted; None in rows that predate it."""
    content: ObjectRef | None = None
    begins: bool = False
    """This event creates the document, possibly again after a deletion; everything before it is void."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One document in one index version."""

    desired: DesiredDocument
    indexed_seq: int = 0
    """The event whose passages are searchable; 0 before the first."""
    chunks: int = 0
    attempts: int = 0
    """Failed attempts to index the desired state."""
    failure: str = ""
    """Why the desired state will not be indexed."""
    hidden_below: int = 0
    """Passages of earlier events are never searchable again: the document was deleted, its text perhaps erased."""
    again: bool = False
    """To be indexed again because points may be lost; the existing ones stay searchable."""
    note: str = ""
    """Which passages are not searchable although the document is indexed, and why."""

    @property
    def pending(self) -> bool:
        """Return whether the document is to be indexed."""
        return (self.again or self.indexed_seq != self.desired.seq) and not self.failure

    def shows(self, seq: int) -> bool:
        """Return whether a passage of event `seq` is current; a deleted document has none."""
        return self.desired.content is not None and seq == self.indexed_seq and seq >= self.hidden_below

    @property
    def stale_below(self) -> int:
        """Return the `seq` below which the document's passages can be deleted."""
        return self.indexed_seq if self.desired.content else self.desired.seq + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The counters of an index version; deleted documents are excluded."""

    desired: int = 0
    indexed: int = 0
    failed: int = 0
    chunks: int = 0
    pending: int = 0
    """Rows to be indexed, including deletions."""
