"""What people say about a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidemill_core.errors import InvalidInput
from tidemill_core.resources import check_labels

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
        if len(self.notes) > MAX_NOTES_LENGTH:
            text = f"has {len(self.notes)} characters, and {MAX_NOTES_LENGTH} is the limit"
            raise InvalidInput.at(field="run.notes", text=text)
