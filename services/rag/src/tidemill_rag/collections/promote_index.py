"""Make an index version answer searches that is complete."""

from dataclasses import dataclass

from tidemill_core import resources
from tidemill_core.application import Caller, Clock
from tidemill_core.resources import Write
from tidemill_rag.collections.domain.collection import Collection, Keep
from tidemill_rag.collections.ports import Collections, Enqueue, found
from tidemill_rag.indexing.ports import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class PromoteIndex:
    """Emits IndexWentLive, and IndexRetired of what is kept no longer. A roll-back promotes the version before."""

    collections: Collections
    ledger: Ledger
    clock: Clock
    enqueue: Enqueue
    keep: Keep

    async def __call__(self, caller: Caller, collection_id: str, index: int, write: Write) -> Collection:
        """Return the collection with this index version live, or as it would be; of the live one only the etag changes.

        Raises:
            CollectionNotFound: the caller's project has none with this id.
            IndexNotFound: it has no such index version, or that is retired.
            IndexIncomplete: the index version is being built.
            Conflict: the collection changed since the etag.

        """
        current = await found(self.collections, caller.project, collection_id)
        ref, now = current.ref(index), self.clock.now()
        documents = (await self.ledger.counts([ref]))[ref].desired
        promoted = await resources.update(
            self.collections,
            caller.project,
            collection_id,
            lambda collection: collection.promote(index, documents=documents, keep=self.keep, now=now),
            write,
        )
        if not write.validate_only:
            for each in promoted.indexes:
                self.enqueue(promoted.ref(each.number))
        return promoted
