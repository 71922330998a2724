"""Steps that remove documents of MongoDB, in bounded batches."""

from collections.abc import Awaitable, Callable, Sequence

from tidemill_core.application import ResourceKey
from tidemill_kit.erasure.steps import NotYet, Step, Target
from tidemill_kit.store.mongo import Collection, Document, ids_of, translated
from tidemill_kit.workers.leases import Leases

_BATCH = 500


async def erase_documents(collection: Collection, where: Document, *, limit: int = _BATCH) -> int:
    """Remove at most `limit` of the documents that match, and return how many were removed: 0 when none is left.

    One that was found, and that matches no more when it is about to be removed, stays.

    Raises:
        DependencyUnavailable: MongoDB does not answer; some may have been removed.

    """
    removed = 0
    with translated():
        while not removed:  # 0 of those that were found: another process was faster
            found = await collection.find(where, {"_id": True}).limit(limit).to_list(None)
            if not found:
                break
            those: Document = {"_id": {"$in": [document["_id"] for document in found]}}
            removed = (await collection.delete_many({"$and": [those, where]})).deleted_count
    return removed


async def keys_of_others(
    collection: Collection, where: Document, *, spares: Callable[[str], bool], limit: int
) -> Sequence[ResourceKey]:
    """Return at most `limit` of the aggregates that match, but for those of spared projects, which never fill it up.

    Raises:
        DependencyUnavailable: MongoDB does not answer.

    """
    keys: list[ResourceKey] = []
    with translated():
        async for found in collection.find(where, {"project": True, "id": True}):
            if not spares(found["project"]):
                keys.append(ResourceKey(project=found["project"], id=found["id"]))
            if len(keys) == limit:
                break
    return keys


def by_id(target: Target) -> Document:
    """Return what finds the documents of a target's project by their `_id`, as that of every aggregate begins."""
    return ids_of(target.project)


def by_project(target: Target) -> Document:
    """Return what finds them by the field `project`, of which there should be an index."""
    return {"project": target.project}


def documents(kind: str, collection: Collection, *, where: Callable[[Target], Document] = by_id) -> Step:
    """Return the step that removes the documents of a target: aggregates with their events and remembered requests.

    No tombstone is left: what is gone cannot be made again, because the project's calls are refused.
    """

    async def erase(target: Target) -> int:
        return await erase_documents(collection, where(target))

    return Step(kind=kind, erase=erase, covers=(collection.name,))


def documents_of_jobs(
    kind: str, collection: Collection, *, end: Callable[[str], Awaitable[None]], leases: Leases
) -> Step:
    """Return the step that removes a project's documents that are jobs of workers, once no worker has one.

    `end` ends those of the project that are not finished. A worker still writes what it has begun, so nothing is
    removed before.
    """

    async def erase(target: Target) -> int:
        await end(target.project)
        if await leases.busy(target.project):
            message = f"workers still hold {kind} of the project"
            raise NotYet(message)
        return await erase_documents(collection, by_id(target))

    return Step(kind=kind, erase=erase, covers=(collection.name,))
