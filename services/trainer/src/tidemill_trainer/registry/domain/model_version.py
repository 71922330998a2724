"""A model version: an immutable set of weights or a remote model, and its state."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from tidemill_core.aggregate import Aggregate, Event, ObjectRef
from tidemill_core.approvals import Approval, with_approval
from tidemill_core.models.manifest import ArtifactFile, Manifest
from tidemill_trainer.errors import FileNotExpected, FilesMissing, ImportLost, VersionNotUploading
from tidemill_trainer.registry.domain.base_facts import BaseFacts, FileFacts
from tidemill_trainer.registry.domain.memorisation import Memorisation
from tidemill_trainer.registry.domain.model import version_id
from tidemill_trainer.registry.domain.reward_model import ModelKind, RewardModel
from tidemill_trainer.registry.domain.sources import (
    DerivedSource,
    FolderSource,
    HuggingFaceSource,
    OpenAiSource,
    Source,
    TrainedSource,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersionWasRegistered(Event):
    """The version may be loaded."""

    model: str
    digest: str
    total_bytes: int
    trained: TrainedSource | None = None
    derived: DerivedSource | None = None


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
    """One file of a version; `object` is set when the file is verified and stored."""

    file: ArtifactFile
    object: ObjectRef | None = None
    facts: FileFacts | None = None
    """Facts for training; None for versions stored without facts and for adapters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionApproval:
    """A person's consent to a promotion."""

    approver: str
    approve_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """A rollout that made the version live; `decided_by` is the subject that promoted it by hand."""

    deployment: str
    rollout: str
    evaluation: str
    reason: str
    promote_time: datetime
    decided_by: str = ""
    approvals: tuple[VersionApproval, ...] = ()


MAX_PROMOTIONS = 20


