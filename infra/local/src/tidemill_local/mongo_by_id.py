"""Uses the `_id` index for filters with further conditions, for which the library would scan the collection.

`{_id: "acme/7", version: 3}` is how every save is guarded. The library takes its index on `_id` for `{_id: ...}` alone.
So the document is fetched by its `_id`, the library's own matcher says whether it fits, and the command goes on by
`_id` alone, or finds nothing. An upsert whose `_id` is there in a document that does not match fails as a duplicate, as
it does in the library after a scan. A lock per collection prevents changes in between.
"""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import jpype

WRITES = frozenset({"insert", "update", "delete", "findAndModify", "findandmodify"})
_LISTS = {"update": "updates", "delete": "deletes"}
_FILTERS = {"update": "q", "delete": "q", "findAndModify": "query", "findandmodify": "query", "find": "filter"}
_UPDATES = {"update": "u", "findAndModify": "update", "findandmodify": "update"}


class ById:
    """Handles the messages of a backend. Arguments and results are Java's objects, which have no Python types."""

    def __init__(self, backend: Any) -> None:  # noqa: ANN401 - see above
        self._backend = backend
        self._document = jpype.JClass("de.bwaldvogel.mongo.bson.Document")
        self._text = jpype.JClass("java.lang.String")
        self._duplicate: type[BaseException] = jpype.JClass("de.bwaldvogel.mongo.exception.DuplicateKeyError")
        self._matches: Callable[[Any, Any], bool] = jpype.JClass(
            "de.bwaldvogel.mongo.backend.DefaultQueryMatcher"
        )().matches
        self._locks: dict[str, threading.Lock] = {}

    def handle(self, message: Any, command: str) -> Any:  # noqa: ANN401 - see above
        """Return the reply to a message."""
        if command not in WRITES and command not in _FILTERS:
            return self._backend.handleMessage(message)
        asked = list(self._conditional(message.getDocument(), command))
        if command not in WRITES and not asked:
            return self._backend.handleMessage(message)
        database, collection = str(message.getDatabaseName()), str(message.getDocument().get(command))
        with self._locks.setdefault(f"{database}.{collection}", threading.Lock()):
            try:
                for operation in asked:
                    self._narrow(operation, command, database, collection)
            except self._duplicate as error:
                if command != "update":
                    raise
                return self._refusal(error)
            return self._backend.handleMessage(message)

    def _conditional(self, document: Any, command: str) -> Iterator[Any]:  # noqa: ANN401 - see above
        """Yield the one operation of a command if it asks for an `_id` and something else.

        Of several none is: what one does may matter to the next.
        """
        if command not in _FILTERS:
            return
        operations = document.get(_LISTS[command]) if command in _LISTS else [document]
        if operations is None or len(operations) != 1:
            return
        query = operations[0].get(_FILTERS[command])
        if query is None or query.size() < 2:  # noqa: PLR2004 - the `_id` and something else
            return
        if isinstance(query.get("_id"), self._text) or (self._listed(query) and not operations[0].get("upsert")):
            yield operations[0]

    def _narrow(self, operation: Any, command: str, database: str, collection: str) -> None:  # noqa: ANN401 - see above
        """Replace the filter by the `_id` alone, or by one that nothing has, where that comes to the same.

        Raises:
            DuplicateKeyError: an upsert would insert an `_id` that is there.

        """
        update = operation.get(_UPDATES[command]) if command in _UPDATES else None
        if isinstance(update, self._document) and any(
            ".$" in str(part.keySet()) for part in update.values() if isinstance(part, self._document)
        ):
            return  # it names the element that the filter found
        query, upsert = operation.get(_FILTERS[command]), bool(operation.get("upsert"))
        stored = self._backend.resolveDatabase(database).resolveCollection(collection, False)  # noqa: FBT003 - Java has no keywords
        if stored is None:
            return
        if self._listed(query):
            operation.put(_FILTERS[command], self._of_listed(stored, query))
            return
        by_id = self._document("_id", query.get("_id"))
        found = stored.handleQuery(by_id).iterator()
        if not found.hasNext():
            if not upsert or self._begins_alike(query):
                operation.put(_FILTERS[command], by_id)
        elif self._matches(found.next(), query):
            operation.put(_FILTERS[command], by_id)
        elif upsert:
            stored.addDocument(by_id)
        else:
            operation.put(_FILTERS[command], self._document("_id", f"\0{query.get('_id')}"))

    def _refusal(self, error: Any) -> Any:  # noqa: ANN401 - see above
        """Return the reply to an update that inserts a duplicate."""
        failed = self._document("index", 0)
        failed.put("errmsg", error.getMessageWithoutErrorCode())
        failed.put("code", error.getCode())
        failed.put("codeName", error.getCodeName())
        errors = jpype.java.util.ArrayList()
        errors.add(failed)
        reply = self._document("n", 0)
        reply.put("nModified", 0)
        reply.put("writeErrors", errors)
        reply.put("ok", 1.0)
        return reply

    def _listed(self, query: Any) -> bool:  # noqa: ANN401 - see above
        """Return whether a filter asks for one of several `_id`s."""
        named = query.get("_id")
        return isinstance(named, self._document) and named.size() == 1 and named.containsKey("$in")

    def _of_listed(self, stored: Any, query: Any) -> Any:  # noqa: ANN401 - see above
        """Return the filter by those of the `_id`s whose documents match the whole filter."""
        matching = jpype.JClass("java.util.ArrayList")()
        for each in query.get("_id").get("$in"):
            found = stored.handleQuery(self._document("_id", each)).iterator()
            if found.hasNext() and self._matches(found.next(), query):
                matching.add(each)
        return self._document("_id", self._document("$in", matching))

    def _begins_alike(self, query: Any) -> bool:  # noqa: ANN401 - see above
        """Return whether an upsert's new document takes only `_id` from the filter."""
        return all(
            isinstance(entry.getValue(), self._document)
            and str(entry.getValue().keySet().iterator().next()).startswith("$")
            and not str(entry.getKey()).startswith("$")
            for entry in query.entrySet()
            if str(entry.getKey()) != "_id"
        )
