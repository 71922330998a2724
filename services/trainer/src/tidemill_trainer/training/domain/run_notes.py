"""What people say about a run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tidemill_core.errors import Violation
from tidemill_core.resources import check_labels, refuse

MAX_NOTES_LENGTH = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RunNotes:
    """Notes and labels, which may be changed at any time."""

    notes: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Check lengths and numbers.

        Raises:
            InvalidInput: names field, value and limit.

        """
        check_labels("run.labels", self.labels)
        refuse(notes_violations("run.notes", self.notes))


def notes_violations(field: str, notes: str) -> Iterator[Violation]:
    """Yield that notes are too long, if they are."""
    if len(notes) > MAX_NOTES_LENGTH:
        yield Violation(field, f"has {len(notes)} characters, and {MAX_NOTES_LENGTH} is the limit")
