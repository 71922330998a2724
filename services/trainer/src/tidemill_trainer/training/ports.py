"""Ports of training."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tidemill_core.application import Aggregates, Caller, ResourceKey
from tidemill_core.models.manifest import ArtifactFile
from tidemill_trainer.registry.domain.memorisation import Memorisation
from tidemill_trainer.registry.domain.model_version import ModelVersion
from tidemill_trainer.registry.domain.reward_model import PairAccuracy
from tidemill_trainer.training.domain.curves import Curve
from tidemill_trainer.training.domain.fit import Choice, ExampleCounts, Fit
from tidemill_trainer.training.domain.guidance import PinnedJudge
from tidemill_trainer.training.domain.losses import LossPoint
from tidemill_trainer.training.domain.plan import DatasetVersion, TrainingPlan
from tidemill_trainer.training.domain.recipe import Recipe
from tidemill_trainer.training.domain.run import TrainingRun
from tidemill_trainer.training.domain.trial import HeldOut

Plans = Aggregates[TrainingPlan]
Runs = Aggregates[TrainingRun]


class ImportedRuns(Protocol):
    """Counts the runs of a project that were imported."""

    async def count(self, project: str, *, up_to: int) -> int:
        """Return how many there are, counting no further than `up_to`.

        Raises:
            DependencyUnavailable: the store does not answer.

        """
        ...


class PlannedSweeps(Protocol):
    """The sweeps that plans declare for new versions of their datasets."""

    async def check(self, plan: TrainingPlan) -> None:
        """Return if the plan's sweep could start, or it has none.

        Raises:
            InvalidInput: names field, value and what is allowed.
            ModelNotFound, ModelVersionNotFound, BaseNotTrainable, RecipeNotForBase: as of the plan itself.

        """
        ...

    async def started(self, plan: TrainingPlan, version: DatasetVersion) -> bool:
        """Return whether a dataset version started a sweep of the plan, and notify its controller."""
        ...

    async def start(self, plan: TrainingPlan, version: DatasetVersion) -> None:
        """Start the plan's sweep of a dataset version, once, on its train split as it is now.

        Raises:
            InvalidInput, NotFound, PreconditionFailed: it cannot start, as by `check`, or the project has too many.
            DependencyUnavailable: ingest does not answer.

        """
        ...


class References(Protocol):
    """Resolves references to versions of the registry."""

    async def version(self, project: str, reference: str, *, field: str) -> ModelVersion:
        """Return `model@number`, or the newest ready version of `model`; errors name `field`.

        Raises:
            InvalidInput: the reference is neither.
            ModelNotFound: names the models that exist.
            ModelVersionNotFound: names the versions that exist.

        """
        ...

    async def base_of(self, project: str, version: ModelVersion) -> ModelVersion | None:
        """Return the base of an adapter of another project, which is shared with it; None of all others."""
        ...


class Datasets(Protocol):
    """Dataset versions of ingest and their train splits."""

    async def version(self, caller: Caller, reference: str) -> DatasetVersion:
        """Return `dataset@number`, or the newest version of `dataset`.

        Raises:
            DatasetVersionNotFound: there is none.
            ApprovalMissing: it lacks approvals.
            DependencyUnavailable: ingest does not answer.

        """
        ...

    def check(self, project: str, version: DatasetVersion) -> None:
        """Check that the version's train split is in a location allowed for this project.

        Raises:
            DatasetVersionNotFound: it belongs to another project, which does not share it.
            PermissionDenied: it lies elsewhere.

        """
        ...

    async def fetch(self, project: str, version: DatasetVersion, target: Path) -> DatasetVersion:
        """Download and verify the train split; return the version as it is now: examples may have been erased of it.

        Raises:
            DatasetVersionNotFound: it was deleted, or belongs to another project, which does not share it any more.
            ObjectMissing: its train split was lost.
            PermissionDenied: it lies elsewhere than where this project's may lie.
            DependencyUnavailable: the store does not answer.

        """
        ...

    async def fetch_held_out(self, project: str, version: str, target: Path) -> bool:
        """Download and verify the held-out split of `dataset@number` as it is now; return False if it has no examples.

        Raises:
            As `fetch`.

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
    """Working folder of a run on local disk; its checkpoints outlive the process."""

    path: Path

    @property
    def examples(self) -> Path:
        """The train split, JSON lines."""
        return self.path / "train.jsonl"

    @property
    def held_out(self) -> Path:
        """The held-out split, JSON lines; only of a reward model."""
        return self.path / "held_out.jsonl"

    @property
    def judged(self) -> Path:
        """What a judge has said of generated answers, by digest, so that no checkpoint has it asked again."""
        return self.path / "judged.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints from which a training resumes."""
        return self.path / "checkpoints"

    @property
    def made(self) -> Path:
        """The files of the version: an adapter's, or those of full weights."""
        return self.path / "made"


