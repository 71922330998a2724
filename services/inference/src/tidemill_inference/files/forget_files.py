"""Remove files that are past their time, and that their project keeps no longer."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from tidemill_core.application import Clock, ResourceKey
from tidemill_inference.files.ports import Contents, OldFiles, Retained

_BATCH_SIZE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetFiles:
    """Removes the content first; nothing of a project in which a legal hold covers something."""

    files: OldFiles
    contents: Contents
    retained: Retained
    clock: Clock

    async def __call__(self) -> int:
        """Return how many were removed."""
        removed = 0
        async for file in self._old():
            await self.contents.remove_all(file.project, file.id)
            await self.files.remove(file)
            removed += 1
        return removed

    async def _old(self) -> AsyncIterator[ResourceKey]:
        now = self.clock.now()
        for each in await self.files.expired(now, spares=self.retained.spares, limit=_BATCH_SIZE):
            yield each
        for project, keep in self.retained.projects().items():
            if not self.retained.spares(project):
                for each in await self.files.before(project, now - keep, limit=_BATCH_SIZE):
                    yield each
