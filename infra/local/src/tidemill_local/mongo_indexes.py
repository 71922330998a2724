"""Opens the databases of a file at a cost that does not grow with their documents.

Of an index that is not unique the library keeps only that it is declared. Yet it reads every document of the collection
twice when it opens one, to fill it: minutes at a million documents. So these declarations are kept from it while it
opens the databases, and given back afterwards.
"""

from typing import Any

import jpype

from tidemill_local.mongo_maps import BY_ID, DOCUMENTS, SYSTEM

_INDEXES = f"{SYSTEM}indexes"


def opened_backend(store: Any) -> Any:  # noqa: ANN401 - Java's objects have no Python types
    """Return the library's backend on a store."""
    kept = [(each, _without_unique(each)) for each in declarations(store)]
    backend = jpype.JClass("de.bwaldvogel.mongo.backend.h2.H2Backend")(store)
    for each, descriptions in kept:
        for key, description in descriptions.items():
            each.put(key, description)
            _declare(backend, description)
    return backend


def declarations(store: Any) -> list[Any]:  # noqa: ANN401 - see above
    """Return, of each database, the map with the declarations of its indexes, as they were asked for."""
    names = [str(name) for name in store.getMapNames()]
    return [store.openMap(name) for name in names if name.startswith(DOCUMENTS) and name.endswith(_INDEXES)]


def _without_unique(declared: Any) -> dict[Any, Any]:  # noqa: ANN401 - see above
    """Take out the declarations of indexes that are not unique. Nothing is committed before they are back."""
    found = {
        entry.getKey(): entry.getValue()
        for entry in declared.entrySet()
        if not entry.getValue().get("unique") and str(entry.getValue().get("name")) != BY_ID
    }
    for key in found:
        declared.remove(key)
    return found


def _declare(backend: Any, description: Any) -> None:  # noqa: ANN401 - see above
    """Add to a collection what the library adds for an index that is not unique."""
    database, _, name = str(description.get("ns")).partition(".")
    collection = backend.resolveDatabase(database).resolveCollection(name, False)  # noqa: FBT003 - Java has no keywords
    index_key = jpype.JClass("de.bwaldvogel.mongo.backend.IndexKey")
    keys = jpype.java.util.ArrayList()
    for entry in description.get("key").entrySet():
        keys.add(index_key(entry.getKey(), entry.getValue() == 1))
    collection.getIndexes().add(jpype.JClass("de.bwaldvogel.mongo.backend.EmptyIndex")(description.get("name"), keys))