class Folders(Protocol):
    """Manages the working folders of runs."""

    async def open(self, run: ResourceKey) -> RunFolder:
        """Return the run's folder; create it if needed."""
        ...

    async def remove(self, run: ResourceKey) -> None:
        """Remove the run's folder if it exists."""
        ...

    async def clean(self, run: ResourceKey) -> None:
        """Delete everything in the run's folder except checkpoints and scores: the rest contains users' texts."""
        ...

    async def found(self) -> Sequence[ResourceKey]:
        """Return the runs that have a folder here."""
        ...

    async def sweep(self, busy: Callable[[], Collection[ResourceKey]]) -> None:
        """Clean the folders of the runs that are not busy and remove those past their retention."""
        ...

    async def write_card(self, folder: RunFolder, text: str) -> None:
        """Write the model card beside what was trained."""
        ...

    async def made_files(self, folder: RunFolder) -> Sequence[ArtifactFile]:
        """Return the files of what was trained with sizes and digests.

        Raises:
            ArtifactRefused: a file may not be part of a model.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolders:
    """A model on local disk that a run learns from: an adapter and its base, or full weights alone."""

    base: Path
    adapter: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedAnswer:
    """A generated answer for a judge; `asked` are the turns before it, as role and text."""

    asked: Sequence[tuple[str, str]]
    answer: str
    reference: str


class Judges(Protocol):
    """The judges of evaluator. Raises DependencyUnavailable, RateLimited if it, or what judges, does not answer."""

    async def pin(self, caller: Caller, judge: str, *, model: str, trained: str) -> PinnedJudge:
        """Return the version that a judge is now, if it may score what a model is trained by.

        It answers as `model@version` at first, and is the next version of `trained` then.

        Raises:
            PreconditionFailed: it may not, with evaluator's reason, or evaluator is not named here.

        """
        ...

    async def score(self, caller: Caller, judge: str, *, version: str, answer: JudgedAnswer) -> float | None:
        """Return the score, 0 to 1; None where it has not judged.

        Raises:
            InvalidInput: no judge is asked about such an answer.
            PreconditionFailed: it is another version by now, or gone, or agrees too little with people.

        """
        ...


class Judging(Protocol):
    """What scores the answers of a run."""

    async def scores(self, answers: Sequence[JudgedAnswer]) -> Sequence[float | None]:
        """Return the score of each, None where it has none; what is known already is not asked again.

        Raises:
            TrainingFailed: the judge may not judge any more, does not judge, or its calls are spent.
            DependencyUnavailable: it does not answer.

        """
        ...

    @property
    def counted(self) -> "Judged":
        """What was asked so far."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """Input of a training process."""

    folder: RunFolder
    base: Path
    base_name: str
    recipe: Recipe
    seconds_left: float
    memory_bytes: int
    processes: int = 1
    """How many compute it together."""
    devices: Sequence[str] = ()
    """The GPUs that it has, as CUDA_VISIBLE_DEVICES names them; of none, what the worker's process sees."""
    memory_auto: bool = False
    """Choose a batch that fits the available memory, at most `memory_bytes`."""
    smaller_than: Choice | None = None
    """The choice that ran out of memory before, if any."""
    held_out: HeldOut | None = None
    """Of a trial, which makes no version."""
    reward_models: Mapping[str, ModelFolders] = field(default_factory=dict)
    """Of the recipe's rewards that are reward models, by their name."""
    teacher: ModelFolders | None = None
    """Of the recipe's teacher, if it has one."""
    measures_accuracy: bool = False
    """Of a reward model: whether the folder has a held-out split to measure it on."""
    canary_origin: str = ""
    """What canaries are drawn by, where the recipe plants any."""
    judging: Judging | None = None
    """Of the recipe's judge, if it has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Reported before weights are loaded: the memory estimate and the example counts."""

    fit: Fit
    examples: ExampleCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """Reported when everything is loaded; `step` is the step of the checkpoint it resumed from, else 0."""

    step: int
    steps: int
    versions: Mapping[str, str]
    losses: Sequence[LossPoint] = ()
    held_out_losses: Sequence[LossPoint] = ()
    curves: Sequence[Curve] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped:
    """Reported after each step; `loss` and `numbers`, what is logged beside it, only at logged steps."""

    step: int
    steps: int
    loss: float | None
    remaining_s: float
    numbers: Mapping[str, float] = field(default_factory=dict)
    peak_memory_bytes: int = 0
    peak_device_memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """Reported when a checkpoint of a step is complete."""

    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Reported when a trial was measured on its held-out part."""

    step: int
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Reported when a reward model was measured on the held-out split, after its last step."""

    accuracy: PairAccuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class Memorised:
    """Reported when a model was measured by the canaries that it learnt, after its last step."""

    memorisation: Memorisation


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Reported when answers were judged: how many calls and answers there are so far, and those without a score."""

    calls: int
    answers: int
    unscored: int


Report = Fitted | Begun | Stepped | Saved | Measured | Scored | Memorised | Judged


class Trainings(Protocol):
    """Runs trainings in child processes."""

    def running(self, job: TrainingJob) -> AbstractAsyncContextManager[AsyncIterator[Report]]:
        """Start the process and yield its reports until it is done; leaving the context kills it.

        Raises:
            TrainingFailed: with the reason, while it is read.

        """
        ...
