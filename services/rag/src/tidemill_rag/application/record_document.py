"""Write down what a source says about a document: all that the handler of an event does."""

from dataclasses import dataclass

from tidemill_kit.core.application import PageRequest
from tidemill_rag.application.ports import Collections, Enqueue, Ledger
from tidemill_rag.domain.collection import IndexRef
from tidemill_rag.domain.ledger import DesiredDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordDocument:
    """Fills the ledger of every index version that reads the source, and notifies the worker.

    Repetitions and events that come late change nothing: only a newer `seq` is kept.
    """

    collections: Collections
    ledger: Ledger
    enqueue: Enqueue

    async def __call__(self, project: str, desired: DesiredDocument) -> None:
        """Keep what is desired of the document from now on.

        The collections are read for every event. An index version that is begun after this reading lists the
        document later than that, so that between its beginning and its list nothing is missed.
        """
        token = ""
        while True:
            page = await self.collections.list(project, page=PageRequest(size=1000, token=token))
            for collection in page.items:
                for index in collection.indexes:
                    if index.receives_updates and desired.source in index.sources:
                        ref = collection.ref(index.number)
                        if await self.ledger.upsert_desired(ref, desired) or await self._waits(ref, desired):
                            self.enqueue(ref)
            token = page.next_token
            if not token:
                return

    async def _waits(self, ref: IndexRef, desired: DesiredDocument) -> bool:
        """Return whether it was kept before and nothing was done since: who kept it may have notified nobody."""
        row = (await self.ledger.rows(ref, [desired.document])).get(desired.document)
        return row is not None and row.pending
