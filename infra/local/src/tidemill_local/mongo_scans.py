"""Finds the few documents that a partial index is of, while others write.

The library uses indexes for equality alone. What asks for a range, as a relay does every minute for events that wait,
reads the whole collection, and all writes to it wait meanwhile: 2 to 5 s among 60,000 records. Of what it finds it
holds whole documents until they are sorted and cut, 12 KB for each record of an answer: what waited filled the heap.

Here the documents are read from the store as it is when the search begins, which no write waits for, and their ids and
what they are sorted by are kept, up to the limit of the search. Those are then read again, compared again, and answered
with; or, where whole documents are asked for, the library's search goes on by their ids. What another call changed in
between so that it does not match any more is left out: then there are fewer than the limit, though more would match.
"""

from collections.abc import Sequence
from typing import Any

import jpype

from tidemill_local.mongo_indexes import declarations
from tidemill_local.mongo_maps import DOCUMENTS

_ID = "_id"
_MAX_NAMED = 1000
"""Ids that the library is handed: it compares each document with all of them while the collection waits."""


class PartialScans:
    """Searches of one store. Arguments and results are Java's objects, which have no Python types."""

    def __init__(self, backend: Any, store: Any) -> None:  # noqa: ANN401 - see above
        self._backend = backend
        self._store = store
        self._fields: dict[str, set[str]] = {}
        """First fields of partial and sparse indexes by the collection."""
        for declared in declarations(store):  # services declare theirs at their own start, and may have started before
            for index in declared.values():
                self._note(str(index.get("ns")), index)
        self._document = jpype.JClass("de.bwaldvogel.mongo.bson.Document")
        self._list = jpype.JClass("java.util.ArrayList")
        self._scan = jpype.JClass("tidemill.PartialFind")

    def declare(self, message: Any) -> None:  # noqa: ANN401 - Java's MongoMessage
        """Note the fields of partial indexes that a message of createIndexes declares."""
        document = message.getDocument()
        collection = f"{message.getDatabaseName()}.{document.get('createIndexes')}"
        for index in document.get("indexes") or ():
            self._note(collection, index)

    def _note(self, collection: str, index: Any) -> None:  # noqa: ANN401 - see above
        if index.get("sparse") or index.get("partialFilterExpression") is not None:
            field = str(index.get("key").keySet().iterator().next())
            self._fields.setdefault(collection, set()).add(field)

    def find(self, message: Any) -> Any:  # noqa: ANN401 - see above
        """Return the reply to a message of find; None where the library is to reply to it.

        Where a partial index is of the filter, the message then asks for the `_id`s of what it finds.
        """
        document = message.getDocument()
        name, query = f"{message.getDatabaseName()}.{document.get('find')}", document.get("filter")
        if not self._is_of_index(name, query) or document.get("skip"):
            return None
        database = self._backend.resolveDatabase(message.getDatabaseName())
        stored = database.resolveCollection(document.get("find"), False)  # noqa: FBT003 - Java has no keywords
        if stored is None:
            return None
        documents, order = self._store.openMap(f"{DOCUMENTS}{name}"), document.get("sort") or self._document()
        kept = self._store.registerVersionUsage()  # or a commit might free what is still to be read
        try:
            ids = self._scan.ids(documents, query, order, abs(int(document.get("limit") or 0)))
        finally:
            self._store.deregisterVersionUsage(kept)
        fields = _whole_fields(document.get("projection"))
        if fields:
            return self._reply(name, self._scan.read(stored, documents, ids, query, self._list(fields)))
        if ids.size() > _MAX_NAMED:
            return None
        narrowed = self._document(_ID, self._document("$in", ids))
        narrowed.putAll(query)
        document.put("filter", narrowed)
        return None

    def _is_of_index(self, name: str, query: Any) -> bool:  # noqa: ANN401 - see above
        fields = tuple(self._fields.get(name, ()))  # another thread may declare more
        if not fields or query is None or query.containsKey(_ID):
            return False
        return any(isinstance(query.get(field), self._document) for field in fields)

    def _reply(self, name: str, found: Any) -> Any:  # noqa: ANN401 - see above
        """Return a reply with all documents: parts of them are few and small enough for one."""
        cursor = self._document("firstBatch", found)
        cursor.put("id", jpype.JLong(0))
        cursor.put("ns", name)
        reply = self._document("cursor", cursor)
        reply.put("ok", 1.0)
        return reply


def _whole_fields(projection: Any) -> Sequence[str]:  # noqa: ANN401 - a Java document, or None
    """Return the fields that are asked for where they are named and whole, and none otherwise."""
    asked = {str(entry.getKey()): entry.getValue() for entry in projection.entrySet()} if projection is not None else {}
    if asked and not asked.keys() - {_ID} and asked[_ID] in (True, 1):
        return [_ID]
    with_id = asked.pop(_ID, True)
    if not asked or not all(each in (True, 1) for each in asked.values()) or any("." in name for name in asked):
        return []
    return [_ID, *asked] if with_id else [*asked]
