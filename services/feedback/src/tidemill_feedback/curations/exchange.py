"""Batches of examples as others read them: JSON lines in feedback's exchange bucket."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Protocol

from google.protobuf.json_format import MessageToJson

from tidemill_core.aggregate import ObjectRef
from tidemill_feedback.curations.domain.example import Example
from tidemill_feedback.curations.domain.ledger import CurationRef
from tidemill_feedback.curations.messages import example_message
from tidemill_feedback.curations.ports import Begin
from tidemill_kit.store.objects import ExchangeBucket, ObjectMissing, StoredObject

MEDIA_TYPE = "application/jsonl"
_FEEDBACK = re.compile(rb'"feedback": "([^"]+)"')
"""The field of an example: what a person wrote has no quote that is not escaped."""


class ExchangeBatches:
    """Implements `ports.Batches`."""

    def __init__(self, bucket: ExchangeBucket, *, max_bytes: int) -> None:
        self._bucket = bucket
        self._max_bytes = max_bytes

    async def put(self, ref: CurationRef, examples: Sequence[Example], *, begin: Begin) -> tuple[ObjectRef, int]:
        """See `Batches.put`."""
        lines = await asyncio.to_thread(lines_of, examples, max_bytes=self._max_bytes)
        data = b"".join(lines)
        stored = await self._bucket.ref_of(ref.project, ref.curation, data)
        await begin(stored)
        measured = stored.size, stored.sha256
        await self._bucket.put(ref.project, ref.curation, data, media_type=MEDIA_TYPE, measured=measured)
        return stored, len(lines)

    async def remove(self, stored: ObjectRef) -> None:
        """See `Batches.remove`."""
        await self._bucket.remove(stored)


class StoredObjects(Protocol):
    """The object store."""

    def scan(self, bucket: str, *, prefix: str = "") -> AsyncIterator[StoredObject]:
        """Yield the objects whose keys start with the prefix, a page of them in memory at a time."""
        ...

    async def get(self, bucket: str, key: str) -> bytes:
        """Return the bytes of an object."""
        ...

    async def delete(self, bucket: str, key: str) -> None:
        """Remove an object; removing nothing is no error."""
        ...


class EraseBatches:
    """Removes batches whole: they are named by what is in them, and each completion has all that counts anew."""

    def __init__(self, objects: StoredObjects, bucket: str) -> None:
        self._objects = objects
        self._bucket = bucket

    async def of(self, project: str, *, feedback: AbstractSet[str], end_user: str) -> int:
        """Remove batches with examples of this feedback, by this user or on their questions; return how many."""
        named = {each.encode() for each in feedback}
        name = json.dumps(end_user, ensure_ascii=False)
        users = [f'"{role}": {name}'.encode() for role in ("end_user", "asked_by")]

        def holds(data: bytes) -> bool:
            return any(each in data for each in users) or any(each[1] in named for each in _FEEDBACK.finditer(data))

        return await self._removed(project, holds)

    async def of_document(self, project: str, document: str) -> int:
        """Remove a project's batches whose prompts show this document; return how many."""
        shown = f'"document": {json.dumps(document, ensure_ascii=False)}'.encode()
        return await self._removed(project, lambda data: shown in data)

    async def older(self, project: str, *, before: datetime) -> int:
        """Remove a project's batches that were written earlier; return how many."""
        removed = 0
        async for found in self._objects.scan(self._bucket, prefix=f"{project}/"):
            if found.modified_at < before:
                await self._objects.delete(self._bucket, found.key)
                removed += 1
        return removed

    async def _removed(self, project: str, holds: Callable[[bytes], bool]) -> int:
        removed = 0
        async for found in self._objects.scan(self._bucket, prefix=f"{project}/"):
            try:
                data = await self._objects.get(self._bucket, found.key)
            except ObjectMissing:
                continue
            if await asyncio.to_thread(holds, data):
                await self._objects.delete(self._bucket, found.key)
                removed += 1
        return removed


def lines_of(examples: Sequence[Example], *, max_bytes: int) -> Sequence[bytes]:
    """Return the latest examples that fit as proto-JSON, ordered by id: the same examples are the same bytes."""
    lines, capacity = dict[str, bytes](), max_bytes
    for example in sorted(examples, key=lambda each: (each.observe_time, each.id), reverse=True):
        message = example_message(example)
        line = MessageToJson(message, preserving_proto_field_name=True, ensure_ascii=False, indent=None)
        lines[example.id] = f"{line}\n".encode()
        capacity -= len(lines[example.id])
        if capacity < 0:
            del lines[example.id]
            break
    return [line for _, line in sorted(lines.items())]
