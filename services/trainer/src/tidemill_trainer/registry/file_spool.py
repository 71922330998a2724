"""Uploads on local disk until they are verified, and downloads until they are sent: always deleted afterwards."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from tidemill_core.models.manifest import ArtifactFile
from tidemill_trainer.disk import disk_errors, refuse_if_full
from tidemill_trainer.errors import UploadRefused

PREFIX = "upload-"


class FileSpool:
    """Implements `ports.Spool` in a folder of this process only; `UploadPlaces` limits the uploads in progress."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self) -> None:
        """Create the folder and delete files that a killed process left in it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob(f"{PREFIX}*"):
            left.unlink()

    @asynccontextmanager
    async def receive(self, file: ArtifactFile, chunks: AsyncIterator[bytes]) -> AsyncIterator[Path]:
        """See `Spool.receive`."""
        with disk_errors(), tempfile.NamedTemporaryFile(dir=self._folder, prefix=PREFIX) as spooled:
            refuse_if_full(self._folder, file.size)
            await self._write(file, chunks, spooled)
            yield Path(spooled.name)

    @asynccontextmanager
    async def hold(self, file: ArtifactFile) -> AsyncIterator[Path]:
        """See `Spool.hold`."""
        with disk_errors(), tempfile.NamedTemporaryFile(dir=self._folder, prefix=PREFIX) as held:
            refuse_if_full(self._folder, file.size)
            yield Path(held.name)

    async def _write(self, file: ArtifactFile, chunks: AsyncIterator[bytes], spooled: IO[bytes]) -> None:
        digest, received = hashlib.sha256(), 0

        def take(chunk: bytes) -> None:
            digest.update(chunk)
            spooled.write(chunk)

        async for chunk in chunks:
            received += len(chunk)
            if received > file.size:
                raise UploadRefused(file.path, f"has more than the {file.size} bytes of the manifest")
            await asyncio.to_thread(take, chunk)
        spooled.flush()
        if received != file.size:
            raise UploadRefused(file.path, f"has {received} bytes; the manifest has {file.size}")
        if digest.hexdigest() != file.sha256:
            description = (
                f"has sha256 {digest.hexdigest()}, the manifest has {file.sha256}: the file may have changed since"
            )
            raise UploadRefused(file.path, description)
