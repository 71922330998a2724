"""Stands before MongoDB, and answers for the records of inferences at once: a measurement of the service alone.

No store: it keeps documents in memory, by their `_id`, and knows no more of MongoDB than what answers of a gateway ask
of their records. All else goes on to the server behind it. A turn costs about what the driver itself costs, so that
what is measured with it is a bound for any MongoDB, of which none was at hand.

Run as `python -m tests.bench._instant_store PORT MONGODB_PORT`.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from struct import Struct
from typing import Any
from urllib.parse import urlsplit

import uvloop
from bson import decode, encode

from tidemill_local import Addresses
from tidemill_local.ports import LOOPBACK
from tidemill_testkit.ports import free_port

COLLECTION = "inferences"
_HEADER = Struct("<iiii")
_INT = Struct("<i")
_MESSAGE = 2013
_FLAGS = 4
_Document = dict[str, Any]


class Records:
    """The documents, and what is asked of them."""

    def __init__(self) -> None:
        self._documents: dict[str, _Document] = {}

    def answer(self, command: Mapping[str, Any]) -> _Document | None:
        """Return the reply to a command; None where it is for others."""
        name = next(iter(command))
        if command[name] != COLLECTION:
            return None
        if name == "insert":
            self._documents |= {each["_id"]: each for each in command["documents"]}
            return {"n": len(command["documents"]), "ok": 1.0}
        if name == "find" and "_id" in command["filter"] and (len(command["filter"]) == 1 or command.get("limit") == 1):
            named = self._named(command["filter"]["_id"])
            shown = [_without(each, command.get("projection", {})) for each in named]
            return {"cursor": {"id": 0, "ns": f"{command['$db']}.{COLLECTION}", "firstBatch": shown}, "ok": 1.0}
        if name == "update":
            matched = sum(self._update(each["q"], each["u"]) for each in command["updates"])
            return {"n": matched, "nModified": matched, "ok": 1.0}
        return None

    def _update(self, chosen: Mapping[str, Any], update: Mapping[str, Any]) -> int:
        """Change what is chosen by `_id`, and by `version` where that is named; return how many that is."""
        named = self._named(chosen["_id"])
        found = [each for each in named if each["version"] == chosen.get("version", each["version"])]
        for document in found:
            document.update(update.get("$set", {}))
            for field, by in update.get("$inc", {}).items():
                document[field] += by
            for field, pushed in update.get("$push", {}).items():
                document[field] = (document[field] + pushed["$each"])[pushed.get("$slice", 0) :]
            for field in update.get("$unset", {}):
                document.pop(field, None)
        return len(found)

    def _named(self, asked: Any) -> list[_Document]:  # noqa: ANN401 - an `_id`, or what is asked of it
        ids = asked["$in"] if isinstance(asked, dict) else [asked]
        return [self._documents[each] for each in ids if each in self._documents]


def _without(document: _Document, fields: Mapping[str, Any]) -> _Document:
    return {name: value for name, value in document.items() if fields.get(name, True)}


def _command(message: bytes) -> _Document:
    """Return the command of a message (OP_MSG), whose lists of documents may stand beside its body."""
    command, lists, at = dict[str, Any](), dict[str, Any](), _HEADER.size + _FLAGS
    while at < len(message):
        kind, at = message[at], at + 1
        end = at + _INT.unpack_from(message, at)[0]
        if kind:
            name_end = message.index(0, at + _INT.size)
            lists[message[at + _INT.size : name_end].decode()] = list(_documents(message[name_end + 1 : end]))
        else:
            command = decode(message[at:end])
        at = end
    return command | lists


def _documents(content: bytes) -> Iterator[_Document]:
    at = 0
    while at < len(content):
        end = at + _INT.unpack_from(content, at)[0]
        yield decode(content[at:end])
        at = end


async def _read(reader: asyncio.StreamReader) -> bytes:
    size = await reader.readexactly(_INT.size)
    return size + await reader.readexactly(_INT.unpack(size)[0] - _INT.size)


async def serve(port: int, behind: int) -> None:
    """Serve until the process ends."""
    records = Records()

    async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(LOOPBACK, behind)
        replies = asyncio.create_task(hand_on(server_reader, writer))
        try:
            while True:
                message = await _read(reader)
                _, number, _, kind = _HEADER.unpack_from(message)
                reply = records.answer(_command(message)) if kind == _MESSAGE else None
                if reply is None:
                    server_writer.write(message)
                    continue
                body = bytes(_FLAGS + 1) + encode(reply)
                writer.write(_HEADER.pack(_HEADER.size + len(body), 0, number, _MESSAGE) + body)
        except asyncio.IncompleteReadError:  # the client has left
            server_writer.close()
            await replies

    server = await asyncio.start_server(connected, LOOPBACK, port, limit=1 << 26)
    await server.serve_forever()


@contextmanager
def instant_store(stack: Addresses) -> Iterator[Addresses]:
    """Run it, and yield the addresses with it in place of MongoDB."""
    port, behind = free_port(), urlsplit(stack.mongo).port
    process = subprocess.Popen([sys.executable, "-m", "tests.bench._instant_store", str(port), str(behind)])  # noqa: S603 - our own
    try:
        yield replace(stack, mongo=f"mongodb://{LOOPBACK}:{port}")
    finally:
        process.terminate()
        process.wait(10)


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
