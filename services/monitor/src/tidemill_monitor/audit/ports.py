"""What audit needs of others."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Protocol

from tidemill_core.application import Page, PageRequest
from tidemill_core.audit import Head, Record
from tidemill_monitor.audit.domain import Anchor, ChainedRecord, ChainEnd, RecordFilter


class Chains(Protocol):
    """The chains of records, by project; `INSTALLATION` has one too."""

    async def append(self, chain: str, event: str, record: Record) -> bool:
        """Append the record of an event; return False where the chain has one of it already."""
        ...

    async def head(self, chain: str) -> Head:
        """Return the chain's end: number 0 of one without records."""
        ...

    async def first(self, chain: str) -> int:
        """Return the number of the oldest record that is kept, 0 without records."""
        ...

    async def page(self, chain: str, chosen: RecordFilter, page: PageRequest) -> Page[ChainedRecord]:
        """Return a page, the newest first.

        Raises:
            InvalidInput: the page's size or token is not usable.

        """
        ...

    def follow(self, chain: str, *, until: int) -> AsyncIterator[Sequence[ChainedRecord]]:
        """Yield the records in their order, some at a time, up to a number."""
        ...

    def ends(self) -> AsyncIterator[ChainEnd]:
        """Yield the ends of all chains."""
        ...

    async def anchored(self, chain: str, head: Head) -> None:
        """Remember that an end is anchored."""
        ...

    async def delete(self, chain: str, *, until: Head) -> int:
        """Delete the records up to one, if the chain has it with this hash, and return how many there were."""
        ...


class Anchors(Protocol):
    """Copies of ends outside the database, which are written once."""

    async def put(self, chain: str, head: Head) -> None:
        """Keep an end, unless it is kept already."""
        ...

    async def page(self, chain: str, page: PageRequest, *, end: int) -> Page[Anchor]:
        """Return a page of a chain's anchors, by number; the first page has the newest, the next one those before.

        `end` is the number of the chain's last record, by which the newest are found.

        Raises:
            InvalidInput: the page's size or token is not usable.

        """
        ...

    async def newest_before(self, chain: str, time: datetime, *, first: int) -> Anchor | None:
        """Return the last anchor, of a record from the number `first` on, that was written before a time."""
        ...
