"""Pending work that is found in the documents themselves: no second list that could disagree with them."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from tidemill_core.application import Page
from tidemill_kit.store.mongo import Collection, Document, translated
from tidemill_kit.workers.controller import Key

K = TypeVar("K", bound=Key)

_PAGE = 1000


class PendingDocuments(Generic[K]):
    """Implements `controller.Pending` by a query for few of many documents, in the order of their `_id`."""

    def __init__(
        self,
        collection: Collection,
        where: Document,
        *,
        index: str,
        key: Callable[[str, str], K],
        id_field: str = "id",
        **index_options: Any,  # noqa: ANN401 - options of pymongo
    ) -> None:
        """Find documents that match `where`, whose `key` is made of their project and of `id_field`."""
        self._collection = collection
        self._where = where
        self._index = index
        self._index_options = index_options
        self._key = key
        self._id_field = id_field

    async def ensure_indexes(self) -> None:
        """Create the index that finds them; repeating it changes nothing."""
        with translated():
            await self._collection.create_index([(self._index, 1)], **self._index_options)

    async def __call__(self, token: str, /, *, without: frozenset[str]) -> Page[K]:
        """See `controller.Pending`."""
        query: Document = {**self._where, "project": {"$nin": sorted(without)}}
        if token:
            query["_id"] = {"$gt": token}
        with translated():
            fields = {"project": True, self._id_field: True}
            found = await self._collection.find(query, fields).sort([("_id", 1)]).limit(_PAGE).to_list(None)
        keys = [self._key(document["project"], document[self._id_field]) for document in found]
        return Page(items=keys, next_token=found[-1]["_id"] if len(found) == _PAGE else "")
