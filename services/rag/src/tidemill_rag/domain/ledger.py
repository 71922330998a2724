"""What should be in an index version, and what is: the one place that decides whether a passage is current."""

from dataclasses import dataclass

from tidemill_kit.core.aggregate import ObjectRef


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredDocument:
    """What a source says of a document as of event `seq`; without `content` it is not there any more."""

    document: str
    source: str
    key: str
    seq: int
    version: int = 0
    content: ObjectRef | None = None
    begins: bool = False
    """The document begins with this event, perhaps once more: nothing of it from before counts any longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One document in one index version."""

    desired: DesiredDocument
    indexed_seq: int = 0
    """The event whose passages may be shown; 0 before the first."""
    chunks: int = 0
    attempts: int = 0
    """How often indexing what is desired failed for a unforeseen reason."""
    failure: str = ""
    """Why what is desired will not be indexed."""
    hidden_below: int = 0
    """Passages of earlier events are never shown again: the document was deleted since, and its text perhaps erased."""
    again: bool = False
    """It is indexed, and is to be indexed once more because points may be lost; those that are there stay shown."""
    note: str = ""
    """What of it cannot be found although it is indexed, and why."""

    @property
    def pending(self) -> bool:
        """Return whether there is something to do."""
        return (self.again or self.indexed_seq != self.desired.seq) and not self.failure

    def shows(self, seq: int) -> bool:
        """Return whether a passage of event `seq` is current: a deleted document has none from the moment we know."""
        return self.desired.content is not None and seq == self.indexed_seq and seq >= self.hidden_below

    @property
    def stale_below(self) -> int:
        """Return the `seq` below which no passage of the document is needed any more."""
        return self.indexed_seq if self.desired.content else self.desired.seq + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """An index version in numbers; deleted documents are not counted."""

    desired: int = 0
    indexed: int = 0
    failed: int = 0
    chunks: int = 0
    pending: int = 0
    """Rows with something to do, deletions too."""
