"""Documents that come in chunks: in memory until they are whole, and bounded there."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from tidemill.ingest.v1 import document_service_pb2 as pb
from tidemill_ingest.domain.limits import MEBIBYTE, Limits, Patience
from tidemill_ingest.domain.submission import DocumentSpec, check_size
from tidemill_ingest.entrypoints.messages import required, spec_of
from tidemill_kit.application import Request
from tidemill_kit.errors import DeadlineExceeded, InvalidInput, RateLimited, Violation
from tidemill_kit.grpc_server import request_of

MAX_CHUNK_BYTES = MEBIBYTE
_DRAIN_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A whole one, its size and digest checked."""

    spec: DocumentSpec
    content: bytes
    request: Request


@dataclass(slots=True)
class _Share:
    """A project's part of the places, and how many uploads of it are there or wait for one."""

    places: asyncio.Semaphore
    uploads: int = 0


class Uploads:
    """Receives at most so many at once, no project more than half of them; the others wait, held back by gRPC."""

    def __init__(self, *, limits: Limits, patience: Patience) -> None:
        self._limits = limits
        self._patience = patience
        self._places = asyncio.Semaphore(patience.at_once)
        self._projects: dict[str, _Share] = {}

    @asynccontextmanager
    async def received(self, project: str, messages: AsyncIterator[pb.UploadDocumentRequest]) -> AsyncIterator[Upload]:
        """Receive one and hold its place until the block ends. A stream that breaks off leaves nothing.

        Raises:
            InvalidInput: the stream, its size or its digest is not what it should be.
            DeadlineExceeded: no message came for too long, or the whole took too long.
            RateLimited: too many of the project wait already.

        """
        async with self._place(project):
            whole = asyncio.timeout(self._patience.whole_s)
            try:
                async with whole:
                    try:
                        start = await self._start(messages)
                        content = await self._content(messages, start)
                    except InvalidInput:
                        await self._drain(messages)
                        raise
            except TimeoutError:
                if not whole.expired():
                    raise
                message = (
                    f"the upload took more than {self._patience.whole_s:g} s: send it faster, or in several documents"
                )
                raise DeadlineExceeded(message) from None
            yield Upload(spec=spec_of(start.spec), content=content, request=_request(start, content))

    @asynccontextmanager
    async def _place(self, project: str) -> AsyncIterator[None]:
        share = self._projects.setdefault(project, _Share(asyncio.Semaphore(-(-self._patience.at_once // 2))))
        if share.uploads >= self._patience.of_project:
            message = f"{share.uploads} uploads of the project are under way, and no more may wait: send it again later"
            raise RateLimited(message, retry_after_s=1)
        share.uploads += 1
        try:
            async with share.places, self._places:
                yield
        finally:
            share.uploads -= 1
            if not share.uploads:
                del self._projects[project]

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
            if not message.chunk:
                raise InvalidInput.of(Violation(field="chunk", description="is empty: send bytes, or end the stream"))
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

    async def _drain(self, messages: AsyncIterator[pb.UploadDocumentRequest]) -> None:
        """Take what the caller has on its way: one that still writes would meet a broken call, and not the reason."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                while await anext(messages, None) is not None:
                    pass

    async def _next(self, messages: AsyncIterator[pb.UploadDocumentRequest]) -> pb.UploadDocumentRequest | None:
        try:
            async with asyncio.timeout(self._patience.idle_s):
                return await anext(messages, None)
        except TimeoutError:
            message = f"no part of the upload came for {self._patience.idle_s:g} s: upload it again"
            raise DeadlineExceeded(message) from None

    def _check_size(self, size: int, *, field: str) -> None:
        instead = "split it into several documents"
        check_size(size, field=field, limit=self._limits.document_bytes, instead=instead)


def _request(start: pb.UploadStart, content: bytes) -> Request:
    """Return the intent of the upload: the same start with other bytes is another body."""
    intent = request_of(start)
    digest = hashlib.sha256(intent.digest.encode() + hashlib.sha256(content).digest()).hexdigest()
    return Request(id=intent.id, digest=digest)
