"""Files of inference: the input and the results of batches."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from tidemill.inference.v1 import file_service_pb2 as pb
from tidemill.inference.v1.file_pb2 import FILE_PURPOSE_BATCH, FILE_PURPOSE_UNSPECIFIED, File, FilePurpose
from tidemill_client.connection import UPLOAD_LIMIT_S, Connection
from tidemill_client.enums import name_of
from tidemill_client.pages import each, filter_of
from tidemill_client.retries import persistently
from tidemill_core.errors import InvalidInput

CHUNK_BYTES = 256 * 1024


def _unwatched(_sent: int) -> None:
    """Ignore the progress."""


class StoredFiles:
    """The project sees them all; a content is read, and a file deleted, by its creator and who acts for users."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def upload(
        self, path: Path, *, filename: str = "", request_id: str = "", progress: Callable[[int], None] = _unwatched
    ) -> File:
        """Upload the input of batches in chunks; the same request id with the same content returns the same file.

        `progress` is called with the bytes that were sent, which begin anew with a retry.

        Raises:
            InvalidInput: the file cannot be read, or is refused; the error names the limit.

        """
        start = pb.UploadFileStart(
            filename=filename or path.name, purpose=FILE_PURPOSE_BATCH, request_id=request_id or str(uuid.uuid4())
        )

        async def messages() -> AsyncIterator[pb.UploadFileRequest]:
            yield pb.UploadFileRequest(start=start)
            sent = 0
            with await asyncio.to_thread(path.open, "rb") as file:
                while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                    yield pb.UploadFileRequest(chunk=chunk)
                    sent += len(chunk)
                    progress(sent)

        await asyncio.to_thread(_check_readable, path)
        upload = self._connection.files.UploadFile
        return (await persistently(lambda: upload(messages(), timeout=UPLOAD_LIMIT_S))).file

    async def get(self, file: str) -> File:
        """Return what is known of a file."""
        return (await self._connection.files.GetFile(pb.GetFileRequest(id=file))).file

    def all(self, *, purpose: FilePurpose.ValueType = FILE_PURPOSE_UNSPECIFIED) -> AsyncIterator[File]:
        """Yield the files, oldest first."""
        named = name_of(FilePurpose, purpose).upper() if purpose else ""
        request = pb.ListFilesRequest(filter=filter_of(purpose=named))
        return each(self._connection.files.ListFiles, request, lambda page: page.files)

    async def content(self, file: str) -> AsyncIterator[bytes]:
        """Yield the bytes of a file."""
        request = pb.DownloadFileRequest(id=file)
        async for piece in self._connection.files.DownloadFile(request, timeout=UPLOAD_LIMIT_S):
            yield piece.chunk

    async def delete(self, file: str) -> File:
        """Delete a file and its content, and return it as it was."""
        return (await self._connection.files.DeleteFile(pb.DeleteFileRequest(id=file))).file


def _check_readable(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise InvalidInput.at(field=str(path), text=f"cannot be read: {error.strerror or error}") from error
