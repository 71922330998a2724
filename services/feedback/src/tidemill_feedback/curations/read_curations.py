"""Curations and how far they are."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Page, PageRequest
from tidemill_feedback.curations.domain.curation import Curation
from tidemill_feedback.curations.domain.ledger import Counts
from tidemill_feedback.reactions.ports import CurationStore, Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A curation, and what was last counted."""

    curation: Curation
    counts: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadCurations:
    """Reads nothing but the caller's project."""

    curations: CurationStore
    ledger: Ledger

    async def get(self, caller: Caller, curation_id: str) -> Overview:
        """Return one curation.

        Raises:
            CurationNotFound: the caller's project has none with this id.

        """
        return await self.overview(await self.curations.get(caller.project, curation_id))

    async def list(self, caller: Caller, page: PageRequest) -> Page[Overview]:
        """Return a page, oldest first."""
        found = await self.curations.list(caller.project, page=page)
        return Page(items=[await self.overview(each) for each in found.items], next_token=found.next_token)

    async def overview(self, curation: Curation) -> Overview:
        """Return the curation with its counts."""
        return Overview(curation=curation, counts=await self.ledger.counts(curation.ref))
