"""FileService: message -> use case -> message."""

import asyncio
from collections.abc import AsyncIterator

from tidemill.inference.v1 import file_service_pb2 as pb
from tidemill.inference.v1.file_service_pb2_grpc import FileServiceServicer
from tidemill_core.errors import InvalidInput
from tidemill_core.resources import check_request_id
from tidemill_inference.files.crud import FileCrud
from tidemill_inference.files.messages import file_message, purpose_of
from tidemill_kit.grpc.server import current_caller, page_of, write_of
from tidemill_kit.grpc.uploads import UploadPlaces

LARGEST_CHUNK = 2 * 1024 * 1024
_PIECE_BYTES = 256 * 1024


class GrpcFileService(FileServiceServicer):
    """Serves files; errors are mapped by the kit's interceptor."""

    def __init__(self, crud: FileCrud, places: UploadPlaces) -> None:
        self._crud = crud
        self._places = places

    async def UploadFile(
        self, request_iterator: AsyncIterator[pb.UploadFileRequest], _context: object
    ) -> pb.UploadFileResponse:
        """Store a file."""
        caller = current_caller()
        async with self._places.held(caller.project):
            messages = self._places.patiently(request_iterator)
            start = await _start_of(messages)
            check_request_id(start.request_id, field="start.request_id")
            file = await self._crud.upload(
                caller,
                filename=start.filename,
                purpose=purpose_of(start.purpose),
                chunks=_chunks_of(messages),
                request_id=start.request_id,
            )
        return pb.UploadFileResponse(file=file_message(file))

    async def GetFile(self, request: pb.GetFileRequest, _context: object) -> pb.GetFileResponse:
        """Return one file."""
        return pb.GetFileResponse(file=file_message(await self._crud.get(current_caller(), request.id)))

    async def ListFiles(self, request: pb.ListFilesRequest, _context: object) -> pb.ListFilesResponse:
        """Return a page of files."""
        page = await self._crud.list(current_caller(), page=page_of(request, filters={"purpose": "purpose"}))
        return pb.ListFilesResponse(files=map(file_message, page.items), next_page_token=page.next_token)

    async def DownloadFile(
        self, request: pb.DownloadFileRequest, _context: object
    ) -> AsyncIterator[pb.DownloadFileResponse]:
        """Stream the content."""
        async with self._crud.content(current_caller(), request.id) as (_, path):
            with path.open("rb") as file:
                while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
                    yield pb.DownloadFileResponse(chunk=piece)

    async def DeleteFile(self, request: pb.DeleteFileRequest, _context: object) -> pb.DeleteFileResponse:
        """Delete a file."""
        deleted = await self._crud.delete(current_caller(), request.id, write_of(request))
        return pb.DeleteFileResponse(file=file_message(deleted))


async def _start_of(messages: AsyncIterator[pb.UploadFileRequest]) -> pb.UploadFileStart:
    first = await anext(messages, None)
    if first is None or first.WhichOneof("part") != "start":
        raise InvalidInput.at(field="start", text="the first message must have filename and purpose")
    return first.start


async def _chunks_of(messages: AsyncIterator[pb.UploadFileRequest]) -> AsyncIterator[bytes]:
    async for message in messages:
        if message.WhichOneof("part") != "chunk":
            raise InvalidInput.at(field="chunk", text="every message after the first must be a chunk")
        if len(message.chunk) > LARGEST_CHUNK:
            raise InvalidInput.at(field="chunk", text=f"has {len(message.chunk)} bytes; the limit is {LARGEST_CHUNK}")
        yield message.chunk
