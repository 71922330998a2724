"""Sets and removes fields of documents by their `_id`, without what the library does for any update.

It copies each document with all that is in it, and encodes it twice to know what it grew by: 3 to 4 ms for the 14
documents out of which a relay takes its events.
"""

from typing import Any

import jpype

from tidemill_local.mongo_maps import BY_ID, DOCUMENTS

PLAIN = "tidemillPlain"
"""In a command of the journal: it went this way, and goes it again."""
_FIELDS = ("$set", "$unset")


class PlainUpdates:
    """Updates of one store. Arguments and results are Java's objects, which have no Python types.

    Who calls it has the collection alone, and asks for documents that are there.
    """

    def __init__(self, backend: Any, store: Any) -> None:  # noqa: ANN401 - see above
        self._backend = backend
        self._store = store
        self._document = jpype.JClass("de.bwaldvogel.mongo.bson.Document")
        self._no_index = jpype.JClass("de.bwaldvogel.mongo.backend.EmptyIndex")
        self._apply = jpype.JClass("tidemill.PlainUpdate").apply
        self._text = jpype.JClass("java.lang.String")

    def takes(self, message: Any, operation: Any) -> bool:  # noqa: ANN401 - see above
        """Return whether an operation names nothing but texts, and fields of documents that no unique index has."""
        query, update = operation.get("q"), operation.get("u")
        if query.size() != 1 or not operation.get("multi") or not isinstance(update, self._document):
            return False
        if not self._is_of_fields(update):
            return False
        named, collection = query.get("_id"), self._collection(message)
        if not isinstance(named, self._document) or collection is None:
            return False
        if not all(isinstance(each, self._text) for each in named.get("$in")):
            return False
        return all(isinstance(each, self._no_index) or str(each.getName()) == BY_ID for each in collection.getIndexes())

    def _is_of_fields(self, update: Any) -> bool:  # noqa: ANN401 - see above
        """Return whether an update sets or removes whole fields, and none of them both, which the library refuses."""
        parts = list(update.values())
        if not {str(each) for each in update.keySet()} <= set(_FIELDS):
            return False
        if not all(isinstance(part, self._document) and part.size() for part in parts):
            return False
        fields = [str(name) for part in parts for name in part.keySet()]
        return len(set(fields)) == len(fields) and not any(
            name in ("", "_id") or "." in name or name.startswith("$") for name in fields
        )

    def handle(self, message: Any) -> Any:  # noqa: ANN401 - see above
        """Return the reply to a message of one such operation."""
        (operation,) = message.getDocument().get("updates")
        documents = self._store.openMap(f"{DOCUMENTS}{self._collection(message).getFullName()}")
        named = jpype.java.util.LinkedHashSet(operation.get("q").get("_id").get("$in"))  # one named twice counts once
        update = operation.get("u")
        new, gone = (update.get(each) or self._document() for each in _FIELDS)
        changed = self._apply(documents, named, new, gone)
        reply = self._document("n", jpype.JInt(named.size()))
        reply.put("nModified", jpype.JInt(changed))
        reply.put("ok", 1.0)
        return reply

    def _collection(self, message: Any) -> Any:  # noqa: ANN401 - see above
        database = self._backend.resolveDatabase(message.getDatabaseName())
        return database.resolveCollection(message.getDocument().get("update"), False)  # noqa: FBT003 - Java has no keywords
