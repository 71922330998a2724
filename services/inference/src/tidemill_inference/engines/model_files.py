"""A version's files on this machine's disk, every byte compared with the manifest, or a refusal that names the file."""

from pathlib import Path

from tidemill_core.models.manifest import ArtifactFile, ArtifactRefused, Manifest
from tidemill_inference.engines.ports import ModelVersion
from tidemill_inference.errors import ModelRefused
from tidemill_kit.models.artifacts import ArtifactCache
from tidemill_kit.store.objects import ObjectDamaged, ObjectMissing


class ModelFiles:
    """Fetches what is not there yet."""

    def __init__(self, cache: ArtifactCache) -> None:
        self._cache = cache

    async def fetch(self, project: str, model: ModelVersion) -> Path:
        """Return the folder with exactly the version's files, which the project has, or who shares them with it.

        Raises:
            ModelRefused: a file is damaged, missing, added or not data.
            DependencyUnavailable: the store does not answer, or the disk is full.

        """
        try:
            files = [ArtifactFile(path, ref.size, ref.sha256) for path, ref in model.files.items()]
            return await self._cache.fetch(model.owner or project, Manifest(files), model.files)
        except ArtifactRefused as error:
            raise ModelRefused(model.id, why=error.message) from error
        except (ObjectDamaged, ObjectMissing) as error:
            path = next((path for path, ref in model.files.items() if ref.key == error.metadata["key"]), "a file")
            what = "is not in the store" if isinstance(error, ObjectMissing) else "is damaged in the store"
            raise ModelRefused(model.id, why=f"{path} {what}") from error
