"""What trainer needs from outside."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tidemill_kit.application import Aggregates
from tidemill_kit.domain import ObjectRef
from tidemill_kit.manifest import ArtifactFile
from tidemill_trainer.domain.model import Model
from tidemill_trainer.domain.model_version import ModelVersion

Models = Aggregates[Model]
Versions = Aggregates[ModelVersion]


class Artifacts(Protocol):
    """The exchange bucket, where other services read the files of versions."""

    async def put(self, project: str, version: str, *, file: ArtifactFile, local: Path) -> ObjectRef:
        """Store a verified local file; the same again is stored again.

        Raises:
            DependencyUnavailable: the store does not answer.

        """
        ...

    async def is_whole(self, stored: ObjectRef) -> bool:
        """Return whether the object is there with the size it should have."""
        ...


class Spool(Protocol):
    """A bounded place on local disk where bytes wait until they are verified."""

    def receive(self, file: ArtifactFile, chunks: AsyncIterator[bytes]) -> AbstractAsyncContextManager[Path]:
        """Write the chunks to a file that exists while the context does, whatever happens.

        Raises:
            UploadRefused: more or fewer bytes than announced, or other ones.
            DependencyUnavailable: the disk is full.

        """
        ...


class Inspector(Protocol):
    """Looks into a file, without loading it, for what its name does not show."""

    async def inspect(self, path: str, local: Path) -> None:
        """Return quietly when the file may be loaded.

        Raises:
            ArtifactRefused: names the file and what is wrong in it.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file of a repository, with whichever digest the hub tells: sha256, or git's blob id (sha1)."""

    path: str
    size: int
    sha256: str = ""
    blob_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A repository at one commit."""

    repository: str
    commit: str
    files: Sequence[HubFile]


class Hub(Protocol):
    """The Hugging Face hub, or one that speaks like it.

    Every call raises DependencyUnavailable where the hub does not answer, and SourceRefused where it answers that
    the repository, revision or file is not there or not for us.
    """

    async def commit_of(self, repository: str, revision: str) -> str:
        """Return the commit that a branch, tag or commit means now."""
        ...

    async def snapshot(self, repository: str, commit: str) -> Snapshot:
        """Return what the repository holds at a commit."""
        ...

    def fetch(self, snapshot: Snapshot, file: HubFile) -> AbstractAsyncContextManager[tuple[ArtifactFile, Path]]:
        """Download one file and verify it against what the hub announced.

        The local file is gone after the context; a download that broke off goes on where it stopped.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionName:
    """One version, across projects: what a worker works on."""

    project: str
    version: str


class Wanted(Protocol):
    """Finds the work of workers; seldom called, and never on the way of a request."""

    async def imports(self) -> Sequence[VersionName]:
        """Return the versions that wait to be fetched."""
        ...


class ImportLeases(Protocol):
    """Makes sure that one worker at a time imports a version."""

    def held(self, version: VersionName) -> AbstractAsyncContextManager[int | None]:
        """Hold the lease while the context lasts, and give its epoch; None where another worker holds it.

        Raises:
            ImportLost: the lease ran out meanwhile; the body was cancelled where it waited.

        """
        ...
