"""Read a chain: a page of it, all of it, and its end with the anchors."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from tidemill_core.application import Page, PageRequest
from tidemill_core.audit import Head, header_of, line_of
from tidemill_monitor.audit.domain import INSTALLATION, Anchor, ChainedRecord, RecordFilter
from tidemill_monitor.audit.ports import Anchors, Chains

_MAX_PIECE = 512 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes of an export, and how far it is."""

    chunk: bytes
    records: int
    total_records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRecords:
    """A chain is named by its project, the installation's by `INSTALLATION`."""

    chains: Chains
    anchors: Anchors

    async def list(self, chain: str, chosen: RecordFilter, page: PageRequest) -> Page[ChainedRecord]:
        """Return a page of records, the newest first."""
        return await self.chains.page(chain, chosen, page)

    async def head(self, chain: str, page: PageRequest) -> tuple[Head, Page[Anchor]]:
        """Return the end, and a page of anchors: the newest, then those before."""
        head = await self.chains.head(chain)
        return head, await self.anchors.page(chain, page, end=head.seq)

    async def export(self, chain: str) -> AsyncIterator[Piece]:
        """Yield the lines of a whole chain, as far as it goes now."""
        head, first = await self.chains.head(chain), await self.chains.first(chain)
        total, done = head.seq - first + 1 if first else 0, 0
        project = "" if chain == INSTALLATION else chain
        waiting = bytearray(header_of(project, head).encode() + b"\n")
        async for records in self.chains.follow(chain, until=head.seq):
            for each in records:
                waiting += line_of(each.previous, each.hash, each.text).encode() + b"\n"
                done += 1
                if len(waiting) >= _MAX_PIECE:
                    yield Piece(chunk=bytes(waiting), records=done, total_records=total)
                    waiting.clear()
        yield Piece(chunk=bytes(waiting), records=done, total_records=total)
