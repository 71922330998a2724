"""Files, and where their bytes are."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Aggregates, Caller, ResourceKey
from tidemill_inference.files.domain.stored_file import StoredFile

Files = Aggregates[StoredFile]


class Contents(Protocol):
    """The bytes of files, in the object store and for a while on this machine's disk."""

    def received(self, chunks: AsyncIterator[bytes]) -> AbstractAsyncContextManager[Path]:
        """Write chunks to a file on this machine, which is there for the length of a block.

        Raises:
            FileTooLarge: they have more bytes than a file may have.

        """
        ...

    def scratch(self) -> AbstractAsyncContextManager[Path]:
        """Return an empty file on this machine, which is there for the length of a block."""
        ...

    def local(self, content: ObjectRef) -> AbstractAsyncContextManager[Path]:
        """Fetch a content to a file on this machine, which is there for the length of a block.

        Raises:
            ObjectMissing: it was removed.

        """
        ...

    async def put(self, project: str, file_id: str, path: Path) -> ObjectRef:
        """Store a file's bytes."""
        ...

    async def remove(self, content: ObjectRef) -> None:
        """Remove a content; removing nothing is no error."""
        ...

    async def remove_all(self, project: str, file_id: str) -> None:
        """Remove every content of a file."""
        ...


class Retained(Protocol):
    """How long projects keep what was answered, and which of them are held; the kit's."""

    def projects(self) -> Mapping[str, timedelta]:
        """Return how long, by project."""
        ...

    def spares(self, project: str) -> bool:
        """Return whether nothing of a project may be removed by age."""
        ...


class OldFiles(Protocol):
    """Finds what is past its time, over all projects."""

    async def expired(self, now: datetime, *, spares: Callable[[str], bool], limit: int) -> Sequence[ResourceKey]:
        """Return files that are past their time, but for those of projects that are spared."""
        ...

    async def before(self, project: str, created: datetime, *, limit: int) -> Sequence[ResourceKey]:
        """Return files of a project that were created before a time."""
        ...

    async def remove(self, file: ResourceKey) -> None:
        """Remove a file without a trace; its content is gone already."""
        ...


class ReadFile(Protocol):
    """What the HTTP API reads contents by; `FileCrud`."""

    def content(self, caller: Caller, file_id: str) -> AbstractAsyncContextManager[tuple[StoredFile, Path]]:
        """Return a file and its content on this machine, for the length of a block.

        Raises:
            FileNotFound: the project has no such file.
            FileRestricted: it is another's.

        """
        ...
