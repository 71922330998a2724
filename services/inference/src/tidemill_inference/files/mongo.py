"""Files as documents, and which are past their time."""

from collections.abc import Callable, Sequence
from datetime import datetime

from tidemill_core.application import ResourceKey
from tidemill_inference.files.domain.stored_file import FilePurpose, StoredFile
from tidemill_kit.erasure.documents import keys_of_others
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

    async def expired(self, now: datetime, *, spares: Callable[[str], bool], limit: int) -> Sequence[ResourceKey]:
        """See `OldFiles.expired`."""
        return await keys_of_others(self._files, {"state.expire_time": {"$lt": now}}, spares=spares, limit=limit)

    async def before(self, project: str, created: datetime, *, limit: int) -> Sequence[ResourceKey]:
        """See `OldFiles.before`."""
        where: Document = {"project": project, "deleted": False, "create_time": {"$lt": created}}
        return await keys_of_others(self._files, where, spares=lambda _project: False, limit=limit)

    async def remove(self, file: ResourceKey) -> None:
        """See `OldFiles.remove`."""
        with translated():
            await self._files.delete_one({"_id": document_id(file.project, file.id)})
