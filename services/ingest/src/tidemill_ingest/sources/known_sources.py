"""Find the source of an event, and remember it for a moment: the same few sources send most events."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tidemill_core.application import Caller, Clock
from tidemill_ingest.sources.domain import Source
from tidemill_ingest.sources.event_bindings import BindEvents

_MAX_KNOWN = 1000


@dataclass(slots=True, kw_only=True)
class KnownSources:
    """Implements `ports.FindSource`.

    What was found counts for `remember`; what was not found is looked up every time, as it may be created soon.
    """

    events: BindEvents
    clock: Clock
    remember: timedelta = timedelta(seconds=5)
    _known: dict[tuple[str, str], tuple[Source, datetime]] = field(default_factory=dict)

    async def __call__(self, caller: Caller, ce_source: str) -> Source:
        """See `ports.FindSource`."""
        now = self.clock.now()
        known = self._known.get((caller.project, ce_source))
        if known is not None and now < known[1]:
            return known[0]
        source = await self.events.find(caller, ce_source)
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[caller.project, ce_source] = source, now + self.remember
        return source
