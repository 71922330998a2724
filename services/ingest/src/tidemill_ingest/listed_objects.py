"""An object store that lists."""

from collections.abc import AsyncIterator
from typing import Protocol

from tidemill_kit.store.objects import Objects, StoredObject


class ListedObjects(Objects, Protocol):
    """What ingest needs of a store: also a listing, and deleting one by one."""

    def scan(self, bucket: str, *, prefix: str = "", after: str = "") -> AsyncIterator[StoredObject]:
        """Yield the objects whose keys start with the prefix, ordered by key."""
        ...

    async def delete(self, bucket: str, key: str) -> None:
        """Remove the object; removing nothing is no error."""
        ...
