"""Pending imports, queried from the versions themselves, so there is no queue that could diverge from them."""

from collections.abc import Iterable, Sequence

from tidemill_kit.store.mongo import Collection, translated
from tidemill_trainer.application.ports import VersionName
from tidemill_trainer.domain.model_version import VersionState

BATCH_SIZE = 1000


class MongoPendingImports:
    """Implements `ports.PendingImports` by a query on the collection of versions (thousands of documents at most)."""

    def __init__(self, versions: Collection) -> None:
        self._versions = versions

    async def ensure_indexes(self) -> None:
        """Create the index of versions by state."""
        with translated():
            await self._versions.create_index([("state.state", 1)])

    async def imports(self, *, without: Iterable[str] = ()) -> Sequence[VersionName]:
        """See `PendingImports.imports`."""
        pending = {"state.state": VersionState.IMPORTING.value, "deleted": False}
        chosen = {**pending, "project": {"$nin": list(without)}}
        with translated():
            found = await self._versions.find(chosen, {"project": True, "id": True}).limit(BATCH_SIZE).to_list(None)
        return [VersionName(project=document["project"], version=document["id"]) for document in found]
