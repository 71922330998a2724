"""Events of ingest: documents and dataset versions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tidemill_monitor.events.meta import Counted


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFacts:
    """The fields that are read of a document version."""

    number: int
    create_time: datetime
    revision: int = 0
    media_type: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentIsThere:
    """document.ingested and document.updated: there is a new version."""

    document: str
    seq: int
    version: VersionFacts
    source: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentDeleted:
    """document.deleted: its versions stay in the history, and the document says that they are gone."""

    document: str
    seq: int
    source: str = ""
    key: str = ""
    erased: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetPart:
    """The field that is read of a part of a dataset version."""

    examples: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersionPublished:
    """dataset.version_published."""

    version: str
    seq: int
    curation: str
    curation_seq: int
    train: DatasetPart = DatasetPart()
    held_out: DatasetPart = DatasetPart()
    digest: str = ""
    deployment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersionWithheld:
    """dataset.version_withheld: without a version, the curation's node has the reason."""

    dataset: str
    seq: int
    curation: str
    curation_seq: int
    reason: str = ""
    message: str = ""


TYPES: Mapping[str, type] = {
    "tidemill.ingest.document.ingested.v1": DocumentIsThere,
    "tidemill.ingest.document.updated.v1": DocumentIsThere,
    "tidemill.ingest.document.deleted.v1": DocumentDeleted,
    "tidemill.ingest.document.rejected.v1": Counted,
    "tidemill.ingest.dataset.version_published.v1": DatasetVersionPublished,
    "tidemill.ingest.dataset.version_approved.v1": Counted,
    "tidemill.ingest.dataset.version_withheld.v1": DatasetVersionWithheld,
}
