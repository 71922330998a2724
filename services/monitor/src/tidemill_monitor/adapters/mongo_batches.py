"""Batches that wait to be read, in MongoDB: one small document for each completion of a curation."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict

from tidemill_core.aggregate import ObjectRef
from tidemill_kit.store.mongo import Collection, Document, DuplicateId, translated
from tidemill_kit.workers.leases import LeaseLost, Leases
from tidemill_monitor.application.ports import BatchName, HeldBatch
from tidemill_monitor.domain.errors import BatchLost
from tidemill_monitor.domain.graph import Batch

_BATCH_SIZE = 100
_WAITING: Document = {"settled": False}


class MongoBatches:
    """Implements `ports.Batches`. The lease stands in the batch's own document, so its epoch guards it."""

    def __init__(self, batches: Collection, leases: Leases) -> None:
        self._batches = batches
        self._leases = leases

    async def ensure_indexes(self) -> None:
        """Create the index of unprocessed batches; idempotent."""
        with translated():
            await self._batches.create_index([("settled", 1)], partialFilterExpression=_WAITING)

    async def add_pending(self, batch: Batch) -> bool:
        """See `Batches.add_pending`."""
        document: Document = {
            "_id": _key(BatchName(batch.project, batch.curation)),
            "project": batch.project,
            "curation": batch.curation,
            "object": asdict(batch.object),
            "examples": batch.examples,
            "time": batch.time,
            "settled": False,
            "reason": "",
        }
        try:
            with translated():
                await self._batches.insert_one(document)
        except DuplicateId:
            return False
        return True

    async def waiting(self, *, without: Iterable[str] = ()) -> Sequence[BatchName]:
        """See `Batches.waiting`."""
        chosen = {**_WAITING, "project": {"$nin": list(without)}}
        with translated():
            found = await self._batches.find(chosen, {"project": True, "curation": True}).to_list(_BATCH_SIZE)
        return [BatchName(document["project"], document["curation"]) for document in found]

    @asynccontextmanager
    async def held(self, name: BatchName) -> AsyncIterator[HeldBatch | None]:
        """See `Batches.held`."""
        try:
            async with self._leases.held(_key(name)) as lease:
                with translated():
                    document = await self._batches.find_one({"_id": _key(name), "settled": False}) if lease else None
                yield HeldBatch(batch=_batch(document), epoch=lease.epoch) if lease and document else None
        except LeaseLost as error:
            raise BatchLost(name.curation) from error

    async def finish(self, held: HeldBatch, *, reason: str) -> None:
        """See `Batches.finish`."""
        key = _key(BatchName(held.batch.project, held.batch.curation))
        with translated():
            result = await self._batches.update_one(
                {"_id": key, "lease.epoch": held.epoch}, {"$set": {"settled": True, "reason": reason}}
            )
        if not result.matched_count:
            raise BatchLost(held.batch.curation)


def _key(name: BatchName) -> str:
    return f"{name.project}/{name.curation}"


def _batch(document: Document) -> Batch:
    return Batch(
        project=document["project"],
        curation=document["curation"],
        object=ObjectRef(**document["object"]),
        examples=document["examples"],
        time=document["time"],
    )
