"""All places of a running stack where something could be left: what they hold, as bytes to search in."""

import asyncio
import base64
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from minio import Minio
from pymongo import MongoClient

from tidemill_kit.events.connection import client_options
from tidemill_local import Addresses
from tidemill_local.kafka import ADMIN

_CHUNK = 1 << 24
_IDLE_S = 30.0
CLOCKS_S = 5.0
"""The clocks of stores, which may count whole seconds, differ less."""
Held = Iterator[tuple[str, bytes]]
"""A name, such as of a topic or a file, and content."""


@dataclass(frozen=True)
class Places:
    """The places of one stack, by kind. Of files and objects that were changed last before `since`, as models are, only
    the names are searched: what was drawn then cannot be in them.
    """

    folder: Path
    since: float = 0.0

    @property
    def addresses(self) -> Addresses:
        return Addresses.read(self.folder / "stack.json")

    def logs(self) -> Held:
        """Yield what every program has printed."""
        for file in sorted((self.folder / "logs").rglob("*")):
            if file.is_file():
                yield file.name, file.read_bytes()

    def files(self) -> Held:
        """Yield every other file of the stack, the stores' own among them."""
        for file in sorted(self.folder.rglob("*")):
            if file.is_file() and "logs" not in file.parts:
                content = file.read_bytes() if file.stat().st_mtime >= self.since else b""
                yield str(file.relative_to(self.folder)), content.rstrip(b"\0")  # Kafka fills indexes up

    def topics(self) -> Held:
        """Yield every record of every topic, with key and headers."""
        yield from asyncio.run(self._records())

    def databases(self) -> Held:
        """Yield every document of every database."""
        client: MongoClient[dict[str, object]] = MongoClient(self.addresses.mongo)
        for name in client.list_database_names():
            for collection in client[name].list_collection_names():
                for document in client[name][collection].find():
                    yield f"{name}.{collection}", _flat(document)
        client.close()

    def objects(self) -> Held:
        """Yield every object of every bucket, with its name."""
        store = self.addresses.s3
        client = Minio(store.endpoint, store.access_key, store.secret_key, secure=False)
        for bucket in client.list_buckets():
            for each in client.list_objects(bucket.name, recursive=True):
                name = each.object_name or ""
                is_old = each.last_modified is not None and each.last_modified.timestamp() < self.since
                content = b"" if is_old else _read(client, bucket.name, name)
                yield bucket.name, name.encode() + b"\n" + content

    def metrics(self) -> Held:
        """Yield what every service reports."""
        for service, ports in self.addresses.services.items():
            yield service, httpx.get(f"http://{ports['metrics']}/metrics", timeout=30).content

    def processes(self) -> Held:
        """Yield arguments and environment of every process of the stack."""
        for process in Path("/proc").iterdir():
            if not process.name.isdecimal() or int(process.name) == os.getpid():
                continue
            try:
                found = (process / "cmdline").read_bytes() + b"\n" + (process / "environ").read_bytes()
            except OSError:
                continue  # of another user, or over
            if str(self.folder).encode() in found:
                yield f"process {found[:200]!r}", found

    async def _partitions(self) -> list[TopicPartition]:
        admin = AIOKafkaAdminClient(**client_options(self.addresses.kafka_servers(ADMIN)))
        await admin.start()
        try:
            found = await admin.describe_topics()
        finally:
            await admin.close()
        return [
            TopicPartition(topic["topic"], each["partition"])
            for topic in found
            for each in topic["partitions"]
            if not topic["topic"].startswith("__")
        ]

    async def _records(self) -> list[tuple[str, bytes]]:
        consumer = AIOKafkaConsumer(**client_options(self.addresses.kafka_servers(ADMIN)))
        await consumer.start()
        try:
            partitions = await self._partitions()
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
            found: list[tuple[str, bytes]] = []
            async with asyncio.timeout(_IDLE_S * 4):
                while [each for each in partitions if await consumer.position(each) < ends[each]]:
                    for partition, records in (await consumer.getmany(timeout_ms=1000)).items():
                        found += [(partition.topic, _record(each.key, each.value, each.headers)) for each in records]
            return found
        finally:
            await consumer.stop()


def kinds(places: Places) -> Mapping[str, Held]:
    """Return all places by the name of their kind."""
    return {
        "logs": places.logs(),
        "files": places.files(),
        "topics": places.topics(),
        "databases": places.databases(),
        "objects": places.objects(),
        "metrics": places.metrics(),
        "processes": places.processes(),
    }


def forms(text: str) -> list[bytes]:
    """Return a text as it may stand somewhere: as it is, in hexadecimal, and in base64 at any offset."""
    raw = text.encode()
    shifted = [base64.b64encode(b"\0" * shift + raw)[4 if shift else 0 : -4] for shift in range(3)]
    return [raw, raw.hex().encode(), *shifted, *(each.replace(b"+", b"-").replace(b"/", b"_") for each in shifted)]


def hits(held: Held, *texts: str) -> dict[str, set[str]]:
    """Return which of the texts stand where."""
    needles_of = {text: forms(text) for text in texts}
    found: dict[str, set[str]] = {text: set() for text in texts}
    for name, content in held:
        for text, needles in needles_of.items():
            if any(needle in content for needle in needles):
                found[text].add(name)
    return found


def _read(client: Minio, bucket: str, name: str) -> bytes:
    response = client.get_object(bucket, name)
    with response:
        content = response.read()
    response.release_conn()
    return _inflated(content)


def _record(key: bytes | None, value: bytes | None, headers: object) -> bytes:
    return b"\n".join([key or b"", _inflated(value or b""), repr(headers).encode()])


def _inflated(content: bytes) -> bytes:
    """Return content with what it is compressed from, where it is."""
    if content[:2] != b"\x1f\x8b":
        return content
    return content + zlib.decompressobj(wbits=31).decompress(content, _CHUNK)


def _flat(document: object) -> bytes:
    """Return a document as text, its bytes as they are in base64."""
    return json.dumps(
        document, default=lambda v: base64.b64encode(v).decode() if isinstance(v, bytes) else str(v)
    ).encode()
