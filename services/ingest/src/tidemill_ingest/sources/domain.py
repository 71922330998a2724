"""Where documents come from, and the rules for what comes from there."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tidemill_core.aggregate import Aggregate
from tidemill_core.errors import InvalidInput, Violation
from tidemill_ingest.labels import label_violations
from tidemill_ingest.limits import Limits
from tidemill_ingest.masking.kinds import Masking

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
MAX_EVENTS_LENGTH = 512
MAX_RETENTION_DAYS = 36_500


@dataclass(slots=True, kw_only=True)
class Source(Aggregate):
    """A declared origin; `events` is the ce_source that belongs to it, empty where it sends none."""

    events: str = ""
    masking: Masking = field(default_factory=Masking)
    retention_days: int = 0
    """How long a superseded version is kept; 0 keeps it for ever."""

    def check(self, limits: Limits) -> None:
        """Refuse what breaks a rule.

        Raises:
            InvalidInput: naming every field that does.

        """
        labels = label_violations(self.labels, limits, field="source.labels")
        if violations := [*self._violations(), *labels]:
            raise InvalidInput.of(*violations)

    def _violations(self) -> Iterator[Violation]:
        if not SLUG.fullmatch(self.id):
            text = f"{self.id[:80]!r} is no slug: 1 to 63 of a-z, 0-9, _ and -, starting and ending with a-z or 0-9"
            yield Violation(field="source.id", description=text)
        if len(self.events) > MAX_EVENTS_LENGTH:
            text = f"has {len(self.events)} characters, and {MAX_EVENTS_LENGTH} is the limit"
            yield Violation(field="source.events", description=text)
        if any(character.isspace() or not character.isprintable() for character in self.events):
            text = "is a URI, so it has no spaces or control characters"
            yield Violation(field="source.events", description=text)
        if not 0 <= self.retention_days <= MAX_RETENTION_DAYS:
            text = f"is {self.retention_days}; send 0 (for ever) to {MAX_RETENTION_DAYS}"
            yield Violation(field="source.retention_days", description=text)
