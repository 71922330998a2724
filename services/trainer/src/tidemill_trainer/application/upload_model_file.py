"""Use case: upload one file of a version."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Request
from tidemill_core.models.manifest import ArtifactRefused
from tidemill_trainer.application.ports import Artifacts, Inspector, Spool, Versions
from tidemill_trainer.application.references import References
from tidemill_trainer.domain.model_version import ModelVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadModelFile:
    """The file is spooled, verified and inspected, then stored, then recorded; an interrupted call records nothing.

    Repeating an upload stores the file again. A forbidden file fails the whole version: emits ModelVersionHasFailed.
    """

    versions: Versions
    references: References
    spool: Spool
    inspector: Inspector
    artifacts: Artifacts
    clock: Clock

    async def __call__(
        self, caller: Caller, *, version_id: str, path: str, chunks: AsyncIterator[bytes]
    ) -> ModelVersion:
        """Return the version, with the file recorded as stored.

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

    async def _fail(self, version: ModelVersion, refused: ArtifactRefused) -> None:
        now = self.clock.now()
        await self.versions.update(
            version.project,
            version.id,
            lambda v: v.fail(reason=refused.reason, message=refused.message, now=now),
            request=Request.internal(),
        )
