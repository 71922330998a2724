"""Files of versions in the exchange bucket of trainer."""

from pathlib import Path

from tidemill_core.aggregate import ObjectRef
from tidemill_core.models.manifest import ArtifactFile
from tidemill_kit.store.objects import ExchangeBucket, ObjectStore
from tidemill_trainer.disk import disk_errors

MEDIA_TYPE = "application/octet-stream"


class ExchangeArtifacts:
    """Implements `ports.Artifacts`. Keys are `<project>/<version>/<sha256>`; other services read them."""

    def __init__(self, store: ObjectStore, exchange: ExchangeBucket) -> None:
        self._store = store
        self._exchange = exchange

    async def put(self, project: str, version: str, *, file: ArtifactFile, local: Path) -> ObjectRef:
        """See `Artifacts.put`."""
        return await self._exchange.put(
            project, version, local, media_type=MEDIA_TYPE, measured=(file.size, file.sha256)
        )

    async def get(self, stored: ObjectRef, local: Path) -> None:
        """See `Artifacts.get`."""
        with disk_errors():
            await self._exchange.get_file(stored, local)

    async def is_whole(self, stored: ObjectRef) -> bool:
        """See `Artifacts.is_whole`."""
        found = await self._store.list(stored.bucket, prefix=stored.key)
        return any(object_.key == stored.key and object_.size == stored.size for object_ in found)
