"""Use case: make an uploaded version READY."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Request
from tidemill_trainer.application.ports import Artifacts, Versions
from tidemill_trainer.application.references import References
from tidemill_trainer.domain.errors import FilesMissing
from tidemill_trainer.domain.model_version import ModelVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteModelVersion:
    """Emits ModelVersionWasRegistered once. A version that is already READY or FAILED is returned unchanged.

    Contents were inspected during upload; here only the existence of each object is checked.
    """

    versions: Versions
    references: References
    artifacts: Artifacts
    clock: Clock

    async def __call__(self, caller: Caller, *, version_id: str, request: Request) -> ModelVersion:
        """Return the version, READY or FAILED.

        Raises:
            ModelVersionNotFound: names the versions that exist.
            VersionNotUploading: it is fetched by the trainer itself.
            FilesMissing: names the files that are not stored yet.

        """
        version = await self.references.version(caller.project, version_id)
        if not version.is_final:
            await self._refuse_what_is_gone(version)
        now = self.clock.now()
        return await self.versions.update(caller.project, version.id, lambda v: v.complete(now), request=request)

    async def _refuse_what_is_gone(self, version: ModelVersion) -> None:
        gone = [
            artifact.file.path
            for artifact in version.artifacts
            if artifact.object and not await self.artifacts.is_whole(artifact.object)
        ]
        if gone:
            await self.versions.update(version.project, version.id, lambda v: v.lose(gone), request=Request.internal())
            raise FilesMissing(version.id, missing=gone)
