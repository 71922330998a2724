"""Which source of a project a ce_source belongs to: one at most."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill_core.aggregate import Aggregate
from tidemill_ingest.errors import EventSourceTaken

GRACE = timedelta(minutes=1)
"""A binding is made before its source is saved; younger than this it holds even if no source shows it yet."""


@dataclass(slots=True, kw_only=True)
class EventBinding(Aggregate):
    """Its id is derived from project and ce_source, so that there is only one, found without a search."""

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
