"""Remove files that are past their time, and that their project keeps no longer."""

from collections.abc import Sequence
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
        removed, now, spares = 0, self.clock.now(), self.retained.spares
        while some := await self.files.expired(now, spares=spares, limit=_BATCH_SIZE):
            removed += await self._remove(some)
        for project, keep in self.retained.projects().items():
            while not spares(project) and (some := await self.files.before(project, now - keep, limit=_BATCH_SIZE)):
                removed += await self._remove(some)
        return removed

    async def _remove(self, files: Sequence[ResourceKey]) -> int:
        for file in files:
            await self.contents.remove_all(file.project, file.id)
            await self.files.remove(file)
        return len(files)
