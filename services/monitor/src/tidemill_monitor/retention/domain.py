"""How long a project keeps one kind of data."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tidemill_core.aggregate import Aggregate, Event
from tidemill_core.errors import InvalidInput


class RetentionKind(StrEnum):
    """What is removed at an age."""

    ANSWERS = "answers"
    FEEDBACK = "feedback"
    QUARANTINE = "quarantine"
    EVALUATION_RESULTS = "evaluation_results"
    DELETED_DOCUMENTS = "deleted_documents"
    TRAINING_RUNS = "training_runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionBounds:
    """What an operator allows projects to set, in days."""

    min_days: int
    max_days: int

    def check(self, days: int) -> None:
        """Refuse what is out of bounds; 0 leaves it to the service.

        Raises:
            InvalidInput: naming value and bounds.

        """
        if days and not self.min_days <= days <= self.max_days:
            text = (
                f"is {days}: use {self.min_days} to {self.max_days}, which MONITOR_RETENTION_MIN_DAYS and "
                "MONITOR_RETENTION_MAX_DAYS set, or 0 to leave it to the service's setting"
            )
            raise InvalidInput.at(field="days", text=text)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionChanged(Event):
    """A project keeps a kind of data for another time."""

    project: str
    kind: RetentionKind
    days: int

    @property
    def record_key(self) -> str:
        """The latest record of a key says all about its kind, so that the topic can be compacted."""
        return f"retention/{self.project}/{self.kind}"


@dataclass(slots=True, kw_only=True)
class Retention(Aggregate):
    """Its id is the kind; 0 days leave it to the service's setting."""

    kind: RetentionKind
    days: int = 0

    def set_days(self, days: int, *, now: datetime) -> None:
        """Keep the kind so long from now on, and have the services know."""
        if days != self.days:
            self.days = days
            self.pending.append(RetentionChanged(occurred_at=now, project=self.project, kind=self.kind, days=days))
