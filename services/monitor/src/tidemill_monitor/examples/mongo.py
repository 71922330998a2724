"""Batches that wait to be read, in MongoDB: one small document for each completion of a curation."""

from dataclasses import asdict, fields

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import ResourceKey
from tidemill_kit.store.mongo import Collection, Document, DuplicateId, translated
from tidemill_kit.workers.leases import LeaseLost
from tidemill_kit.workers.pending import PendingDocuments
from tidemill_monitor.examples.domain import Batch

_PENDING: Document = {"settled": False}


class MongoBatches:
    """Implements `ports.Batches`. The lease stands in the batch's own document, so its epoch guards it."""

    def __init__(self, batches: Collection) -> None:
        self._batches = batches

    async def add_pending(self, batch: Batch) -> bool:
        """See `Batches.add_pending`."""
        document = {"_id": batch.key.key, **asdict(batch), "settled": False, "reason": ""}
        try:
            with translated():
                await self._batches.insert_one(document)
        except DuplicateId:
            return False
        return True

    async def pending(self, key: ResourceKey) -> Batch | None:
        """See `Batches.pending`."""
        with translated():
            document = await self._batches.find_one({"_id": key.key, **_PENDING})
        return _batch(document) if document else None

    async def finish(self, key: ResourceKey, *, epoch: int, reason: str) -> None:
        """See `Batches.finish`."""
        with translated():
            result = await self._batches.update_one(
                {"_id": key.key, "lease.epoch": epoch}, {"$set": {"settled": True, "reason": reason}}
            )
        if not result.matched_count:
            raise LeaseLost(key.key)


def pending_batches(batches: Collection) -> PendingDocuments:
    """Find the batches that are not finished."""
    return PendingDocuments(
        batches,
        _PENDING,
        index="settled",
        id_field="curation",
        partialFilterExpression=_PENDING,
    )


def _batch(document: Document) -> Batch:
    stored = {each.name: document[each.name] for each in fields(Batch)}
    return Batch(**stored | {"object": ObjectRef(**document["object"])})
