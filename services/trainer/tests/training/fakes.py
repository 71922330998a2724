"""In-memory harness of training: datasets, bases and scripted trainings."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from services.trainer.tests.registry.fakes import ADA, Registry, model_files, safetensors
from services.trainer.tests.training.fake_imported_runs import FakeImportedRuns
from services.trainer.tests.training.fake_judges import FakeJudges
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller, Request, ResourceKey
from tidemill_core.errors import DependencyUnavailable, PermissionDenied
from tidemill_core.quotas import Quota
from tidemill_core.resources import Write, owner_of
from tidemill_testkit.stores import InMemoryAggregates
from tidemill_trainer.errors import (
    DatasetVersionNotFound,
    TrainingFailed,
    TrainingPlanNotFound,
    TrainingRunNotFound,
)
from tidemill_trainer.registry.domain.memorisation import Memorisation
from tidemill_trainer.registry.domain.model_version import ModelVersion
from tidemill_trainer.registry.domain.reward_model import PairAccuracy
from tidemill_trainer.registry.file_inspector import FileInspector
from tidemill_trainer.training.check_plan import CheckPlan
from tidemill_trainer.training.crud import TrainingPlanCrud
from tidemill_trainer.training.domain.plan import DatasetVersion, PlanSettings, TrainingPlan
from tidemill_trainer.training.domain.run import TrainingRun, run_id
from tidemill_trainer.training.import_run import ImportRun
from tidemill_trainer.training.judge_answers import JudgeAnswers, JudgingLimits
from tidemill_trainer.training.mongo import PLANS, RUNS
from tidemill_trainer.training.ports import (
    Begun,
    Fitted,
    JudgedAnswer,
    Measured,
    Memorised,
    PlannedSweeps,
    Report,
    Saved,
    Scored,
    Stepped,
    TrainingJob,
)
from tidemill_trainer.training.queue_run import QueueRun
from tidemill_trainer.training.register_trained import RegisterTrained
from tidemill_trainer.training.render_manifest import ClusterDefaults, RenderManifest
from tidemill_trainer.training.run_capacity import RunCapacity
from tidemill_trainer.training.run_folders import RunFolders
from tidemill_trainer.training.run_queue import RunQueue
from tidemill_trainer.training.runs import TrainingRunCrud
from tidemill_trainer.training.start_deferred_run import StartDeferredRun
from tidemill_trainer.training.start_runs_for_dataset_version import StartRunsForDatasetVersion
from tidemill_trainer.training.train_run import TrainingNeeds, TrainRun

IMPORTED_QUOTA = Quota(of="imported runs", limit=3, setting="TRAINER_MAX_IMPORTED_RUNS")
CLUSTER_DEFAULTS = ClusterDefaults(
    image="tidemill-trainer",
    max_processes=8,
    memory_bytes=2**32,
    min_examples=2,
    checkpoint_steps=1,
    numeric_format="float32",
    rank_timeout_s=60.0,
)
LINES = b'{"id": "1"}\n'
VERSIONS = {"torch": "2.13.0", "trl": "1.16.0"}


def dataset_version(
    number: int = 1, *, dataset: str = "sft", examples: int = 100, project: str = "acme"
) -> DatasetVersion:
    """Return a version whose train split is LINES."""
    digest = hashlib.sha256(LINES).hexdigest()
    train = ObjectRef(bucket="datasets", key=f"{project}/{dataset}/{digest}", size=len(LINES), sha256=digest)
    return DatasetVersion(id=f"{dataset}@{number}", train=train, examples=examples)


def plan_settings(**changes: object) -> PlanSettings:
    """Return plan settings."""
    said: dict[str, object] = {
        "dataset": "sft",
        "base": "smollm2",
        "method": "sft",
        "lora": {"r": 8.0},
        "args": {"max_steps": 4.0, "seed": 7.0},
    }
    return PlanSettings(**(said | changes))  # type: ignore[arg-type] # each test gives what the field takes


class FakeDatasets:
    """Versions by id; the one added last is the newest of its dataset."""

    def __init__(self) -> None:
        self.versions: dict[str, DatasetVersion] = {}
        self.away = False
        self.error: Exception | None = None
        self.held_out: bytes | None = LINES
        """The held-out split of every version; None has none."""

    def publish(self, version: DatasetVersion) -> DatasetVersion:
        self.versions[version.id] = self.versions[version.dataset] = version
        return version

    async def version(self, caller: Caller, reference: str) -> DatasetVersion:
        assert caller.project
        if reference not in self.versions:
            raise DatasetVersionNotFound(reference)
        return self.versions[reference]

    def check(self, project: str, version: DatasetVersion) -> None:
        if not version.train.key.startswith(f"{owner_of(version.dataset, project)}/"):
            message = "outside of its project"
            raise PermissionDenied(message)

    async def fetch(self, project: str, version: DatasetVersion, target: Path) -> DatasetVersion:
        self.check(project, version)
        if self.away:
            message = "no answer"
            raise DependencyUnavailable(message, dependency="s3")
        if self.error:
            raise self.error
        await asyncio.to_thread(target.write_bytes, LINES)
        return self.versions.get(version.id, version)

    async def fetch_held_out(self, project: str, version: str, target: Path) -> bool:
        assert version in self.versions
        assert project
        if self.held_out is None:
            return False
        await asyncio.to_thread(target.write_bytes, self.held_out)
        return True


class LatePlannedSweeps:
    """The sweeps that a test builds on training; plans without one need none."""

    def __init__(self) -> None:
        self.built: PlannedSweeps | None = None

    async def check(self, plan: TrainingPlan) -> None:
        if self.built:
            await self.built.check(plan)

    async def started(self, plan: TrainingPlan, version: DatasetVersion) -> bool:
        return self.built is not None and await self.built.started(plan, version)

    async def start(self, plan: TrainingPlan, version: DatasetVersion) -> None:
        assert self.built
        await self.built.start(plan, version)


class FakeBases:
    """All bases share one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.fetched: list[str] = []

    async def fetch(self, version: ModelVersion) -> Path:
        assert version.artifacts
        self.fetched.append(version.id)
        return self._folder


