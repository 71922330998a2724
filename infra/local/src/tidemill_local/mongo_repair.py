"""Brings the indexes of a file to what its collections hold, where a kill left one without the other.

Earlier versions committed between the two writes of one command. A document that its index lacks is not found
and cannot be inserted again, and what names it cannot be removed. Only where the sizes differ anything is read.
"""

import logging
from typing import Any

import jpype

from tidemill_local.mongo_maps import BY_ID, DOCUMENTS, INDEX, SYSTEM

_log = logging.getLogger(__name__)


def repair(store: Any) -> None:  # noqa: ANN401 - Java's objects have no Python types
    """Repair the unique indexes of a store, before the library opens it."""
    names = {str(name) for name in store.getMapNames()}
    for name in sorted(names):
        collection, found, index = name.partition(INDEX)
        documents = f"{DOCUMENTS}{collection}"
        if not found or name.startswith(DOCUMENTS) or SYSTEM in name or documents not in names:
            continue
        data, indexed = store.openMap(documents), store.openMap(name)
        held, listed = int(data.sizeAsLong()), int(indexed.sizeAsLong())
        if held == listed:
            continue
        if index == BY_ID:
            added, removed = _match(data, indexed)
            text = "repaired the index %s of %s: %s documents and %s entries; added %s entries and removed %s"
            _log.warning(text, index, collection, held, listed, added, removed)
        elif listed:
            indexed.clear()  # the library fills it when it opens the collection
            _log.warning("the index %s of %s is made anew: %s documents, %s entries", index, collection, held, listed)
        store.commit()


def _match(data: Any, indexed: Any) -> tuple[int, int]:  # noqa: ANN401 - see above
    """Give each document its entry, and take those out that have no document."""
    key_of = jpype.JClass("de.bwaldvogel.mongo.backend.KeyValue")
    removed = [entry.getKey() for entry in indexed.entrySet() if not data.containsKey(entry.getValue())]
    for key in removed:
        indexed.remove(key)
    added = 0
    for position in data.keySet():
        key = key_of(jpype.java.util.Collections.singletonList(position)).normalized()
        if not indexed.containsKey(key):
            indexed.put(key, position)
            added += 1
    return added, len(removed)
