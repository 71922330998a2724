"""An object store in memory that passes the same contract suite as the real one."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tidemill_core.errors import DependencyUnavailable
from tidemill_kit.store.objects import ObjectMissing, StoredObject


class InMemoryObjects:
    """Does what `ObjectStore` does. A bucket has to be made before it is used."""

    def __init__(self, *buckets: str) -> None:
        self.buckets: dict[str, dict[str, bytes]] = {bucket: {} for bucket in buckets}

    async def ping(self) -> None:
        """Answer always."""

    async def ensure_bucket(self, bucket: str) -> None:
        """See `ObjectStore.ensure_bucket`."""
        self.buckets.setdefault(bucket, {})

    async def put(self, bucket: str, key: str, data: bytes, *, media_type: str) -> None:
        """See `ObjectStore.put`."""
        assert media_type
        self._bucket(bucket)[key] = data

    async def put_file(self, bucket: str, key: str, path: Path, *, media_type: str) -> None:
        """See `ObjectStore.put_file`."""
        await self.put(bucket, key, await asyncio.to_thread(path.read_bytes), media_type=media_type)

    async def get(self, bucket: str, key: str) -> bytes:
        """See `ObjectStore.get`."""
        try:
            return self._bucket(bucket)[key]
        except KeyError:
            raise ObjectMissing(bucket, key) from None

    async def get_file(self, bucket: str, key: str, path: Path) -> None:
        """See `ObjectStore.get_file`."""
        await asyncio.to_thread(path.write_bytes, await self.get(bucket, key))

    async def exists(self, bucket: str, key: str) -> bool:
        """See `ObjectStore.exists`."""
        return key in self._bucket(bucket)

    async def scan(self, bucket: str, *, prefix: str = "", after: str = "") -> AsyncIterator[StoredObject]:
        """See `ObjectStore.scan`."""
        now = datetime.now(UTC)
        for key, data in sorted(self._bucket(bucket).items()):
            if key.startswith(prefix) and key > after:
                yield StoredObject(key=key, size=len(data), modified_at=now)

    async def list(self, bucket: str, *, prefix: str = "") -> Sequence[StoredObject]:
        """See `ObjectStore.list`."""
        return [each async for each in self.scan(bucket, prefix=prefix)]

    async def delete(self, bucket: str, key: str) -> None:
        """See `ObjectStore.delete`."""
        self._bucket(bucket).pop(key, None)

    async def delete_prefix(self, bucket: str, prefix: str) -> None:
        """See `ObjectStore.delete_prefix`."""
        for found in await self.list(bucket, prefix=prefix):
            await self.delete(bucket, found.key)

    async def delete_some(self, bucket: str, prefix: str, *, limit: int) -> int:
        """See `ObjectStore.delete_some`."""
        keys = sorted(key for key in self._bucket(bucket) if key.startswith(prefix))[:limit]
        for key in keys:
            del self._bucket(bucket)[key]
        return len(keys)

    def _bucket(self, bucket: str) -> dict[str, bytes]:
        try:
            return self.buckets[bucket]
        except KeyError:
            message = f"there is no bucket {bucket}"
            raise DependencyUnavailable(message, dependency="s3") from None