def adapter_config(**changes: object) -> Mapping[str, object]:
    """Return the relevant part of PEFT's adapter files."""
    return {"peft_type": "LORA", "base_model_name_or_path": "smollm2@1", "auto_mapping": None} | changes


@dataclass(kw_only=True)
class FakeTrainings:
    """Reports as scripted, then fails as scripted or writes an adapter."""

    losses: Sequence[float] = (2.0, 1.0)
    held_out: Callable[[TrainingJob], Sequence[float]] = lambda _job: (2.5, 1.5)
    """Of a trial, the losses on its held-out part."""
    fitted: Fitted | None = None
    out_of_memory: int = 0
    """Number of trainings that run out of memory first."""
    error: Exception | None = None
    config: Mapping[str, object] = field(default_factory=adapter_config)
    accuracy: PairAccuracy | None = None
    """What a reward model is reported to reach where there are held-out pairs."""
    memorisation: Memorisation | None = None
    """What is reported where canaries are planted."""
    made: Mapping[str, bytes] | None = None
    """What is written in place of an adapter."""
    more_files: Mapping[str, bytes] = field(default_factory=dict)
    before_begin: Callable[[], None] = lambda: None
    gate: asyncio.Event | None = None
    """If set, a training waits for it after its first step."""
    saves: bool = False
    """Whether it has a checkpoint of each step."""
    jobs: list[TrainingJob] = field(default_factory=list)
    killed: int = 0
    numbers: Mapping[str, float] = field(default_factory=dict)
    """What each step logs beside its loss."""
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    generates: Callable[[int], Sequence[JudgedAnswer]] = lambda _step: ()
    """The answers of each step that are judged."""
    scores: list[Sequence[float | None]] = field(default_factory=list)

    @asynccontextmanager
    async def running(self, job: TrainingJob) -> AsyncIterator[AsyncIterator[Report]]:  # noqa: C901 - as it is scripted
        self.before_begin()
        self.jobs.append(job)
        finished = False

        async def reports() -> AsyncIterator[Report]:
            nonlocal finished
            if self.fitted:
                yield self.fitted
            yield Begun(step=0, steps=len(self.losses), versions=VERSIONS)
            for step, loss in enumerate(self.losses, start=1):
                left = float(len(self.losses) - step)
                yield Stepped(
                    step=step,
                    steps=len(self.losses),
                    loss=loss,
                    remaining_s=left,
                    numbers=self.numbers,
                    peak_memory_bytes=len(LINES) // step,
                    peak_device_memory_bytes=7 // step,
                )
                if self.saves:
                    yield Saved(step=step)
                self.begun.set()
                if self.gate:
                    await self.gate.wait()
                for judging in [job.judging] if job.judging else []:
                    self.scores.append(await judging.scores(self.generates(step)))
                    yield judging.counted
            for loss in self.held_out(job) if job.held_out else ():
                yield Measured(step=len(self.losses), loss=loss)
            if failure := self._failure():
                raise failure
            for report in self._measured(job):
                yield report
            if not job.held_out:
                self._write(job)
            finished = True

        try:
            yield reports()
        finally:
            self.killed += not finished

    def _failure(self) -> Exception | None:
        if self.error or len(self.jobs) > self.out_of_memory:
            return self.error
        return TrainingFailed("took too much", reason="OUT_OF_MEMORY")

    def _measured(self, job: TrainingJob) -> Iterator[Report]:
        if job.measures_accuracy and self.accuracy:
            assert job.folder.held_out.exists()
            yield Scored(accuracy=self.accuracy)
        if job.recipe.memorisation and self.memorisation and not job.held_out:
            yield Memorised(memorisation=self.memorisation)

    def _write(self, job: TrainingJob) -> None:
        job.folder.made.mkdir(exist_ok=True)
        adapter = {
            "adapter_model.safetensors": safetensors(),
            "adapter_config.json": json.dumps(self.config).encode(),
        }
        files = dict(adapter if self.made is None else self.made) | dict(self.more_files)
        for name, content in files.items():
            (job.folder.made / name).write_bytes(content)


