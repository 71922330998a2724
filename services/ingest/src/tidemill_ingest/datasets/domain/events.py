"""Facts about one dataset; none carries text of users."""

from dataclasses import dataclass

from tidemill_core.aggregate import Event
from tidemill_ingest.datasets.domain.version import DatasetVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersionPublished(Event):
    """The dataset has a new version."""

    version: DatasetVersion
    deployment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersionApproved(Event):
    """The version has all approvals that it requires."""

    version: DatasetVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersionWithheld(Event):
    """What a curation offered makes no version."""

    reason: str
    message: str
    curation: str
    curation_seq: int
