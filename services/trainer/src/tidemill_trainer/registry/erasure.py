"""Erases the model versions of a project: imports that are at work end first."""

from contextlib import suppress
from dataclasses import dataclass

from tidemill_core.application import Request
from tidemill_core.errors import NotFound
from tidemill_core.resources import list_all
from tidemill_kit.erasure.documents import erase_documents, ids_of
from tidemill_kit.erasure.steps import NotYet, Target
from tidemill_kit.store.mongo import Collection
from tidemill_kit.workers.leases import Leases
from tidemill_trainer.registry.domain.model_version import ModelVersion, VersionState
from tidemill_trainer.registry.ports import Versions


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseVersions:
    """Discards the imports of a project, waits for their workers, and removes all versions.

    A worker finishes the file that it fetches, and stores it; so nothing of the project is removed before.
    """

    versions: Versions
    collection: Collection
    leases: Leases

    async def __call__(self, target: Target) -> int:
        """Return how many versions were removed.

        Raises:
            NotYet: a worker has one of them.

        """
        importing = {"state": VersionState.IMPORTING.value}
        async for version in list_all(self.versions, target.project, where=importing):
            with suppress(NotFound):
                await self.versions.update(target.project, version.id, ModelVersion.discard, request=Request.internal())
        if await self.leases.busy(target.project):
            message = "imports of the project are ending"
            raise NotYet(message)
        return await erase_documents(self.collection, ids_of(target.project))
