"""Erase the passages of one document."""

from dataclasses import dataclass
from typing import Final

from tidemill_core.application import Caller
from tidemill_core.resources import list_all
from tidemill_rag.collections.ports import Collections
from tidemill_rag.vectors.ports import VectorStore

_ANY_SEQ: Final = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseDocument:
    """Deletes its passages from all index versions, also from retired ones, which no event reaches. Idempotent.

    Files that still hold them are rewritten, also where an event deleted them before.

    Its rows in the ledger stay: ingest's event of the deletion says there that it is gone, and they hold no text.
    """

    collections: Collections
    vectors: VectorStore

    async def __call__(self, caller: Caller, document: str) -> int:
        """Return how many passages were there, 1 for an index whose files alone held them; 0 when none is left."""
        erased = 0
        async for collection in list_all(self.collections, caller.project, show_deleted=True):
            for name in [ref.key for ref in collection.refs]:
                passages = len((await self.vectors.ids(name, [document])).get(document, ()))
                if passages:
                    await self.vectors.delete(name, document, below_seq=_ANY_SEQ)
                rewritten = await self.vectors.purge(name, document)
                erased += passages or int(rewritten)
        return erased
