"""The fingerprints of the texts of a project's documents, of those whose sources compare them."""

from dataclasses import dataclass
from datetime import datetime

from tidemill_ingest.quality.fingerprint import Fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFingerprint:
    """The fingerprint of one text of a document.

    Others are found by it only while it has no `original`: duplicates lead to what they are duplicates of.
    """

    document: str
    text: str
    """The name of the text: the last part of its object's key."""
    fingerprint: Fingerprint
    stored_at: datetime
    original: str = ""

    @property
    def name(self) -> str:
        """What distinguishes it in its project."""
        return f"{self.document}/{self.text}"
