"""Since when a run waits, and which run in work stops for it."""

from dataclasses import dataclass, replace
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How a run waits for a place."""

    since: datetime | None = None
    """When it was queued, or last retried; None of runs that are older than this."""
    given_by: str = ""
    """The run in work that stops for it."""
    given_until: datetime | None = None
    """Until then no other is to stop for it."""

    def is_given(self, now: datetime) -> bool:
        """Whether a run stops for it."""
        return self.given_until is not None and now < self.given_until

    def given(self, *, by: str, now: datetime, until: datetime) -> "Waiting":
        """Return it with a run that stops for it; as it is where one does already."""
        return self if self.is_given(now) else replace(self, given_by=by, given_until=until)
