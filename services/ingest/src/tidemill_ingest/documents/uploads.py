"""Documents that come in chunks: in memory until they are whole, and bounded there."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass

from tidemill.ingest.v1 import document_service_pb2 as pb
from tidemill_core.application import Request
from tidemill_core.errors import InvalidInput
from tidemill_ingest.documents.domain.submission import DocumentSpec, check_size
from tidemill_ingest.documents.messages import spec_of
from tidemill_ingest.limits import MEBIBYTE, Limits
from tidemill_kit.grpc.server import request_of, required
from tidemill_kit.grpc.uploads import UploadPlaces

MAX_CHUNK_BYTES = MEBIBYTE
_DRAIN_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A whole one, its size and digest checked."""

    spec: DocumentSpec
    content: bytes
    request: Request


class Uploads:
    """Receives uploads, each in a place of its project."""

    def __init__(self, *, limits: Limits, places: UploadPlaces) -> None:
        self._limits = limits
        self._places = places

    @asynccontextmanager
    async def received(self, project: str, messages: AsyncIterator[pb.UploadDocumentRequest]) -> AsyncIterator[Upload]:
        """Receive one and hold its place until the block ends. A stream that breaks off leaves nothing.

        Raises:
            InvalidInput: the stream, its size or its digest is not what it should be.
            DeadlineExceeded: no message came for too long, or the whole took too long.
            RateLimited: too many of the project wait already.

        """
        async with self._places.held(project), aclosing(self._places.patiently(messages)) as parts:
            try:
                start = await self._start(parts)
                content, sha256 = await self._content(parts, start)
            except InvalidInput:
                await self._drain(messages)
                raise
            yield Upload(spec=spec_of(start.spec), content=content, request=_request(start, sha256))

    async def _start(self, messages: AsyncIterator[pb.UploadDocumentRequest]) -> pb.UploadStart:
        first = await anext(messages, None)
        if first is None or first.WhichOneof("part") != "start":
            raise InvalidInput.at(field="start", text="is missing: send it in the first message")
        required(first.start, "spec")
        spec_of(first.start.spec).check(self._limits)
        if first.start.size < 0:
            raise InvalidInput.at(field="start.size", text=f"is {first.start.size}; send 0 (for unknown) or more")
        if first.start.size:
            self._check_size(first.start.size, field="start.size")
        return first.start

    async def _content(
        self, messages: AsyncIterator[pb.UploadDocumentRequest], start: pb.UploadStart
    ) -> tuple[bytes, bytes]:
        """Return the content and its sha256, computed chunk by chunk: a whole document would hold up the event loop."""
        content, digest = bytearray(), hashlib.sha256()
        while (message := await anext(messages, None)) is not None:
            if message.WhichOneof("part") != "chunk":
                raise InvalidInput.at(field="chunk", text="is missing: only the first is a start")
            if len(message.chunk) > MAX_CHUNK_BYTES:
                text = f"has {len(message.chunk)} bytes, and {MAX_CHUNK_BYTES} is the limit: send smaller ones"
                raise InvalidInput.at(field="chunk", text=text)
            if not message.chunk:
                raise InvalidInput.at(field="chunk", text="is empty: send bytes, or end the stream")
            content += message.chunk
            self._check_size(len(content), field="content")
            digest.update(message.chunk)
        if start.size and start.size != len(content):
            text = f"is {start.size}, but {len(content)} bytes were received: upload it again"
            raise InvalidInput.at(field="start.size", text=text)
        if start.sha256 and start.sha256.lower() != digest.hexdigest():
            raise InvalidInput.at(field="start.sha256", text="does not match the received bytes: upload it again")
        return bytes(content), digest.digest()

    async def _drain(self, messages: AsyncIterator[pb.UploadDocumentRequest]) -> None:
        """Take what the caller has on its way: one that still writes would meet a broken call, and not the reason."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                while await anext(messages, None) is not None:
                    pass

    def _check_size(self, size: int, *, field: str) -> None:
        instead = "split it into several documents"
        check_size(size, field=field, limit=self._limits.document_bytes, instead=instead)


def _request(start: pb.UploadStart, sha256: bytes) -> Request:
    """Return the intent of the upload: the same start with other bytes is another body."""
    intent = request_of(start)
    digest = hashlib.sha256(intent.digest.encode() + sha256).hexdigest()
    return Request(id=intent.id, digest=digest)
