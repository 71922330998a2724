"""What sources need from outside, and what other features need of sources."""

from typing import Protocol

from tidemill_core.application import Aggregates, Caller
from tidemill_ingest.sources.domain import EventBinding, Source

Sources = Aggregates[Source]
EventBindings = Aggregates[EventBinding]


class Forget(Protocol):
    """Removes what is known of the documents of a source together, apart from these."""

    async def __call__(self, project: str, source: str) -> None:
        """Remove it; repeating that is harmless."""
        ...


class FindSource(Protocol):
    """Finds the source that an event belongs to."""

    async def __call__(self, caller: Caller, ce_source: str) -> Source:
        """Return the source that takes events of this ce_source in the caller's project.

        Raises:
            EventsNotRegistered: the project has none.

        """
        ...
