"""Pending work that is found in the documents themselves: no second list that could disagree with them."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from tidemill_core.application import Page, ResourceKey
from tidemill_kit.store.mongo import Collection, Document, translated

_PAGE = 1000


class PendingDocuments:
    """Implements `controller.Pending` by a query for few of many documents, in the order of their `_id`.

    `oldest_first` orders them by their `create_time`, for work that others wait behind for long.
    """

    def __init__(
        self,
        collection: Collection,
        where: Document | Callable[[], Document],
        *,
        index: str,
        id_field: str = "id",
        oldest_first: bool = False,
        **index_options: Any,  # noqa: ANN401 - options of pymongo
    ) -> None:
        """Find documents that match `where`, a query or what returns one, where it has the time in it.

        A key is made of their project and of `id_field`.
        """
        self._collection = collection
        self._where = where if callable(where) else lambda: where
        self._index = index
        self._index_options = index_options
        self._id_field = id_field
        self._order_by = "create_time" if oldest_first else ""

    async def ensure_indexes(self) -> None:
        """Create the index that finds them; repeating it changes nothing."""
        with translated():
            await self._collection.create_index([(self._index, 1)], **self._index_options)

    async def __call__(self, token: str, /, *, without: frozenset[str]) -> Page[ResourceKey]:
        """See `controller.Pending`."""
        query: Document = {**self._where(), "project": {"$nin": sorted(without)}}
        page = await page_of_documents(
            self._collection,
            query,
            token,
            fields=["project", self._id_field],
            order_by=self._order_by,
            size=_PAGE,
        )
        keys = [ResourceKey(project=each["project"], id=each[self._id_field]) for each in page.items]
        return Page(items=keys, next_token=page.next_token)


async def page_of_documents(  # noqa: PLR0913 - which documents, and which page of them
    collection: Collection, where: Document, token: str, *, fields: Sequence[str], order_by: str = "", size: int
) -> Page[Document]:
    """Return these fields of the documents after the token, by `_id`, or by the time `order_by` and then `_id`."""
    order = [order_by, "_id"] if order_by else ["_id"]
    query = {"$and": [where, _after(token, order_by)]} if token else where
    with translated():
        cursor = collection.find(query, dict.fromkeys([*fields, *order], True))
        found = await cursor.sort([(name, 1) for name in order]).limit(size).to_list(None)
    return Page(items=found, next_token=_token(found[-1], order_by) if len(found) == size else "")


def _token(last: Document, order_by: str) -> str:
    return f"{last[order_by].isoformat() if order_by else ''} {last['_id']}"


def _after(token: str, order_by: str) -> Document:
    time, _, last_id = token.partition(" ")
    if not order_by:
        return {"_id": {"$gt": last_id}}
    moment = datetime.fromisoformat(time)
    return {"$or": [{order_by: {"$gt": moment}}, {order_by: moment, "_id": {"$gt": last_id}}]}
