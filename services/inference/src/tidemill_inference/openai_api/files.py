"""`/v1/files`: the input and the results of batches, by the RPCs of FileService."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tidemill.inference.v1 import file_pb2
from tidemill.inference.v1 import file_service_pb2 as pb
from tidemill_core.errors import InvalidInput, Violation
from tidemill_inference.files.domain.errors import FileTooLarge
from tidemill_inference.files.ports import ReadFile
from tidemill_inference.openai_api.pages import Asked, listed
from tidemill_kit.grpc.policies import policy_of
from tidemill_kit.grpc.uploads import UploadPlaces
from tidemill_kit.http.errors import BodyTooSlow, shown
from tidemill_kit.http.exchange import ClientLeft, Exchange
from tidemill_kit.http.rpc import HttpRpcs

Json = dict[str, Any]
_SERVICE = f"/{pb.DESCRIPTOR.package}.FileService"
_UPLOAD, _GET, _LIST, _DELETE = (f"{_SERVICE}/{name}" for name in ("UploadFile", "GetFile", "ListFiles", "DeleteFile"))
_DOWNLOAD = policy_of(pb.DESCRIPTOR, "FileService/DownloadFile")
_PURPOSES = {"batch": file_pb2.FILE_PURPOSE_BATCH, "batch_output": file_pb2.FILE_PURPOSE_BATCH_OUTPUT}
_FORM_BYTES = 64 * 1024
"""Of a form, beside its file."""
_CHUNK_BYTES = 1024 * 1024
_PIECE_BYTES = 64 * 1024
_MAX_FIELDS = 20
_CHARSETS = (b"utf-8", b"utf8", b"us-ascii")
_DEFAULT_LIMIT = 1000
_IDEMPOTENCY_HEADER = "idempotency-key"


@dataclass(frozen=True, kw_only=True)
class HttpFiles:
    """Serves files; `limit` is the most bytes of one, which `setting` sets."""

    rpcs: HttpRpcs
    reading: ReadFile
    places: UploadPlaces
    """For files on their way into this process."""
    limit: int
    setting: str

    def routes(self, prefix: str) -> list[Route]:
        """Return what is served below a prefix."""
        return [
            Route(f"{prefix}/files", self.upload, methods=["POST"]),
            Route(f"{prefix}/files", self.list, methods=["GET"]),
            Route(f"{prefix}/files/{{id}}", self.get, methods=["GET"]),
            Route(f"{prefix}/files/{{id}}", self.delete, methods=["DELETE"]),
            Route(f"{prefix}/files/{{id}}/content", _Content(self.reading), methods=["GET"]),
        ]

    async def upload(self, http: Request) -> Response:
        """Store a file, sent as a form with `purpose` and `file`."""
        exchange = Exchange.of(http.scope)
        caller = await self.rpcs.admit(exchange, _UPLOAD)
        async with self.places.held(caller.project):
            form = await self._form(exchange)
            try:
                messages = _messages(form, request_id=exchange.header(_IDEMPOTENCY_HEADER))
                reply: Any = await self.rpcs.call(_UPLOAD, messages, caller=caller, exchange=exchange)
            finally:
                await form.close()
        return JSONResponse(file_object(reply.file))

    async def list(self, http: Request) -> Response:
        """Return a page of files, newest first."""
        exchange, asked = Exchange.of(http.scope), Asked.of(http, default=_DEFAULT_LIMIT)
        purpose = http.query_params.get("purpose", "")
        if purpose and purpose not in _PURPOSES:
            raise InvalidInput.at(field="purpose", text=f"is {shown(purpose)}; use {' or '.join(_PURPOSES)}")
        request = pb.ListFilesRequest(page_size=asked.limit, order_by=asked.order_by)
        where = {"purpose": purpose.upper()} if purpose else {}
        if purpose:
            request.filter = f'purpose = "{purpose.upper()}"'
        caller = await self.rpcs.admit(exchange, _LIST)
        if asked.after:
            known: Any = await self.rpcs.call(_GET, pb.GetFileRequest(id=asked.after), caller=caller, exchange=exchange)
            last: file_pb2.File = known.file
            request.page_token = asked.token(last.project, last.create_time.ToDatetime(UTC), where=where)
        page: Any = await self.rpcs.call(_LIST, request, caller=caller, exchange=exchange)
        return JSONResponse(listed([file_object(each) for each in page.files], more=bool(page.next_page_token)))

    async def get(self, http: Request) -> Response:
        """Return what is known of a file."""
        return JSONResponse(file_object((await self._called(_GET, pb.GetFileRequest, http)).file))

    async def delete(self, http: Request) -> Response:
        """Delete a file."""
        reply = await self._called(_DELETE, pb.DeleteFileRequest, http)
        return JSONResponse({"id": reply.file.id, "object": "file", "deleted": True})

    async def _called(self, method: str, kind: type[pb.GetFileRequest | pb.DeleteFileRequest], http: Request) -> Any:  # noqa: ANN401 - the reply of one of two RPCs
        exchange = Exchange.of(http.scope)
        caller = await self.rpcs.admit(exchange, method)
        return await self.rpcs.call(method, kind(id=http.path_params["id"]), caller=caller, exchange=exchange)

    async def _form(self, exchange: Exchange) -> FormData:
        """Read the form; its file is on disk, where it is more than a megabyte.

        Raises:
            InvalidInput: it is no form.
            FileTooLarge, BodyTooSlow, DeadlineExceeded, ClientLeft: it does not come as it should.

        """
        if not exchange.header("content-type").startswith("multipart/form-data"):
            raise InvalidInput.at(field="body", text="has to be multipart/form-data with purpose and file")
        _, options = parse_options_header(exchange.header("content-type"))
        if (charset := options.get(b"charset", b"utf-8")).lower() not in _CHARSETS:  # Python knows some that break it
            named = shown(charset.decode("latin-1"))
            raise InvalidInput.at(field="body", text=f"has the charset {named}: send a form of UTF-8")
        parser = MultiPartParser(
            exchange.headers,
            self.places.patiently(self._received(exchange)),
            max_files=1,
            max_fields=_MAX_FIELDS,
            max_part_size=_FORM_BYTES,
        )
        try:
            return await parser.parse()
        except MultiPartException as error:
            raise InvalidInput.at(field="body", text=f"is not a form: {error.message}") from error

    async def _received(self, exchange: Exchange) -> AsyncGenerator[bytes, None]:
        received, more = 0, True
        while more:
            try:
                async with asyncio.timeout(exchange.stall_s):
                    message = await exchange.receive()
            except TimeoutError as error:
                text = f"no part of the body came within {exchange.stall_s:g} s: send it again"
                raise BodyTooSlow(text) from error
            if message["type"] == "http.disconnect":
                raise ClientLeft
            received += len(message.get("body", b""))
            if received > self.limit + _FORM_BYTES:
                raise FileTooLarge(limit=self.limit, setting=self.setting)
            yield message.get("body", b"")
            more = message.get("more_body", False)


class _Content:
    """`GET /v1/files/{id}/content`; an ASGI application, which sends pieces at the pace of their reader."""

    def __init__(self, reading: ReadFile) -> None:
        self._reading = reading

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        exchange = Exchange.of(scope)
        caller = await exchange.admit(_DOWNLOAD)
        async with self._reading.content(caller, scope["path_params"]["id"]) as (file, path):
            headers = [(b"content-type", b"application/jsonl"), (b"content-length", str(file.size).encode())]
            await exchange.send({"type": "http.response.start", "status": 200, "headers": headers})
            with path.open("rb") as opened:
                while piece := await asyncio.to_thread(opened.read, _PIECE_BYTES):
                    await exchange.send({"type": "http.response.body", "body": piece, "more_body": True})
            await exchange.send({"type": "http.response.body", "body": b"", "more_body": False})


def file_object(file: file_pb2.File) -> Json:
    """Return a file in OpenAI's shape."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": file.create_time.seconds,
        "expires_at": file.expire_time.seconds,
        "filename": file.filename,
        "purpose": file_pb2.FilePurpose.Name(file.purpose).removeprefix("FILE_PURPOSE_").lower(),
        "status": "processed",
        "status_details": None,
    }


async def _messages(form: FormData, *, request_id: str) -> AsyncIterator[pb.UploadFileRequest]:
    purpose, file = _sent(form)
    start = pb.UploadFileStart(filename=file.filename or "", purpose=_PURPOSES[purpose], request_id=request_id)
    yield pb.UploadFileRequest(start=start)
    while chunk := await file.read(_CHUNK_BYTES):
        yield pb.UploadFileRequest(chunk=chunk)


def _sent(form: FormData) -> tuple[str, UploadFile]:
    """Return purpose and file of a form.

    Raises:
        InvalidInput: names every field that is missing, wrong or not supported.

    """
    purpose, file = form.get("purpose"), form.get("file")
    found = [
        Violation(shown(name), "is not supported: leave it out") for name in form if name not in {"purpose", "file"}
    ]
    if not isinstance(file, UploadFile):
        found.append(Violation("file", "is required: the file's content with its name"))
    if purpose != "batch":
        what = "is required" if purpose is None else f"is {shown(str(purpose))}"
        found.append(Violation("purpose", f'{what}; supported: "batch"'))
    if found or not isinstance(file, UploadFile):
        raise InvalidInput.of(*found)
    return str(purpose), file
