"""Quarantine and exchange bucket in an S3 store."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import structlog
from google.protobuf.json_format import MessageToJson, Parse

from tidemill.ingest.v1 import events_pb2
from tidemill_core.aggregate import ObjectRef
from tidemill_core.envelope import Envelope
from tidemill_core.errors import DependencyUnavailable
from tidemill_ingest.documents.domain.version import MaskedText, Prepared
from tidemill_ingest.documents.ports import StoredText
from tidemill_ingest.listed_objects import ListedObjects
from tidemill_ingest.metrics import EXCHANGE, QUARANTINE
from tidemill_kit.mapping import REST, from_message, to_message
from tidemill_kit.store.objects import ExchangeBucket, ObjectStore

_log = structlog.get_logger(__name__)
_SHORT = 32 * 1024
"""Characters that are written sooner than a thread takes over."""


@dataclass(slots=True)
class HeldObject:
    """Implements `ports.HeldBytes`."""

    key: str
    kept: bool = False

    def keep(self, *, keep: bool = True) -> None:
        """See `ports.HeldBytes.keep`."""
        self.kept = keep


async def expire_quarantine(store: ObjectStore, bucket: str, *, hours: int) -> None:
    """Have the server delete what is older, in whole days, where it knows lifecycles; the sweep does it for all."""
    try:
        await store.expire_after(bucket, days=-(-hours // 24))
    except DependencyUnavailable as error:
        _log.info("quarantine_lifecycle_not_set", why=error.message)


class ObjectStoreQuarantine:
    """Implements `ports.Quarantine`: key `<project>/<document>/<uuid4>`."""

    def __init__(self, store: ListedObjects, bucket: str) -> None:
        self._store = store
        self._bucket = bucket

    @asynccontextmanager
    async def hold(self, project: str, document_id: str, content: bytes) -> AsyncIterator[HeldObject]:
        """See `ports.Quarantine.hold`."""
        held = HeldObject(f"{project}/{document_id}/{uuid.uuid4()}")
        try:
            with QUARANTINE.time():
                await self._store.put(self._bucket, held.key, content, media_type="application/octet-stream")
            yield held
        finally:
            # Also when the caller went away: a cancelled RPC must not leave its bytes behind.
            if not held.kept:
                await asyncio.shield(self._delete(held.key))

    async def get(self, key: str) -> bytes:
        """See `ports.Quarantine.get`."""
        return await self._store.get(self._bucket, key)

    async def delete(self, keys: Sequence[str]) -> None:
        """See `ports.Quarantine.delete`."""
        for key in keys:
            await self._store.delete(self._bucket, key)

    async def sweep(self, older_than: Callable[[str], datetime | None]) -> int:
        """See `ports.Quarantine.sweep`."""
        expired = 0
        async for each in self._store.scan(self._bucket):
            before = older_than(each.key.partition("/")[0])
            if before is not None and each.modified_at < before:
                await self._store.delete(self._bucket, each.key)
                expired += 1
        return expired

    async def _delete(self, key: str) -> None:
        try:
            await self._store.delete(self._bucket, key)
        except DependencyUnavailable as error:
            _log.warning("quarantine_object_left", key=key, why=error.message)


class ExchangeTexts:
    """Implements `ports.Texts`: a VersionContent as proto-JSON for every version."""

    def __init__(self, store: ListedObjects, bucket: str) -> None:
        self._store = store
        self._bucket = bucket
        self._exchange = ExchangeBucket(store, bucket)

    async def put(self, project: str, document_id: str, prepared: Prepared, *, submission_id: str) -> ObjectRef:
        """See `ports.Texts.put`."""
        with EXCHANGE.time():
            if len(prepared.text) < _SHORT:
                data = _content_json(prepared, submission_id)
            else:
                data = await asyncio.to_thread(_content_json, prepared, submission_id)
            return await self._exchange.put(project, document_id, data, media_type="application/json")

    async def get(self, ref: ObjectRef) -> MaskedText:
        """See `ports.Texts.get`."""
        data = await self._exchange.get(ref)
        return await asyncio.to_thread(
            lambda: from_message(MaskedText, Parse(data, events_pb2.VersionContent()), ignore=REST)
        )

    async def sealed_pseudonyms(self, ref: ObjectRef) -> Envelope | None:
        """See `ports.Texts.sealed_pseudonyms`."""
        data = await self._exchange.get(ref)
        content = await asyncio.to_thread(Parse, data, events_pb2.VersionContent())
        if not content.HasField("sealed_pseudonyms"):
            return None
        return from_message(Envelope, content.sealed_pseudonyms)

    async def delete(self, keys: Sequence[str]) -> None:
        """See `ports.Texts.delete`."""
        for key in keys:
            await self._store.delete(self._bucket, key)

    async def of_document(self, project: str, document_id: str) -> Sequence[StoredText]:
        """See `ports.Texts.of_document`."""
        found = self._store.scan(self._bucket, prefix=f"{project}/{document_id}/")
        return [StoredText(key=each.key, stored_at=each.modified_at) async for each in found]

    async def by_document(self, *, after: str = "") -> AsyncIterator[tuple[str, str, Sequence[StoredText]]]:
        """See `ports.Texts.by_document`."""
        owner, stored = ("", ""), list[StoredText]()
        async for each in self._store.scan(self._bucket, after=after):
            project, document_id, _ = each.key.split("/", 2)
            if stored and owner != (project, document_id):
                yield *owner, stored
                stored = []
            owner = project, document_id
            stored.append(StoredText(key=each.key, stored_at=each.modified_at))
        if stored:
            yield *owner, stored


def _content_json(prepared: Prepared, submission_id: str) -> bytes:
    text = MessageToJson(
        to_message(events_pb2.VersionContent, prepared, submission_id=submission_id),
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        indent=None,
        ensure_ascii=False,
        sort_keys=True,
    )
    return text.encode()
