"""Where documents come from, the rules for what comes from there, and which source a ce_source belongs to."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tidemill_core.aggregate import Aggregate
from tidemill_core.errors import Conflict, InvalidInput, Violation
from tidemill_ingest.errors import EventSourceTaken
from tidemill_ingest.labels import label_violations
from tidemill_ingest.limits import Limits
from tidemill_ingest.masking.kinds import Masking

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
GRACE = timedelta(minutes=1)
"""A binding is made before its source is saved; younger than this it holds even if no source shows it yet."""
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

    def check_etag(self, etag: str) -> None:
        """Refuse a change to another state than the one that the caller read; "" takes any.

        Raises:
            Conflict: it changed since.

        """
        if etag and etag != str(self.version):
            message = f"source {self.id} changed since etag {etag}: read it again and decide again"
            raise Conflict(message, etag=self.version)

    def apply(self, desired: "Source", names: Collection[str]) -> None:
        """Change the fields of these names to what `desired` says."""
        for name in names:
            setattr(self, name, getattr(desired, name))

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


@dataclass(slots=True, kw_only=True)
class EventBinding(Aggregate):
    """Which source of a project a ce_source belongs to: one at most.

    Its id is derived from project and ce_source, so that there is only one, found without a search.
    """

    events: str
    source_id: str = ""
    bound_at: datetime | None = None

    def bind(self, source_id: str, *, now: datetime, in_use: bool) -> None:
        """Give the events to a source. `in_use`: the source that has them now still shows them.

        Raises:
            EventSourceTaken: another source has them.

        """
        within_grace = self.bound_at is not None and now - self.bound_at < GRACE
        if self.source_id not in ("", source_id) and (in_use or within_grace):
            raise EventSourceTaken(self.events, source_id=self.source_id)
        self.source_id, self.bound_at = source_id, now

    def release(self, source_id: str) -> None:
        """Take the events from a source that no longer needs them."""
        if self.source_id == source_id:
            self.source_id, self.bound_at = "", None
