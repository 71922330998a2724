"""Discards the imports of an erased project."""

from contextlib import suppress
from dataclasses import dataclass

from tidemill_core.application import Request
from tidemill_core.errors import NotFound
from tidemill_core.resources import list_all
from tidemill_trainer.registry.domain.model_version import ModelVersion, VersionState
from tidemill_trainer.registry.ports import Versions


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscardImports:
    """Discards the imports of a project. A worker finishes the file that it fetches, and stores it."""

    versions: Versions

    async def __call__(self, project: str) -> None:
        """Discard those that are not finished."""
        importing = {"state": VersionState.IMPORTING.value}
        async for version in list_all(self.versions, project, where=importing):
            with suppress(NotFound):
                await self.versions.update(project, version.id, ModelVersion.discard, request=Request.internal())
