"""Ports of the registry."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Aggregates
from tidemill_core.models.manifest import ArtifactFile
from tidemill_trainer.registry.domain.base_facts import FileFacts
from tidemill_trainer.registry.domain.model import Model
from tidemill_trainer.registry.domain.model_version import ModelVersion

Models = Aggregates[Model]
Versions = Aggregates[ModelVersion]


class Artifacts(Protocol):
    """The exchange bucket, from which other services read the files of versions."""

    async def put(self, project: str, version: str, *, file: ArtifactFile, local: Path) -> ObjectRef:
        """Store a verified local file; overwrites the same object.

        Raises:
            DependencyUnavailable: the store does not answer.

        """
        ...

    async def get(self, stored: ObjectRef, local: Path) -> None:
        """Write an object to a local file, compared with its digest.

        Raises:
            ObjectMissing: it was erased.
            DependencyUnavailable: the store does not answer.

        """
        ...

    async def is_whole(self, stored: ObjectRef) -> bool:
        """Return whether the object exists with the recorded size."""
        ...


class Spool(Protocol):
    """Local disk space for uploads that are not verified yet, and for downloads."""

    def hold(self, file: ArtifactFile) -> AbstractAsyncContextManager[Path]:
        """Give an empty file with space for another one; it is deleted when the context exits.

        Raises:
            DependencyUnavailable: the disk is full.

        """
        ...

    def receive(self, file: ArtifactFile, chunks: AsyncIterator[bytes]) -> AbstractAsyncContextManager[Path]:
        """Write the chunks to a file that is deleted when the context exits.

        Raises:
            UploadRefused: more or fewer bytes than announced, or other ones.
            DependencyUnavailable: the disk is full.

        """
        ...


class Inspector(Protocol):
    """Inspects a file's content without loading it."""

    async def inspect(self, path: str, local: Path) -> FileFacts:
        """Return the facts for training that the file contains.

        Raises:
            ArtifactRefused: names the file and what is wrong in it.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file of a repository with the digest that the hub publishes: sha256, or git's blob id (sha1)."""

    path: str
    size: int
    sha256: str = ""
    blob_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A repository at one commit."""

    project: str
    """The requesting project: a private repository is visible to some projects only."""
    repository: str
    commit: str
    files: Sequence[HubFile]


class Hub(Protocol):
    """The Hugging Face hub, or a server with its API.

    `project` is the requesting project: not every repository is visible to all. Every call raises DependencyUnavailable
    if the hub is unavailable, and SourceRefused if a repository, revision or file does not exist or is not accessible.
    """

    async def commit_of(self, project: str, /, repository: str, revision: str) -> str:
        """Resolve a branch, tag or commit to a commit."""
        ...

    async def snapshot(self, project: str, /, repository: str, commit: str) -> Snapshot:
        """Return the repository's files at a commit."""
        ...

    def fetch(self, snapshot: Snapshot, file: HubFile) -> AbstractAsyncContextManager[tuple[ArtifactFile, Path]]:
        """Download one file and verify it against the hub's digests.

        The local file is deleted when the context exits; an interrupted download is resumed by the next call.
        """
        ...
