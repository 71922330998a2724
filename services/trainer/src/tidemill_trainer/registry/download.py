"""Download the files of a version."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tidemill_core.application import Caller
from tidemill_trainer.errors import VersionNotReady
from tidemill_trainer.registry.domain.model_version import VersionState
from tidemill_trainer.registry.ports import Artifacts, Spool
from tidemill_trainer.registry.references import References


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadVersion:
    """Only versions of the caller's project: what another one shares is served, and not given away."""

    references: References
    spool: Spool
    artifacts: Artifacts

    @asynccontextmanager
    async def file(self, caller: Caller, *, version_id: str, path: str) -> AsyncIterator[Path]:
        """Give a file of a version, compared with its digest, as a local one that is deleted when the context exits.

        Raises:
            ModelNotFound, ModelVersionNotFound: name those that exist.
            VersionNotReady: it may not be loaded.
            FileNotExpected: names the files of the version.
            ObjectMissing: it was erased.
            DependencyUnavailable: the store does not answer, or the disk is full.

        """
        version = await self.references.version(caller.project, version_id, field="version")
        if version.state is not VersionState.READY:
            raise VersionNotReady(version.id, state=version.state.value)
        file, stored = version.stored(path)
        async with self.spool.hold(file) as local:
            await self.artifacts.get(stored, local)
            yield local
