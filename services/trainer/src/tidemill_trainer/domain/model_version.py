"""One immutable set of weights, or one remote model, on its way to being loadable."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from tidemill_kit.core.aggregate import Aggregate, Event, ObjectRef
from tidemill_kit.models.manifest import ArtifactFile, Manifest
from tidemill_trainer.domain.base_facts import BaseFacts, FileFacts
from tidemill_trainer.domain.errors import FileNotExpected, FilesMissing, ImportLost, VersionNotUploading
from tidemill_trainer.domain.model import version_id
from tidemill_trainer.domain.sources import FolderSource, HuggingFaceSource, OpenAiSource, Source, TrainedSource


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersionWasRegistered(Event):
    """The version may be loaded."""

    model: str
    digest: str
    total_bytes: int
    trained: TrainedSource | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersionHasFailed(Event):
    """The version was refused and will never be loaded."""

    model: str
    reason: str
    message: str


class VersionState(Enum):
    """READY and FAILED are final."""

    UPLOADING = "uploading"
    IMPORTING = "importing"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One file of a version; `object` is set once its bytes are stored and verified."""

    file: ArtifactFile
    object: ObjectRef | None = None
    facts: FileFacts | None = None
    """What it says of a base; None where it was stored before it was asked, or is none of a base."""


