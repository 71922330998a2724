"""Pending work that is found in the documents themselves: no second list that could disagree with them."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, TypeVar

from tidemill_core.application import Page
from tidemill_kit.store.mongo import Collection, Document, translated
from tidemill_kit.workers.controller import Key

K = TypeVar("K", bound=Key)

_PAGE = 1000


class PendingDocuments(Generic[K]):
    """Implements `controller.Pending` by a query for few of many documents, in the order of their `_id`.

    `oldest_first` orders them by their `create_time`, for work that others wait behind for long.
    """

    def __init__(  # noqa: PLR0913 - where the documents are and how they are found, declared once in a service
        self,
        collection: Collection,
        where: Document,
        *,
        index: str,
        key: Callable[[str, str], K],
        id_field: str = "id",
        oldest_first: bool = False,
        **index_options: Any,  # noqa: ANN401 - options of pymongo
    ) -> None:
        """Find documents that match `where`, whose `key` is made of their project and of `id_field`."""
        self._collection = collection
        self._where = where
        self._index = index
        self._index_options = index_options
        self._key = key
        self._id_field = id_field
        self._order = ["create_time", "_id"] if oldest_first else ["_id"]

    async def ensure_indexes(self) -> None:
        """Create the index that finds them; repeating it changes nothing."""
        with translated():
            await self._collection.create_index([(self._index, 1)], **self._index_options)

    async def __call__(self, token: str, /, *, without: frozenset[str]) -> Page[K]:
        """See `controller.Pending`."""
        query: Document = {**self._where, "project": {"$nin": sorted(without)}}
        if token:
            query |= _after(token)
        fields = dict.fromkeys(["project", self._id_field, *self._order], True)
        with translated():
            by = [(name, 1) for name in self._order]
            found = await self._collection.find(query, fields).sort(by).limit(_PAGE).to_list(None)
        keys = [self._key(document["project"], document[self._id_field]) for document in found]
        return Page(items=keys, next_token=self._token(found[-1]) if len(found) == _PAGE else "")

    def _token(self, last: Document) -> str:
        *time, last_id = (last[name] for name in self._order)
        return f"{time[0].isoformat() if time else ''} {last_id}"


def _after(token: str) -> Document:
    time, _, last_id = token.partition(" ")
    if not time:
        return {"_id": {"$gt": last_id}}
    moment = datetime.fromisoformat(time)
    return {"$or": [{"create_time": {"$gt": moment}}, {"create_time": moment, "_id": {"$gt": last_id}}]}
