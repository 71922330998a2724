"""The bytes of files: in a bucket of inference's own, and for a while in a folder of this process."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tidemill_core.aggregate import ObjectRef
from tidemill_inference.files.domain.errors import FileTooLarge
from tidemill_kit.store.objects import ExchangeBucket

_PREFIX = "file-"
_MEDIA_TYPE = "application/jsonl"


class ObjectContents:
    """Implements `ports.Contents`."""

    def __init__(self, bucket: ExchangeBucket, folder: Path, *, max_bytes: int, setting: str) -> None:
        """Prepare; `setting` is where the limit is set."""
        self._bucket = bucket
        self._folder = folder
        self._max_bytes = max_bytes
        self._setting = setting

    def prepare(self) -> None:
        """Create the folder, and delete what a killed process left in it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob(f"{_PREFIX}*"):
            left.unlink(missing_ok=True)

    @asynccontextmanager
    async def received(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[Path]:
        """See `Contents.received`."""
        async with self.scratch() as path:
            with path.open("wb") as file:
                size = 0
                async for chunk in chunks:
                    size += len(chunk)
                    if size > self._max_bytes:
                        raise FileTooLarge(limit=self._max_bytes, setting=self._setting)
                    await asyncio.to_thread(file.write, chunk)
            yield path

    @asynccontextmanager
    async def scratch(self) -> AsyncIterator[Path]:
        """See `Contents.scratch`."""
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix=_PREFIX) as file:
            yield Path(file.name)

    @asynccontextmanager
    async def local(self, content: ObjectRef) -> AsyncIterator[Path]:
        """See `Contents.local`."""
        async with self.scratch() as path:
            await self._bucket.get_file(content, path)
            yield path

    async def put(self, project: str, file_id: str, path: Path) -> ObjectRef:
        """See `Contents.put`."""
        return await self._bucket.put(project, file_id, path, media_type=_MEDIA_TYPE)

    async def remove(self, content: ObjectRef) -> None:
        """See `Contents.remove`."""
        await self._bucket.remove(content)

    async def remove_all(self, project: str, file_id: str) -> None:
        """See `Contents.remove_all`."""
        await self._bucket.erase(project, file_id)
