"""What a document says of the objects that hold the texts of its versions: which are kept, and which are given up."""

from dataclasses import dataclass
from datetime import datetime

from tidemill_ingest.documents.domain.version import Text


@dataclass(frozen=True, slots=True, kw_only=True)
class RetainedSince:
    """What retention keeps; None keeps everything."""

    superseded: datetime | None = None
    """The texts of versions that were superseded at this time or later."""
    deleted: datetime | None = None
    """The texts of documents that were deleted at this time or later."""


@dataclass(frozen=True, slots=True)
class TextUse:
    """What a version says of the object with its text, without the version."""

    key: str
    text: Text
    superseded_at: datetime | None


@dataclass(frozen=True, slots=True)
class TextUses:
    """What a document's versions say of their texts, oldest first."""

    source: str
    uses: tuple[TextUse, ...]
    deleted: bool = False

    def has_expired(self, since: RetainedSince) -> bool:
        """Return whether there are texts whose retention has ended."""
        return any(self.is_past(use, since) for use in self.uses)

    def is_past(self, use: TextUse, since: RetainedSince) -> bool:
        """Return whether the retention of a text that is kept has ended."""
        gone = _is_before(use.superseded_at, since.superseded) or _is_before(self._deleted_at, since.deleted)
        return gone and use.text is Text.KEPT

    @property
    def _deleted_at(self) -> datetime | None:
        return self.uses[-1].superseded_at if self.deleted and self.uses else None

    @property
    def kept(self) -> frozenset[str]:
        """The object keys of the versions whose text is kept."""
        return frozenset(use.key for use in self.uses if use.text is Text.KEPT)

    @property
    def given_up(self) -> frozenset[str]:
        """The object keys that no kept version needs, but one whose text is gone had."""
        return frozenset(use.key for use in self.uses if use.text is not Text.KEPT) - self.kept


def _is_before(time: datetime | None, since: datetime | None) -> bool:
    return time is not None and since is not None and time < since