@dataclass(slots=True, kw_only=True)
class ModelVersion(Aggregate):
    """UPLOADING (files come from the client) or IMPORTING (a worker fetches them), then READY or FAILED."""

    model: str
    number: int
    source: Source
    state: VersionState
    begun_by: str
    """The id of the request that began it."""
    artifacts: tuple[Artifact, ...] = ()
    digest: str = ""
    expected_bytes: int = 0
    """Bytes of all files as far as they are known."""
    message: str = ""
    epoch: int = 0
    """The lease epoch of the worker that imports it: only that worker's writes count."""

    @classmethod
    def begin(  # noqa: PLR0913 - all of it is known at once, and fixed from then on
        cls, *, project: str, model: str, number: int, source: Source, labels: dict[str, str], by: str, now: datetime
    ) -> "ModelVersion":
        """Return a new version: a remote one is ready at once, the others wait for their files."""
        state = VersionState.IMPORTING if isinstance(source, HuggingFaceSource) else VersionState.UPLOADING
        version = cls(
            id=version_id(model, number),
            project=project,
            labels=labels,
            model=model,
            number=number,
            source=source,
            state=state,
            begun_by=by,
        )
        match source:
            case FolderSource(manifest=manifest):
                version.artifacts = tuple(Artifact(file=file) for file in manifest.files)
                version.digest = manifest.digest
                version.expected_bytes = manifest.total_bytes
            case HuggingFaceSource():
                version.message = "waits for a worker"
            case OpenAiSource():
                version.digest = source.key
                version._register(now)
        return version

    @classmethod
    def trained(  # noqa: PLR0913 - all of it is known at once, and fixed from then on
        cls,
        *,
        project: str,
        model: str,
        number: int,
        source: TrainedSource,
        artifacts: Sequence[Artifact],
        now: datetime,
    ) -> "ModelVersion":
        """Return the version that a run made: its files are stored and verified, so it is ready at once."""
        version = cls(
            id=version_id(model, number),
            project=project,
            model=model,
            number=number,
            source=source,
            state=VersionState.IMPORTING,
            begun_by=source.run,
            artifacts=tuple(sorted(artifacts, key=lambda artifact: artifact.file.path)),
        )
        version.digest, version.expected_bytes = version.manifest.digest, version.manifest.total_bytes
        version._register(now)
        return version

    @property
    def is_final(self) -> bool:
        """True when nothing about its files changes any more."""
        return self.state in {VersionState.READY, VersionState.FAILED}

    @property
    def manifest(self) -> Manifest:
        """The files that are known so far."""
        return Manifest(files=tuple(artifact.file for artifact in self.artifacts))

    @property
    def facts(self) -> BaseFacts:
        """What its files say of it as a base."""
        return BaseFacts.of((artifact.file.path, artifact.facts) for artifact in self.artifacts)

    @property
    def missing(self) -> Sequence[str]:
        """Paths of the files that are not stored yet."""
        return [artifact.file.path for artifact in self.artifacts if artifact.object is None]

    @property
    def stored_bytes(self) -> int:
        """Bytes stored so far."""
        return sum(artifact.file.size for artifact in self.artifacts if artifact.object)

    def expected(self, path: str) -> ArtifactFile:
        """Return the file that the client may upload under this path; a stored one may come again.

        Raises:
            VersionNotUploading: the version failed, or is fetched by the trainer itself.
            FileNotExpected: the manifest has no such file.

        """
        if self.state is VersionState.FAILED or not isinstance(self.source, FolderSource):
            raise VersionNotUploading(self.id, state=self.state.value, message=self.message)
        for artifact in self.artifacts:
            if artifact.file.path == path:
                return artifact.file
        raise FileNotExpected(self.id, path, expected=[artifact.file.path for artifact in self.artifacts])

    def store(self, path: str, stored: ObjectRef, facts: FileFacts | None = None) -> None:
        """Mark an uploaded file as stored."""
        self.expected(path)
        if self.state is VersionState.UPLOADING:
            self._replace(path, stored, facts)

    def lose(self, paths: Sequence[str]) -> None:
        """Mark files as not stored, because the store no longer has them: they can be uploaded again."""
        if self.state is VersionState.UPLOADING:
            for path in paths:
                self._replace(path, None)

    def complete(self, now: datetime) -> None:
        """Make an uploaded version ready; one that is ready or failed stays what it is.

        Raises:
            VersionNotUploading: it is fetched by the trainer itself.
            FilesMissing: not all files are stored.

        """
        if self.is_final:
            return
        if self.state is not VersionState.UPLOADING:
            raise VersionNotUploading(self.id, state=self.state.value, message=self.message)
        if self.missing:
            raise FilesMissing(self.id, missing=self.missing)
        self._register(now)

    def fail(self, *, reason: str, message: str, now: datetime) -> None:
        """Refuse the version for good."""
        if self.is_final:
            return
        self.state, self.message = VersionState.FAILED, message
        self.pending.append(ModelVersionHasFailed(occurred_at=now, model=self.model, reason=reason, message=message))

    def discard(self) -> None:
        """Leave a tombstone, because the model was deleted: the model's own event tells it."""
        self.deleted = True

    def name_secret(self, secret: str) -> None:
        """Let a remote model use another secret."""
        if isinstance(self.source, OpenAiSource):
            self.source = replace(self.source, api_key_secret=secret)

    def claim(self, epoch: int) -> None:
        """Let the worker of this lease epoch import it.

        Raises:
            ImportLost: a later epoch has it, or nothing is left to import.

        """
        if epoch < self.epoch or self.state is not VersionState.IMPORTING or self.deleted:
            raise ImportLost(self.id)
        self.epoch = epoch

    def resolve(self, commit: str, *, expected_bytes: int, epoch: int) -> None:
        """Fix what the named revision means, once and for all."""
        self._refuse_unless_claimed(epoch)
        if isinstance(self.source, HuggingFaceSource):
            self.source = replace(self.source, commit=commit)
        self.expected_bytes = expected_bytes
        self.message = ""

    def store_fetched(self, artifact: Artifact, *, epoch: int) -> None:
        """Add a file that the worker fetched, verified and stored."""
        self._refuse_unless_claimed(epoch)
        others = [other for other in self.artifacts if other.file.path != artifact.file.path]
        self.artifacts = tuple(sorted([*others, artifact], key=lambda each: each.file.path))

    def wait(self, message: str, *, epoch: int) -> None:
        """Say what the import waits for."""
        self._refuse_unless_claimed(epoch)
        self.message = message

    def complete_fetched(self, now: datetime, *, epoch: int) -> None:
        """Make a fetched version ready."""
        self._refuse_unless_claimed(epoch)
        self.digest, self.expected_bytes, self.message = self.manifest.digest, self.manifest.total_bytes, ""
        self._register(now)

    def fail_fetched(self, *, reason: str, message: str, now: datetime, epoch: int) -> None:
        """Refuse a fetched version for good."""
        self._refuse_unless_claimed(epoch)
        self.fail(reason=reason, message=message, now=now)

    def _refuse_unless_claimed(self, epoch: int) -> None:
        if epoch != self.epoch or self.state is not VersionState.IMPORTING or self.deleted:
            raise ImportLost(self.id)

    def _replace(self, path: str, stored: ObjectRef | None, facts: FileFacts | None = None) -> None:
        self.artifacts = tuple(
            replace(artifact, object=stored, facts=facts) if artifact.file.path == path else artifact
            for artifact in self.artifacts
        )

    def _register(self, now: datetime) -> None:
        self.state = VersionState.READY
        self.pending.append(
            ModelVersionWasRegistered(
                occurred_at=now,
                model=self.model,
                digest=self.digest,
                total_bytes=self.expected_bytes,
                trained=self.source if isinstance(self.source, TrainedSource) else None,
            )
        )
