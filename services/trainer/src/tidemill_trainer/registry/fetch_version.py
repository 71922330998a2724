"""Imports a version from the hub; a worker may be killed at any point and another one resumes."""

from collections.abc import Callable
from dataclasses import dataclass

from tidemill_core.application import Clock, Request, Requeue, ResourceKey
from tidemill_core.errors import DependencyUnavailable, InvalidInput, NotFound
from tidemill_trainer.errors import ImportLost
from tidemill_trainer.registry.domain.limits import ImportLimits
from tidemill_trainer.registry.domain.model_rules import check_model_files, is_data
from tidemill_trainer.registry.domain.model_version import Artifact, ModelVersion
from tidemill_trainer.registry.domain.sources import HuggingFaceSource
from tidemill_trainer.registry.ports import Artifacts, Hub, HubFile, Inspector, Models, Snapshot, Versions


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchVersion:
    """Emits ModelVersionWasRegistered or ModelVersionHasFailed.

    Writes of an earlier epoch of the version's lease are refused. The commit is resolved once.
    Stored files are not downloaded again: an interrupted import resumes at the next file, or within a file where its
    download stopped.
    """

    models: Models
    versions: Versions
    hub: Hub
    inspector: Inspector
    artifacts: Artifacts
    limits: ImportLimits
    clock: Clock

    async def __call__(self, key: ResourceKey, *, epoch: int) -> Requeue | None:
        """Import the version as the holder of this epoch of its lease."""
        try:
            return await self._import(key, epoch)
        except (ImportLost, NotFound):
            return None  # finished, deleted, or owned by another worker

    async def _import(self, key: ResourceKey, epoch: int) -> Requeue | None:
        version = await self._write(key, lambda v: v.claim(epoch))
        try:
            await self._fetch(key, version, epoch)
        except DependencyUnavailable as unavailable:
            message = f"waits for {unavailable.dependency}: {unavailable.message}"
            await self._write(key, lambda v: v.wait(message, epoch=epoch))
            return Requeue()
        except InvalidInput as refused:
            reason, text, now = refused.reason, refused.message, self.clock.now()
            await self._write(key, lambda v: v.fail_fetched(reason=reason, message=text, now=now, epoch=epoch))
        return None

    async def _fetch(self, key: ResourceKey, version: ModelVersion, epoch: int) -> None:
        source = version.source
        if not isinstance(source, HuggingFaceSource):  # claim() allows only these
            raise ImportLost(version.id)
        commit = source.commit or await self.hub.commit_of(key.project, source.repository, source.revision)
        snapshot = await self.hub.snapshot(key.project, source.repository, commit)
        files = self._loadable(snapshot)
        total = sum(file.size for file in files)
        await self._write(key, lambda v: v.resolve(commit, expected_bytes=total, epoch=epoch))
        stored = {artifact.file.path for artifact in version.artifacts if artifact.object}
        for file in files:
            if file.path not in stored:
                version = await self._fetch_file(key, snapshot, file, epoch)
        await self._remember(version, HuggingFaceSource(repository=source.repository, revision=commit))
        now = self.clock.now()
        await self._write(key, lambda v: v.complete_fetched(now, epoch=epoch))

    def _loadable(self, snapshot: Snapshot) -> list[HubFile]:
        """Return the allowed files, small ones first, so that a refused config costs no large download.

        Other files of the repository are ignored.
        """
        files = sorted((file for file in snapshot.files if is_data(file.path)), key=lambda file: (file.size, file.path))
        check_model_files([file.path for file in files])
        self.limits.check([(file.path, file.size) for file in files], field="source.hugging_face")
        return files

    async def _fetch_file(self, key: ResourceKey, snapshot: Snapshot, file: HubFile, epoch: int) -> ModelVersion:
        async with self.hub.fetch(snapshot, file) as (fetched, local):
            facts = await self.inspector.inspect(fetched.path, local)
            stored = await self.artifacts.put(key.project, key.id, file=fetched, local=local)
        artifact = Artifact(file=fetched, object=stored, facts=facts)
        return await self._write(key, lambda v: v.store_fetched(artifact, epoch=epoch))

    async def _remember(self, version: ModelVersion, pinned: HuggingFaceSource) -> None:
        """Record the content keys (files and commit) in the model, before the version becomes READY."""
        keys = [pinned.key, version.manifest.digest]
        await self.models.update(
            version.project,
            version.model,
            lambda model: model.know(keys, version.number),
            request=Request.internal(),
        )

    async def _write(self, key: ResourceKey, change: Callable[[ModelVersion], None]) -> ModelVersion:
        return await self.versions.update(key.project, key.id, change, request=Request.internal())
