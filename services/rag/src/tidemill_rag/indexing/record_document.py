"""Record the newest event of a document in the ledger: all that the event handler does."""

from dataclasses import dataclass

from tidemill_core.application import Caller
from tidemill_rag.collections.domain.collection import IndexRef
from tidemill_rag.collections.ports import CollectionsOf, Enqueue
from tidemill_rag.indexing.domain.ledger import DesiredDocument
from tidemill_rag.indexing.ports import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordDocument:
    """Updates the ledger of every index version that reads the source, and enqueues those index versions.

    Duplicate and out-of-order events have no effect: only a higher `seq` is recorded.
    """

    collections: CollectionsOf
    ledger: Ledger
    enqueue: Enqueue

    async def __call__(self, caller: Caller, desired: DesiredDocument) -> None:
        """Record the desired state of the document.

        The collections are read after each event came. An index version that is created after this read lists the
        source afterwards, so no document is missed between its creation and its listing.
        """
        for collection in await self.collections(caller.project):
            for ref in collection.refs:
                index = collection.searching(ref)[0]
                if not index.receives_updates or desired.source not in index.sources:
                    continue
                if await self.ledger.upsert_desired(ref, desired) or await self._waits(ref, desired):
                    self.enqueue(ref)

    async def _waits(self, ref: IndexRef, desired: DesiredDocument) -> bool:
        """Return whether the row is still pending: the process that recorded it may have crashed before enqueueing."""
        row = (await self.ledger.rows(ref, [desired.document])).get(desired.document)
        return row is not None and row.pending
