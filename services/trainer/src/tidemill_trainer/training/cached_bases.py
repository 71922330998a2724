"""Local cache of base models; every file is verified before each training."""

from pathlib import Path

from tidemill_kit.models.artifacts import ArtifactCache
from tidemill_trainer.registry.domain.model_version import ModelVersion


class CachedBases:
    """Implements `ports.Bases` on the kit's cache."""

    def __init__(self, cache: ArtifactCache) -> None:
        self._cache = cache

    async def fetch(self, version: ModelVersion) -> Path:
        """See `Bases.fetch`."""
        objects = {artifact.file.path: artifact.object for artifact in version.artifacts if artifact.object}
        return await self._cache.fetch(version.project, version.manifest, objects)
