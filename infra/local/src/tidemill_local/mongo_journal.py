"""What was written since the last commit of a store, in a file beside it: so that a write need not wait for a commit.

A commit writes whole pages, with all their documents, for each one that has changed. The journal gets the command
alone, before its reply: what a killed process has acknowledged is in its file, and is done again when the store is
opened.

Commands are numbered. The number of a collection's last one is stored with what it changed, by the same commit: what
the store has already is passed over, so that nothing is done twice. ADR 90 says what this does not hold for.
"""

import logging
import threading
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import Struct
from typing import Any

import jpype

from tidemill_local.mongo_maps import JOURNAL

MAX_BYTES = 4 * 1024 * 1024
"""Of commands, which are done again when the store is opened; then a commit is due."""
MAX_COMMAND_BYTES = 1024 * 1024
MAX_COMMAND_DOCUMENTS = 64
"""That a command in the journal inserts or names, so that the library does not store a part of what it changes."""
MAX_UNSAVED_BYTES = 8 * 1024 * 1024
"""Of changed pages, which stay in memory until a commit."""
STORE_BUFFER_KB = 48 * 1024
"""Of changed pages, at which the library commits by itself, in the middle of a command."""
_ENTRY = Struct(">IIQ")
"""Before a command: its bytes, the checksum of what follows, and its number."""
_CHECKED = 8
"""Where in an entry that begins which the checksum is of."""
_ID = "id"
"""In the map of the numbers: which journal is the store's. No collection is called so, as each has its database."""
_COMMIT = "commit"
"""Ditto: the number of the last commit, which has one like a command: an older copy is known by what it lacks."""
_ID_BYTES = 16
_POSITIVE = 0x7FFFFFFF
_log = logging.getLogger(__name__)


