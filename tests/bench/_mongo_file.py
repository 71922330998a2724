"""The embedded MongoDB on a file of its own, which is filled directly while the server is stopped.

Through the server a million documents take hours: each insert of the library compares keys that it serializes anew.
Here they go into the file's maps in the order of their keys, in the form in which the server itself keeps them.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jpype

from tidemill_local import mongo_server
from tidemill_local.places import JARS
from tidemill_local.ports import LOOPBACK

_BATCH_SIZE = 20_000
_START_S = 120.0


class MongoFile:
    """A file of documents, served or filled."""

    def __init__(self, file: Path) -> None:
        self._file = file
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            self._port = int(probe.getsockname()[1])
        self.uri = f"mongodb://{LOOPBACK}:{self._port}"

    @contextmanager
    def served(self) -> Iterator[None]:
        """Have a server on the file while the body runs."""
        command = [sys.executable, "-m", "tidemill_local.mongo_server", "--jars", str(JARS)]
        command += ["--file", str(self._file), "--port", str(self._port)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:  # noqa: S603 - a module of ours
            try:
                self._wait_until_served()
                yield
            finally:
                server.terminate()

    def fill(self, database: str, collection: str, documents: Iterable[Mapping[str, Any]]) -> None:
        """Put documents into a collection that is there, and has few, while nothing is served.

        Both maps are written anew in the order of their keys, as appending costs a fraction of inserting: in the
        collection by text, in the index by length and text, because the server compares its keys as serialized.
        """
        if not jpype.isJVMStarted():
            mongo_server.start_machine(JARS, heap="-Xmx2g")
        store = mongo_server.open_store(self._file)
        data = store.openMap(f"databases.{database}.{collection}")
        by_id = store.openMap(f"{database}.{collection}._index__id_")
        there = {str(entry.getKey()): entry.getValue() for entry in data.entrySet()}
        added = {each["_id"]: each for each in documents}
        data.clear()
        by_id.clear()
        keys = sorted(there | added)
        for part in _parts(keys):
            for key in part:
                data.append(key, _stored(added[key], there) if key in added else there[key])
            store.commit()
        key_of = jpype.JClass("de.bwaldvogel.mongo.backend.KeyValue")
        for part in _parts(sorted(keys, key=lambda key: (len(key), key))):
            for key in part:
                text = jpype.JString(key)
                by_id.append(key_of(text), text)
            store.commit()
        lost = [key for key in keys[:: 1 + len(keys) // 100] if by_id.get(key_of(key)) is None or data.get(key) is None]
        store.close()
        if lost:
            message = f"the maps of {collection} are not in the order of their keys: {lost[:3]} are not found"
            raise RuntimeError(message)

    def _wait_until_served(self) -> None:
        deadline = time.monotonic() + _START_S
        while True:
            with socket.socket() as probe:
                if probe.connect_ex((LOOPBACK, self._port)) == 0:
                    return
            if time.monotonic() > deadline:
                message = f"no server on port {self._port} after {_START_S} s"
                raise TimeoutError(message)
            time.sleep(0.05)


COPY_OF = "copy of"
"""In a document that is filled in: the `_id` of the stored one of which it has all other fields."""


def _stored(given: Mapping[str, Any], models: Mapping[str, Any]) -> Any:  # noqa: ANN401 - Java's objects
    model = given.get(COPY_OF)
    document = models[model].cloneDeeply() if model is not None else jpype.JClass("de.bwaldvogel.mongo.bson.Document")()
    for name, value in given.items():
        if name != COPY_OF:
            document.put(name, jpype.java.util.ArrayList(value) if isinstance(value, list) else value)
    return document


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[start : start + _BATCH_SIZE] for start in range(0, len(keys), _BATCH_SIZE))
