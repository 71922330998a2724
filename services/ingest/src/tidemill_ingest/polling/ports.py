"""What polling needs from outside, and what sources need of it."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from tidemill_core.application import Aggregates, Caller
from tidemill_ingest.errors import OriginFailed
from tidemill_ingest.polling.domain.objects import ListedObject, Listing, PolledObject
from tidemill_ingest.polling.domain.origin import Polling
from tidemill_ingest.polling.domain.poll import SourcePoll
from tidemill_ingest.sources.domain import Source

SourcePolls = Aggregates[SourcePoll]


class PolledObjects(Protocol):
    """What is known of the files of polled sources; whatever their number, a page costs the same."""

    async def page(self, project: str, source: str, *, after: str = "") -> Sequence[PolledObject]:
        """Return those whose keys come after this one, in their order: a bounded number, none at the end."""
        ...

    async def put(self, project: str, source: str, objects: Sequence[PolledObject]) -> None:
        """Store them, over what is there."""
        ...

    async def remove(self, project: str, source: str, keys: Sequence[str]) -> None:
        """Remove them; what is not there is no error."""
        ...

    async def remove_all(self, project: str, source: str) -> None:
        """Remove all of a source."""
        ...


class OpenOrigin(Protocol):
    """An origin that answers, for one poll."""

    async def listing(self, known: str = "") -> Listing | None:
        """Return everything that is there and that the source takes; None where the position is the one that is known.

        Raises:
            OriginFailed: it cannot be listed whole, or has too much.

        """
        ...

    async def read(self, listed: ListedObject) -> bytes | None:
        """Return the bytes of a file; None where it is gone or was changed since it was listed.

        Raises:
            FileUnreadable: the server refuses this file alone.
            OriginFailed: it does not answer as it should.

        """
        ...


class Origins(Protocol):
    """Opens what sources are polled from."""

    def open(self, project: str, polling: Polling) -> AbstractAsyncContextManager[OpenOrigin]:
        """Return the origin while the block runs.

        Raises:
            OriginFailed: it does not answer, or turns ingest away; a secret is missing.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is done about one file: `id` is the same whenever it is done again."""

    id: str
    source: Source
    key: str
    revision: int


class Submissions(Protocol):
    """Makes documents of files, and deletes them, as any other submission."""

    async def upsert(self, caller: Caller, change: Change, content: bytes) -> str:
        """Make or replace the document; return "", or the reason for which it was refused, which it remembers.

        Raises:
            Internal: its processing broke.

        """
        ...

    async def refuse_size(self, caller: Caller, change: Change, size: int) -> str:
        """Return "" where a file of this size may be a document, else record and return why not."""
        ...

    async def refuse_file(self, caller: Caller, change: Change, error: OriginFailed) -> None:
        """Have the document remember that its file cannot be read."""
        ...

    async def deleted(self, caller: Caller, source: str, keys: Sequence[str]) -> frozenset[str]:
        """Return the keys of documents that were deleted, or erased, and are not to come back by themselves."""
        ...

    async def delete(self, caller: Caller, change: Change) -> None:
        """Delete the document; what is deleted already, or has a newer revision, stays as it is."""
        ...