class Journal:
    """The journal of a store. Its methods are called while no commit can come between. Arguments are Java's objects.

    A command that changes any number of documents, or more than a few, is not in it, nor is what is written beside it:
    the library may store a part of that at any time. Whenever `is_due` after a write, a commit comes before its reply.
    """

    def __init__(self, store: Any, file: Path) -> None:  # noqa: ANN401 - Java's objects have no Python types
        self._store = store
        self._file = file
        self._numbers = store.openMap(JOURNAL)
        self._encode = jpype.JClass("de.bwaldvogel.mongo.wire.bson.BsonEncoder").encodeDocument
        self._buffer = jpype.JClass("io.netty.buffer.Unpooled").buffer
        self._checksum = jpype.JClass("java.util.zip.CRC32")
        self._adding = threading.Lock()
        stored = (int(entry.getValue()) for entry in self._numbers.entrySet() if entry.getKey() != _ID)
        self._next = 1 + max(stored, default=0)
        self._size = 0
        self._out: Any = None
        self._is_failing = False
        self.is_due = False

    def written(self, do: Callable[[Any], Any], message: Any, *, bounded: bool) -> Any:  # noqa: ANN401 - see above
        """Return what a command that writes to one collection comes to, once it is in the file, or a commit is due.

        What failed is in it, too: some of its documents may have been changed.
        """
        document = message.getDocument()
        buffer = self._buffer(4096)
        buffer.writeZero(_ENTRY.size)
        if bounded:
            self._encode(document, buffer)  # before others see, and may change, what is in it
        if not bounded or buffer.readableBytes() > MAX_COMMAND_BYTES:
            self.require_commit()
            return do(message)
        version = self._store.getCurrentVersion()
        try:
            return do(message)
        finally:
            self._add(_collection(document), buffer, version)

    def require_commit(self) -> None:
        """Have what is written from now on, and what is being written, committed before its reply."""
        with self._adding:
            self.is_due = True

    def _add(self, collection: str, buffer: Any, version: Any) -> None:  # noqa: ANN401 - see above
        size = buffer.readableBytes()
        with self._adding:
            number, self._next = self._next, self._next + 1
            self._numbers.put(collection, jpype.JLong(number))
            self.is_due = (
                self.is_due
                or self._size + size > MAX_BYTES
                or self._store.getUnsavedMemory() > MAX_UNSAVED_BYTES
                or self._store.getCurrentVersion() != version
            )
            if self.is_due:
                return
            buffer.setInt(0, size - _ENTRY.size)
            buffer.setLong(_CHECKED, number)
            entry, checksum = buffer.array(), self._checksum()
            checksum.update(entry, _CHECKED, size - _CHECKED)
            buffer.setInt(4, jpype.JInt(checksum.getValue() & _POSITIVE))
            try:
                self._out.write(entry, 0, size)
            except jpype.JException as error:  # a part of it may be there, behind which nothing would be found
                self.is_due = True
                self._warn(error)
            else:
                self._is_failing = False
            self._size += size

    def _warn(self, error: Any) -> None:  # noqa: ANN401 - see above
        if not self._is_failing:
            _log.warning(
                "%s cannot be written (%s): each write waits for a commit until it can be: make space on its disk",
                self._file,
                type(error).__name__,
            )
        self._is_failing = True

    def commit(self) -> None:
        """Commit what has been written, and forget how. Nothing is being written meanwhile."""
        if self._store.hasUnsavedChanges():
            number, self._next = self._next, self._next + 1
            self._numbers.put(_COMMIT, jpype.JLong(number))
        self._store.commit()
        self._out.getChannel().truncate(_ID_BYTES)
        self._size, self.is_due = 0, False

    def replay(self, handle: Callable[[Any], Any]) -> int:
        """Have what the store lacks handled again, and begin anew; return how much that was.

        A file that was written beside another store is passed over; so is one beside an older copy of this store, which
        lacks what was committed before the first command: it is kept under another name.
        """
        mine, count = str(self._numbers.get(_ID) or ""), 0
        if mine and self._file.exists():
            count = self._replay(uuid.UUID(mine).bytes, handle)
        fresh = mine or str(uuid.uuid4())
        self._numbers.put(_ID, fresh)
        self._store.commit()
        self._file.write_bytes(uuid.UUID(fresh).bytes)
        self._out = jpype.JClass("java.io.FileOutputStream")(str(self._file), True)  # noqa: FBT003 - Java has no keywords
        return count

    def _replay(self, mine: bytes, handle: Callable[[Any], Any]) -> int:
        channel = jpype.JClass("io.netty.channel.embedded.EmbeddedChannel")()
        header = jpype.JClass("de.bwaldvogel.mongo.wire.message.MessageHeader")(0, 0)
        message_of = jpype.JClass("de.bwaldvogel.mongo.wire.message.MongoMessage")
        error_type = jpype.JClass("de.bwaldvogel.mongo.exception.MongoServerException")
        decode = jpype.JClass("de.bwaldvogel.mongo.wire.bson.BsonDecoder").decodeBson
        wrapped = jpype.JClass("io.netty.buffer.Unpooled").wrappedBuffer
        count, entries = 0, list(_entries(self._file.read_bytes(), mine))
        if entries and entries[0][0] > self._next:
            kept = self._file.with_name(f"{self._file.name}.passed-over")
            self._file.replace(kept)
            _log.warning(
                "the store is older than its journal, whose %s commands were not done again: stop the server and put "
                "back the store that %s belongs to, or delete that file",
                len(entries),
                kept,
            )
            return 0
        for number, command in entries:
            document = decode(wrapped(jpype.JArray(jpype.JByte)(command)))
            collection = _collection(document)
            self._next = max(self._next, number + 1)
            if number <= int(self._numbers.get(collection) or 0):
                continue
            count += 1
            try:
                handle(message_of(channel, header, document))
            except error_type:
                continue  # as it did when it came
            except jpype.JException as error:  # what the library does not check: it failed so when it came, too
                _log.warning("command %s of %s in the journal fails: %s", number, collection, type(error).__name__)
            finally:
                self._numbers.put(collection, jpype.JLong(number))
        channel.close()
        return count


def _entries(content: bytes, mine: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield numbers and commands up to the first that is not whole: it was not acknowledged."""
    at = len(mine) if content.startswith(mine) else len(content)
    while at + _ENTRY.size <= len(content):
        length, checksum, number = _ENTRY.unpack_from(content, at)
        end = at + _ENTRY.size + length
        if end > len(content) or zlib.crc32(content[at + _CHECKED : end]) & _POSITIVE != checksum:
            return
        yield number, content[at + _ENTRY.size : end]
        at = end


def _collection(document: Any) -> str:  # noqa: ANN401 - see above
    return f"{document.get('$db')}.{document.get(document.keySet().iterator().next())}"