@dataclass(kw_only=True)
class Harness:
    """The training use cases on in-memory stores, with a base `smollm2`."""

    folder: Path
    enqueued: list[ResourceKey] = field(default_factory=list)
    epoch: int = 0

    def __post_init__(self) -> None:
        self.registry = Registry(folder=self.folder)
        self.readers: list[str] = []
        clock = self.registry.clock
        self.plans = InMemoryAggregates[TrainingPlan](codec=PLANS, missing=TrainingPlanNotFound, clock=clock)
        self.runs = InMemoryAggregates[TrainingRun](codec=RUNS, missing=TrainingRunNotFound, clock=clock)
        self.datasets, self.trainings = FakeDatasets(), FakeTrainings()
        self.folders = RunFolders(self.folder / "runs", keep_s=3600.0)
        self.judges = FakeJudges()
        self.judging = JudgeAnswers(judges=self.judges, limits=JudgingLimits(max_calls=1000, wait_s=0.0))
        check = CheckPlan(
            references=self.registry.shared,
            judges=self.judges,
            max_time=timedelta(days=1),
            max_memory_bytes=2**33,
            max_processes=4,
            max_judge_calls=1000,
        )
        queue = QueueRun(runs=self.runs, check=check, clock=clock, enqueue=self.enqueued.append)
        self.planned_sweeps = LatePlannedSweeps()
        self.start_deferred = StartDeferredRun(plans=self.plans, queue=queue, sweeps=self.planned_sweeps)
        self.plan_crud = TrainingPlanCrud(
            plans=self.plans, check=check, start_deferred=self.start_deferred, sweeps=self.planned_sweeps
        )
        self.run_crud = TrainingRunCrud(plans=self.plans, runs=self.runs, datasets=self.datasets, queue=queue)
        self.import_run = ImportRun(runs=self.runs, imported=FakeImportedRuns(self.runs), quota=IMPORTED_QUOTA)
        self.render_manifest = RenderManifest(
            plans=self.plans,
            runs=self.runs,
            datasets=self.datasets,
            check=check,
            defaults=CLUSTER_DEFAULTS,
        )
        self.consume = StartRunsForDatasetVersion(
            plans=self.plans,
            datasets=self.datasets,
            start_deferred=self.start_deferred,
            readers=lambda _project, _dataset: self.readers,
        )
        self.register = RegisterTrained(
            register=self.registry.register_version, inspector=FileInspector(), folders=self.folders
        )
        self.bases = FakeBases(self.folder)
        self.capacity = RunCapacity(clock=clock, memory_bytes=2**34, places=4)
        self.queue_of_runs = RunQueue(runs=self.runs, clock=clock, capacity=self.capacity, default_memory_bytes=2**32)
        self.train_run = TrainRun(
            runs=self.runs,
            plans=self.plans,
            references=self.registry.shared,
            datasets=self.datasets,
            bases=self.bases,
            folders=self.folders,
            trainings=self.trainings,
            register=self.register,
            judging=self.judging,
            queue=self.queue_of_runs,
            needs=TrainingNeeds(min_examples=8, max_fruitless=3, max_processes=4),
            clock=clock,
        )

    async def train(self, name: ResourceKey) -> bool:
        """Train a run with the next epoch of its lease; return whether it is finished."""
        self.epoch += 1
        return await self.train_run(name, epoch=self.epoch) is None

    async def with_base(self) -> "Harness":
        """Register the base."""
        await self.registry.register(model_files())
        return self

    async def plan(self, plan: str = "lora", **changes: object) -> TrainingPlan:
        """Create a plan."""
        return await self.plan_crud.create(ADA, plan, plan_settings(**changes), Write(request=request()))

    async def change(self, plan: str = "lora", **changes: object) -> TrainingPlan:
        """Update a plan's fields."""
        write = Write(request=request())
        return await self.plan_crud.update(ADA, plan, plan_settings(**changes), frozenset(changes), write)

    async def with_deferred_work(self, number: int, *, plan: str = "lora") -> ResourceKey:
        """Store a plan as after a crash between resuming it and queueing its deferred run."""
        await self.plan(plan, paused=True)
        await self.consume(ADA, dataset_version(number))

        def let_go_on(plan: TrainingPlan) -> None:
            plan.configure(replace(plan.settings, paused=False))

        await self.plans.update("acme", plan, let_go_on, request=request())
        return ResourceKey(project="acme", id=plan)

    async def queued(
        self, number: int = 1, *, plan: str = "lora", examples: int = 100, **changes: object
    ) -> ResourceKey:
        """Create a plan and deliver a dataset version to it; return the run's name."""
        await self.plan(plan, **changes)
        version = self.datasets.publish(dataset_version(number, examples=examples))
        await self.consume(ADA, version)
        return ResourceKey(project="acme", id=run_id("acme", plan, version.id))

    async def run(self, name: ResourceKey) -> TrainingRun:
        """Return a run as it is."""
        return await self.runs.get(name.project, name.id)


def request(request_id: str = "") -> Request:
    """Return a new request."""
    return Request.of(request_id, b"")
