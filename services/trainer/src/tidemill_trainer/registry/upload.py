"""Upload the files of a version, and complete it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Request
from tidemill_core.models.manifest import ArtifactRefused
from tidemill_trainer.errors import FilesMissing
from tidemill_trainer.registry.domain.model_version import ModelVersion
from tidemill_trainer.registry.ports import Artifacts, Inspector, Spool, Versions
from tidemill_trainer.registry.references import References


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadVersion:
    """A client uploads each file of a version, then completes it."""

    versions: Versions
    references: References
    spool: Spool
    inspector: Inspector
    artifacts: Artifacts
    clock: Clock

    async def file(self, caller: Caller, *, version_id: str, path: str, chunks: AsyncIterator[bytes]) -> ModelVersion:
        """Return the version, with the file recorded as stored.

        The file is spooled, verified and inspected, then stored, then recorded; an interrupted call records nothing,
        and a repeated one stores the file again. A forbidden file fails the version: emits ModelVersionHasFailed.

        Raises:
            ModelVersionNotFound: names the versions that exist.
            FileNotExpected: names the files of the manifest.
            VersionNotUploading: the version failed, or is fetched by the trainer itself.
            UploadRefused: the bytes are not those that the manifest announced.
            ArtifactRefused: the file's content may not be loaded.

        """
        version = await self.references.version(caller.project, version_id)
        file = version.expected(path)
        async with self.spool.receive(file, chunks) as local:
            try:
                facts = await self.inspector.inspect(path, local)
            except ArtifactRefused as refused:
                await self._fail(version, refused)
                raise
            stored = await self.artifacts.put(caller.project, version.id, file=file, local=local)
        return await self.versions.update(
            caller.project, version.id, lambda v: v.store(path, stored, facts), request=Request.internal()
        )

    async def complete(self, caller: Caller, *, version_id: str, request: Request) -> ModelVersion:
        """Return the version, READY or FAILED; one that is already is returned unchanged.

        Contents were inspected during upload; here only the existence of each object is checked.

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

    async def _fail(self, version: ModelVersion, refused: ArtifactRefused) -> None:
        now = self.clock.now()
        await self.versions.update(
            version.project,
            version.id,
            lambda v: v.fail(reason=refused.reason, message=refused.message, now=now),
            request=Request.internal(),
        )

    async def _refuse_what_is_gone(self, version: ModelVersion) -> None:
        gone = [
            artifact.file.path
            for artifact in version.artifacts
            if artifact.object and not await self.artifacts.is_whole(artifact.object)
        ]
        if gone:
            await self.versions.update(version.project, version.id, lambda v: v.lose(gone), request=Request.internal())
            raise FilesMissing(version.id, missing=gone)
