"""Files as documents, and which are past their time."""

from collections.abc import Sequence
from datetime import datetime

from tidemill_core.application import ResourceKey
from tidemill_inference.files.domain.stored_file import FilePurpose, StoredFile
from tidemill_kit.mapping import DocumentCodec
from tidemill_kit.store.mongo import Collection, Document, document_id, translated

FILES = DocumentCodec(StoredFile, {}, enums_by_name=(FilePurpose,))


class MongoOldFiles:
    """Implements `ports.OldFiles`; tombstones count, so that nothing of a file stays beyond its time."""

    def __init__(self, files: Collection) -> None:
        self._files = files

    async def ensure_indexes(self) -> None:
        """Create what finds them; repeating it changes nothing."""
        with translated():
            await self._files.create_index([("state.expire_time", 1)])

    async def expired(self, now: datetime, *, limit: int) -> Sequence[ResourceKey]:
        """See `OldFiles.expired`."""
        return await self._found({"state.expire_time": {"$lt": now}}, limit)

    async def before(self, project: str, created: datetime, *, limit: int) -> Sequence[ResourceKey]:
        """See `OldFiles.before`."""
        return await self._found({"project": project, "deleted": False, "create_time": {"$lt": created}}, limit)

    async def remove(self, file: ResourceKey) -> None:
        """See `OldFiles.remove`."""
        with translated():
            await self._files.delete_one({"_id": document_id(file.project, file.id)})

    async def _found(self, where: Document, limit: int) -> Sequence[ResourceKey]:
        with translated():
            found = await self._files.find(where, {"project": True, "id": True}).limit(limit).to_list(limit)
        return [ResourceKey(project=each["project"], id=each["id"]) for each in found]
