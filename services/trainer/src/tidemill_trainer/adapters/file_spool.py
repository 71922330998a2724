"""Uploads on local disk until they are verified: limited in number and always deleted afterwards."""

import asyncio
import errno
import hashlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO

from tidemill_core.errors import DependencyUnavailable
from tidemill_core.models.manifest import ArtifactFile
from tidemill_trainer.domain.errors import UploadRefused

PREFIX = "upload-"


class FileSpool:
    """Implements `ports.Spool` in a folder that only this process uses; uploads above the limit are queued."""

    def __init__(self, folder: Path, *, max_concurrent: int) -> None:
        self._folder = folder
        self._turns = asyncio.Semaphore(max_concurrent)

    def prepare(self) -> None:
        """Create the folder and delete files that a killed process left in it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob(f"{PREFIX}*"):
            left.unlink()

    @asynccontextmanager
    async def receive(self, file: ArtifactFile, chunks: AsyncIterator[bytes]) -> AsyncIterator[Path]:
        """See `Spool.receive`."""
        async with self._turns:
            with disk_errors(), tempfile.NamedTemporaryFile(dir=self._folder, prefix=PREFIX) as spooled:
                refuse_if_full(self._folder, file.size)
                await self._write(file, chunks, spooled)
                yield Path(spooled.name)

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


def refuse_if_full(folder: Path, size: int) -> None:
    """Check the free disk space before an upload starts.

    Raises:
        DependencyUnavailable: says how much is missing.

    """
    free = shutil.disk_usage(folder).free
    if free < size:
        message = f"TRAINER_DATA_DIR has {free} bytes free, {size} are needed: free disk space, then retry"
        raise DependencyUnavailable(message, dependency="disk")


@contextmanager
def disk_errors() -> Iterator[None]:
    """Translate ENOSPC to DependencyUnavailable.

    Raises:
        DependencyUnavailable: the disk is full.

    """
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        message = "the disk of TRAINER_DATA_DIR is full: free disk space, then retry"
        raise DependencyUnavailable(message, dependency="disk") from error
