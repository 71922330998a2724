"""The embedded MongoDB on a file of its own, which is filled directly while the server is stopped.

Through the server a million documents take hours: each insert of the library compares keys that it serializes anew.
Here they go into the file's maps in the order of their keys, in the form in which the server itself keeps them.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import jpype

from tidemill_local import mongo_server
from tidemill_local.places import JARS
from tidemill_local.ports import LOOPBACK

_BATCH_SIZE = 20_000
_START_S = 900.0
"""The server reads every document when it starts, which takes minutes for a million of each kind."""


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

    def fill(
        self, database: str, collection: str, documents: Iterable[Mapping[str, Any]], *, ordered: bool = False
    ) -> None:
        """Put documents into a collection that is there, while nothing is served.

        Where they are ordered, by `_id`s of one length that are above all that are there, each goes to the end.
        """
        if not jpype.isJVMStarted():
            mongo_server.start_machine(JARS)
        store = mongo_server.open_store(self._file)
        data = store.openMap(f"databases.{database}.{collection}")
        by_id = store.openMap(f"{database}.{collection}._index__id_")
        key_of = jpype.JClass("de.bwaldvogel.mongo.backend.KeyValue")
        models: dict[str, Any] = {}
        put, put_id = (data.append, by_id.append) if ordered else (data.put, by_id.put)
        for part in _parts(documents):
            for each in part:
                stored = _stored(each, data, models)
                put(each["_id"], stored)
                put_id(key_of(each["_id"]), each["_id"])
            store.commit()
        store.close()

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


def _stored(given: Mapping[str, Any], data: Any, models: dict[str, Any]) -> Any:  # noqa: ANN401 - Java's objects
    model = given.get(COPY_OF)
    if model is not None and model not in models:
        models[model] = data.get(model)
    document = models[model].cloneDeeply() if model is not None else jpype.JClass("de.bwaldvogel.mongo.bson.Document")()
    for name, value in given.items():
        if name != COPY_OF:
            document.put(name, jpype.java.util.ArrayList(value) if isinstance(value, list) else value)
    return document


def _parts(documents: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    left = iter(documents)
    while part := list(islice(left, _BATCH_SIZE)):
        yield part
