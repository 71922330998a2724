"""Polls of sources and what is known of their files, in MongoDB."""

from collections.abc import Callable, Sequence
from datetime import datetime

from tidemill_core.application import Page, ResourceKey
from tidemill_core.errors import NotFound
from tidemill_ingest.polling.domain.objects import PolledObject
from tidemill_ingest.polling.domain.poll import SourcePoll
from tidemill_kit.mapping import DocumentCodec, Form
from tidemill_kit.store.mongo import Collection, Document, delete_many, translated, update_each
from tidemill_kit.workers.pending import PendingDocuments

_PAGE = 1000
POLLS = DocumentCodec(SourcePoll, {SourcePoll: Form(sparse={"reason", "message", "under_way", "position", "rules"})})


class PollNotFound(NotFound):
    """The source was not polled yet."""


class MongoPolledObjects:
    """Implements `ports.PolledObjects`: the `_id` of a row is `<project>/<source>/<key in hexadecimal>`.

    Hexadecimal digits of UTF-8 are in the order of the characters in every server, and hold no slash.
    """

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def page(self, project: str, source: str, *, after: str = "") -> Sequence[PolledObject]:
        """See `PolledObjects.page`."""
        with translated():
            found = await self._collection.find(_below(project, source, after=after)).sort("_id", 1).to_list(_PAGE)
        return [_object(each) for each in found]

    async def put(self, project: str, source: str, objects: Sequence[PolledObject]) -> None:
        """See `PolledObjects.put`."""
        if objects:
            with translated():
                await update_each(
                    self._collection,
                    [({"_id": _id(project, source, each.key)}, {"$set": _fields(each)}) for each in objects],
                )

    async def remove(self, project: str, source: str, keys: Sequence[str]) -> None:
        """See `PolledObjects.remove`."""
        if keys:
            with translated():
                await delete_many(self._collection, [_id(project, source, key) for key in keys])

    async def remove_all(self, project: str, source: str) -> None:
        """See `PolledObjects.remove_all`."""
        with translated():
            while found := await self._collection.find(_below(project, source), {"_id": True}).to_list(_PAGE):
                await delete_many(self._collection, [each["_id"] for each in found])


class SourcesToPoll:
    """Implements `controller.Pending`: sources whose declaration changed, and then those that are due."""

    def __init__(self, sources: Collection, polls: Collection, now: Callable[[], datetime]) -> None:
        changed, due = "state.polling_changed", "state.due_at"
        self._finders = [
            PendingDocuments(
                sources, {changed: True, "deleted": False}, index=changed, partialFilterExpression={changed: True}
            ),
            PendingDocuments(polls, lambda: {due: {"$lte": now()}, "deleted": False}, index=due),
        ]

    async def ensure_indexes(self) -> None:
        """Create the indexes that find them; repeating it changes nothing."""
        for each in self._finders:
            await each.ensure_indexes()

    async def __call__(self, token: str, /, *, without: frozenset[str]) -> Page[ResourceKey]:
        """See `controller.Pending`."""
        number, _, inner = token.partition(":")
        index = int(number or 0)
        page = await self._finders[index](inner, without=without)
        if page.next_token:
            return Page(items=page.items, next_token=f"{index}:{page.next_token}")
        return Page(items=page.items, next_token=f"{index + 1}:" if index + 1 < len(self._finders) else "")


def _id(project: str, source: str, key: str) -> str:
    return f"{project}/{source}/{key.encode().hex()}"


def _below(project: str, source: str, *, after: str = "") -> Document:
    return {"_id": {"$gt": _id(project, source, after), "$lt": f"{project}/{source}0"}}  # 0 comes after the slash


def _fields(polled: PolledObject) -> Document:
    return {
        "key": polled.key,
        "version": polled.version,
        "rules": polled.rules,
        "refused": polled.refused,
        "attempts": polled.attempts,
    }


def _object(row: Document) -> PolledObject:
    return PolledObject(
        key=row["key"],
        version=row["version"],
        rules=row["rules"],
        refused=row.get("refused", ""),
        attempts=row.get("attempts", 0),
    )
