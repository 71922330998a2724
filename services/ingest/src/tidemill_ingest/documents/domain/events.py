"""Facts about one document; none carries text of users."""

from dataclasses import dataclass

from tidemill_core.aggregate import Event
from tidemill_ingest.documents.domain.submission import Submission
from tidemill_ingest.documents.domain.version import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentIngested(Event):
    """The document has a current version where it had none: its first one, or the first after a deletion."""

    version: Version
    submission: Submission


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentUpdated(Event):
    """The document has a new current version instead of another one."""

    version: Version
    submission: Submission


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentDeleted(Event):
    """The document has no current version any more; or, said once more, its text was erased after that."""

    erased: bool
    submission: Submission


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRejected(Event):
    """A submission was refused; what was current stays so."""

    reason: str
    message: str
    submission: Submission
