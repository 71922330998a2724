"""How long projects keep their data, read with the revocations from the same compacted topic."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from tidemill_kit.events.bodies import without_prefix

CHANGED = "tidemill.monitor.access.retention_changed.v1"


class RetentionKind(StrEnum):
    """A kind of data that is removed at an age."""

    ANSWERS = "ANSWERS"
    FEEDBACK = "FEEDBACK"
    QUARANTINE = "QUARANTINE"
    EVALUATION_RESULTS = "EVALUATION_RESULTS"
    DELETED_DOCUMENTS = "DELETED_DOCUMENTS"
    TRAINING_RUNS = "TRAINING_RUNS"


class _Changed(BaseModel, frozen=True):
    """One record's value."""

    project: str
    kind: Annotated[str, without_prefix("RETENTION_KIND_")]
    days: int = Field(default=0, ge=0)
    seq: int


class Retention:
    """What projects have set; a kind that only newer releases know is remembered without effect."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], _Changed] = {}

    def apply(self, value: bytes) -> bool:
        """Remember a record; return whether it could be read. One that is older than what is known changes nothing."""
        try:
            changed = _Changed.model_validate_json(value)
        except ValidationError:
            return False
        known = self._known.get((changed.project, changed.kind))
        if known is None or changed.seq > known.seq:
            self._known[changed.project, changed.kind] = changed
        return True

    def of(self, project: str, kind: RetentionKind) -> timedelta | None:
        """Return how long a project keeps a kind of data; None where the service's setting says that."""
        known = self._known.get((project, kind))
        return timedelta(days=known.days) if known is not None and known.days else None

    def projects(self, kind: RetentionKind) -> dict[str, timedelta]:
        """Return every project that has set a retention of this kind."""
        found = [each for each in self._known.values() if each.kind == kind and each.days]
        return {each.project: timedelta(days=each.days) for each in found}
