"""What waits for an inference: one document an inference, found by `_id` for every answer that is given."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from tidemill_core.application import Page, PageRequest, Request, ResourceKey
from tidemill_core.errors import Conflict
from tidemill_core.quotas import Quota
from tidemill_feedback.errors import TooManyWait
from tidemill_feedback.reactions.domain.reaction import Preference, Reaction
from tidemill_feedback.reactions.ports import SubmittedEvent, Waiting
from tidemill_kit.store.batching import Batched
from tidemill_kit.store.mongo import Collection, Document, DuplicateId, count_up_to, translated
from tidemill_kit.workers.pending import page_of_documents

_ATTEMPTS = 20


class MongoPending:
    """Implements `ports.Pending`. `_id` is `<project>/<inference>`; `count` grows with every addition."""

    def __init__(self, collection: Collection, *, maximum: int, quota: Quota) -> None:
        self._collection = collection
        self._quota = quota
        self._max = maximum
        self._found = Batched(self._find, max_concurrent=1)

    async def ensure_indexes(self) -> None:
        """Create what the sweep needs; repeating it changes nothing."""
        with translated():
            await self._collection.create_index([("since", 1), ("_id", 1)])
            await self._collection.create_index([("project", 1)])

    async def add(self, waiting: Waiting) -> None:
        """See `Pending.add`."""
        for _ in range(_ATTEMPTS):
            if await self._added(waiting):
                return
        message = f"there are too many concurrent submissions for {waiting.inference}: try again"
        raise Conflict(message, inference=waiting.inference)

    async def of(self, project: str, inference: str) -> Sequence[Waiting]:
        """See `Pending.of`. Of answers that are completed at the same time one call asks."""
        found = await self._found(_id(project, inference))
        return [_waiting(project, inference, each) for each in found["waiting"]] if found else []

    async def _find(self, document_ids: Sequence[str]) -> Sequence[Document | None]:
        with translated():
            cursor = self._collection.find({"_id": {"$in": list(dict.fromkeys(document_ids))}})
            found = {each["_id"]: each async for each in cursor}
        return [found.get(each) for each in document_ids]

    async def since(
        self, until: datetime, *, page: PageRequest, without: frozenset[str] = frozenset()
    ) -> Page[ResourceKey]:
        """See `Pending.since`."""
        expired = {"since": {"$lte": until}, "project": {"$nin": sorted(without)}}
        found = await page_of_documents(
            self._collection, expired, page.token, fields=["project", "inference"], order_by="since", size=page.size
        )
        keys = [ResourceKey(project=document["project"], id=document["inference"]) for document in found.items]
        return Page(items=keys, next_token=found.next_token)

    async def remove(self, waiting: Waiting) -> None:
        """See `Pending.remove`."""
        document_id = _id(waiting.project, waiting.inference)
        with translated():
            await self._collection.update_one(
                {"_id": document_id}, {"$pull": {"waiting": {"request": waiting.request.id}}}
            )
            await self._collection.delete_one({"_id": document_id, "waiting": []})

    async def forget(self, project: str, end_user: str) -> int:
        """See `Pending.forget`."""
        theirs = {"reaction.end_user": end_user}
        with translated():
            found = await self._collection.update_many(
                {"project": project, "waiting": {"$elemMatch": theirs}}, {"$pull": {"waiting": theirs}}
            )
            await self._collection.delete_many({"project": project, "waiting": []})
        return found.modified_count

    async def _added(self, waiting: Waiting) -> bool:
        """Return whether it was added; False after a concurrent write."""
        document_id, entry = _id(waiting.project, waiting.inference), _entry(waiting)
        with translated():
            found: Document | None = await self._collection.find_one({"_id": document_id})
        if found is None:
            count = await count_up_to(self._collection, {"project": waiting.project}, limit=self._quota.limit)
            self._quota.check(waiting.project, count)
            first = {"_id": document_id, "project": waiting.project, "inference": waiting.inference, "count": 1}
            try:
                with translated():
                    await self._collection.insert_one({**first, "since": waiting.since, "waiting": [entry]})
            except DuplicateId:
                return False
            return True
        if any(each["request"] == waiting.request.id for each in found["waiting"]):
            return True
        if len(found["waiting"]) >= self._max:
            raise TooManyWait(waiting.inference, limit=self._max)
        with translated():
            result = await self._collection.update_one(
                {"_id": document_id, "count": found["count"]}, {"$push": {"waiting": entry}, "$inc": {"count": 1}}
            )
        return result.matched_count == 1


def _id(project: str, inference: str) -> str:
    return f"{project}/{inference}"


def _entry(waiting: Waiting) -> Document:
    # Labels as pairs: their keys are the sender's, and may be none that a field can have.
    reaction = asdict(waiting.reaction) | {"labels": [list(pair) for pair in waiting.reaction.labels.items()]}
    return {
        "request": waiting.request.id,
        "digest": waiting.request.digest,
        "since": waiting.since,
        "reaction": reaction,
        "event": asdict(waiting.event),
    }


def _waiting(project: str, inference: str, entry: Document) -> Waiting:
    reaction = entry["reaction"]
    choice = reaction.get("preference")
    nested = {"labels": dict(reaction["labels"]), "preference": Preference(**choice) if choice else None}
    return Waiting(
        project=project,
        inference=inference,
        reaction=Reaction(**(reaction | nested)),
        request=Request(id=entry["request"], digest=entry["digest"]),
        event=SubmittedEvent(**entry["event"]),
        since=entry["since"],
    )
