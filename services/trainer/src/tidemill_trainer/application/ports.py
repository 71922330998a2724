"""What trainer needs from outside."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tidemill_kit.core.aggregate import ObjectRef
from tidemill_kit.core.application import Aggregates
from tidemill_kit.models.manifest import ArtifactFile
from tidemill_trainer.domain.base_facts import FileFacts
from tidemill_trainer.domain.fit import Choice, ExampleCounts, Fit
from tidemill_trainer.domain.losses import LossPoint
from tidemill_trainer.domain.model import Model
from tidemill_trainer.domain.model_version import ModelVersion
from tidemill_trainer.domain.recipe import Recipe
from tidemill_trainer.domain.training_plan import DatasetVersion, TrainingPlan
from tidemill_trainer.domain.training_run import TrainingRun

Models = Aggregates[Model]
Versions = Aggregates[ModelVersion]
Plans = Aggregates[TrainingPlan]
Runs = Aggregates[TrainingRun]


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

    async def inspect(self, path: str, local: Path) -> FileFacts:
        """Return what the file says of a base, when it may be loaded.

        Raises:
            ArtifactRefused: names the file and what is wrong in it.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file of a repository, with whichever digest the hub reports: sha256, or git's blob id (sha1)."""

    path: str
    size: int
    sha256: str = ""
    blob_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A repository at one commit."""

    project: str
    """Who asked for it: a private repository is there for some projects only."""
    repository: str
    commit: str
    files: Sequence[HubFile]


class Hub(Protocol):
    """The Hugging Face hub, or one that speaks like it.

    `project` is who asks: not every repository is there for all. Every call raises DependencyUnavailable where the hub
    does not answer, and SourceRefused where it answers that a repository, revision or file is not there, or not for us.
    """

    async def commit_of(self, project: str, /, repository: str, revision: str) -> str:
        """Return the commit that a branch, tag or commit means now."""
        ...

    async def snapshot(self, project: str, /, repository: str, commit: str) -> Snapshot:
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


class PendingImports(Protocol):
    """Finds the work of workers; seldom called, and never on the way of a request."""

    async def imports(self, *, without: Collection[str] = ()) -> Sequence[VersionName]:
        """Return versions that wait to be fetched, of other projects than those in `without`."""
        ...


class ImportLeases(Protocol):
    """Makes sure that one worker at a time imports a version."""

    def held(self, version: VersionName) -> AbstractAsyncContextManager[int | None]:
        """Hold the lease while the context lasts, and give its epoch; None where another worker holds it.

        Raises:
            ImportLost: the lease ran out meanwhile; the body was cancelled where it waited.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunName:
    """One run, across projects: what a worker works on."""

    project: str
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanName:
    """One plan, across projects: what a worker finishes."""

    project: str
    plan: str


class PendingRuns(Protocol):
    """Finds the runs in work and the plans with a deferred one; seldom called, and never on the way of a request."""

    async def runs(self, *, without: Collection[str] = ()) -> Sequence[RunName]:
        """Return runs that wait for a worker or have one, oldest first, of other projects than those in `without`."""
        ...

    async def deferred(self) -> Sequence[PlanName]:
        """Return the plans that owe a run and are not paused: somebody was killed while they were let go on."""
        ...


class RunLeases(Protocol):
    """Makes sure that one worker at a time trains a run."""

    def held(self, run: RunName) -> AbstractAsyncContextManager[int | None]:
        """Hold the lease while the context lasts, and give its epoch; None where another worker holds it.

        Raises:
            RunLost: the lease ran out meanwhile; the body was cancelled where it waited.

        """
        ...


class Datasets(Protocol):
    """Versions of datasets, as ingest knows them, and their train parts."""

    async def version(self, project: str, reference: str) -> DatasetVersion:
        """Return `dataset@number`, or for `dataset` its newest version.

        Raises:
            DatasetVersionNotFound: there is none.
            DependencyUnavailable: ingest does not answer.

        """
        ...

    def check(self, project: str, version: DatasetVersion) -> None:
        """Refuse a version whose train part lies elsewhere than where this project's may lie.

        Raises:
            PermissionDenied: it does.

        """
        ...

    async def fetch(self, project: str, version: DatasetVersion, target: Path) -> None:
        """Write the verified train part to a file.

        Raises:
            ObjectMissing: it was erased.
            PermissionDenied: it lies elsewhere than where this project's may lie.
            DependencyUnavailable: the store does not answer.

        """
        ...


class Bases(Protocol):
    """Base models on local disk."""

    async def fetch(self, version: ModelVersion) -> Path:
        """Return a folder with exactly the version's files, each of them verified in this call.

        Raises:
            ArtifactRefused: a file is damaged.
            DependencyUnavailable: the store does not answer, or the disk is full.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """Where a run works on local disk: checkpoints in it outlive the process."""

    path: Path

    @property
    def examples(self) -> Path:
        """The train part, JSON lines."""
        return self.path / "train.jsonl"

    @property
    def checkpoints(self) -> Path:
        """What a training goes on from."""
        return self.path / "checkpoints"

    @property
    def adapter(self) -> Path:
        """What the training made."""
        return self.path / "adapter"


class Folders(Protocol):
    """Makes and removes folders of runs."""

    async def open(self, run: RunName) -> RunFolder:
        """Return the run's folder, made where it is not there."""
        ...

    async def remove(self, run: RunName) -> None:
        """Remove the run's folder, where it is there."""
        ...

    async def clean(self, run: RunName) -> None:
        """Leave only the checkpoints in the run's folder: a retry goes on from them, the rest has texts of users."""
        ...

    async def sweep(self, busy: Collection[RunName]) -> None:
        """Clean the folders of all other runs than these, and remove those that nothing has used for long."""
        ...

    async def write_card(self, folder: RunFolder, text: str) -> None:
        """Write the model card beside the adapter."""
        ...

    async def adapter_files(self, folder: RunFolder) -> Sequence[ArtifactFile]:
        """Return what lies in the adapter's folder, measured.

        Raises:
            ArtifactRefused: a file may not be part of a model.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """What a training process is told."""

    folder: RunFolder
    base: Path
    base_name: str
    recipe: Recipe
    seconds_left: float
    memory_bytes: int
    memory_auto: bool = False
    """True lets the process pick what fits what the machine has available, at most `memory_bytes`."""
    smaller_than: Choice | None = None
    """What it picked before, where that took too much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """The process knows what it will take, and what of its examples; nothing is loaded yet."""

    fit: Fit
    examples: ExampleCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """The process has loaded everything; `step` is where a checkpoint let it go on."""

    step: int
    steps: int
    versions: Mapping[str, str]
    losses: Sequence[LossPoint] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped:
    """One more step is done; `loss` where it was logged."""

    step: int
    steps: int
    loss: float | None
    remaining_s: float


Report = Fitted | Begun | Stepped


class Trainings(Protocol):
    """Runs trainings in processes of their own."""

    def running(self, job: TrainingJob) -> AbstractAsyncContextManager[AsyncIterator[Report]]:
        """Start the process, and give what it reports until it is done; leaving the context kills it.

        Raises:
            TrainingFailed: with the reason, while it is read.

        """
        ...
