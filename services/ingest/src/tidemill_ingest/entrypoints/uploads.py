"""Documents that come in chunks: in memory until they are whole, and bounded there."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tidemill.ingest.v1 import document_service_pb2 as pb
from tidemill_ingest.domain.limits import MEBIBYTE, Limits
from tidemill_ingest.domain.submission import DocumentSpec, check_size
from tidemill_ingest.entrypoints.messages import required, spec_of
from tidemill_kit.application import Request
from tidemill_kit.errors import DeadlineExceeded, InvalidInput, Violation
from tidemill_kit.grpc_server import request_of

MAX_CHUNK_BYTES = MEBIBYTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A whole one, its size and digest checked."""

    spec: DocumentSpec
    content: bytes
    request: Request


class Uploads:
    """Receives at most so many at once; further callers wait, held back by gRPC's flow control."""

    def __init__(self, *, limits: Limits, at_once: int, idle_s: float) -> None:
        self._limits = limits
        self._places = asyncio.Semaphore(at_once)
        self._idle_s = idle_s

    @asynccontextmanager
    async def received(self, messages: AsyncIterator[pb.UploadDocumentRequest]) -> AsyncIterator[Upload]:
        """Receive one and hold its place until the block ends. A stream that breaks off leaves nothing.

        Raises:
            InvalidInput: the stream, its size or its digest is not what it should be.
            DeadlineExceeded: no message came for too long.

        """
        async with self._places:
            start = await self._start(messages)
            content = await self._content(messages, start)
            yield Upload(spec=spec_of(start.spec), content=content, request=_request(start, content))

    async def _start(self, messages: AsyncIterator[pb.UploadDocumentRequest]) -> pb.UploadStart:
        first = await self._next(messages)
        if first is None or first.WhichOneof("part") != "start":
            raise InvalidInput.of(Violation(field="start", description="is missing: send it in the first message"))
        required(first.start, "spec")
        spec_of(first.start.spec).check(self._limits)
        if first.start.size < 0:
            text = f"is {first.start.size}; send 0 (for unknown) or more"
            raise InvalidInput.of(Violation(field="start.size", description=text))
        if first.start.size:
            self._check_size(first.start.size, field="start.size")
        return first.start

    async def _content(self, messages: AsyncIterator[pb.UploadDocumentRequest], start: pb.UploadStart) -> bytes:
        content = bytearray()
        while (message := await self._next(messages)) is not None:
            if message.WhichOneof("part") != "chunk":
                raise InvalidInput.of(Violation(field="chunk", description="is missing: only the first is a start"))
            if len(message.chunk) > MAX_CHUNK_BYTES:
                text = f"has {len(message.chunk)} bytes, and {MAX_CHUNK_BYTES} is the limit: send smaller ones"
                raise InvalidInput.of(Violation(field="chunk", description=text))
            content += message.chunk
            if len(content) > self._limits.document_bytes:
                self._check_size(len(content), field="content")
        if start.size and start.size != len(content):
            text = f"was to be {start.size}, and {len(content)} bytes came: upload it again"
            raise InvalidInput.of(Violation(field="start.size", description=text))
        if start.sha256 and start.sha256.lower() != hashlib.sha256(content).hexdigest():
            text = "is not that of the bytes that came: upload it again"
            raise InvalidInput.of(Violation(field="start.sha256", description=text))
        return bytes(content)

    async def _next(self, messages: AsyncIterator[pb.UploadDocumentRequest]) -> pb.UploadDocumentRequest | None:
        try:
            async with asyncio.timeout(self._idle_s):
                return await anext(messages, None)
        except TimeoutError:
            message = f"no part of the upload came for {self._idle_s:g} s: upload it again"
            raise DeadlineExceeded(message) from None

    def _check_size(self, size: int, *, field: str) -> None:
        instead = "split it into several documents"
        check_size(size, field=field, limit=self._limits.document_bytes, instead=instead)


def _request(start: pb.UploadStart, content: bytes) -> Request:
    """Return the intent of the upload: the same start with other bytes is another body."""
    intent = request_of(start)
    digest = hashlib.sha256(intent.digest.encode() + hashlib.sha256(content).digest()).hexdigest()
    return Request(id=intent.id, digest=digest)
