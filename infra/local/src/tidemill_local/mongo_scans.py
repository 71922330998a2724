"""Finds the few documents that a partial index is of, while others write.

The library uses indexes for equality alone. What asks for a range, as a relay does every minute for events that wait,
reads the whole collection, and all writes to it wait meanwhile: 2 to 5 s among 60,000 records. Here the documents are
read from the store as it is when the search begins, which no write waits for. Then the search goes on by the `_id`s
that were found, and compares these documents again.
"""

from typing import Any

import jpype

from tidemill_local.mongo_indexes import declarations
from tidemill_local.mongo_maps import DOCUMENTS

_FEW = 1000
"""More are left to the library, which sorts and cuts them as it reads."""


class PartialScans:
    """Narrows searches of one store. Arguments are Java's objects, which have no Python types."""

    def __init__(self, store: Any) -> None:  # noqa: ANN401 - see above
        self._store = store
        self._fields: dict[str, set[str]] = {}
        """First fields of partial and sparse indexes by the collection."""
        for declared in declarations(store):  # services declare theirs at their own start, and may have started before
            for index in declared.values():
                self._note(str(index.get("ns")), index)
        self._document = jpype.JClass("de.bwaldvogel.mongo.bson.Document")
        handles = jpype.JClass("java.lang.invoke.MethodHandles")
        signature = jpype.JClass("java.lang.invoke.MethodType").methodType(
            jpype.java.lang.Boolean.TYPE, self._document.class_, self._document.class_
        )
        matcher = jpype.JClass("de.bwaldvogel.mongo.backend.DefaultQueryMatcher")()
        matches = handles.publicLookup().findVirtual(matcher.getClass(), "matches", signature)
        self._matches: Any = matches.bindTo(matcher)
        self._handles: Any = handles
        self._as_interface = jpype.JClass("java.lang.invoke.MethodHandleProxies").asInterfaceInstance
        self._predicate = jpype.JClass("java.util.function.Predicate").class_

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

    def narrow(self, message: Any) -> None:  # noqa: ANN401 - see above
        """Have a message of find ask for the `_id`s of those that its filter finds, where a partial index is of it."""
        document = message.getDocument()
        collection, query = f"{message.getDatabaseName()}.{document.get('find')}", document.get("filter")
        fields = tuple(self._fields.get(collection, ()))  # another thread may declare more
        if not fields or query is None or query.containsKey("_id"):
            return
        if not any(isinstance(query.get(field), self._document) for field in fields):
            return
        kept = self._store.registerVersionUsage()  # or a commit might free what is still to be read
        try:
            stored = self._store.openMap(f"{DOCUMENTS}{collection}").values().stream()
            found = (
                stored.filter(
                    self._as_interface(self._predicate, self._handles.insertArguments(self._matches, 1, [query]))
                )
                .limit(_FEW + 1)
                .toList()
            )
        finally:
            self._store.deregisterVersionUsage(kept)
        if found.size() > _FEW:
            return
        named = jpype.JClass("java.util.ArrayList")()
        for each in found:
            named.add(each.get("_id"))
        narrowed = self._document("_id", self._document("$in", named))
        narrowed.putAll(query)
        document.put("filter", narrowed)
