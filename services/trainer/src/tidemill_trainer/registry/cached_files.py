"""Local cache of the files of versions; every file is verified each time."""

from pathlib import Path

from tidemill_kit.models.artifacts import ArtifactCache
from tidemill_trainer.registry.domain.model_version import ModelVersion


class CachedFiles:
    """Implements `Bases` of training and `Files` of derivations on the kit's cache."""

    def __init__(self, cache: ArtifactCache) -> None:
        self._cache = cache

    async def fetch(self, version: ModelVersion) -> Path:
        """Return a folder with exactly the version's files."""
        objects = {artifact.file.path: artifact.object for artifact in version.artifacts if artifact.object}
        return await self._cache.fetch(version.project, version.manifest, objects)
