"""Keep files: upload, read, delete."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from tidemill_core.application import Caller, Clock, Page, PageRequest, Request
from tidemill_core.characters import clean_line
from tidemill_core.errors import DependencyUnavailable, InvalidInput, TidemillError
from tidemill_core.resources import Write, delete
from tidemill_inference.files.domain.errors import FileRestricted
from tidemill_inference.files.domain.stored_file import MAX_FILENAME, FilePurpose, StoredFile, file_id_of
from tidemill_inference.files.ports import Contents, Files


def _any_number(_project: str) -> AbstractAsyncContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCrud:
    """Bytes are stored first, then the file: what is named is there."""

    files: Files
    contents: Contents
    clock: Clock
    keep: timedelta
    reading: Callable[[str], AbstractAsyncContextManager[None]] = _any_number
    """Gives a project a place for a content on this machine's disk."""

    async def upload(
        self, caller: Caller, *, filename: str, purpose: FilePurpose, chunks: AsyncIterator[bytes], request_id: str
    ) -> StoredFile:
        """Store a file; the same request id with the same content returns the same file.

        Raises:
            InvalidInput: the name or the purpose cannot be.
            FileTooLarge: it has more bytes than a file may have.
            QuotaReached: the project has as many files as it may have.

        """
        name = _checked(filename, purpose)
        async with self.contents.received(chunks) as path:
            request = Request.of(request_id, f"{name}\0{await _digest(path)}".encode())
            file_id = file_id_of(caller.project, request.id)
            content = await self.contents.put(caller.project, file_id, path)
        fresh = StoredFile(
            id=file_id,
            project=caller.project,
            filename=name,
            purpose=purpose,
            content=content,
            creator=caller.subject,
            expire_time=self.clock.now() + self.keep,
        )
        try:
            stored = await self.files.add(fresh, request=request)
        except DependencyUnavailable:
            raise  # it may have been stored
        except TidemillError:
            await self._let_go(fresh)
            raise
        if stored.deleted or stored.content != content:
            await self._let_go(fresh)
        return stored

    async def _let_go(self, refused: StoredFile) -> None:
        """Remove what was received for nothing: a refused file's, or what is not in the file any more."""
        found = (await self.files.get_many(refused.project, [refused.id])).get(refused.id)
        if found is None or found.content != refused.content:
            await self.contents.remove(refused.content)

    async def get(self, caller: Caller, file_id: str) -> StoredFile:
        """Return one file.

        Raises:
            FileNotFound: the project has none with this id.

        """
        return await self.files.get(caller.project, file_id)

    async def list(self, caller: Caller, *, page: PageRequest) -> Page[StoredFile]:
        """Return a page of files."""
        return await self.files.list(caller.project, page=page)

    @asynccontextmanager
    async def content(self, caller: Caller, file_id: str) -> AsyncIterator[tuple[StoredFile, Path]]:
        """See `ports.ReadFile.content`."""
        file = await self.files.get(caller.project, file_id)
        _check(file, caller)
        async with self.reading(caller.project), self.contents.local(file.content) as path:
            yield file, path

    async def delete(self, caller: Caller, file_id: str, write: Write) -> StoredFile:
        """Delete a file, then its content.

        Raises:
            FileNotFound: the project has none with this id.
            FileRestricted: it is another's.

        """
        deleted = await delete(self.files, caller.project, file_id, write, change=lambda file: _check(file, caller))
        if not write.validate_only:
            await self.contents.remove(deleted.content)
        return deleted


def _check(file: StoredFile, caller: Caller) -> None:
    if not file.readable_by(caller):
        raise FileRestricted(file.id)


def _checked(filename: str, purpose: FilePurpose) -> str:
    name = clean_line(filename)
    if not 0 < len(name) <= MAX_FILENAME:
        raise InvalidInput.at(field="filename", text=f"has {len(name)} characters; use 1 to {MAX_FILENAME}")
    if purpose is not FilePurpose.BATCH:
        raise InvalidInput.at(field="purpose", text='is not supported: use "batch"')
    return name


async def _digest(path: Path) -> str:
    def digest() -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return await asyncio.to_thread(digest)
