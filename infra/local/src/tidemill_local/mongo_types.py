"""How the maps of the embedded MongoDB compare keys and store documents: by types of our own, not H2's for any object.

The library opens its maps without types. A map that is open already it takes as it is: so each is opened here before.
What H2 stored of earlier versions is read as well, and its order of keys is kept. `java/tidemill` has the types; a test
compares their classes with their sources, as there is no compiler where they run.
"""

from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from typing import Any

import jpype

from tidemill_local.mongo_maps import BY_ID, DOCUMENTS, INDEX, SYSTEM

CLASSES = Path(__file__).with_name("java")
"""A folder of the class path."""

_CREATES = frozenset({"create", "insert", "update", "findAndModify", "findandmodify", "createIndexes"})
"""Commands that create their collection, updates also without an upsert.

What `$out` or a renaming creates has H2's types until the next start, which costs time alone.
"""
_REMOVES = frozenset({"drop", "dropDatabase", "dropIndexes", "renameCollection"})


class StoredTypes:
    """Opens maps by their types. Arguments are Java's objects, which have no Python types."""

    def __init__(self, store: Any) -> None:  # noqa: ANN401 - see above
        self._store = store
        self._builder = jpype.JClass("org.h2.mvstore.MVMap$Builder")
        self._keys = jpype.JClass("tidemill.KeyType")
        self._documents = jpype.JClass("tidemill.DocumentMap$Builder")
        self._opened: set[str] = set()
        self._opening = Lock()

    def open_all(self) -> None:
        """Open every map that there is."""
        self._open(str(name) for name in self._store.getMapNames())

    def open_before(self, command: str, message: Any) -> None:  # noqa: ANN401 - see above
        """Open the maps that a command is about to create."""
        if command in _REMOVES:
            self._opened.clear()
        if command not in _CREATES:
            return
        document = message.getDocument()
        collection = f"{message.getDatabaseName()}.{document.get(command)}"
        indexes = [str(each.get("name")) for each in document.get("indexes") or () if each.get("unique")]
        if collection not in self._opened or indexes:
            indexed = (f"{collection}{INDEX}{name}" for name in (BY_ID, *indexes))
            with self._opening:
                self._open([f"{DOCUMENTS}{collection}", *indexed])
                self._opened.add(collection)

    def _open(self, names: Iterable[str]) -> None:
        for name in names:
            if SYSTEM in name:
                continue
            if name.startswith(DOCUMENTS):
                self._store.openMap(name, self._documents())
            elif INDEX in name:
                self._store.openMap(name, self._builder().keyType(self._keys()))