@dataclass(slots=True, kw_only=True)
class ModelVersion(Aggregate):
    """UPLOADING (by the client) or IMPORTING (by a worker), then READY or FAILED."""

    model: str
    number: int
    source: Source
    state: VersionState
    begun_by: str
    """The id of the request that created it."""
    artifacts: tuple[Artifact, ...] = ()
    digest: str = ""
    expected_bytes: int = 0
    """Total bytes of the known files."""
    message: str = ""
    epoch: int = 0
    """Lease epoch of the importing worker; writes of other epochs are refused."""
    creator: str = ""
    """The subject of the credential that imported it, or had its run started; "" where there was none."""
    authors: tuple[str, ...] = ()
    """The creator, and all that shaped what it was trained by or derived from, or started or retried that."""
    promotions: tuple[Promotion, ...] = ()
    """The last rollouts that made it live."""
    approvals: tuple[Approval, ...] = ()
    reward_model: RewardModel | None = None
    """Of a reward model."""
    memorisation: Memorisation | None = None
    """Of a version whose run planted canaries."""

    @classmethod
    def begin(  # noqa: PLR0913 - all of it is known at once, and fixed from then on
        cls,
        *,
        project: str,
        model: str,
        number: int,
        source: Source,
        labels: dict[str, str],
        by: str,
        now: datetime,
        creator: str = "",
    ) -> "ModelVersion":
        """Return a new version: READY for a remote model, else waiting for its files."""
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
            creator=creator,
            authors=(creator,) if creator else (),
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
    def made(  # noqa: PLR0913 - all of it is known at once, and fixed from then on
        cls,
        *,
        project: str,
        model: str,
        number: int,
        source: TrainedSource | DerivedSource,
        artifacts: Sequence[Artifact],
        now: datetime,
        creator: str = "",
        authors: Sequence[str] = (),
        reward_model: RewardModel | None = None,
        memorisation: Memorisation | None = None,
    ) -> "ModelVersion":
        """Return the READY version of a run or a derivation, whose files are stored and verified."""
        version = cls(
            id=version_id(model, number),
            project=project,
            model=model,
            number=number,
            source=source,
            state=VersionState.IMPORTING,
            begun_by=source.run if isinstance(source, TrainedSource) else source.derivation,
            creator=creator,
            authors=tuple(authors),
            artifacts=tuple(sorted(artifacts, key=lambda artifact: artifact.file.path)),
            reward_model=reward_model,
            memorisation=memorisation,
        )
        version.digest, version.expected_bytes = version.manifest.digest, version.manifest.total_bytes
        version._register(now)
        return version

    @property
    def kind(self) -> ModelKind:
        """What it computes."""
        return ModelKind.REWARD_MODEL if self.reward_model else ModelKind.LANGUAGE_MODEL

    @property
    def base(self) -> str:
        """What it is an adapter of, "" for full weights."""
        return self.source.base if isinstance(self.source, TrainedSource) else ""

    @property
    def is_final(self) -> bool:
        """True if READY or FAILED."""
        return self.state in {VersionState.READY, VersionState.FAILED}

    @property
    def manifest(self) -> Manifest:
        """The files that are known so far."""
        return Manifest(files=tuple(artifact.file for artifact in self.artifacts))

    @property
    def facts(self) -> BaseFacts:
        """Facts for training, combined from its files."""
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
        """Return the manifest entry for an upload; stored files may be uploaded again.

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

    def stored(self, path: str) -> tuple[ArtifactFile, ObjectRef]:
        """Return a file, and where it is stored.

        Raises:
            FileNotExpected: it is not.

        """
        for artifact in self.artifacts:
            if artifact.file.path == path and artifact.object:
                return artifact.file, artifact.object
        raise FileNotExpected(self.id, path, expected=[each.file.path for each in self.artifacts if each.object])

    def store(self, path: str, stored: ObjectRef, facts: FileFacts | None = None) -> None:
        """Record an uploaded file as stored."""
        self.expected(path)
        if self.state is VersionState.UPLOADING:
            self._replace(path, stored, facts)

    def lose(self, paths: Sequence[str]) -> None:
        """Record files as missing from the store, so that they can be uploaded again."""
        if self.state is VersionState.UPLOADING:
            for path in paths:
                self._replace(path, None)

    def complete(self, now: datetime) -> None:
        """Make an uploaded version READY; no effect on READY and FAILED versions.

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
        """Fail the version."""
        if self.is_final:
            return
        self.state, self.message = VersionState.FAILED, message
        self.pending.append(ModelVersionHasFailed(occurred_at=now, model=self.model, reason=reason, message=message))

    def discard(self) -> None:
        """Turn the version into a tombstone; the model's event covers the deletion."""
        self.deleted = True

    def promote(self, promotion: Promotion) -> None:
        """Record a rollout that made it live, once; of very many the last are kept."""
        if promotion.rollout not in {each.rollout for each in self.promotions}:
            self.promotions = (*self.promotions, promotion)[-MAX_PROMOTIONS:]

    def approve(self, approval: Approval) -> None:
        """Record a person's approval, once."""
        self.approvals = with_approval(self.approvals, approval)

    def name_secret(self, secret: str) -> None:
        """Change the secret of a remote model."""
        if isinstance(self.source, OpenAiSource):
            self.source = replace(self.source, api_key_secret=secret)

    def claim(self, epoch: int) -> None:
        """Assign the import to the worker with this lease epoch.

        Raises:
            ImportLost: a later epoch has it, or nothing is left to import.

        """
        if epoch < self.epoch or self.state is not VersionState.IMPORTING or self.deleted:
            raise ImportLost(self.id)
        self.epoch = epoch

    def resolve(self, commit: str, *, expected_bytes: int, epoch: int) -> None:
        """Pin the commit of the named revision."""
        self._refuse_unless_claimed(epoch)
        if isinstance(self.source, HuggingFaceSource):
            self.source = replace(self.source, commit=commit)
        self.expected_bytes = expected_bytes
        self.message = ""

    def store_fetched(self, artifact: Artifact, *, epoch: int) -> None:
        """Add a file that the worker downloaded, verified and stored."""
        self._refuse_unless_claimed(epoch)
        others = [other for other in self.artifacts if other.file.path != artifact.file.path]
        self.artifacts = tuple(sorted([*others, artifact], key=lambda each: each.file.path))

    def wait(self, message: str, *, epoch: int) -> None:
        """Record what the import waits for."""
        self._refuse_unless_claimed(epoch)
        self.message = message

    def complete_fetched(self, now: datetime, *, epoch: int) -> None:
        """Make an imported version READY."""
        self._refuse_unless_claimed(epoch)
        self.digest, self.expected_bytes, self.message = self.manifest.digest, self.manifest.total_bytes, ""
        self._register(now)

    def fail_fetched(self, *, reason: str, message: str, now: datetime, epoch: int) -> None:
        """Fail an imported version."""
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
                derived=self.source if isinstance(self.source, DerivedSource) else None,
            )
        )
