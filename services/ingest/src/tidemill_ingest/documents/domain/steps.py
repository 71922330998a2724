"""What happened to a document, as it remembers it."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class DocumentStep(Enum):
    """What a step of a document's way was."""

    INGESTED = "ingested"
    UPDATED = "updated"
    REJECTED = "rejected"
    DELETED = "deleted"
    IGNORED = "ignored"
    WITHHELD = "withheld"
    RELEASED = "released"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that happened to a document. `seq` is its event's, 0 where it has none."""

    time: datetime
    happened: DocumentStep
    submission_id: str
    message: str = ""
    version: int = 0
    seq: int = 0
    times: int = 1
    """How often in a row: submissions that are ignored for the same reason share one step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """The last submission that was refused."""

    reason: str
    message: str
    submission_id: str
    reject_time: datetime
